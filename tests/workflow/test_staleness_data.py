"""An edit of how training data are cleaned, selected or made noisy reruns what reads them."""

import pytest
import yaml
from staleness import JUDGED, POLICIES, evaluated, made, rescored
from study_folder import StudyFolder

CLEAN = """
datasets:
  clean:
    from: hh
    deduplicate: near
    decontaminate: {ngram: 8}
    drop_near_identical: 0.9
    judge_margin: {judge: deberta, quantile: 0.1}
    ches: {quantile: 0.2}
    balance_length: true
policies:
  dpo_clean: {parent: base, method: dpo, data: clean}
"""
CLEANED = {
    "derive_dataset clean", "write_dataset_card clean", "compute_references dpo@clean base 0", "train_dpo dpo_clean 42", "plot_training",
    "write_model_card dpo_clean 42",
} | evaluated("dpo_clean 42")  # fmt: skip
MARGINS, SIMILARITIES = {"score_training_pairs clean"}, {"compute_ches clean"}
CLEANING_EDITS = {
    "the kind of duplicate": ("deduplicate: near", "deduplicate: exact", CLEANED),
    "how alike duplicates are": ("deduplicate: near", "deduplicate: near\n    near: {threshold: 0.9}", CLEANED),
    "words of an n-gram": ("{ngram: 8}", "{ngram: 9}", CLEANED),
    "similar replies": ("drop_near_identical: 0.9", "drop_near_identical: 0.95", CLEANED),
    "the quantile": ("deberta, quantile: 0.1", "deberta, quantile: 0.2", CLEANED),  # the scores stay
    "no judge": ("    judge_margin: {judge: deberta, quantile: 0.1}\n", "", CLEANED),
    "the share of similar pairs": ("ches: {quantile: 0.2}", "ches: {quantile: 0.3}", CLEANED),
    "how far similarity reads": ("ches: {quantile: 0.2}", "ches: {quantile: 0.2, max_length: 600}", CLEANED | SIMILARITIES),
    "a default of similarity": ("ches: {quantile: 0.2}", "ches: {quantile: 0.2, max_length: 1024}", set()),
    "no similarity": ("    ches: {quantile: 0.2}\n", "", CLEANED),
    "the balance's seed": ("balance_length: true", "balance_length: true\n    balance_seed: 2", CLEANED),
    "no balance": ("    balance_length: true\n", "", CLEANED),
    "a selection": ("from: hh", "from: hh\n    subsets: [harmless-base]", CLEANED | MARGINS | SIMILARITIES),
    "prompts left out": ("from: hh", "from: hh\n    exclude_prompts: true", CLEANED | MARGINS | SIMILARITIES),
    "a default, written out": ("{ngram: 8}", "{ngram: 8, overlap: 0.3}", set()),
}


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory):
    """The paper's study with an arm on cleaned data, pretended to be complete."""
    path = tmp_path_factory.mktemp("cleaned")
    folder = StudyFolder(path, "--configfile", "clean.yaml")
    (path / "clean.yaml").write_text(CLEAN)
    return folder.pretend_done()


@pytest.mark.parametrize("edit", CLEANING_EDITS)
def test_an_edit_of_the_cleaning_reruns_what_reads_the_cleaned_rows(cleaned, edit):
    old, new, expected = CLEANING_EDITS[edit]
    with cleaned.edited("clean.yaml", old, new):
        assert cleaned.planned() == expected


def test_how_the_files_of_a_dataset_are_read_reruns_what_is_made_of_them(paper):
    with paper.edited("config/config.yaml", "    splits: [train, test] ", "    columns: {chosen: good}\n    splits: [train, test] "):
        jobs = paper.planned()
    assert {"prepare_preferences hh", "select_prompts", "train_sft sft 42"} <= jobs
    assert not [job for job in jobs if job.startswith(("fetch_hub", "import_base", "import_judge"))]


