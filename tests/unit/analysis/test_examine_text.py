"""What the step reads off replies, drift and training logs, and what it writes."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import call
from study_folder import REPOSITORY

from hh_align.analysis import examine_text
from hh_align.analysis.examine_text import divergence, examine, last_margin, measures
from hh_align.analysis.ratings import seed_of
from hh_align.analysis.text_gate import read_text
from hh_align.core.artifacts import write_table
from hh_align.core.tables import RESPONSES

LIMITS = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())["analysis"]["text"]
GRAPH = {"base": {"parent": None}, "sft": {"parent": "base"}, "dpo": {"parent": "sft"}}
CONFIG = {"policies": GRAPH, "order": list(GRAPH), "seeds": [1], "text": LIMITS, "trained": ["sft", "dpo"]}
AXES = ("harmlessness", "helpfulness")


def parts(harmful, helpful, finish="eos"):
    """axis -> responses; `finish` of all."""
    return {
        axis: pd.DataFrame({"response": texts, "finish": [finish] * len(texts)})
        for axis, texts in zip(AXES, (harmful, helpful), strict=True)
    }


def test_the_measures_of_replies():
    row = measures(parts(["", "a b c", "the " * 40, "x"], ["yes", "yes", "no " * 8, " "], "length"), LIMITS)
    assert row["n"] == 8 and row["same"] == 25 and row["words"] == pytest.approx((0 + 3 + 40 + 1 + 1 + 1 + 8 + 0) / 8)
    assert [row[f"{name}_harmful"] for name in ("cut", "empty", "repeating")] == [100, 25, 25]
    assert [row[f"{name}_helpful"] for name in ("cut", "empty", "repeating")] == [100, 25, 25]
    assert measures(parts(["a"], ["b"], None), LIMITS)["cut_harmful"] is None  # unknown, never zero


def test_perplexity_under_the_root_is_entropy_plus_divergence():
    drift = [
        {"reference": "sft", "kl_per_token": 0.5, "entropy_per_token": 1.0},
        {"reference": "base", "kl_per_token": 2.0, "entropy_per_token": 1.0},
    ]
    assert divergence(drift, "sft", "base") == {"entropy": 1, "kl_parent": 0.5, "kl_root": 2, "perplexity_root": pytest.approx(np.exp(3))}
    assert divergence(drift[1:], "base", "base") == {
        "entropy": 1,
        "kl_parent": 2,
        "kl_root": 2,
        "perplexity_root": pytest.approx(np.exp(3)),
    }
    root = [{"reference": None, "kl_per_token": None, "entropy_per_token": 1.5}]
    assert divergence(root, None, "base") == {
        "entropy": 1.5,
        "kl_parent": None,
        "kl_root": None,
        "perplexity_root": pytest.approx(np.exp(1.5)),
    }
    assert divergence([], "sft", "base") == dict.fromkeys(("entropy", "kl_parent", "kl_root", "perplexity_root"))


def test_the_margin_at_the_end_is_of_the_last_tenth_of_the_steps():
    assert last_margin(pd.DataFrame({"margins": [9.0] * 18 + [1.0, 3.0]})) == 2
    assert last_margin(pd.DataFrame({"margins": [None] * 3}, dtype=float)) is None


def test_a_policy_that_serves_all_seeds_stands_beside_the_first():
    config = {"policies": GRAPH | {"fixed": {"parent": "sft", "fixed": True}}, "seeds": [7, 8]}
    assert [seed_of(config, name, seed) for name, seed in (("sft", 8), ("base", 8), ("sft", 0))] == [8, 0, 7]


def test_each_checkpoint_is_held_against_its_parent_and_the_root():
    said = [f"reply {number} is a whole sentence." for number in range(10)]
    same = parts(said, said)
    replies = {
        ("base", 0): same,
        ("sft", 1): parts([*said[:9], "other"], said),
        ("dpo", 1): parts(["the " * 40] * 10, ["the " * 40] * 10, "length"),
    }
    base, sft, dpo = examine(replies, [], {("sft", 1): None, ("dpo", 1): 2.0}, CONFIG)
    assert (base["broken"], base["unmoved"], base["unmoved_why"], base["unchanged"]) == (False, False, None, None)
    assert (sft["broken"], sft["unmoved"], sft["unmoved_why"]) == (False, True, "19 of 20 replies are base's")
    assert dpo["broken"] and not dpo["unmoved"] and dpo["unmoved_why"] == "0 of 20 replies are sft's, a margin of 2 at the end"
    assert dpo["broken_why"] == (
        "100 % of its replies repeat themselves; 100 % of its replies are cut, 0 % of sft's; one text makes 100 % of its replies"
    )


def test_a_policy_that_no_training_made_is_neither_unmoved_nor_held_against_its_parents_length():
    said = [f"reply {number} is a whole sentence." for number in range(10)]
    long = [" ".join(str((97 * number + place) ** 3 % 99991) for place in range(80)) for number in range(10)]
    entries = {"base": {"parent": None}, "asked": {"parent": "base", "fixed": True}, "api": {"parent": "base", "fixed": True}}
    replies = {("base", 0): parts(said, said), ("asked", 0): parts(said, said), ("api", 0): parts(long, long, "length")}
    drift = [{"policy": "asked", "seed": 0, "reference": "base", "kl_per_token": 0.0, "entropy_per_token": 1.0}]
    config = CONFIG | {"policies": entries, "order": list(entries)}
    rows = examine(replies, drift, {}, config | {"trained": []})
    assert [(row["broken"], row["unmoved"], row["unmoved_why"]) for row in rows] == [(False, False, None)] * 3
    assert [row["unchanged"] for row in rows] == [None, 20, 0]  # what was measured is told all the same
    _, asked, api = examine(replies, drift, {}, config | {"trained": ["asked", "api"]})
    assert asked["unmoved"] and api["broken_why"].endswith("base's 6.0")


def test_the_step_writes_what_the_others_read(tmp_path):
    def responses(name, text, finish):
        rows = [
            {"axis": axis, "prompt_id": f"{axis}-{number}", "response": text.format(number), "finish": finish}
            for axis in AXES
            for number in range(4)
        ]
        write_table(tmp_path / f"{name}.parquet", rows, RESPONSES, {})
        return tmp_path / f"{name}.parquet"

    paths = [responses("base", "answer {}", "eos"), responses("sft", "answer {}", "eos"), responses("dpo", "the " * 40, "length")]
    status, said = call(examine_text, config=CONFIG | {"logged": []}, responses=paths, output=tmp_path / "text.parquet")
    assert status == 0 and "1 of 3 checkpoints write broken text" in said and "dpo seed 1: its text is broken: 100 %" in said
    assert "sft seed 1: its training changed almost nothing: 8 of 8 replies are base's" in said
    assert pq.read_schema(tmp_path / "text.parquet").names == examine_text.TEXT.names
    assert [key for key, row in read_text(tmp_path / "text.parquet").items() if row["broken"]] == [("dpo", 1)]
    assert read_text(None) == {}
