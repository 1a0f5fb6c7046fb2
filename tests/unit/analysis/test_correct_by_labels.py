"""True labels beside the judge: agreement, and rates and contrasts whose intervals hold the truth and not the judge's opinion of it."""

import json
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from rated import write_ratings
from scipy.stats import norm

from hh_align.analysis import correct_by_labels, ppi
from hh_align.analysis.correct_by_labels import by_choices, correct
from hh_align.analysis.labels import agreement, read_labels, sample, settle
from hh_align.analysis.ratings import read_ratings
from hh_align.analysis.statistics import wilson
from hh_align.core.errors import StudyError
from hh_align.report.summarize_study import corrected_table

AXES = ("harmlessness", "helpfulness")
CONFIG = {
    "judges": {"j": {"harmless_min": 0.0, "helpful_above": 0.0}},
    "policies": {"base": {"parent": None}, "sft": {"parent": "base"}},
    "order": ["base", "sft"],
    "seeds": [42],
    "contrasts": [["sft", "base"]],
    "primary": [],
    "equivalence_margin": 5.0,
    "seed": 1,
}


def simulated(stream, prompts, labelled, rates, right_if_good, right_if_bad, count):
    """(truth, opinions, labels) of two policies on the same prompts, each shape (count, prompts): correlated, with an asymmetric judge."""
    shared = stream.normal(size=(count, prompts))
    known = stream.random((count, prompts)).argsort(1).argsort(1) < labelled
    policies = []
    for rate in rates:
        good = 0.6**0.5 * shared + 0.4**0.5 * stream.normal(size=shared.shape) < norm.ppf(rate)
        opinion = np.where(good, stream.random(good.shape) < right_if_good, stream.random(good.shape) >= right_if_bad)
        policies.append((good.astype(float), opinion.astype(float), np.where(known, good, np.nan)))
    return policies


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("prompts", "labelled"), [(200, 50), (500, 100)])
def test_corrected_intervals_cover_the_truth_and_the_judges_do_not(seed, prompts, labelled):
    # a judge of 75 to 80 % accuracy that is kind to bad replies
    count, rates, clusters = 300, (0.3, 0.5), {"h": np.arange(prompts)}
    (_, *a), (_, *b) = simulated(np.random.default_rng(seed), prompts, labelled, rates, 0.9, 0.65, count)
    levels, judges, contrasts, widths = [], [], [], []
    for first, second in zip(zip(*a, strict=True), zip(*b, strict=True), strict=True):
        base, sft = (ppi.rate("h", *part) for part in (first, second))
        low, high = ppi.score_interval(sft, clusters)
        levels.append(low <= rates[1] <= high)
        judged = wilson(second[0].sum(), prompts)
        judges.append(judged[0] <= rates[1] <= judged[1])
        only = wilson(np.nansum(second[1]), labelled)
        widths.append((high - low) / (only[1] - only[0]))
        low, high = sft.minus(base).interval(clusters)
        contrasts.append(low <= rates[1] - rates[0] <= high)
    assert 0.91 <= np.mean(levels) <= 0.98 and 0.91 <= np.mean(contrasts) <= 0.98
    assert np.mean(judges) < 0.5
    assert np.mean(widths) < 0.95


def test_the_estimate_is_the_published_one():
    # PPI++, equation 4, for labelled and unlabelled responses that do not overlap, at its best weight: the same estimate
    ((_, opinion, labels),) = simulated(np.random.default_rng(5), 400, 100, (0.6,), 0.85, 0.7, 1)
    opinion, labels = opinion[0], labels[0]
    known = ~np.isnan(labels)
    n, rest = known.sum(), (~known).sum()
    weight = np.cov(labels[known], opinion[known], bias=True)[0, 1] / opinion[known].var() / (1 + n / rest)
    expected = weight * opinion[~known].mean() + (labels[known] - weight * opinion[known]).mean()
    assert ppi.rate("h", opinion, labels).value == pytest.approx(expected)


def test_against_another_implementation():
    # evalstats 0.3.3, ppi.correct on these arrays: 0.6058 [0.5215, 0.6895] (it shrinks the weight and takes the percentiles of a bootstrap)
    stream = np.random.default_rng(7)
    truth = (stream.random(400) < 0.6).astype(float)
    opinion = np.where(truth == 1, stream.random(400) < 0.85, stream.random(400) < 0.3).astype(float)
    estimate = ppi.rate("h", opinion, np.where(np.arange(400) < 100, truth, np.nan))
    assert estimate.value == pytest.approx(0.6058, abs=0.01)
    assert estimate.interval({"h": np.arange(400)}) == pytest.approx((0.5215, 0.6895), abs=0.012)


def test_with_every_response_labelled_it_is_the_labels_own_rate():
    labels = np.r_[np.ones(30), np.zeros(20)]
    estimate = ppi.rate("h", np.random.default_rng(0).integers(0, 2, 50).astype(float), labels)
    assert estimate.value == pytest.approx(0.6) and estimate.extra == 0
    assert estimate.variance({"h": np.arange(50)}) == pytest.approx(0.6 * 0.4 / 49)


