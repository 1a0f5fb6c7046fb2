"""What is said of the replies to suites: known counts, intervals and paired tests, against the parent at the same seed."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call
from preference_rows import asked, made_row
from study_folder import REPOSITORY

from hh_align.analysis import measure_suites
from hh_align.analysis.statistics import mcnemar, wilson
from hh_align.core.artifacts import write_table
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS
from hh_align.data.preferences import SCHEMA
from hh_align.data.transcripts import cluster_of

NO, YES = "I'm sorry, but I can't help with that.", "Use the kill command with its number."
CONFIG = {
    "policies": {"base": {"parent": None}, "sft": {"parent": "base"}},
    "order": ["base", "sft"],
    "seeds": [42, 43],
    "suites": {
        "one": {"kind": "refusal", "axis": "harmlessness", "judges": ["strict"]},
        "two": {"kind": "reward", "axis": "helpfulness", "judges": ["strict", "weak"]},
    },
    "judges": {"strict": {"harmless_min": 1.0, "helpful_above": 1.0}, "weak": {"helpful_above": 0.5, "lowest": -9.0}},
    "bootstrap": {"samples": 1000, "seed": 1},
    "splits": ["train"],
}
ANSWERED = [("base", 0), ("sft", 42), ("sft", 43)]
N = {"one": 10, "two": 4}
REFUSING = {("base", 0): {0}, ("sft", 42): {1, 2, 3, 4, 5, 6}, ("sft", 43): set()}


def reward_of(judge, checkpoint, number):
    """Rewards of which those of sft at seed 42 are the parent's plus 1, and those at 43 the parent's."""
    if (judge, checkpoint, number) == ("weak", ("sft", 43), 3):
        return None
    return number / 4 + (checkpoint == ("sft", 42)) - (judge == "weak")


def options_of(folder):
    """The step's options, of two suites with their files; two prompts of suite one begin training rows, one of them of the test split."""
    paths = {"prompts": [], "responses": [], "rewards": []}
    for suite, size in N.items():
        axis = CONFIG["suites"][suite]["axis"]
        rows = [{"axis": axis, "prompt_id": f"{suite}-{number:03d}"} for number in range(size)]
        more = [
            {"prompt": f"Human: q{n}", "cluster": cluster_of(f"Human: q{n}"), "subset": f"c{n % 2}", "keywords": []} for n in range(size)
        ]
        if suite == "two":
            more = [row | {"subset": "all"} for row in more]
        path = write(folder / f"{suite}/prompts.parquet", [a | b for a, b in zip(rows, more, strict=True)], PROMPTS, paths["prompts"])
        assert path.is_file()
        for policy, seed in ANSWERED:
            said = [row | {"response": NO if n in REFUSING[policy, seed] else YES} for n, row in enumerate(rows)]
            write(folder / f"{suite}/{policy}-{seed}.parquet", said[::-1], RESPONSES, paths["responses"])
        for judge in CONFIG["suites"][suite]["judges"]:
            for checkpoint in ANSWERED:
                rated = [row | {"reward": reward_of(judge, checkpoint, n)} for n, row in enumerate(rows)]
                write(folder / f"{suite}/{judge}-{checkpoint[0]}-{checkpoint[1]}.parquet", rated, REWARDS, paths["rewards"])
    trained = [made_row(0, asked("q1"), " a", " b", split="train"), made_row(1, asked("q2"), " a", " b", split="test")]
    write_table(folder / "preferences.parquet", trained, SCHEMA, {})
    phrases = REPOSITORY / "resources/refusal_phrases.txt"
    return paths | {"preferences": [folder / "preferences.parquet"], "phrases": phrases, "output": folder / "suites.parquet"}


def write(path, rows, schema, listed):
    write_table(path, rows, schema, {})
    listed.append(path)
    return path


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    options = options_of(tmp_path_factory.mktemp("suites"))
    status, said = call(measure_suites, config=CONFIG, **options)
    assert status == 0, said
    assert "one: 10 prompts, 1 of them are trained on, too" in said and "two: 4 prompts, 1 of them" in said
    return pq.read_table(options["output"]).to_pandas()


def only(rows, category=None, **where):
    chosen = rows[rows["category"].isna() if category is None else rows["category"] == category]
    for name, value in where.items():
        chosen = chosen[chosen[name] == value]
    (row,) = chosen.to_dict("records")
    return row


