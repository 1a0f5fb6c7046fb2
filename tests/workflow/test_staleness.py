"""A change reruns exactly what depends on it: dry runs after each kind of edit, compared with the exact set of jobs."""

import json
import os
import re
import time

import pytest
import yaml
from study_folder import StudyFolder

POLICIES = {"base 0", "dpo 42", "sft 42", "sft_dpo 42"}


def made(step, *tables):
    """A step and the CSV twins of its tables."""
    return {step} | {f"export_csv {table}" for table in tables}


SAID = {"summarize_study", "render_report"}
CLAIMS = made("check_claims", "claims") | SAID
COMPARED = made("compare_policies", "comparisons") | {"plot_comparisons"} | SAID
PUBLISHED = made("compare_published", "agreement") | SAID
POWER = made("compute_power", "power") | SAID
DRIFT = made("summarize_drift", "drift") | {"plot_drift", "render_report"}
EXAMINED = made("examine_judge", "judge", "judge_calibration", "judge_roc") | {"plot_judge"} | COMPARED | CLAIMS
SWEPT = made("sweep_thresholds", "thresholds", "threshold_leads", "threshold_flips") | {"plot_thresholds"} | SAID
CARDS = {f"write_model_card {name}" for name in POLICIES - {"base 0"}}
ANALYSIS = (
    {"gather_ratings"} | made("compute_metrics", "metrics") | made("compute_retention", "retention", "changed_prompts") | COMPARED | CLAIMS
    | PUBLISHED | SWEPT | POWER | DRIFT | {"plot_figures", "plot_retention", "render_browser"} | CARDS
)  # fmt: skip


def drifted(*policies):
    return DRIFT | {f"measure_drift {name}" for name in policies}


def rescored(*policies):
    return ANALYSIS | {f"score_responses deberta {name}" for name in policies}


def evaluated(*policies):
    """Jobs that follow new weights of these policies, the analysis included."""
    return rescored(*policies) | drifted(*policies) | {f"generate_responses {name}" for name in policies}


GENERATED = rescored(*POLICIES) | {f"generate_responses {name}" for name in POLICIES}
SHARDS = {
    f"{step} {name} {number}-of-2" for step in ("generate_responses", "score_responses deberta") for name in POLICIES for number in (1, 2)
}
GATHERED = {f"gather_shards {table}{name.replace(' ', '/seed-')}" for table in ("responses ", "rewards deberta/") for name in POLICIES}
JUDGED = EXAMINED | {"score_pairs deberta"}
NEW_PROMPTS = {"select_prompts"} | evaluated(*POLICIES) | POWER
BESIDE = PUBLISHED - SAID  # the paper's numbers stand beside those of its own protocol only
SFT = {"train_sft sft 42", "compute_references dpo sft 42", "train_dpo sft_dpo 42", "plot_training"}
DPO = {"train_dpo dpo 42", "train_dpo sft_dpo 42", "plot_training"}
REFERENCES = {"compute_references dpo base 0", "compute_references dpo sft 42"}

