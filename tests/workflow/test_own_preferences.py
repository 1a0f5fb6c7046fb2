"""A study on preferences that people bring, in three of the field's forms, from files and from the hub to a verdict."""

import pyarrow.parquet as pq
import pytest
import yaml
from corpora import talks, transcript, write_csv, write_messages, write_trl
from hubstub import Hub, environment, revision_folder
from page_reader import unsourced, untrue
from study_folder import StudyFolder

from hh_align.config.selection import hub_selection, manifest_name

COMMIT = "76543210fedcba9876543210fedcba9876543210"
TINY = {"vocab_size": 400, "hidden_size": 16, "layers": 1, "heads": 2, "ffn_dim": 32}
SHORT = {"max_rows": 32, "epochs": 1, "max_length": 160}
STUDY = {
    "study": "mine",
    "datasets": {
        "synthetic": None,
        "raw": None,
        "trl": {"source": "local", "path": "trl", "subsets": ["safety", "shop"]},
        "prefs": {
            "source": "hub", "repo": "org/prefs", "revision": COMMIT, "layout": "datasets", "config": "default", "subsets": ["rules", "errands"],
            "split_names": {"train": "train_prefs", "test": "test_prefs"}, "where": {"rules": {"source": "house_rules"}, "errands": {"source": "errands"}},
            "axes": {"rules": "harmlessness"},
        },
        "table": {
            "source": "local", "path": "table", "subsets": ["safety", "shop"], "columns": {"prompt": "question", "chosen": "better", "rejected": "worse"},
            "where": {"safety": {"topic": "safety"}, "shop": {"topic": ["shop", "shopping"]}},
        },
    },
    "prompts": {"dataset": "table", "harmlessness": {"subset": "safety", "keywords": [], "n": 12}, "helpfulness": {"subset": "shop", "n": 12}},
    "models": {"base": {"data": "trl", "architecture": TINY | {"word_embed_proj_dim": 16}, "pretraining": SHORT}},
    "methods": {"sft": SHORT, "dpo": SHORT | {"max_prompt_length": 128}},
    "policies": {"sft": {"data": "trl"}, "dpo": {"data": "table"}, "sft_dpo": {"data": "prefs", "controls": []}},
    "generation": {"max_new_tokens": 8},
    "judges": {"small": {"data": "prefs", "architecture": TINY, "training": SHORT, "calibration_share": 0.4}},
    "drift": None,
    "claims": None,
    "examination": {"format_pairs": 10},
    "analysis": {"contrasts": [["dpo", "base"], ["sft_dpo", "sft"]], "labels": None},
}  # fmt: skip
SUBSETS = {
    "trl": {"safety": "safety", "shop": "shop"},
    "prefs": {"safety": "rules", "shop": "errands"},
    "table": {"safety": "safety", "shop": "shop"},
}


PAIRS = {"train": talks(80, seed=1), "test": talks(40, seed=2)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study's folder, with the three corpora, the hub's downloaded."""
    path = tmp_path_factory.mktemp("mine")
    study = StudyFolder(path, "--configfile", "config/demo.yaml", "mine.yaml")
    (path / "mine.yaml").write_text(yaml.safe_dump(STUDY))
    hub_folder = revision_folder(path / "hub", "datasets", "org/prefs", COMMIT)
    for split, of_split in PAIRS.items():
        write_trl(path / "trl", split, of_split)
        write_csv(path / "table", split, of_split)
        write_messages(hub_folder, split, of_split)
    entry = STUDY["datasets"]["prefs"] | {"splits": ["train", "test"]}
    manifest = f"results/hub/datasets/org--prefs/{COMMIT}/{manifest_name(hub_selection(entry))}"
    with Hub(path / "hub") as hub:
        study.succeed(manifest, **environment(hub.url, path / "scratch"))
    return study


def test_the_same_pairs_in_three_forms_are_the_same_rows(study):
    study.succeed("data", "prompts")
    results = study.path / "results/mine"
    for name, subsets in SUBSETS.items():
        rows = pq.read_table(results / f"data/{name}/preferences.parquet").to_pylist()
        read = {(row["split"], row["subset"], row["prompt"], row["chosen"], row["rejected"], row["use_dpo"]) for row in rows}
        meant = {
            (split, subsets[talk.subset], transcript(talk), f" {talk.chosen}", f" {talk.rejected}", True)
            for split, of_split in PAIRS.items()
            for talk in of_split
        }
        assert read == meant and pq.read_table(results / f"data/{name}/quarantine.parquet").num_rows == 0
    prompts = pq.read_table(results / "prompts/prompts.parquet").to_pylist()
    assert {(row["axis"], row["subset"]) for row in prompts} == {("harmlessness", "safety"), ("helpfulness", "shop")}


@pytest.mark.long  # 70 CPU seconds
def test_three_corpora_in_their_own_forms_give_a_verdict(study):
    """Policies train on each, a judge on one whose subsets have names of their own; the judge places a threshold for both axes."""
    study.succeed()
    results = study.path / "results/mine"
    calibration = yaml.safe_load((results / "models/judges/small/calibration.json").read_text())
    assert all(calibration[axis]["pairs"] > 0 for axis in ("harmlessness", "helpfulness"))
    contrasts = pq.read_table(results / "analysis/comparisons.parquet").to_pylist()
    assert {(row["policy_b"], row["policy_a"]) for row in contrasts if row["verdict"]} >= {("dpo", "base"), ("sft_dpo", "sft")}
    page = results / "report/index.html"
    assert untrue(page) == [] and unsourced(page) <= {"2509.09055"}
    assert study.planned() == set()
