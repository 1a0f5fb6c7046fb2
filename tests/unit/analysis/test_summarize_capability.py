"""Accuracies and their differences: known counts, every pair once, and Holm over the comparisons of a task."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from command_line import call
from scipy import stats

from hh_align.analysis import summarize_capability
from hh_align.analysis.statistics import holm
from hh_align.analysis.summarize_capability import compared, summarize
from hh_align.core.artifacts import write_table
from hh_align.data.select_items import ITEMS, SCORES

POLICIES = {"base": {"parent": None}, "sft": {"parent": "base"}, "sft_lora": {"parent": "base"}, "sft_dpo": {"parent": "sft"}}
BOOTSTRAP = {"samples": 200, "seed": 1}


def config(*seeds):
    return {
        "policies": POLICIES,
        "order": list(POLICIES),
        "seeds": list(seeds),
        "contrasts": [["sft_lora", "sft"], ["sft", "api"]],
        "bootstrap": BOOTSTRAP,
    }


def frame(right):
    tasks = ["one"] * 10 + ["two"] * 10
    return pd.DataFrame({"task": tasks, "right": right, "right_norm": right})


def known(*seeds):
    """base has 16 of 20 right, sft 10 of these, sft_lora all that base has, sft_dpo what sft has and two more of the second task."""
    base = np.arange(20) < 16
    sft = base & (np.arange(20) >= 6)
    dpo = sft | (np.arange(20) >= 18)
    scores = {("base", 0): frame(base)}
    for seed in seeds:
        scores |= {("sft", seed): frame(sft), ("sft_lora", seed): frame(base), ("sft_dpo", seed): frame(dpo)}
    return scores


def test_the_declared_contrasts_then_parent_and_root_each_once():
    assert compared(config(1)) == [
        ("sft_lora", "sft"), ("sft", "base"), ("sft_lora", "base"), ("sft_dpo", "sft"), ("sft_dpo", "base"),
    ]  # fmt: skip


def test_known_counts():
    rows = pd.DataFrame(summarize(known(7), np.full(20, 0.25), config(7)))
    rows = rows[rows["measure"] == "acc"]
    own = rows[rows["against"].isna()].set_index(["task", "policy"])
    assert own.loc[("all", "base"), "value"] == 80.0 and own.loc[("one", "sft"), "value"] == 40.0 and set(own["chance"]) == {25.0}
    assert (own.loc[("all", "base"), ["ci_low", "ci_high"]] / 100).tolist() == pytest.approx(
        list(stats.binomtest(16, 20).proportion_ci(method="wilson"))
    )
    row = rows[(rows["task"] == "all") & (rows["policy"] == "sft_lora") & (rows["against"] == "sft")].iloc[0]
    assert (row["difference"], row["only_policy"], row["only_against"]) == (pytest.approx(30.0), 6, 0) and row["p"] == pytest.approx(
        2 * 0.5**6
    )
    for _, family in rows[rows["against"].notna()].groupby("task"):
        assert family["p_holm"].tolist() == holm(family["p"].tolist()) and set(family["family_size"]) == {5}


def test_over_seeds_that_agree_the_estimate_is_that_of_one():
    rows = pd.DataFrame(summarize(known(7, 8, 9), np.full(20, 0.25), config(7, 8, 9)))
    rows = rows[(rows["measure"] == "acc") & (rows["task"] == "all")]
    own = rows[rows["against"].isna()]
    assert own[own["policy"] == "base"]["seed"].tolist() == [0]  # one model for every seed
    assert own[(own["policy"] == "sft") & own["seed"].isna()]["value"].tolist() == [50.0]
    pair = rows[(rows["policy"] == "sft_lora") & (rows["against"] == "sft")]
    assert pair["difference"].tolist() == pytest.approx([30.0] * 4)
    # an item that all seeds have alike is one witness, not three: p is that of one seed
    assert pair["p"].tolist() == pytest.approx([2 * 0.5**6] * 4)
    wide = pair[pair["seed"].isna()].iloc[0]
    assert 0 < wide["difference_low"] < 30 < wide["difference_high"]


def test_a_single_task_has_no_row_of_all():
    scores = {key: part[part["task"] == "one"] for key, part in known(7).items()}
    assert {row["task"] for row in summarize(scores, np.full(10, 0.5), config(7))} == {"one"}


def test_items_of_several_tables_are_one_task_each_and_one_together(tmp_path):
    tables = {"a": ("one", "one-0", "one-1"), "b": ("two", "two/x-0", "two/y-0")}
    about = config(7) | {"order": ["base", "sft"], "policies": {name: POLICIES[name] for name in ("base", "sft")}}
    for table, (task, *names) in tables.items():
        same = {"task": task, "answer": 0}
        items = [{**same, "item": name, "row": 0, "context": "", "options": ["a", "b"]} for name in names]
        write_table(tmp_path / f"{table}.parquet", items, ITEMS, {})
        for policy, right in (("base", [True, True]), ("sft", [True, False])):
            scores = [
                {**same, "item": name, "logps": [], "tokens": [], "bytes": [], "right": good, "right_norm": good, "cut_tokens": 0}
                for name, good in zip(names, right, strict=True)
            ]
            write_table(tmp_path / f"{table}-{policy}.parquet", scores[::-1], SCORES, {})
    scores = [tmp_path / f"{table}-{policy}.parquet" for table in "ab" for policy in ("base", "sft")]
    questions = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    status, said = call(summarize_capability, config=about, questions=questions, scores=scores, output=tmp_path / "o.parquet")
    assert status == 0, said
    rows = [row for row in pq.read_table(tmp_path / "o.parquet").to_pylist() if row["measure"] == "acc" and row["against"]]
    assert [(row["task"], row["n"], row["difference"], row["only_against"]) for row in rows] == [
        ("one", 2, -50.0, 1), ("two", 2, -50.0, 1), ("all", 4, -50.0, 2),
    ]  # fmt: skip
