"""What clustered prompts and several seeds are worth: known answers, limits, and coverage of whole rows by simulation."""

import numpy as np
import pytest
from scipy.stats import norm

from hh_align.analysis.compute_metrics import rate
from hh_align.analysis.contrasts import compare_labels, compare_rewards, over_seeds
from hh_align.analysis.effective import (
    Mean,
    crossed_mean,
    design_effect,
    effective_number,
    freedom_of,
    prompt_mean,
    score_interval,
    t_interval,
    variance_of_mean,
)
from hh_align.analysis.statistics import wilson

PAIRS = np.repeat(np.arange(50), 2)


def test_design_effect_of_single_doubled_and_opposed_prompts():
    values = np.random.default_rng(0).normal(size=100)
    assert design_effect(values, np.arange(100)) == 1
    assert design_effect(np.repeat(values, 2), np.repeat(np.arange(100), 2)) == pytest.approx(2, rel=0.03)
    assert design_effect(np.stack([values, -values], 1).ravel(), np.repeat(np.arange(100), 2)) == 1  # never below
    assert design_effect(np.ones(100), PAIRS) == 2  # equal values do not show how alike pairs are


def test_the_variance_over_clusters_is_that_of_their_means_where_sizes_are_equal():
    values = np.random.default_rng(0).normal(size=50)
    doubled = np.repeat(values, 2)
    assert variance_of_mean(doubled, PAIRS) == pytest.approx(values.var(ddof=1) / 50)
    assert variance_of_mean(values, np.arange(50)) == pytest.approx(values.var(ddof=1) / 50)


@pytest.mark.parametrize("value", [0.1, 100 / 3, -200 / 7])
@pytest.mark.parametrize("clusters", [np.arange(49), np.arange(49) // 5])
def test_equal_values_have_no_variance_however_their_mean_is_rounded(value, clusters):
    values = np.full(49, value)
    assert variance_of_mean(values, clusters) == 0 and prompt_mean(values[:, None], clusters=[clusters]).variance == 0
    assert over_seeds([values[:, None].repeat(3, 1)], [clusters], None, 0.95, in_points=False)[0]["ci_low"] is None


def test_unequal_clusters_leave_few_degrees_of_freedom():
    assert freedom_of(np.arange(50)) == 49 and freedom_of(PAIRS) == 49
    assert freedom_of(np.repeat(np.arange(5), [30, 10, 5, 3, 2])) == pytest.approx(50**2 / 1038 - 1)
    assert freedom_of(np.array([0] * 40 + [1])) == 1  # never below


def test_single_prompts_count_as_they_are():
    labels = np.array([1, 0, 0, 1, 1])
    assert effective_number(labels, np.arange(5)) == 5
    assert rate(labels.astype(float), np.arange(5))[1:] == tuple(100 * bound for bound in wilson(3, 5))
    assert effective_number(np.repeat(labels, 2), np.repeat(np.arange(5), 2)) < 5  # t with 4 degrees of freedom


def test_crossed_mean_of_one_block_is_the_variance_of_both_means():
    values = np.random.default_rng(0).normal(size=(20, 1)) + np.random.default_rng(1).normal(size=(20, 4)) + np.arange(4)
    by_prompt, by_seed = values.mean(1).var(ddof=1) / 20, values.mean(0).var(ddof=1) / 4
    mean = crossed_mean(values)
    assert mean[:2] == pytest.approx((values.mean(), by_prompt + by_seed))
    assert mean.freedom == pytest.approx((by_prompt + by_seed) ** 2 / (by_prompt**2 / 19 + by_seed**2 / 3))
    assert prompt_mean(values)[1:] == pytest.approx((by_prompt, 19))


def test_seeds_that_are_alike_by_chance_leave_few_degrees_of_freedom():
    # two seeds of equal rates that disagree on every prompt: the rest says how far they could have been apart
    values = np.array([[0.0, 1.0], [1.0, 0.0]] * 10)
    assert crossed_mean(values)[:2] == (0.5, 0) and crossed_mean(values + np.arange(20)[:, None] * 1e-3).freedom < 2


def test_a_score_interval_of_independent_answers_is_wilsons():
    share, n = 0.3, 200
    assert score_interval(Mean(share, share * (1 - share) / n, 1e9), 50, 400) == pytest.approx(wilson(60, 200), abs=1e-6)
    assert score_interval(Mean(1.0, 0.0, 1), 50, 400) == wilson(50, 50)
    assert score_interval(Mean(share, 1e-12, 1e9), 50, 400) == pytest.approx(wilson(120, 400), abs=1e-6)  # no more than there are


@pytest.mark.parametrize("clusters", [np.zeros(20, int), np.arange(20) // 5])
def test_of_fewer_than_five_clusters_nothing_is_said(clusters):
    a, b = np.arange(20) < 2, np.arange(20) < 19
    row = compare_labels([(a, b)], [clusters], 5.0)
    assert (row["difference"], row["ci_low"], row["sim_high"], row["p_equivalence"]) == (85, None, None, 1) and row["p"] >= 0.125
    rewards = compare_rewards(np.arange(20.0), None, clusters)
    assert (rewards["ci_low"], rewards["p"]) == (None, 1) and np.isnan(rate(a.astype(float), clusters)[1:]).all()


def test_crossed_mean_covers_where_pooling_would_not():
    # 50 prompts, 3 seeds with an effect of their own: pooling 150 values as independent covers far less than it says
    stream, hits, pooled = np.random.default_rng(0), 0, 0
    for _ in range(600):
        values = stream.normal(size=(50, 1)) + stream.normal(scale=0.25, size=(1, 3)) + stream.normal(size=(50, 3))
        low, high = t_interval(crossed_mean(values))
        hits += low <= 0 <= high
        pooled += abs(values.mean()) <= 1.96 * values.std() / np.sqrt(values.size)
    assert hits / 600 > 0.9 > pooled / 600


@pytest.mark.parametrize("sizes", [[10] * 5, [30, 10, 5, 3, 2], [20, 10, 5, 5, 2, 2, 2, 2, 1, 1]])
def test_rates_of_few_or_unequal_clusters_cover(sizes):
    """Latent scores that share 30 % of their variance within a cluster; tests/bench/bench_statistics.py has the whole grid."""
    stream, clusters, hits = np.random.default_rng(len(sizes)), np.repeat(np.arange(len(sizes)), sizes), 0
    for _ in range(500):
        latent = np.sqrt(0.3) * stream.normal(size=len(sizes))[clusters] + np.sqrt(0.7) * stream.normal(size=len(clusters))
        _, low, high = rate((latent < norm.ppf(0.7)).astype(float), clusters)
        hits += low <= 70 <= high
    assert hits / 500 >= 0.92
