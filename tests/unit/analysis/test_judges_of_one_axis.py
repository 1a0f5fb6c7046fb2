"""Judges of one axis in the analysis: they say nothing of the other, and the same as a judge of both of their own."""

import re

import pandas as pd
import pyarrow.parquet as pq
import pytest
from page_reader import unsourced, untrue
from page_study import PageStudy

from hh_align.analysis import compare_judges, compare_policies, compute_metrics, compute_retention
from hh_align.analysis.ratings import judged_axes, judged_rates, shown_judge
from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError
from hh_align.report import summarize_study


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A study with a judge of both axes and one of each, which have no ratings on the other."""
    study = PageStudy(tmp_path_factory.mktemp("results") / "made", judges=("kind", "both", "useful"), n=40)
    study.config["judges"] = {
        "kind": {"harmless_min": -3.0},
        "both": {"harmless_min": -3.0, "helpful_above": -2.0},
        "useful": {"helpful_above": -2.0},
    }
    for (judge, *_), values in study.rewards.items():
        for key in [key for key in values if key[0] not in judged_axes(study.config["judges"][judge])]:
            del values[key]
    study.write()
    study.analyse(drawn=True)
    return study


def table(study, name):
    return pq.read_table(study.folder / f"analysis/{name}.parquet").to_pandas()


def test_the_axes_of_a_judge_are_those_of_its_thresholds():
    thresholds = {"harmless_min": 0, "helpful_above": 0, "lowest": 1}
    assert judged_axes(thresholds) == AXES and judged_axes({"helpful_above": 0}) == ("helpfulness",)
    assert list(judged_rates(thresholds)) == ["HmR", "HpR", "CAS"] and list(judged_rates({"harmless_min": 0})) == ["HmR"]
    assert shown_judge({"a": {"harmless_min": 0}, "c": thresholds, "b": thresholds}) == "c"


def test_a_judge_of_one_axis_says_nothing_of_the_other(mixed):
    metrics = table(mixed, "metrics")
    told = {judge: set(rows["metric"]) for judge, rows in metrics.groupby("judge")}
    assert {"HmR", "mean_reward_harmful", "empty_harmful"} <= told["kind"] and not [
        name for name in told["kind"] if "help" in name or name[:3] in ("HpR", "CAS")
    ]
    assert "CAS" in told["both"] and "HpR" in told["useful"] and "HmR" not in told["useful"]
    assert metrics["value"].notna()[~metrics["metric"].str.contains("without_empty")].all()
    contrasts = table(mixed, "comparisons")
    assert set(contrasts[contrasts["judge"] == "kind"]["metric"]) == {"HmR", "mean_reward_harmful", "win_rate_harmful"}
    for name in ("retention", "thresholds", "threshold_leads", "threshold_flips", "changed_prompts"):
        rows = table(mixed, name)
        assert set(rows[rows["judge"] == "kind"]["axis"]) == {"harmlessness"} and set(rows[rows["judge"] == "useful"]["axis"]) == {
            "helpfulness"
        }
    assert set(table(mixed, "claims")["judge"]) == {"both"}  # the sentence is about both axes


def test_what_two_judges_say_alike_is_said_in_equal_numbers(mixed):
    # a judge of one axis with the ratings of a judge of both gives that judge's rows of the axis
    rated = mixed.rated({"both": mixed.config["judges"]["both"]})
    ratings = rated.ratings
    alone = {("kind", *key[1:]): frame for key, frame in ratings.items() if key[3] == "harmlessness"}
    config = mixed.config | {"judges": {name: mixed.config["judges"][name] for name in ("kind", "both")}}
    both = ratings | alone
    tables = compute_metrics.measure(both, rated.clusters, config), compare_policies.compare_policies(both, rated.clusters, config)
    for table_rows in (*tables, compute_retention.compare_with_references(both, config)[0]):
        rows = pd.DataFrame(table_rows)
        mine, theirs = (rows[rows["judge"] == judge].drop(columns="judge") for judge in ("kind", "both"))
        keys = ["axis"] if "axis" in rows else ["metric"]
        theirs = theirs[theirs[keys[0]].isin(set(mine[keys[0]]))]
        pd.testing.assert_frame_equal(mine.reset_index(drop=True), theirs.reset_index(drop=True))


def test_the_pages_of_judges_of_one_axis(mixed):
    page = mixed.render_report()
    assert untrue(page) == [] and unsourced(page) == set()
    text = page.read_text()
    assert "By judge kind a reply is harmless from a reward of -3.0. " in text and not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert "nothing is decided" not in text
    data = mixed.render_browser().read_text()
    assert "NaN" not in data and "null" in data


def test_the_summary_of_judges_of_one_axis(mixed):
    tables = {name: table(mixed, name) for name in ("metrics", "comparisons", "retention")}
    empty = {name: summarize_study.frame(None, columns) for name, columns in summarize_study.COLUMNS.items()}
    about = mixed.config | {"study": "made", "folder": "results/made", "synthetic": False, "same_source": ["kind"]}
    text = summarize_study.summary(about, empty | tables, {})
    assert "(judge both)" in text and text.splitlines()[1].split() == ["policy", "HmR", "HpR", "CAS"] and "nan" not in text
    assert {judge for judge in ("kind", "useful") if f"By judge {judge}: " in text} == {"kind", "useful"}
    text = summarize_study.summary(about | {"judges": {"kind": mixed.config["judges"]["kind"]}}, empty | tables, {})
    assert text.splitlines()[1].split() == ["policy", "HmR"] and "HpR" not in text and "nan" not in text


def test_figures_of_a_study_with_a_judge_of_one_axis_only(tmp_path):
    study = PageStudy(tmp_path / "made", n=12)
    study.config["judges"] = {"one": {"helpful_above": -2.0}}
    study.analyse(drawn=True)
    assert "harmless" not in (study.folder / "report/figures/metrics.svg").read_text().split("<defs>")[0].lower()
    assert untrue(study.render_report()) == []


def test_a_missing_prompt_of_the_judges_own_axis_is_still_an_error(mixed, tmp_path):
    study = PageStudy(tmp_path / "made", n=8, judges=("kind", "both"))
    del study.rewards["kind", "sft", 42]["harmlessness", "harmlessness-003"]
    study.write()
    with pytest.raises(StudyError, match=r"kind/sft/seed-42.parquet: policy sft has no row for 1 prompt \(harmlessness-003\)"):
        study.rated({"kind": {"harmless_min": 0}, "both": study.config["judges"]["both"]})


def test_only_judges_that_share_an_axis_are_compared(mixed, monkeypatch):
    monkeypatch.setattr(compare_judges, "SAMPLES", 20)  # no interval is read here
    ratings, clusters, _ = mixed.rated()
    rows = compare_judges.compare_judges(ratings, clusters, mixed.config | {"seed": 1})
    assert {(row["judge_a"], row["judge_b"], row["axis"]) for row in rows} == {
        ("both", "kind", "harmlessness"),
        ("both", "useful", "helpfulness"),
    }
    assert {row["n"] for row in rows} == {4 * 40}


def test_a_response_without_a_rating_counts_as_the_lowest_and_is_counted(tmp_path):
    study = PageStudy(tmp_path / "made", n=10)
    for name in ("harmlessness-001", "harmlessness-002"):
        study.rewards["one", "sft", 42]["harmlessness", name] = None
    study.write()
    with pytest.raises(StudyError, match=r"policy sft has no finite reward for 2 prompts \(harmlessness-001, harmlessness-002\)"):
        study.rated()
    study.config["judges"]["one"] = study.config["judges"]["one"] | {"lowest": -9.0}
    rated = study.rated()
    frame = rated.ratings["one", "sft", 42, "harmlessness"]
    assert frame["reward"].tolist()[1:3] == [-9, -9] and not frame["label"][1:3].any()
    rows = compute_metrics.measure(rated.ratings, rated.clusters, study.config)
    assert {row["policy"]: row["value"] for row in rows if row["metric"] == "unrated_harmful"} == {
        "base": 0,
        "sft": 2,
        "dpo": 0,
        "sft_dpo": 0,
    }
