"""Content decides what is due, wherever a study lies and whatever its files' dates say."""

import os
import shutil

import pytest
from staleness import ANALYSIS, BESIDE, CARDS, DPO, JUDGED, NEW_PROMPTS, NOTICES, PAGE, POLICIES, SFT, drifted, evaluated, made, rescored
from study_folder import StudyFolder

from hh_align.core.artifacts import sha256
from hh_align.models.folders import JUDGE_FILES, POLICY_FILES
from hh_align.tools.verify_study import kept_files, sum_faults

STUDY = """
datasets: {hh: {source: local, path: pairs, splits: [test], train_split: test}}
models: {base: {source: local, path: model}}
judges:
  people: {source: imported, path: ratings.csv, axis: helpfulness, helpful_above: 3.5}
  llm: {source: endpoint, url: "https://host/v1", model: m, lowest: 1, highest: 10, harmless_min: 6.0, helpful_above: 5.0}
responses: {theirs: {path: theirs.csv}}
analysis: {labels: {path: labels.csv}}
"""
SUBSETS = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")
OLD, NEW = 1_000_000_000, 4_000_000_000
"""Dates before and after everything that a test makes."""
AGREED = made("compare_judges", "judge_agreement") | {"render_report"}
GOLD = made("correct_by_labels", "gold", "label_agreement") | {"summarize_study", "render_report"}
READ = {
    "ratings.csv": {"import_ratings people", "gather_ratings"},
    "theirs.csv": {"import_responses theirs 0", "gather_ratings"},
    "labels.csv": {"correct_by_labels"},
    "resources/rubric_harmlessness.txt": {"ask_endpoint llm theirs 0", "ask_endpoint llm base 0", "gather_ratings"},
    "resources/outside.txt": {"measure_drift base 0", "summarize_drift"},
    "model/model.safetensors": {"import_base", "train_sft sft 42", "gather_ratings"},
    "model/LICENSE": NOTICES | {"write_model_card sft 42"},
    "pairs/helpful-base/test.csv": {"prepare_preferences hh", "train_sft sft 42", "gather_ratings"},
    "workflow/report/style.css": {"render_report", "render_browser"},
    "resources/published.yaml": {"summarize_study"},
    "workflow/accelerate.yaml": {"train_sft sft 42", "train_dpo dpo 42"},
}
"""File from outside -> some of what reads it, and for some what reads nothing of it."""
SPARED = {
    "model/LICENSE": "import_base",
    "labels.csv": "gather_ratings",
    "resources/outside.txt": "train_sft sft 42",
    "workflow/report/style.css": "summarize_study",
}


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """A study that reads a file of every kind, pretended to be complete."""
    path = tmp_path_factory.mktemp("outside")
    folder = StudyFolder(path, "--configfile", "study.yaml")
    (path / "study.yaml").write_text(STUDY)
    for name in ("ratings.csv", "theirs.csv", "labels.csv", *(f"pairs/{subset}/test.csv" for subset in SUBSETS)):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(name)
    (path / "model").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "LICENSE"):
        (path / "model" / name).write_text(name)
    return folder.pretend_done()


def date(path, seconds):
    os.utime(path, (seconds, seconds))


@pytest.mark.parametrize("name", READ)
def test_other_content_is_seen_under_an_older_date_and_the_same_content_under_a_newer_one_is_not(outside, name):
    path = outside.path / name
    before = path.stat().st_mtime
    edit = b"\nmixed_precision: bf16\n" if name.endswith("accelerate.yaml") else b"\n# edited\n"
    with outside.edited(name):
        path.write_bytes(path.read_bytes() + edit)
        date(path, OLD)
        jobs = outside.planned()
    assert READ[name] <= jobs and SPARED.get(name) not in jobs
    date(path, NEW)
    assert outside.planned() == set()
    date(path, before)