def test_refusals_are_counted_and_paired_with_the_parent(rows):
    sft = only(rows, suite="one", measure="refused", policy="sft", seed=42)
    assert (sft["by"], sft["n"], sft["count"], sft["value"], sft["against"]) == ("phrases", 10, 6, 60, "base")
    assert (sft["ci_low"], sft["ci_high"]) == pytest.approx([100 * bound for bound in wilson(6, 10)])
    assert (sft["only_policy"], sft["only_against"], sft["difference"], sft["p"]) == (6, 1, 50, pytest.approx(mcnemar(1, 6)))
    base = only(rows, suite="one", measure="refused", policy="base", seed=0)
    assert base["value"] == 10 and pd.isna(base["against"]) and pd.isna(base["p"])
    assert only(rows, suite="one", measure="refused", policy="sft", seed=43)["count"] == 0


def test_categories_stand_alone_and_add_up(rows):
    refused = {c: only(rows, suite="one", measure="refused", policy="sft", seed=42, category=c) for c in ("c0", "c1")}
    assert [refused[c]["count"] for c in ("c0", "c1")] == [3, 3] and [refused[c]["n"] for c in ("c0", "c1")] == [5, 5]
    assert pd.isna(refused["c0"]["against"]) and pd.isna(refused["c0"]["difference"])
    assert rows[rows["suite"] == "two"]["category"].isna().all()  # a suite of one category has no parts


def test_judges_speak_by_the_suites_axis(rows):
    # harmless: from 1.0 on; helpful: above 1.0
    good = only(rows, suite="one", measure="good", by="strict", policy="base", seed=0)
    assert good["count"] == 6  # 4/4 … 9/4
    assert only(rows, suite="one", measure="good", by="strict", policy="sft", seed=42)["count"] == 10
    assert only(rows, suite="two", measure="good", by="strict", policy="sft", seed=42)["count"] == 3
    assert set(rows[(rows["suite"] == "two")]["measure"]) == {"good", "mean_reward"}  # kind reward asks of no refusal
    assert set(rows[(rows["suite"] == "one")]["by"]) == {"phrases", "strict"}


def test_mean_rewards_are_paired_with_the_parents(rows):
    base = only(rows, suite="two", measure="mean_reward", by="strict", policy="base", seed=0)
    assert base["value"] == pytest.approx(np.mean([0, 0.25, 0.5, 0.75])) and base["ci_low"] < base["value"] < base["ci_high"]
    sft = only(rows, suite="two", measure="mean_reward", by="strict", policy="sft", seed=42)
    assert (sft["difference"], sft["difference_low"], sft["difference_high"]) == (1, 1, 1) and pd.isna(sft["count"])
    same = only(rows, suite="two", measure="mean_reward", by="strict", policy="sft", seed=43)
    assert (same["difference"], same["p"]) == (0, 1)


def test_a_failed_rating_counts_as_the_lowest(rows):
    failed = only(rows, suite="two", measure="mean_reward", by="weak", policy="sft", seed=43)
    assert failed["value"] == pytest.approx((-1 - 0.75 - 0.5 - 9) / 4)


def test_prompts_that_are_trained_on_are_counted(rows):
    assert set(rows[(rows["suite"] == "one") & rows["category"].isna()]["in_training"]) == {1}
    assert only(rows, suite="one", measure="refused", policy="base", seed=0, category="c1")["in_training"] == 1


@pytest.mark.parametrize("kind", ["responses", "rewards"])
def test_a_table_of_other_prompts_is_refused(tmp_path, kind):
    options = options_of(tmp_path)
    path, schema = options[kind][1], {"responses": RESPONSES, "rewards": REWARDS}[kind]
    write_table(path, pq.read_table(path).slice(1), schema, {})
    assert_refused(call(measure_suites, config=CONFIG, **options), "hold different prompts", where=path)


def test_a_reward_that_is_none_is_refused_unless_the_judge_may_fail(tmp_path):
    options = options_of(tmp_path)
    config = CONFIG | {"judges": CONFIG["judges"] | {"weak": {"helpful_above": 0.5}}}
    assert_refused(call(measure_suites, config=config, **options), "no finite reward for 1 prompt", where="weak-sft-43")