def test_a_useless_judge_costs_nothing_and_a_perfect_one_is_not_trusted_blindly():
    labels = np.where(np.arange(200) < 40, np.arange(200) % 2, np.nan)
    useless = ppi.rate("h", np.zeros(200), labels)
    assert useless.value == pytest.approx(0.5) and useless.variance({"h": np.arange(200)}) == pytest.approx(0.25 / 39)
    perfect = ppi.rate("h", np.arange(200) % 2, labels)
    low, high = ppi.score_interval(perfect, {"h": np.arange(200)})
    assert high - low > 0.1 and perfect.extra > 0


def test_no_label_ever_gives_no_width():
    estimate = ppi.rate("h", np.ones(50), np.where(np.arange(50) < 20, 1.0, np.nan))
    low, high = ppi.score_interval(estimate, {"h": np.arange(50)})
    assert 0 < low < 0.9 and high <= 1


def test_policies_that_never_differ_are_not_known_to_be_equal():
    # no discordant prompt among few labels: an interval with a width, and no evidence of a difference
    opinions, labels = np.arange(40.0) % 2, np.where(np.arange(40) < 20, np.arange(40) // 2 % 2, np.nan)
    same = ppi.rate("harmlessness", opinions, labels)
    difference, clusters = same.minus(ppi.rate("harmlessness", opinions, labels)), {"harmlessness": np.arange(40)}
    low, high = difference.interval(clusters)
    assert low < -0.1 and high > 0.1
    assert difference.p(clusters) == 1.0


def test_prompts_of_one_dialogue_widen_the_interval():
    ((_, opinion, labels),) = simulated(np.random.default_rng(1), 100, 50, (0.5,), 0.85, 0.7, 1)
    single = ppi.rate("h", opinion[0], labels[0]).variance({"h": np.arange(100)})
    double = ppi.rate("h", np.repeat(opinion[0], 2), np.repeat(labels[0], 2)).variance({"h": np.repeat(np.arange(100), 2)})
    assert double == pytest.approx(single, rel=0.05)


def test_kappa_known_answer():
    # Cohen 1960: (0.7 - 0.5) / (1 - 0.5) for 20/5/10/15
    a = np.r_[np.ones(25), np.zeros(25)].astype(bool)
    b = np.r_[np.ones(20), np.zeros(5), np.ones(10), np.zeros(15)].astype(bool)
    row = agreement(a, b)
    assert (row["agreement"], row["kappa"], row["only_a_good"], row["only_b_good"]) == (70, pytest.approx(0.4), 5, 10)
    assert agreement(np.ones(5, bool), np.ones(5, bool))["kappa"] is None


@pytest.fixture
def study(tmp_path):
    """(folder, table of ratings of two policies on 40 prompts per axis, true labels)"""
    stream = np.random.default_rng(0)
    ids = [(axis, f"{axis}-{number:03d}") for axis in AXES for number in range(40)]
    rewards = {("j", *checkpoint): {key: float(stream.normal()) for key in ids} for checkpoint in (("base", 0), ("sft", 42))}
    path = write_ratings(tmp_path / "ratings.parquet", rewards, CONFIG["judges"])
    truth = [
        {"policy": policy, "seed": seed, "axis": axis, "prompt_id": name, "good": bool(stream.random() < 0.5)}
        for policy, seed in (("base", 0), ("sft", 42)) for axis, name in ids
    ]  # fmt: skip
    return tmp_path, path, pd.DataFrame(truth)


def corrected(study, frame):
    rated = read_ratings(study[1])
    rows = correct(settle(frame.assign(annotator="me"), rated.ratings), rated, CONFIG)
    return {(row["policy_b"], row["policy_a"], row["metric"]): row for row in rows}


def test_swapping_policies_negates_the_corrected_contrast(study):
    frame = sample(study[2], 20, 3)
    assert frame.groupby(["policy", "axis"]).size().tolist() == [20] * 4
    there = corrected(study, frame)["sft", "base", "CAS"]
    rated = read_ratings(study[1])
    back = correct(settle(frame.assign(annotator="me"), rated.ratings), rated, CONFIG | {"contrasts": [["base", "sft"]]})[-1]
    assert (back["corrected"], back["ci_low"], back["p"]) == pytest.approx((-there["corrected"], -there["ci_high"], there["p"]))


def test_cas_is_the_mean_of_the_corrected_rates(study):
    rows = corrected(study, sample(study[2], 25, 1))
    for policy in ("base", "sft"):
        assert rows[policy, None, "CAS"]["corrected"] == pytest.approx(
            np.mean([rows[policy, None, name]["corrected"] for name in ("HmR", "HpR")])
        )


def test_a_policy_without_labels_is_left_out_and_said(study, capsys):
    rows = corrected(study, study[2][study[2]["policy"] == "sft"])
    assert {key[0] for key in rows} == {"sft"} and not any(key[1] for key in rows)
    assert "base, seed 42, harmlessness: fewer than 2 labels" in capsys.readouterr().out


def test_annotators_are_settled_by_majority_and_ties_left_out(study, capsys):
    ratings = read_ratings(study[1]).ratings
    one = {"policy": "sft", "seed": 42, "axis": "helpfulness"}
    votes = {"helpfulness-000": [True, True, False], "helpfulness-001": [True, False]}
    rows = [
        {**one, "prompt_id": name, "good": vote, "annotator": str(n)} for name, settled in votes.items() for n, vote in enumerate(settled)
    ]
    settled = settle(pd.DataFrame(rows), ratings)["sft", 42, "helpfulness"]
    assert settled[0] == 1 and np.isnan(settled[1:]).all()
    assert "1 responses are left out" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_every_kind_of_file_is_read(study, suffix):
    folder, ratings, frame = study
    path = folder / f"labels{suffix}"
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".parquet": lambda: frame.to_parquet(path),
        ".json": lambda: frame.to_json(path, orient="records"),
    }[suffix]()
    assert read_labels(path, read_ratings(ratings).ratings).equals(frame.assign(annotator="annotator"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.assign(policy="ppo"), r"row 1 \(ppo, seed 0, harmlessness-000\): the study has no such response"),
        (lambda f: f.assign(seed=7), r"the study has no such response"),
        (lambda f: f.assign(good="perhaps"), r"row 1: good is 'perhaps', neither true nor false"),
        (lambda f: pd.concat([f, f.head(1)]), r"annotator labels base, seed 0, harmlessness-000 twice"),
        (lambda f: f.drop(columns="good"), r"column good is missing; it has policy, seed"),
        (lambda f: f.head(0), r"it holds no row"),
    ],
)
def test_an_unfit_labels_file_is_one_error(study, change, said):
    folder, ratings, frame = study
    change(frame).to_csv(folder / "labels.csv", index=False)
    with pytest.raises(StudyError, match=said):
        read_labels(folder / "labels.csv", read_ratings(ratings).ratings)


