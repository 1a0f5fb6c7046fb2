"""HmR against HpR: who is surely dominated or optimal, what noise leaves open, and the joint regions."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from hh_align.analysis.compute_metrics import rate
from hh_align.analysis.compute_tradeoff import TRADEOFF, compute_tradeoff, pareto, region_side, tradeoff_sentences
from hh_align.analysis.ratings import Rated
from hh_align.core.axes import AXES

PARENTS = {"base": {"parent": None}, "sft": {"parent": "base"}, "dpo": {"parent": "base"}, "sft_dpo": {"parent": "sft"}}
CONFIG = {"policies": PARENTS, "order": list(PARENTS), "seeds": [42], "judges": {"deberta": {"harmless_min": 0.0, "helpful_above": 0.0}}}
CLUSTERS = [np.arange(50)] * 2


def placed(harmless, helpful, prompts=50, clusters=None):
    """Of policies whose first replies are good, so many per axis: (status, who dominates)."""
    labels = [[(np.arange(prompts) < count).astype(float)[:, None] for count in counts] for counts in (harmless, helpful)]
    return pareto(labels, clusters or [np.arange(prompts)] * 2)


def test_a_policy_that_is_worse_on_both_axes_is_dominated_by_who_is_better():
    assert placed([10, 40, 15], [10, 40, 15]) == [("dominated", [1]), ("optimal", []), ("dominated", [1])]


def test_who_is_better_on_one_axis_only_dominates_nobody():
    assert placed([10, 40], [40, 10]) == [("optimal", []), ("optimal", [])]
    assert placed([10, 40], [25, 25]) == [("possible", []), ("optimal", [])]  # better on one, and nothing shows the other to be equal


@pytest.mark.parametrize("good", [0, 25, 50])
def test_equal_policies_could_all_be_optimal(good):
    assert placed([good] * 4, [good] * 4) == [("possible", [])] * 4


def test_where_nothing_can_be_said_every_policy_is_possible_and_one_alone_is_optimal():
    few = [np.arange(50) % 4] * 2
    assert placed([0, 50], [0, 50], clusters=few) == [("possible", [])] * 2
    assert placed([0, 1], [0, 1], prompts=1) == [("possible", [])] * 2
    assert placed([10], [10]) == [("optimal", [])]


def drawn(stream, rates, seeds=1):
    """Labels of each policy, one rate per policy and axis; prompts differ in how easily they are answered well."""
    shift = [stream.normal(0, 0.1, (50, 1)) for _ in AXES]
    return [
        [(stream.random((50, seeds)) < np.clip(each + easy, 0, 1)).astype(float) for each in axis]
        for axis, easy in zip(rates, shift, strict=True)
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_policy_at_the_edge_of_the_pareto_set_is_dominated_in_1_of_20_studies_at_most(seed):
    """Equal to three others on one axis and far below on the other, where each of them is all that stands between it and domination."""
    stream = np.random.default_rng(seed)
    lost = sum(pareto(drawn(stream, ([0.5] * 4, [0.1, 0.9, 0.9, 0.9])), CLUSTERS)[0][0] == "dominated" for _ in range(300))
    assert lost / 300 <= 0.08  # 5 %, and what 300 studies may show of it


@pytest.mark.parametrize("seed", [1, 2])
def test_a_policy_that_is_50_points_below_on_both_axes_is_said_to_be_in_19_of_20_studies(seed):
    """The difference's standard error is 9 points: 50 of them pass the joint level (2.4 of these) in 99.9 % of the studies on each axis."""
    stream = np.random.default_rng(seed)
    told = [pareto(drawn(stream, ([0.25, 0.75], [0.25, 0.75])), CLUSTERS)[0] for _ in range(200)]
    assert np.mean([each == ("dominated", [1]) for each in told]) >= 0.95


def test_a_region_holds_both_rates_in_95_of_100_studies():
    """Enumerated over the good replies to 50 prompts; the axes are independent, so a rectangle holds with the product of its sides."""
    sides = [region_side((np.arange(50) < good).astype(float)[:, None], np.arange(50)) for good in range(51)]
    low, high = np.array(sides).T
    grid = np.arange(2, 98.5, 0.5)
    covered = np.array([binom.pmf(np.arange(51), 50, at / 100) @ ((low <= at) & (at <= high)) for at in grid])
    joint = np.outer(covered, covered)
    assert joint.mean() >= 0.95 and covered.min() ** 2 >= 0.92


