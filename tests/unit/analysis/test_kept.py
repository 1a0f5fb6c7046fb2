"""What training keeps of helpful replies: the five steps of the paper's released ratings, and when nothing is said."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from hh_align.analysis.verdict import declared
from hh_align.report.kept import kept_lines, kept_of, kept_rows

PRIMARY = ["sft_dpo", "sft", "CAS"]


@pytest.fixture
def tables(released):
    return {name: pq.read_table(released / f"{name}.parquet").to_pandas() for name in ("retention", "comparisons")}


def lines_of(tables, **changed):
    given = {**tables, **changed}
    return kept_lines(
        given["retention"],
        declared(given["comparisons"], "deberta"),
        "deberta",
        given.get("primary", PRIMARY),
        {"dpo": "its text is broken"},
    )


def test_the_released_ratings_answer_the_papers_follow_up_question(tables):
    assert [line.rstrip() for line in lines_of(tables)] == [
        "helpful replies that stay helpful, and others that become so (judge deberta, seed 42)",
        " base → sft       kept 9/11 = 82 % [48, 98], by chance 56 %; gained 19/39",
        " base → dpo !     kept 10/11 = 91 % [59, 100], by chance 46 %; gained 13/39",
        " base → sft_dpo   kept 10/11 = 91 % [59, 100], by chance 66 %; gained 23/39",
        " sft → sft_dpo    kept 25/28 = 89 % [72, 98], by chance 66 %; gained 8/22",
        " dpo ! → sft_dpo  kept 20/23 = 87 % [66, 97], by chance 66 %; gained 13/27",
        "Above chance (Fisher's exact test, Holm over the 5): base → dpo !, sft → sft_dpo and dpo ! → sft_dpo; undecided: base → sft and base → sft_dpo.",
    ]


def test_nothing_is_said_without_a_primary_or_where_the_judge_ranks_nothing(tables):
    assert lines_of(tables, primary=[]) == []
    assert lines_of(tables, comparisons=tables["comparisons"].assign(judge_above_chance=False)) == []
    assert kept_of({}, {"deberta": declared(tables["comparisons"], "deberta")}, PRIMARY) == []


def test_a_reference_that_is_never_good_is_unknown_and_not_above_chance(tables):
    never = tables["retention"]["reference"] == "base"
    empty = {"retained": 0, "denominator": 0} | dict.fromkeys(("rate", "ci_low", "ci_high", "lift_p"))
    retention = pd.concat([tables["retention"][~never], tables["retention"][never].assign(**empty)])
    rows = kept_rows(retention, declared(tables["comparisons"], "deberta"), "deberta", PRIMARY)
    assert set(rows[rows["above"]]["reference"]) == {"sft", "dpo"} and len(rows) == 5
    assert " base → sft       kept 0/0 = unknown; gained 19/39" in lines_of(tables, retention=retention)
    assert lines_of(tables, retention=retention)[-1].startswith("Above chance (Fisher's exact test, Holm over the 2): sft")


def test_a_judge_of_helpfulness_alone_says_it_where_the_primary_is_of_another_metric(tables):
    comparisons = tables["comparisons"][tables["comparisons"]["metric"] == "HpR"]
    assert "primary" not in set(comparisons["family"]) and lines_of(tables, comparisons=comparisons) == lines_of(tables)


def test_of_several_seeds_it_is_the_studys_first(tables):
    others = [tables["retention"].assign(seed=seed, retained=0) for seed in (44, 42)]
    lines = lines_of(tables, retention=pd.concat([tables["retention"].assign(seed=43), *others]))
    assert lines[0].endswith("(judge deberta, seed 43)") and lines[1:] == lines_of(tables)[1:]
