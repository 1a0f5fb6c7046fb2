"""More arms beside a finished study: sweeps, KTO, snapshots, seeds. What is shared stays, what is due is exactly theirs."""

import json
import re

import pytest
from staleness import ANALYSIS, BESIDE, CARDS, DPO, DRIFT, FACTS, GENERATED, PUBLISHED, REFERENCES, SAID, drifted, evaluated, made, rescored
from study_folder import StudyFolder

NO_PRIMARY = "analysis={primary: null}"


def test_a_sweep_shares_its_references_and_grows_by_its_new_arms(tmp_path):
    folder = StudyFolder(tmp_path, "--config", NO_PRIMARY, "methods={dpo: {beta: [0.1, 0.5]}}")
    jobs = folder.planned()
    assert {job for job in jobs if job.startswith("compute_references")} == REFERENCES
    trained = {f"train_dpo {name}_beta{beta} 42" for name in ("dpo", "sft_dpo") for beta in ("0.1", "0.5")}
    assert {job for job in jobs if job.startswith("train_")} == trained | {"train_sft sft 42"}
    assert {"summarize_sweep", "plot_sweep", "export_csv sweep"} <= jobs
    folder.pretend_done()
    folder.options = ("--config", NO_PRIMARY, "methods={dpo: {beta: [0.1, 0.5, 2]}}")
    grown = folder.planned()
    assert {job for job in grown if job.startswith(("train_", "compute_references"))} == {
        "train_dpo dpo_beta2 42",
        "train_dpo sft_dpo_beta2 42",
    }
    assert {job for job in grown if job.startswith("generate_responses")} == {
        f"generate_responses {name}_beta2 42" for name in ("dpo", "sft_dpo")
    }


def test_a_sweep_of_lengths_has_references_of_each(tmp_path):
    folder = StudyFolder(tmp_path, "--config", NO_PRIMARY, "methods={dpo: {max_length: [768, 1024]}}")
    references = {job for job in folder.planned() if job.startswith("compute_references")}
    assert references == {
        f"compute_references dpo_max_length{length} {parent}" for length in (768, 1024) for parent in ("base 0", "sft 42")
    }


def test_a_sweep_of_a_hundred_arms_is_planned(tmp_path):
    betas = ", ".join(str(number / 100) for number in range(1, 51))
    jobs = StudyFolder(tmp_path, "--config", NO_PRIMARY, f"methods={{dpo: {{beta: [{betas}]}}}}").planned()
    assert sum(job.startswith("train_dpo") for job in jobs) == 100 and jobs > REFERENCES


KTO = {"trainer": "kto", "learning_rate": 0.0002, "lora": {"targets": ["q_proj", "v_proj"]}}
TRAINED_BY_KTO = {"train_kto sft_kto 42", "plot_training", "write_model_card sft_kto 42"} | evaluated("sft_kto 42")


def with_kto(**settings):
    return "--config", f"methods={json.dumps({'kto': KTO | settings})}", "policies={sft_kto: {parent: sft, method: kto}}"


@pytest.fixture(scope="module")
def a_kto_arm(tmp_path_factory):
    """The paper's study and one policy by KTO, pretended to be complete; its references are those of DPO."""
    folder = StudyFolder(tmp_path_factory.mktemp("kto"), *with_kto())
    assert {job for job in folder.planned() if job.startswith("compute_references")} == REFERENCES
    return folder.pretend_done()


KTO_EDITS = {
    "the weight of chosen replies": ({"desirable_weight": 1.33}, TRAINED_BY_KTO),
    "the weight of rejected replies": ({"undesirable_weight": 2.0}, TRAINED_BY_KTO),
    "beta": ({"beta": 0.2}, TRAINED_BY_KTO),
    "a default, written out": ({"desirable_weight": 1.0}, set()),
    "a prompt length of its own": ({"max_prompt_length": 256}, TRAINED_BY_KTO | {"compute_references kto sft 42"}),
}


@pytest.mark.parametrize("edit", KTO_EDITS)
def test_a_setting_of_kto_reruns_its_policy(a_kto_arm, edit):
    settings, expected = KTO_EDITS[edit]
    a_kto_arm.options = with_kto(**settings)
    assert a_kto_arm.planned() == expected


def test_an_edit_to_the_kto_step_reruns_no_dpo(a_kto_arm):
    a_kto_arm.options = with_kto()
    with a_kto_arm.edited("workflow/scripts/hh_align/training/train_kto.py", end="\nEDITED = 1\n"):
        assert a_kto_arm.planned() == TRAINED_BY_KTO


KEPT = ("dpo_step5 42", "sft_dpo_step5 42")
MERGED = {f"merge_snapshot {name}" for name in KEPT} | evaluated(*KEPT) | made("summarize_snapshots", "snapshots") | {"plot_snapshots"}