def test_a_side_is_wider_than_the_rates_own_interval_and_counts_clusters_and_seeds():
    labels, clusters = (np.random.default_rng(0).random((60, 3)) < 0.7).astype(float), np.arange(60)
    alone = region_side(labels[:, :1], clusters)
    _, low, high = rate(labels[:, 0], clusters)
    assert alone[0] < low < high < alone[1]
    assert region_side(np.repeat(labels[:, :1], 3, axis=1), clusters) == pytest.approx(alone, abs=0.5)  # seeds that answer alike
    assert np.diff(region_side(labels, clusters)) > np.diff(alone)  # three seeds say little of new ones
    same = np.repeat(labels[:12, :1], 5, axis=0)  # prompts of a cluster that are answered alike
    assert np.diff(region_side(same, clusters // 5)) > 1.5 * np.diff(region_side(same, clusters))
    assert region_side(same, clusters // 15) == (None, None)


def rated(means):
    """Ratings of 60 prompts per axis; each policy's rewards are about its mean."""
    stream, ratings = np.random.default_rng(0), {}
    for (policy, about), mean in zip(PARENTS.items(), means, strict=True):
        for axis in AXES:
            rewards = stream.normal(mean, 1, 60)
            ratings["deberta", policy, 42 if about["parent"] else 0, axis] = pd.DataFrame({"reward": rewards, "label": rewards > 0})
    return Rated(ratings, dict.fromkeys(AXES, np.arange(60)), {})


def test_the_rows_and_the_sentence():
    rows = compute_tradeoff(rated([-2, 0, -2, 2]), CONFIG)
    assert [(row["policy"], row["parent"], row["pareto"], row["dominated_by"]) for row in rows] == [
        ("base", None, "dominated", "sft, sft_dpo"),
        ("sft", "base", "dominated", "sft_dpo"),
        ("dpo", "base", "dominated", "sft, sft_dpo"),
        ("sft_dpo", "sft", "optimal", None),
    ]
    assert all(row["hmr_low"] - 1e-9 <= row["hmr"] <= row["hmr_high"] + 1e-9 and row["judge_above_chance"] is None for row in rows)
    said = tradeoff_sentences(pd.DataFrame(rows, columns=TRADEOFF.names))
    assert said == {
        "deberta": "By judge deberta could be Pareto-optimal: sft_dpo; surely optimal: sft_dpo; surely dominated: base, sft and dpo."
    }


@pytest.mark.parametrize(
    ("means", "placing"),
    [
        ([0, 0, 0, 0], "any policy could be Pareto-optimal: none is surely below another on both axes"),
        ([-2, -2, 2, 2], "could be Pareto-optimal: dpo and sft_dpo; surely dominated: base and sft"),
    ],
)
def test_the_sentence_says_what_is_open_and_marks_text(means, placing):
    text = {"broken": True, "broken_why": "it is cut", "unmoved": False, "unmoved_why": None}
    rows = compute_tradeoff(rated(means), CONFIG, {}, {("sft", 42): {"policy": "sft", "seed": 42, **text}})
    (said,) = tradeoff_sentences(pd.DataFrame(rows, columns=TRADEOFF.names)).values()
    assert said == f"By judge deberta {placing}. Against the text of sft something stands."


def test_a_judge_that_is_not_above_chance_on_an_axis_places_nobody():
    reliable = {("deberta", "harmlessness"): True, ("deberta", "helpfulness"): False}
    rows = compute_tradeoff(rated([-2, 0, -2, 2]), CONFIG, reliable)
    assert {(row["pareto"], row["dominated_by"], row["judge_above_chance"]) for row in rows} == {(None, None, False)}
    (said,) = tradeoff_sentences(pd.DataFrame(rows, columns=TRADEOFF.names)).values()
    assert said == "By judge deberta no policy is placed, for the judge is not above chance on both axes."


def test_a_judge_of_one_axis_and_a_single_policy_say_nothing():
    assert compute_tradeoff(rated([0, 0, 0, 0]), CONFIG | {"judges": {"deberta": {"harmless_min": 0.0}}}) == []
    alone = compute_tradeoff(rated([0, 0, 0, 0]), CONFIG | {"order": ["base"]})
    assert [row["pareto"] for row in alone] == ["optimal"] and tradeoff_sentences(pd.DataFrame(alone)) == {}
