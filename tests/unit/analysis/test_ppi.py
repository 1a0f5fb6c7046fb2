"""Prediction-powered rates: known answers, another implementation, and intervals that cover the truth."""

import numpy as np
import pytest
from scipy.stats import norm

from hh_align.analysis import ppi
from hh_align.analysis.statistics import wilson

AXES = ("harmlessness", "helpfulness")


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