def test_a_snapshot_runs_its_training_again_and_what_follows(paper):
    # the training has to leave what it did not keep; SFT and the references stay
    notices = {f"write_notice policies/{name.replace(' ', '/seed-')}" for name in KEPT}
    assert paper.planned("--config", "methods={dpo: {snapshots: [5]}}") == DPO | evaluated("dpo 42", "sft_dpo 42") | MERGED | notices


def test_how_a_snapshot_becomes_a_policy_reruns_the_snapshots_only(tmp_path):
    folder = StudyFolder(tmp_path, "--config", "methods={dpo: {snapshots: [5]}}").pretend_done()
    with folder.edited("workflow/scripts/hh_align/training/merge_snapshot.py", end="\nEDITED = 1\n"):
        assert folder.planned() == MERGED


def asked(more="", **generation):
    return "--config", f"policies={json.dumps({'led': {'parent': 'sft_dpo', 'generation': {'lead': True} | generation}})}", *more.split()


def test_a_policy_that_is_asked_otherwise_trains_nothing(paper):
    assert paper.planned(*asked()) == evaluated("led 42") | {"plot_training"}  # one policy more, other colours
    root = "policies={base_led: {parent: base, generation: {lead: true}}}"
    assert paper.planned("--config", root, "seeds=[42, 43]") >= {"generate_responses base_led 0", "measure_drift base_led 0"}
    assert not any("base_led 4" in job for job in paper.planned("--config", root, "seeds=[42, 43]"))


@pytest.fixture(scope="module")
def an_asked_arm(tmp_path_factory):
    """The paper's study and its last policy asked otherwise, pretended to be complete."""
    return StudyFolder(tmp_path_factory.mktemp("asked"), *asked()).pretend_done()


LED = rescored("led 42") | {"generate_responses led 42"}
ASKED_EDITS = {
    "how its responses are cut": (asked(strip=True), LED),
    "how its prompts end": (asked(cue=True), LED | drifted("led 42")),
    "a value that the study has": (asked(cue=False), {"render_report"}),
    "its parent's training": (asked('methods={"dpo":{"beta":0.2}}'), DPO | evaluated("dpo 42", "sft_dpo 42", "led 42")),
    "how the study's responses are cut": (asked('generation={"strip":true}'), GENERATED - BESIDE | LED - BESIDE),
}


@pytest.mark.parametrize("edit", ASKED_EDITS)
def test_a_policy_that_is_asked_otherwise_depends_on_its_parent_and_its_own_settings(an_asked_arm, edit):
    an_asked_arm.options, expected = ASKED_EDITS[edit]
    assert an_asked_arm.planned() == expected


def test_the_extended_study_asks_every_policy_what_should_not_be_refused(tmp_path):
    # an empty mapping over a null is dropped where Snakemake merges configs: the default must not name the key
    asked_twins = {f"answer_twins {name}" for name in ("base 0", "sft 43", "sft_dpo_bare 44")}
    assert StudyFolder(tmp_path, "--configfile", "config/extended.yaml").planned() >= asked_twins | {"select_twins", "measure_overrefusal"}


SEEDS = (42, 43, 44)


@pytest.mark.long
def test_the_extended_demo_has_three_seeds_of_many_arms_and_grows_by_one(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/demo.yaml", "config/extended_demo.yaml")
    jobs = folder.planned()
    trained = {tuple(job.split()[1:]) for job in jobs if re.match(r"train_(sft|dpo|kto) ", job)}
    arms = {name for name, _ in trained}
    assert len(arms) >= 8 and trained == {(name, str(seed)) for name in arms for seed in SEEDS}
    assert len([job for job in jobs if job.startswith("compute_references")]) < len(trained) / 2  # losses and betas share them
    folder.pretend_done()
    (tmp_path / "more.yaml").write_text("policies: {sft_ipo_clean: {parent: sft, method: ipo, data: clean}}")
    folder.options = (*folder.options, "more.yaml")
    steps = ("train_dpo", "measure_drift", "generate_responses", "score_responses small", "write_model_card")
    own = {f"{step} sft_ipo_clean {seed}" for step in steps for seed in SEEDS}
    own |= {f"write_notice policies/sft_ipo_clean/seed-{seed}" for seed in SEEDS}
    cards = {f"write_model_card {name} {seed}" for name in arms for seed in SEEDS}
    tables = made("correct_by_labels", "gold", "label_agreement") | made("score_oracle", "oracle")
    data = {f"write_dataset_card {name}" for name in ("synthetic", "raw", "clean", "coin", "reversed")}  # they name the command
    assert folder.planned() == own | cards | data | tables | {"plot_training"} | ((DRIFT | ANALYSIS) - CARDS - PUBLISHED - FACTS) | SAID
