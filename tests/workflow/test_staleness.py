"""A change reruns exactly what depends on it: dry runs after each kind of edit, compared with the exact set of jobs."""

import json
import os
import time

import pytest
import yaml
from study_folder import StudyFolder

POLICIES = {"base 0", "dpo 42", "sft 42", "sft_dpo 42"}


def made(step, *tables):
    """A step and the CSV twins of its tables."""
    return {step} | {f"export_csv {table}" for table in tables}


CLAIMS = made("check_claims", "claims") | {"summarize_study"}
COMPARED = made("compare_policies", "comparisons") | {"plot_comparisons", "summarize_study"}
PUBLISHED = made("compare_published", "agreement") | {"summarize_study"}
POWER = made("compute_power", "power") | {"summarize_study"}
DRIFT = made("summarize_drift", "drift") | {"plot_drift"}
EXAMINED = made("examine_judge", "judge", "judge_calibration", "judge_roc") | {"plot_judge"} | COMPARED | CLAIMS
SWEPT = made("sweep_thresholds", "thresholds", "threshold_leads", "threshold_flips") | {"plot_thresholds", "summarize_study"}
ANALYSIS = (
    made("compute_metrics", "metrics") | made("compute_retention", "retention", "changed_prompts") | COMPARED | CLAIMS | PUBLISHED
    | SWEPT | {"plot_figures", "plot_retention", "plot_drift"}
)  # fmt: skip


def drifted(*policies):
    return DRIFT | {f"measure_drift {name}" for name in policies}


def rescored(*policies):
    return ANALYSIS | {f"score_responses deberta {name}" for name in policies}


def evaluated(*policies):
    """Jobs that follow new weights of these policies, the analysis included."""
    return rescored(*policies) | drifted(*policies) | {f"generate_responses {name}" for name in policies}


GENERATED = rescored(*POLICIES) | {f"generate_responses {name}" for name in POLICIES}
JUDGED = EXAMINED | {"score_pairs deberta"}
NEW_PROMPTS = {"select_prompts"} | evaluated(*POLICIES) | POWER
SFT = {"train_sft sft 42", "compute_references dpo sft 42", "train_dpo sft_dpo 42"}
DPO = {"train_dpo dpo 42", "train_dpo sft_dpo 42"}
REFERENCES = {"compute_references dpo base 0", "compute_references dpo sft 42"}

CONFIG_EDITS = {
    "a threshold": ("harmless_min: -3.0", "harmless_min: -3.5", ANALYSIS),
    "the margin of equivalence": ("equivalence_margin: 5.0", "equivalence_margin: 4.0", COMPARED | CLAIMS),
    "a claim": ("claim: SFT outperforms DPO", "claim: SFT is better than DPO", CLAIMS),
    "the sizes asked about": ("[50, 192, 500, 2354]", "[50, 192, 500]", POWER),
    "the judge's examination": ("format_pairs: 500", "format_pairs: 400", JUDGED),
    "samples for the drift": ("samples: 4 ", "samples: 3 ", drifted(*POLICIES)),
    "a keyword": ("[kill, murder, rape]", "[kill, murder]", NEW_PROMPTS),
    "the prompt seed": ("seed: 100", "seed: 101", NEW_PROMPTS),
    "beta": ("beta: 0.1 ", "beta: 0.2 ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "DPO's prompt length": ("max_prompt_length: 512", "max_prompt_length: 256", REFERENCES | DPO | evaluated("dpo 42", "sft_dpo 42")),
    "published dropout": ("dropout: disabled ", "dropout: as_published ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "the LoRA rank": ("{r: 8,", "{r: 16,", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "an SFT setting": ("loss_on: transcript", "loss_on: reply", SFT | evaluated("sft 42", "sft_dpo 42")),
    "new tokens": ("max_new_tokens: 50", "max_new_tokens: 60", evaluated(*POLICIES) | JUDGED),
    "the cue": ("cue: false", "cue: true", evaluated(*POLICIES)),
    "the stop": ("stop: false", "stop: true", GENERATED),
    "the strip": ("strip: false", "strip: true", GENERATED),
    "prompts that are too long": ("long_prompts: error", "long_prompts: cut", evaluated(*POLICIES)),
    "the judge's length": ("max_length: null", "max_length: 512", rescored(*POLICIES) | JUDGED),
    "a comment": ("# greedy", "# greedy decoding", set()),
    "processes": ("processes: 1 ", "processes: 2 ", set()),
    "checkpoints": ("checkpoint_seconds: 300", "checkpoint_seconds: 60", set()),
    "a method that nobody uses": ("methods:\n", "methods:\n  spare: {trainer: sft, learning_rate: 1.0e-5}\n", set()),
    "a new arm": (
        "policies:                   # a graph: a new arm is one line\n",
        "policies:\n  dpo_twice: {parent: dpo, method: dpo}\n",
        {"compute_references dpo dpo 42", "train_dpo dpo_twice 42"} | evaluated("dpo_twice 42"),
    ),
    "a new seed": (
        "seeds: [42] ",
        "seeds: [42, 43] ",
        {"train_sft sft 43", "compute_references dpo sft 43", "train_dpo dpo 43", "train_dpo sft_dpo 43"}
        | evaluated("sft 43", "dpo 43", "sft_dpo 43"),
    ),
}  # fmt: skip

CODE_EDITS = {
    "the prompts' script": ("workflow/scripts/select_prompts.py", NEW_PROMPTS),
    "the statistics": ("workflow/scripts/study/statistics.py", (ANALYSIS | EXAMINED | POWER | DRIFT) - (SWEPT - {"summarize_study"})),
    "how batches are kept": ("workflow/scripts/study/batches.py", GENERATED),
    "how a policy writes": ("workflow/scripts/study/decoding.py", evaluated(*POLICIES)),
    "how a judge reads": ("workflow/scripts/study/judging.py", rescored(*POLICIES) | JUDGED),
    "the DPO step": ("workflow/scripts/train_dpo.py", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "what trainings share": ("workflow/scripts/study/training.py", SFT | DPO | evaluated("sft 42", "dpo 42", "sft_dpo 42")),
    "how rows are packed": (
        "workflow/scripts/study/packing.py",
        REFERENCES | SFT | DPO | evaluated("sft 42", "dpo 42", "sft_dpo 42") | drifted("base 0"),
    ),
    "the report's numbers of the paper": ("resources/published.yaml", PUBLISHED),
    "the text outside": ("resources/outside.txt", drifted(*POLICIES)),
    "the environment": ("environment.yml", set()),
    "the config's checks": ("workflow/scripts/study/config.py", set()),
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


def test_touched_files_rerun_nothing(restored):
    # a fresh checkout or a copied results folder has new dates and the same content
    later = time.time() + 60
    for path in sorted(restored.path.rglob("*")):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path, (later, later))
    assert restored.planned() == set()


def test_one_artifact_builds_only_its_ancestors(tmp_path):
    # no SFT for the DPO policy's rewards
    folder = StudyFolder(tmp_path)
    assert folder.planned("results/paper/rewards/deberta/dpo/seed-42.parquet") == {
        "fetch_hub datasets Anthropic--hh-rlhf 09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa",
        "fetch_hub models facebook--opt-350m 061d15c4d9cc3e25b93c0393d0bcca4934eaa033",
        "fetch_hub models OpenAssistant--reward-model-deberta-v3-large-v2 c355404efa9ad2ad069f3a197cae0523c14244fc",
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