CONFIG_EDITS = {
    "a threshold": ("harmless_min: -3.0", "harmless_min: -3.5", ANALYSIS),
    "the margin of equivalence": ("equivalence_margin: 5.0", "equivalence_margin: 4.0", COMPARED | CLAIMS),
    "a claim": ("claim: SFT outperforms DPO", "claim: SFT is better than DPO", CLAIMS),
    "the sizes asked about": ("[50, 192, 500, 2354]", "[50, 192, 500]", POWER),
    "the judge's examination": ("format_pairs: 500", "format_pairs: 400", JUDGED),
    "samples for the drift": ("samples: 4 ", "samples: 3 ", drifted(*POLICIES)),
    "a keyword": ("[kill, murder, rape]", "[kill, murder]", NEW_PROMPTS - BESIDE),
    "the prompt seed": ("seed: 100", "seed: 101", NEW_PROMPTS - BESIDE),
    "beta": ("beta: 0.1 ", "beta: 0.2 ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "batching": ("beta: 0.1 ", "batching: by_length\n    beta: 0.1 ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "smoothed labels": ("loss: sigmoid ", "label_smoothing: 0.1\n    loss: sigmoid ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "an SFT term in DPO": ("loss: sigmoid ", "sft_weight: 0.5\n    loss: sigmoid ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "DPO of all weights": ("    lora: {r: 8, alpha: 16, dropout: 0.0, targets: [q_proj, v_proj]}", "    lora: null", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "SFT of an adapter": ("loss_on: transcript ", "lora: {targets: all-linear}\n    loss_on: transcript ", SFT | evaluated("sft 42", "sft_dpo 42")),
    "DPO's prompt length": ("max_prompt_length: 512", "max_prompt_length: 256", REFERENCES | DPO | evaluated("dpo 42", "sft_dpo 42")),
    "published dropout": ("dropout: disabled ", "dropout: as_published ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "the LoRA rank": ("{r: 8,", "{r: 16,", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "an SFT setting": ("loss_on: transcript", "loss_on: reply", SFT | evaluated("sft 42", "sft_dpo 42")),
    "new tokens": ("max_new_tokens: 50", "max_new_tokens: 60", evaluated(*POLICIES) - BESIDE | JUDGED),
    "the cue": ("cue: false", "cue: true", evaluated(*POLICIES) - BESIDE),
    "the stop": ("stop: false", "stop: true", GENERATED - BESIDE),
    "the strip": ("strip: false", "strip: true", GENERATED - BESIDE),
    "prompts that are too long": ("long_prompts: error", "long_prompts: cut", evaluated(*POLICIES)),
    "the judge's length": ("max_length: null", "max_length: 512", rescored(*POLICIES) | JUDGED),
    "shards": ("shards: 1 ", "shards: 2 ", SHARDS | GATHERED | ANALYSIS),
    "a comment": ("# greedy", "# greedy decoding", set()),
    "checkpoints": ("checkpoint_seconds: 300", "checkpoint_seconds: 60", set()),
    "a method that nobody uses": ("methods:\n", "methods:\n  spare: {trainer: sft, learning_rate: 1.0e-5}\n", set()),
    "a new arm": (
        "policies:                   # a graph: a new arm is one line\n",
        "policies:\n  dpo_twice: {parent: dpo, method: dpo}\n",
        {"compute_references dpo dpo 42", "train_dpo dpo_twice 42", "plot_training", "write_model_card dpo_twice 42"}
        | evaluated("dpo_twice 42"),
    ),
    "a new seed": (
        "seeds: [42] ",
        "seeds: [42, 43] ",
        {"train_sft sft 43", "compute_references dpo sft 43", "train_dpo dpo 43", "train_dpo sft_dpo 43", "plot_training"}
        | {f"write_model_card {name} 43" for name in ("sft", "dpo", "sft_dpo")}
        | evaluated("sft 43", "dpo 43", "sft_dpo 43"),
    ),
}  # fmt: skip

CODE_EDITS = {
    "the prompts' script": ("workflow/scripts/hh_align/data/select_prompts.py", NEW_PROMPTS),
    "the statistics": (
        "workflow/scripts/hh_align/analysis/statistics.py",
        (ANALYSIS | EXAMINED) - (SWEPT - SAID) - {"gather_ratings", "render_browser"},
    ),
    "how batches are kept": ("workflow/scripts/hh_align/models/batches.py", REFERENCES | DPO | JUDGED | GENERATED | drifted(*POLICIES)),
    "how a policy writes": ("workflow/scripts/hh_align/models/decoding.py", evaluated(*POLICIES)),
    "how a judge reads": ("workflow/scripts/hh_align/models/judging.py", rescored(*POLICIES) | JUDGED),
    "the DPO step": ("workflow/scripts/hh_align/training/train_dpo.py", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "what trainings share": ("workflow/scripts/hh_align/training/loop.py", SFT | DPO | evaluated("sft 42", "dpo 42", "sft_dpo 42")),
    "how rows are packed": (
        "workflow/scripts/hh_align/models/packing.py",
        # the import holds packed rows against single ones, so all that reads an imported model follows
        {"import_base", "import_judge deberta"} | REFERENCES | SFT | DPO | evaluated(*POLICIES) | JUDGED,
    ),
    "how a chat template is read": (
        "workflow/scripts/hh_align/models/chat.py",
        {"import_base", "import_judge deberta"} | REFERENCES | SFT | DPO | evaluated(*POLICIES) | JUDGED,
    ),
    "what is kept of a training": ("workflow/scripts/hh_align/training/snapshots.py", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "the model cards": ("workflow/report/model_card.md", CARDS),
    "the report's page": ("workflow/report/index.html", {"render_report"}),
    "the browser's script": ("workflow/report/browser.js", {"render_browser"}),
    "the pages' style": ("workflow/report/style.css", {"render_report", "render_browser"}),
    "a figure's caption": ("workflow/report/wins.rst", {"render_report"}),
    "the report's numbers of the paper": ("resources/published.yaml", PUBLISHED),
    "the text outside": ("resources/outside.txt", drifted(*POLICIES)),
    "the environment": ("environment.yml", set()),
    "the config's checks": ("workflow/scripts/hh_align/config/resolve.py", set()),
}


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """The paper's study, pretended to be complete."""
    folder = StudyFolder(tmp_path_factory.mktemp("paper"))
    folder.pretend_done()
    assert folder.planned() == set()
    return folder


@pytest.fixture
def restored(paper):
    """Undo a test's edits."""
    before = {
        path: path.read_bytes() for part in ("config", "workflow", "resources") for path in (paper.path / part).rglob("*") if path.is_file()
    }
    before[paper.path / "environment.yml"] = (paper.path / "environment.yml").read_bytes()
    yield paper
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


@pytest.mark.parametrize("edit", CONFIG_EDITS)
def test_a_config_edit_reruns_what_depends_on_it(restored, edit):
    old, new, expected = CONFIG_EDITS[edit]
    restored.edit("config/config.yaml", old, new)
    assert restored.planned() == expected


@pytest.mark.parametrize("edit", CODE_EDITS)
def test_a_code_edit_reruns_the_steps_that_import_it(restored, edit):
    name, expected = CODE_EDITS[edit]
    path = restored.path / name
    path.write_text(path.read_text() + ("\nEDITED = 1\n" if name.endswith(".py") else "\n# edited\n"))
    if name.endswith("environment.yml"):
        restored.edit(name, "pip>=24", "pip>=25")
    assert restored.planned() == expected


def test_reordered_config_and_commented_code_rerun_nothing(restored):
    config = yaml.safe_load((restored.path / "config/config.yaml").read_text())

    def backwards(value):
        return {key: backwards(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    (restored.path / "config/config.yaml").write_text(json.dumps(backwards(config)))
    for path in (restored.path / "workflow/scripts").rglob("*.py"):
        path.write_text("# a comment\n" + path.read_text() + "\n\n# and another\n")
    assert restored.planned() == set()


def test_another_machines_cores_memory_and_folders_rerun_nothing(restored, tmp_path):
    resources = ["--set-resources", "score_responses:mem_mb=9000", "score_pairs:runtime=10", "measure_drift:mem_mb=9000"]
    assert restored.planned("--cores", "1", "--default-resources", f"tmpdir='{tmp_path}'", *resources) == set()


def test_more_processes_rerun_nothing(tmp_path):
    folder = StudyFolder(tmp_path, "--config", "methods={sft: {micro_batch: 4}, dpo: {micro_batch: 4}}")
    folder.pretend_done()
    folder.edit("config/config.yaml", "processes: 1 ", "processes: 2 ")
    assert folder.planned() == set()


def test_a_step_that_failed_is_due_again(tmp_path):
    # Snakemake removes its outputs and forgets them; what follows still lies there from before
    folder = StudyFolder(tmp_path)
    folder.pretend_done()
    folder.edit("workflow/scripts/hh_align/analysis/check_claims.py", "def main(", 'raise SystemExit("error: killed")\n\n\ndef main(')
    assert folder.run("results/paper/analysis/claims.parquet").returncode == 1
    assert not (tmp_path / "results/paper/analysis/claims.parquet").exists()
    assert folder.planned() >= CLAIMS


def test_another_study_does_not_repeat_a_download(tmp_path):
    # its timing lies in the folder of the study that made it
    folder = StudyFolder(tmp_path)
    folder.pretend_done()
    jobs = folder.planned("--config", "study=other")
    assert "prepare_preferences hh" in jobs and not [job for job in jobs if job.startswith("fetch_hub")]


JUDGES = """
judges:
  llm: {source: endpoint, url: "https://host/v1", model: first, lowest: 1, highest: 10, tries: 5, price_in: 1.0, price_out: 2.0, harmless_min: 6.0, helpful_above: 5.0}
  people: {source: imported, path: ratings.csv, axis: helpfulness, helpful_above: 3.5}
"""
ASKED = {f"ask_endpoint llm {name}" for name in POLICIES}
AGREED = made("compare_judges", "judge_agreement") | {"render_report"}
JUDGE_EDITS = {
    "another model behind the endpoint": ("study.yaml", "model: first", "model: second", ASKED | ANALYSIS | AGREED),
    "the endpoint's tries and prices": ("study.yaml", "tries: 5, price_in: 1.0", "tries: 6, price_in: 3.0", {"render_report"}),
    "a threshold of one judge": ("study.yaml", "helpful_above: 5.0", "helpful_above: 4.0", ANALYSIS | AGREED),
    "other ratings": ("ratings.csv", "1", "2", {"import_ratings people"} | ANALYSIS | AGREED),
    "a rubric": ("resources/rubric_harmlessness.txt", "harmlessness", "safety", ASKED | ANALYSIS | AGREED),
}


@pytest.fixture(scope="module")
def several_judges(tmp_path_factory):
    """The paper's study with two more judges, pretended to be complete."""
    folder = StudyFolder(tmp_path_factory.mktemp("judges"), "--configfile", "study.yaml")
    (folder.path / "study.yaml").write_text(JUDGES)
    (folder.path / "ratings.csv").write_text("1")
    folder.pretend_done()
    assert folder.planned() == set()
    return folder


@pytest.mark.parametrize("edit", JUDGE_EDITS)
def test_an_edit_of_a_judge_reruns_that_judge_only(several_judges, edit):
    name, old, new, expected = JUDGE_EDITS[edit]
    before = (several_judges.path / name).read_text()
    several_judges.edit(name, old, new)
    found = several_judges.planned()
    (several_judges.path / name).write_text(before)
    assert found == expected


def test_asking_about_refusals_runs_its_own_steps_and_nothing_else(restored):
    asked = {"select_twins", *(f"answer_twins {name}" for name in POLICIES), *made("measure_overrefusal", "overrefusal")}
    restored.edit("config/config.yaml", "overrefusal: null ", "overrefusal: {} ")
    assert restored.planned() == asked | {"render_report"}


@pytest.mark.parametrize(
    "options",
    [
        ["--config", f"models={{base: {{repo: EleutherAI/pythia-160m, revision: {'0' * 40}}}}}"],
        ["--config", f"datasets={{hh: {{repo: someone/pairs, revision: {'0' * 40}}}}}"],
        ["--configfile", "config/extended.yaml"],
    ],
)
def test_the_papers_numbers_stand_beside_its_own_model_data_and_protocol_only(paper, options):
    assert not BESIDE & paper.planned(*options)


def test_touched_files_rerun_nothing(restored):
    # a fresh checkout or a copied results folder has new dates and the same content
    later = time.time() + 60
    for path in sorted(restored.path.rglob("*")):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path, (later, later))
    assert restored.planned() == set()


def test_responses_from_a_file_rerun_their_import_their_scores_and_the_analysis(tmp_path):
    # a file answers for api; sft is trained as before, but its responses come from a file of each seed; nothing is measured on api
    folder = StudyFolder(tmp_path)
    mine = {"api": {"path": "api.csv", "parent": "sft"}, "sft": {"path": "sft-{seed}.csv"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"responses": mine}))
    folder.options = ("--configfile", "config/config.yaml", "mine.yaml")
    (tmp_path / "api.csv").write_text("api")
    (tmp_path / "sft-42.csv").write_text("sft")
    assert "generate_responses sft 42" not in folder.planned() and "train_sft sft 42" in folder.planned()
    assert {job for job in folder.planned() if "api" in job} == {"import_responses api 0", "score_responses deberta api 0"}
    folder.pretend_done()
    assert folder.planned() == set()
    for name, place in (("api", "api 0"), ("sft-42", "sft 42")):
        (tmp_path / f"{name}.csv").write_text("another")
        assert folder.planned() == {f"import_responses {place}", f"score_responses deberta {place}"} | ANALYSIS
        (tmp_path / f"{name}.csv").write_text(name[:3])
    folder.edit("mine.yaml", "parent: sft", "parent: sft\n    layout: openai")
    assert folder.planned() == {"import_responses api 0", "score_responses deberta api 0"} | ANALYSIS
    done = folder.run("--dry-run", "results/paper/policies/api/seed-0/manifest.json")
    assert done.returncode and "No rule to produce" in done.stdout
    assert "api has no seed 42 in study paper. Allowed: 0." in folder.run("--dry-run", "results/paper/responses/api/seed-42.parquet").stdout
    assert "api has no weights in study paper" in folder.run("--dry-run", "results/paper/drift/api/seed-0.parquet").stdout


def test_a_study_of_files_alone_trains_and_loads_no_policy(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/config.yaml", "mine.yaml")
    policies = {"base": {}, "sft": None, "dpo": None, "sft_dpo": None}
    analysis = {"primary": None, "contrasts": [["other", "base"]]}
    responses = {"base": {"path": "one.csv"}, "other": {"path": "two.csv"}}
    config = {"policies": policies, "responses": responses, "drift": None, "claims": None, "analysis": analysis, "compute": {"shards": 2}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "one.csv").touch()
    (tmp_path / "two.csv").touch()
    jobs = folder.planned()
    assert {"import_responses base 0", "import_responses other 0"} <= jobs
    assert not [job for job in jobs if job.startswith(("train_", "generate_", "import_base", "measure_", "fetch_hub models facebook"))]


def test_one_artifact_builds_only_its_ancestors(tmp_path):
    # no SFT for the DPO policy's rewards
    folder = StudyFolder(tmp_path)
    assert folder.planned("results/paper/rewards/deberta/dpo/seed-42.parquet") == {
        "fetch_hub datasets Anthropic--hh-rlhf 09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa manifest-a70cf802",
        "fetch_hub models facebook--opt-350m 061d15c4d9cc3e25b93c0393d0bcca4934eaa033 manifest",
        "fetch_hub models OpenAssistant--reward-model-deberta-v3-large-v2 c355404efa9ad2ad069f3a197cae0523c14244fc manifest",
        "prepare_preferences hh", "select_prompts", "import_base", "import_judge deberta", "compute_references dpo base 0",
        "train_dpo dpo 42", "generate_responses dpo 42", "score_responses deberta dpo 42",
    }  # fmt: skip


def test_a_demo_artifact_needs_no_sft_either(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/demo.yaml")
    jobs = folder.planned("results/demo/rewards/small/dpo/seed-42.parquet")
    assert not any(job.startswith("train_sft") for job in jobs)
    assert "train_dpo dpo 42" in jobs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["results/demo/report/summary.txt"], "Add: --configfile config/demo.yaml"),
        (["results/paper/policies/sft/seed-7/manifest.json"], "sft has no seed 7 in study paper. Allowed: 42"),
        (["results/paper/responses/base/seed-42.parquet"], "base has no seed 42 in study paper. Allowed: 0"),
        (["--config", "methods={sft: {learning_rate: 5e-7}}"], "methods.sft.learning_rate is the text '5e-7'"),
        (["--config", "methods={sft: {lr: 1}}"], "methods.sft has no key lr. Allowed:"),
        (["--config", "policies={x: {parent: nope, method: sft}}"], "policies.x.parent is nope"),
        (["--config", "study=../x"], "study is '../x'"),
    ],
)
def test_a_wrong_request_ends_with_one_message(tmp_path, arguments, said):
    done = StudyFolder(tmp_path).run("--dry-run", *arguments)
    assert done.returncode != 0
    assert said in done.stdout
    assert "raise WorkflowError" not in done.stdout
    assert not (tmp_path / "results").exists()


def test_a_study_is_held_against_another_ones_folder(tmp_path):
    """`reproduction.folder` may lie under results/: its files are read as they are and belong to the study that made them."""
    folder = StudyFolder(tmp_path)
    other = ["--config", "reproduction={folder: results/published, judges: [deberta]}"]
    names = [f"{kind}/{policy}.parquet" for kind in ("responses", "rewards/deberta") for policy in ("base/seed-0", "sft/seed-42")]
    for name in ["prompts/prompts.parquet", *names, *(name.replace("sft", policy) for policy in ("dpo", "sft_dpo") for name in names)]:
        path = tmp_path / "results/published" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    jobs = folder.planned(*other)
    assert {"compare_runs", "export_csv reproduction", "export_csv reproduction_summary"} <= jobs
    (tmp_path / "results/published/prompts/prompts.parquet").unlink()
    assert "results/published/prompts/prompts.parquet" in folder.run("--dry-run", *other).stdout


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


def test_controls_train_on_labels_of_their_own(tmp_path):
    jobs = StudyFolder(tmp_path, "--config", "controls=[coin, reversed]").planned()
    assert {job for job in jobs if job.startswith("derive_dataset")} == {"derive_dataset coin", "derive_dataset reversed"}
    assert {f"train_dpo {name}_{labels} 42" for name in ("dpo", "sft_dpo") for labels in ("coin", "reversed")} < jobs


KTO = {"trainer": "kto", "learning_rate": 0.0002, "lora": {"targets": ["q_proj", "v_proj"]}}
TRAINED_BY_KTO = {"train_kto sft_kto 42", "plot_training", "write_model_card sft_kto 42"} | evaluated("sft_kto 42")


def with_kto(**settings):
    return "--config", f"methods={json.dumps({'kto': KTO | settings})}", "policies={sft_kto: {parent: sft, method: kto}}"


@pytest.fixture(scope="module")
def a_kto_arm(tmp_path_factory):
    """The paper's study and one policy by KTO, pretended to be complete; its references are those of DPO."""
    folder = StudyFolder(tmp_path_factory.mktemp("kto"), *with_kto())
    assert {job for job in folder.planned() if job.startswith("compute_references")} == REFERENCES
    folder.pretend_done()
    assert folder.planned() == set()
    return folder


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
    script = a_kto_arm.path / "workflow/scripts/hh_align/training/train_kto.py"
    before = script.read_text()
    script.write_text(before + "\nEDITED = 1\n")
    assert a_kto_arm.planned() == TRAINED_BY_KTO
    script.write_text(before)


CLEAN = """
datasets:
  clean:
    from: hh
    deduplicate: near
    decontaminate: {ngram: 8}
    drop_near_identical: 0.9
    judge_margin: {judge: deberta, quantile: 0.1}
    balance_length: true
policies:
  dpo_clean: {parent: base, method: dpo, data: clean}
"""
CLEANED = {
    "derive_dataset clean", "write_dataset_card clean", "compute_references dpo@clean base 0", "train_dpo dpo_clean 42", "plot_training",
    "write_model_card dpo_clean 42",
} | evaluated("dpo_clean 42")  # fmt: skip
MARGINS = {"score_training_pairs clean"}
CLEANING_EDITS = {
    "the kind of duplicate": ("deduplicate: near", "deduplicate: exact", CLEANED),
    "how alike duplicates are": ("deduplicate: near", "deduplicate: near\n    near: {threshold: 0.9}", CLEANED),
    "words of an n-gram": ("{ngram: 8}", "{ngram: 9}", CLEANED),
    "similar replies": ("drop_near_identical: 0.9", "drop_near_identical: 0.95", CLEANED),
    "the quantile": ("quantile: 0.1", "quantile: 0.2", CLEANED),  # the scores stay
    "no judge": ("    judge_margin: {judge: deberta, quantile: 0.1}\n", "", CLEANED),
    "the balance's seed": ("balance_length: true", "balance_length: true\n    balance_seed: 2", CLEANED),
    "no balance": ("    balance_length: true\n", "", CLEANED),
    "a selection": ("from: hh", "from: hh\n    subsets: [harmless-base]", CLEANED | MARGINS),
    "prompts left out": ("from: hh", "from: hh\n    exclude_prompts: true", CLEANED | MARGINS),
    "a default, written out": ("{ngram: 8}", "{ngram: 8, overlap: 0.3}", set()),
}


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory):
    """The paper's study with an arm on cleaned data, pretended to be complete."""
    path = tmp_path_factory.mktemp("cleaned")
    folder = StudyFolder(path, "--configfile", "clean.yaml")
    (path / "clean.yaml").write_text(CLEAN)
    folder.pretend_done()
    assert folder.planned() == set()
    return folder


@pytest.mark.parametrize("edit", CLEANING_EDITS)
def test_an_edit_of_the_cleaning_reruns_what_reads_the_cleaned_rows(cleaned, edit):
    old, new, expected = CLEANING_EDITS[edit]
    cleaned.edit("clean.yaml", old, new)
    try:
        assert cleaned.planned() == expected
    finally:
        (cleaned.path / "clean.yaml").write_text(CLEAN)


def test_how_the_judge_reads_reruns_the_margins_too(cleaned):
    config = cleaned.path / "config/config.yaml"
    before = config.read_text()
    cleaned.edit("config/config.yaml", "max_length: null", "max_length: 512")
    try:
        assert cleaned.planned() == CLEANED | MARGINS | rescored(*POLICIES) | JUDGED
    finally:
        config.write_text(before)


def test_arms_on_raw_and_cleaned_data_share_what_they_can(paper):
    """Beside a finished study an arm on cleaned data, another on harmless pairs only: data, prompts, models and other arms stay."""
    more = ["harmless: {from: hh, subsets: [harmless-base]}", "dpo_harmless: {parent: base, method: dpo, data: harmless}"]
    text = CLEAN.replace("datasets:\n", f"datasets:\n  {more[0]}\n").replace("policies:\n", f"policies:\n  {more[1]}\n")
    (paper.path / "clean.yaml").write_text(text)
    harmless = {job.replace("clean", "harmless") for job in CLEANED}
    card = {"write_dataset_card hh"}  # it names the command, which has a config file more now
    assert paper.planned("--configfile", "clean.yaml") == CLEANED | MARGINS | harmless | card
    (paper.path / "clean.yaml").unlink()


def test_a_chat_template_reruns_all_that_a_policy_reads(paper):
    chat = paper.planned("--config", "models={base: {chat_template: true}}", "generation={cue: true}")
    assert chat == {"import_base"} | REFERENCES | SFT | DPO | evaluated(*POLICIES) - BESIDE  # the cue is not the paper's


KEPT = ("dpo_step5 42", "sft_dpo_step5 42")
MERGED = {f"merge_snapshot {name}" for name in KEPT} | evaluated(*KEPT) | made("summarize_snapshots", "snapshots") | {"plot_snapshots"}


def test_a_snapshot_runs_its_training_again_and_what_follows(paper):
    # the training has to leave what it did not keep; SFT and the references stay
    assert paper.planned("--config", "methods={dpo: {snapshots: [5]}}") == DPO | evaluated("dpo 42", "sft_dpo 42") | MERGED


def test_how_a_snapshot_becomes_a_policy_reruns_the_snapshots_only(tmp_path):
    folder = StudyFolder(tmp_path, "--config", "methods={dpo: {snapshots: [5]}}")
    folder.pretend_done()
    assert folder.planned() == set()
    script = folder.path / "workflow/scripts/hh_align/training/merge_snapshot.py"
    script.write_text(script.read_text() + "\nEDITED = 1\n")
    assert folder.planned() == MERGED


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """The demo of noisy labels, pretended to be complete."""
    folder = StudyFolder(tmp_path_factory.mktemp("noisy"), "--configfile", "config/demo.yaml", "config/noise_demo.yaml")
    folder.pretend_done()
    assert folder.planned() == set()
    return folder


NOISE_EDITS = {
    "noise: 0.4": ("noise: 0.3", {"derive_dataset noise_40"}, "_40"),
    "flips: false": (
        "flips: true",
        {"generate_corpus noise_0", "prepare_preferences noise_0", "derive_dataset noise_20", "derive_dataset noise_40"},
        ("dpo", "robust", "smoothed", "_20", "_40"),
    ),
}


@pytest.mark.parametrize("old", NOISE_EDITS)
def test_noise_reruns_the_trainings_on_it(noisy, old):
    new, data, ends = NOISE_EDITS[old]
    noisy.edit("config/noise_demo.yaml", old, new)
    jobs = noisy.planned()
    noisy.edit("config/noise_demo.yaml", new, old)
    policies = [f"sft_{loss}{noise}" for loss in ("dpo", "robust", "smoothed") for noise in ("", "_20", "_40")]
    assert {job for job in jobs if job.startswith(("generate_corpus", "prepare_", "derive_", "pretrain_", "train_judge"))} == data
    assert {job for job in jobs if job.startswith("train_")} == {
        f"train_dpo {name} {seed}" for name in policies if name.endswith(ends) for seed in (42, 43, 44)
    }
    assert made("summarize_noise", "noise") | {"plot_noise"} <= jobs


def test_an_edit_to_the_table_of_noise_reruns_no_training(noisy):
    script = noisy.path / "workflow/scripts/hh_align/analysis/summarize_noise.py"
    before = script.read_text()
    script.write_text(before + "\nEDITED = 1\n")
    assert noisy.planned() == made("summarize_noise", "noise") | {"plot_noise", "render_report"}
    script.write_text(before)


SEEDS = (42, 43, 44)


def test_the_extended_demo_has_three_seeds_of_many_arms_and_grows_by_one(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/demo.yaml", "config/extended_demo.yaml")
    jobs = folder.planned()
    trained = {tuple(job.split()[1:]) for job in jobs if re.match(r"train_(sft|dpo|kto) ", job)}
    arms = {name for name, _ in trained}
    assert len(arms) >= 8 and trained == {(name, str(seed)) for name in arms for seed in SEEDS}
    assert len([job for job in jobs if job.startswith("compute_references")]) < len(trained) / 2  # losses and betas share them
    folder.pretend_done()
    assert folder.planned() == set()
    (tmp_path / "more.yaml").write_text("policies: {sft_ipo_clean: {parent: sft, method: ipo, data: clean}}")
    folder.options = (*folder.options, "more.yaml")
    steps = ("train_dpo", "measure_drift", "generate_responses", "score_responses small", "write_model_card")
    own = {f"{step} sft_ipo_clean {seed}" for step in steps for seed in SEEDS}
    cards = {f"write_model_card {name} {seed}" for name in arms for seed in SEEDS}
    tables = made("correct_by_labels", "gold", "label_agreement") | made("score_oracle", "oracle")
    data = {f"write_dataset_card {name}" for name in ("synthetic", "raw", "clean", "coin", "reversed")}  # they name the command
    assert folder.planned() == own | cards | data | tables | {"plot_training"} | DRIFT | ANALYSIS - CARDS - PUBLISHED | SAID