def test_choices_give_a_win_rate_and_an_agreement_with_the_judges_order(study):
    folder, path, _ = study
    ratings = read_ratings(path).ratings
    a, b = (ratings["j", *checkpoint, "helpfulness"] for checkpoint in (("base", 0), ("sft", 42)))
    better = np.where(b["reward"] > a["reward"], "b", "a").astype(object)
    better[:4] = "tie"
    rows = {"axis": "helpfulness", "prompt_id": a["prompt_id"], "seed": 42, "policy_a": "base", "policy_b": "sft", "preferred": better}
    pd.DataFrame(rows).to_csv(folder / "choices.csv", index=False)
    (gold,), (agreed,) = by_choices(folder / "choices.csv", ratings, CONFIG)
    assert gold["labels_value"] == pytest.approx(100 * ((better == "b").sum() - (better == "a").sum()) / 40)
    assert (agreed["agreement"], agreed["n"]) == (100, 36)
    pd.DataFrame({**rows, "preferred": "left"}).to_csv(folder / "choices.csv", index=False)
    with pytest.raises(StudyError, match=r"row 1: preferred is 'left'. Allowed: a, b, tie"):
        by_choices(folder / "choices.csv", ratings, CONFIG)


def test_the_step_writes_both_tables(study):
    folder, ratings, frame = study
    frame.to_csv(folder / "labels.csv", index=False)
    sys.argv = ["correct_by_labels", "--config", json.dumps(CONFIG | {"sample": 20}), "--ratings", str(ratings)]
    sys.argv += ["--labels", str(folder / "labels.csv")]
    sys.argv += ["--output", str(folder / "gold.parquet"), "--agreement", str(folder / "agreement.parquet")]
    correct_by_labels.main()
    rows = pq.read_table(folder / "gold.parquet").to_pylist()
    assert [row["metric"] for row in rows if row["policy_a"]] == ["HmR", "HpR", "CAS"]
    assert {row["labelled"] for row in rows} == {20, 40}
    assert pq.read_table(folder / "agreement.parquet").num_rows == 2 * 3


def test_the_summary_carries_the_judges_error_into_the_contrasts():
    columns = {"judge": "small", "seed": 42, "policy_a": "sft", "policy_b": "sft_dpo", "labelled": 60, "ci_low": -4.0, "ci_high": 9.0}
    rows = [{**columns, "metric": metric, "corrected": 2.5, "verdict": "undecided"} for metric in ("HmR", "HpR")]
    gold = pd.DataFrame([*rows, {**columns, "policy_a": None, "metric": "HmR", "corrected": 50.0, "verdict": None}])
    table = corrected_table(gold, "small", 42, ("HmR", "HpR", "CAS"), {})
    assert [list(column.cells) for column in table.columns] == [
        ["sft_dpo - sft"], ["+2.5 [-4, +9] undecided"], ["+2.5 [-4, +9] undecided"], ["-"],
    ]  # fmt: skip
    assert corrected_table(gold, "other", 42, ("HmR",), {}) is None and corrected_table(gold.iloc[2:], "small", 42, ("HmR",), {}) is None