def test_which_rows_are_which_subset_and_which_split_of_the_hub_is_meant(tmp_path):
    # files without folders of subsets, of which a column decides; a dataset of the hub in its own layout
    folder = StudyFolder(tmp_path, "--configfile", "config/config.yaml", "mine.yaml")
    subsets = {"harmless-base": {"topic": "harm"}, "helpful-base": {"topic": ["shop", "chat"]}}
    mine = {"source": "local", "path": "pairs", "subsets": list(subsets), "where": subsets}
    theirs = {
        "source": "hub",
        "repo": "org/prefs",
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "layout": "datasets",
        "config": "default",
        "subsets": ["all"],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"datasets": {"hh": mine, "theirs": theirs}}))
    (tmp_path / "pairs").mkdir()
    for split in ("train", "test"):
        (tmp_path / f"pairs/{split}.csv").write_text("chosen,rejected\n")
    folder.pretend_done()
    edits = {"- shop": "- shops", "harmless-base:\n        topic: harm": "harmless-base:\n        theme: harm"}
    for old, new in edits.items():
        with folder.edited("mine.yaml", old, new):
            assert {"prepare_preferences hh", "select_prompts", "train_sft sft 42"} <= folder.planned()
    with folder.edited("mine.yaml", "config: default", "config: default\n    split_names: {train: train_prefs}"):
        jobs = folder.planned()
    assert "prepare_preferences theirs" in jobs and any(job.startswith("fetch_hub datasets org--prefs") for job in jobs)
    assert not {"prepare_preferences hh", "select_prompts", "train_sft sft 42"} & jobs


def test_a_local_dataset_is_read_from_the_kind_of_file_that_is_there(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/config.yaml", "mine.yaml")
    (tmp_path / "mine.yaml").write_text("datasets: {hh: {source: local, path: pairs, splits: [test], train_split: test}}\n")
    for subset in ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled"):
        (tmp_path / "pairs" / subset).mkdir(parents=True)
        (tmp_path / "pairs" / subset / "test.csv").write_text("chosen,rejected\n")
    assert "prepare_preferences hh" in folder.planned("results/paper/data/hh/preferences.parquet")
    (tmp_path / "pairs/helpful-base/test.jsonl").touch()
    done = folder.run("--dry-run", "results/paper/data/hh/preferences.parquet")
    assert done.returncode and "pairs/helpful-base/test.jsonl and pairs/helpful-base/test.csv: one of them is meant" in done.stdout


def test_how_the_judge_reads_reruns_the_margins_too(cleaned):
    with cleaned.edited("config/config.yaml", "max_length: null", "max_length: 512"):
        assert cleaned.planned() == CLEANED | MARGINS | rescored(*POLICIES) | JUDGED


def test_arms_on_raw_and_cleaned_data_share_what_they_can(own_paper):
    """Beside a finished study an arm on cleaned data, another on harmless pairs only: data, prompts, models and other arms stay."""
    more = ["harmless: {from: hh, subsets: [harmless-base]}", "dpo_harmless: {parent: base, method: dpo, data: harmless}"]
    text = CLEAN.replace("datasets:\n", f"datasets:\n  {more[0]}\n").replace("policies:\n", f"policies:\n  {more[1]}\n")
    (own_paper.path / "clean.yaml").write_text(text)
    harmless = {job.replace("clean", "harmless") for job in CLEANED}
    card = {"write_dataset_card hh"}  # it names the command, which has a config file more now
    notices = {f"write_notice policies/dpo_{name}/seed-42" for name in ("clean", "harmless")}
    assert own_paper.planned("--configfile", "clean.yaml") == CLEANED | MARGINS | SIMILARITIES | harmless | card | notices


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """The demo of noisy labels, pretended to be complete."""
    return StudyFolder(tmp_path_factory.mktemp("noisy"), "--configfile", "config/demo.yaml", "config/noise_demo.yaml").pretend_done()


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
    with noisy.edited("config/noise_demo.yaml", old, new):
        jobs = noisy.planned()
    policies = [f"sft_{loss}{noise}" for loss in ("dpo", "robust", "smoothed") for noise in ("", "_20", "_40")]
    assert {job for job in jobs if job.startswith(("generate_corpus", "prepare_", "derive_", "pretrain_", "train_judge"))} == data
    assert {job for job in jobs if job.startswith("train_")} == {
        f"train_dpo {name} {seed}" for name in policies if name.endswith(ends) for seed in (42, 43, 44)
    }
    assert made("summarize_noise", "noise") | {"plot_noise"} <= jobs


def test_an_edit_to_the_table_of_noise_reruns_no_training(noisy):
    with noisy.edited("workflow/scripts/hh_align/analysis/summarize_noise.py", end="\nEDITED = 1\n"):
        assert noisy.planned() == made("summarize_noise", "noise") | {"plot_noise", "render_report"}


def test_controls_train_on_labels_of_their_own(tmp_path):
    jobs = StudyFolder(tmp_path, "--config", "controls=[coin, reversed]").planned()
    assert {job for job in jobs if job.startswith("derive_dataset")} == {"derive_dataset coin", "derive_dataset reversed"}
    assert {f"train_dpo {name}_{labels} 42" for name in ("dpo", "sft_dpo") for labels in ("coin", "reversed")} < jobs
