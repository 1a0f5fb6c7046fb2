"""Known answers and invariants of the statistics."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import confint_proportions_2indep

from study import statistics as st

# the paper's released labels: (both, only a, only b, neither)
HPR_SFT_TO_SFT_DPO = (25, 3, 8, 14)
HMR_SFT_TO_SFT_DPO = (16, 8, 6, 20)


def test_wilson_of_the_papers_base_hpr():
    assert [round(100 * bound, 2) for bound in st.wilson(11, 50)] == [12.75, 35.24]


@pytest.mark.parametrize("n", [1, 7, 50, 192])
def test_intervals_of_a_rate_are_scipys(n):
    for k in range(n + 1):
        test = binomtest(k, n)
        for ours, method in ((st.wilson, "wilson"), (st.clopper_pearson, "exact")):
            theirs = test.proportion_ci(0.95, method)
            assert ours(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-10)


@pytest.mark.parametrize(("discordant", "p"), [((3, 8), 0.2266), ((2, 19), 0.00022), ((0, 0), 1.0), ((5, 5), 1.0)])
def test_mcnemar_known_answers(discordant, p):
    assert st.mcnemar(*discordant) == pytest.approx(p, abs=5e-5)


def test_sign_flip_with_equal_n_is_mcnemar_on_the_pooled_pairs():
    assert st.sign_flip((8, 6, 50), (3, 8, 50)) == pytest.approx(st.mcnemar(11, 14))
    assert st.sign_flip((3, 8, 50)) == pytest.approx(st.mcnemar(3, 8))
    assert st.sign_flip((0, 0, 50), (0, 0, 40)) == 1.0


def test_sign_flip_with_unequal_n_is_what_enumeration_of_all_flips_gives():
    cells = [(1, 3, 20), (2, 1, 30)]
    signs = np.array(list(itertools.product([-1, 1], repeat=7)))
    totals = signs[:, :4].sum(1) / 20 + signs[:, 4:].sum(1) / 30
    observed = abs(2 / 20 - 1 / 30)
    assert st.sign_flip(*cells) == pytest.approx((np.abs(totals) >= observed - 1e-12).mean())


def test_without_correlation_the_paired_difference_is_that_of_independent_samples():
    # statsmodels has Newcombe's interval for two independent samples; 10 x 20 = 10 x 20 makes phi 0
    theirs = confint_proportions_2indep(30, 60, 20, 60, method="newcomb", compare="diff")
    assert st.paired_difference(10, 10, 20, 20)[1:] == pytest.approx(theirs, abs=1e-10)


def test_agreement_narrows_the_paired_difference():
    width = [np.ptp(st.paired_difference(both, 25 - both, 25 - both, both)[1:]) for both in (13, 18, 24)]
    assert width[0] > width[1] > width[2]


@pytest.mark.parametrize("cells", [HPR_SFT_TO_SFT_DPO, HMR_SFT_TO_SFT_DPO, (0, 0, 0, 50), (50, 0, 0, 0), (0, 50, 0, 0), (49, 1, 0, 0)])
def test_swapping_policies_negates_the_difference(cells):
    both, only_a, only_b, neither = cells
    value, low, high = st.paired_difference(both, only_a, only_b, neither)
    assert st.paired_difference(both, only_b, only_a, neither) == pytest.approx((-value, -high, -low), abs=1e-12)
    assert -1 <= low <= value <= high <= 1 and low < high


def test_cas_difference_of_sft_dpo_and_sft_decides_nothing():
    hpr, hmr = (tuple(100 * part for part in st.paired_difference(*cells)) for cells in (HPR_SFT_TO_SFT_DPO, HMR_SFT_TO_SFT_DPO))
    value, low, high = st.mover_mean(hmr, hpr)
    assert value == pytest.approx(3)
    assert -8 < low < -6 and 12 < high < 14


def test_ratio_interval_holds_the_ratio_and_inverts():
    low, high = st.ratio_interval(25, 3, 8)
    assert low < 33 / 28 < high
    assert st.ratio_interval(25, 8, 3) == pytest.approx((1 / high, 1 / low))
    assert st.ratio_interval(0, 0, 8) is None


def test_phi_is_the_correlation():
    a, b = np.array([1, 1, 0, 0, 1]), np.array([1, 0, 0, 1, 1])
    assert st.phi(*st.table_of(a, b)) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert st.phi(3, 0, 2, 0) is None


def test_bootstrap_is_seeded_and_covers_the_mean():
    values = np.random.default_rng(0).normal(size=60)
    first = st.bootstrap_mean(values, 2000, 1)
    assert first == st.bootstrap_mean(values, 2000, 1) != st.bootstrap_mean(values, 2000, 2)
    reach = 1.96 * values.std() / np.sqrt(60)
    assert first == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.05)


def test_crossed_mean_covers_where_pooling_would_not():
    # 50 prompts, 3 seeds with an effect of their own: pooling 150 values as independent covers far less than it says
    stream, hits, pooled = np.random.default_rng(0), 0, 0
    for _ in range(600):
        values = stream.normal(size=(50, 1)) + stream.normal(scale=0.25, size=(1, 3)) + stream.normal(size=(50, 3))
        low, high = st.t_interval(*st.crossed_mean(values))
        hits += low <= 0 <= high
        pooled += abs(values.mean()) <= 1.96 * values.std() / np.sqrt(values.size)
    assert hits / 600 > 0.9 > pooled / 600


def test_paired_intervals_are_the_published_ones():
    # Newcombe 1998, (36, 12, 2, 0); Fagerland, Lydersen and Laake 2014, airway data; statpsych, ci.ratio.prop.ps
    assert st.paired_difference(36, 2, 12, 0) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    assert st.paired_difference(1, 7, 1, 12)[1:] == pytest.approx((-0.507, -0.026), abs=5e-4)
    assert st.ratio_interval(1, 7, 1) == pytest.approx((0.068, 0.923), abs=5e-4)
    assert st.ratio_interval(6, 4, 26) == pytest.approx((1.766544, 5.796628), abs=5e-7)