def test_an_input_that_is_edited_while_it_is_read_is_due_again(own_paper):
    # the step ends well; what it has read first is no longer there
    step = "workflow/scripts/hh_align/analysis/compare_published.py"
    late = "def main(", "from pathlib import Path\n\n\ndef main("
    own_paper.edit(step, *late)
    own_paper.edit(
        step,
        "args = parse(",
        "Path('results/paper/analysis/agreement.parquet').write_text('made')\n    Path('resources/published.yaml').open('a').write('# edited')\n    return\n    args = parse(",
    )
    target = "results/paper/analysis/agreement.parquet"
    printed = own_paper.succeed("--allowed-rules", "compare_published", "--", target)
    assert "resources/published.yaml has changed while compare_published read it" in printed
    assert "compare_published" in own_paper.planned(target)
    own_paper.edit(step, ".open('a').write('# edited')", ".exists()")
    assert "has changed" not in own_paper.succeed("--allowed-rules", "compare_published", "--", target)
    assert "compare_published" not in own_paper.planned(target)


EDITS = {
    "nothing": ("config/config.yaml", "# greedy", "# greedy decoding", set()),
    "a learning rate": ("config/config.yaml", "learning_rate: 2.0e-5", "learning_rate: 3.0e-5", SFT | DPO | evaluated("sft 42", "dpo 42", "sft_dpo 42")),
    "the prompt seed": ("config/config.yaml", "seed: 100", "seed: 101", NEW_PROMPTS - BESIDE),
    "a threshold": ("config/config.yaml", "harmless_min: -3.0", "harmless_min: -3.5", ANALYSIS),
    "beta": ("config/config.yaml", "beta: 0.1 ", "beta: 0.2 ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "how a judge reads": ("workflow/scripts/hh_align/models/judging.py", "", "\nEDITED = 1\n", rescored(*POLICIES) | JUDGED),
    "the text outside": ("resources/outside.txt", "the", "a", drifted(*POLICIES)),
    "another repository's checksums": ("resources/checksums.yaml", "Anthropic/", f"me/mine@{'0' * 40}: {{a: {'0' * 64}}}\nAnthropic/", set()),
}  # fmt: skip


@pytest.fixture(scope="module")
def moved(paper, tmp_path_factory):
    """The paper's results in a new checkout: without .snakemake/, with dates in any order."""
    folder = StudyFolder(tmp_path_factory.mktemp("moved"))
    shutil.copytree(paper.path / "results", folder.path / "results")
    for number, path in enumerate(sorted(folder.path.rglob("*"))):
        if path.is_file():
            date(path, OLD + (number * 7919) % 1000)
    return folder


@pytest.mark.parametrize("edit", EDITS)
def test_a_moved_study_stays_exact(moved, edit):
    name, old, new, expected = EDITS[edit]
    with moved.edited(name, old, new) if old else moved.edited(name, end=new):
        assert moved.planned() == expected


def test_of_every_file_but_those_of_models_a_receipt_holds_the_sum(paper):
    # also of the times of downloads, whose receipts lie with these
    folder = paper.path / "results/paper"
    present = {path: sha256(path) for path in kept_files(folder)}
    wrong, unknown = sum_faults(folder, present)
    assert wrong == {} and len(present) > 100 and any("timings/fetch_hub" in str(path) for path in present)
    assert {path.name for path in unknown} == {*POLICY_FILES, *JUDGE_FILES}


def test_a_study_stays_complete_without_its_downloads(moved):
    # raw files and weights of the hub take most of the disk, and a study that is moved may leave them behind
    hub, aside = moved.path / "results/hub", moved.path / "hub"
    hub.rename(aside)
    try:
        assert moved.planned() == set()
        with moved.edited("config/config.yaml", "harmless_min: -3.0", "harmless_min: -3.5"):
            assert moved.planned() == ANALYSIS
        with moved.edited("config/config.yaml", "notice: OPT-175B is licensed", "notice: OPT is licensed"):
            assert moved.planned() == NOTICES | CARDS | PAGE
    finally:
        aside.rename(hub)


def test_an_artifact_of_another_time_is_made_again(moved):
    path = moved.path / "results/paper/analysis/metrics.parquet"
    before = path.read_bytes()
    (moved.path / "results/paper/timings/generate_responses/base-seed-0.json").write_text("of another time, which decides nothing")
    path.write_bytes(b"restored from elsewhere")
    date(path, OLD)
    assert "compute_metrics" in moved.planned()
    path.write_bytes(before)
    assert moved.planned() == set()
