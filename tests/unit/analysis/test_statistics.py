"""Known answers and invariants of the statistics."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom, binomtest, multinomial, t
from statsmodels.stats.proportion import confint_proportions_2indep

from hh_align.analysis import statistics as st

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


def split(only_a, only_b):
    """One cluster per discordant pair."""
    return [-1] * only_a + [1] * only_b


def test_sign_flip_with_equal_n_is_mcnemar_on_the_pooled_pairs():
    assert st.sign_flip((split(8, 6), 50), (split(3, 8), 50)) == pytest.approx(st.mcnemar(11, 14))
    assert st.sign_flip((split(3, 8), 50)) == pytest.approx(st.mcnemar(3, 8))
    assert st.sign_flip(([0] * 9, 50), ([], 40)) == 1.0


@pytest.mark.parametrize(
    "axes",
    [
        [([-1, 1, 1, 1], 20), ([-1, -1, 1], 30)],
        [([-2, 1, 1, 3], 20), ([-1, -1, 2], 30)],
        [([2, 2, -1, 3, 1], 7)],
        [([5], 9), ([-3, 1, 1], 4)],
    ],
)
def test_sign_flip_is_what_enumeration_of_all_flips_gives(axes):
    # unequal n, and clusters of several prompts that flip together
    sums = [np.array(each) / n for each, n in axes]
    signs = np.array(list(itertools.product([-1, 1], repeat=sum(map(len, sums)))))
    totals = np.abs(signs @ np.concatenate(sums))
    assert st.sign_flip(*axes) == pytest.approx((totals >= totals[-1] - 1e-12).mean())


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
    values = np.random.default_rng(0).normal(size=(60, 2))
    first = st.percentiles(st.bootstrap_means(values, 2000, 1))
    assert first == st.percentiles(st.bootstrap_means(values, 2000, 1)) != st.percentiles(st.bootstrap_means(values, 2000, 2))
    for column, each in zip(values.T, first, strict=True):
        reach = 1.96 * column.std() / np.sqrt(60)
        assert each == pytest.approx((column.mean() - reach, column.mean() + reach), abs=0.05)


def test_bootstrap_leaves_out_what_is_unknown():
    values = np.array([[1.0, 2.0, np.nan], [np.nan, 2.0, np.nan], [3.0, 2.0, np.nan]])
    means = st.bootstrap_means(values, 1000, 1)
    assert np.nanmin(means[:, 0]) == 1 and np.nanmax(means[:, 0]) == 3 and set(means[:, 1]) == {2.0} and np.isnan(means[:, 2]).all()


def test_paired_intervals_are_the_published_ones():
    # Newcombe 1998, (36, 12, 2, 0); Fagerland, Lydersen and Laake 2014, airway data; statpsych, ci.ratio.prop.ps
    assert st.paired_difference(36, 2, 12, 0) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    assert st.paired_difference(1, 7, 1, 12)[1:] == pytest.approx((-0.507, -0.026), abs=5e-4)
    assert st.ratio_interval(1, 7, 1) == pytest.approx((0.068, 0.923), abs=5e-4)
    assert st.ratio_interval(6, 4, 26) == pytest.approx((1.766544, 5.796628), abs=5e-7)


def test_enumerated_coverage_of_the_rate_interval():
    # n = 50, every p = .02(.01).98: the figures that a reader of "95 %" relies on
    bounds = np.array([st.wilson(k, 50) for k in range(51)])
    shares = np.arange(0.02, 0.985, 0.01)
    covered = [binom.pmf(np.arange(51), 50, p)[(bounds[:, 0] <= p) & (p <= bounds[:, 1])].sum() for p in shares]
    assert min(covered) >= 0.92 and 0.945 <= np.mean(covered) <= 0.957


@pytest.mark.parametrize(("n", "discordance", "difference"), [(20, 0.3, 0.0), (50, 0.3, 0.2), (50, 0.2, 0.1), (35, 0.6, 0.25)])
def test_power_is_what_enumeration_of_all_tables_gives(n, discordance, difference):
    b, a = (discordance + difference) / 2, (discordance - difference) / 2
    total = sum(
        multinomial.pmf([only_a, only_b, n - only_a - only_b], n, [a, b, 1 - discordance])
        for only_a in range(n + 1)
        for only_b in range(n + 1 - only_a)
        if st.mcnemar(only_a, only_b) <= 0.05
    )
    assert st.mcnemar_power(n, discordance, difference) == pytest.approx(total, abs=1e-4)
    if not difference:
        assert total <= 0.05  # the test's size


def test_detectable_difference_and_pairs_needed_are_each_others_inverse():
    assert [round(100 * st.detectable_difference(n, 0.3), 1) for n in (50, 192, 500)] == [21.9, 11.4, 7.0]
    for difference in (0.05, 0.10, 0.15):
        n = st.pairs_needed(difference, 0.3)
        assert st.mcnemar_power(n, 0.3, difference) >= 0.8 > st.mcnemar_power(n - 1, 0.3, difference)
        assert all(st.mcnemar_power(more, 0.3, difference) >= 0.8 for more in range(n, n + 60))
    assert st.detectable_difference(5, 0.3) is None


@pytest.mark.parametrize("discordance", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 7])
def test_pairs_needed_are_those_of_a_search_one_by_one(discordance, alpha):
    for difference in discordance * np.array([0.2, 0.45, 0.9, 1.0]):
        n = found = st.pairs_needed(difference, discordance, alpha=alpha)
        if n < 800:  # beyond, one by one takes long
            n = 2 * n + 30
            while st.mcnemar_power(n - 1, discordance, difference, alpha) >= 0.8:
                n -= 1
        assert n == found


def test_simultaneous_level_lies_between_one_and_bonferroni():
    stream = np.random.default_rng(0)
    one, other = stream.normal(size=(2, 400))
    assert st.simultaneous_confidence(np.column_stack([one, one])) == pytest.approx(0.95, abs=2e-3)  # the same contrast twice costs nothing
    assert st.simultaneous_confidence(np.column_stack([one, other])) == pytest.approx(0.95**0.5, abs=2e-3)  # independent: Sidak's level
    assert 0.95 < st.simultaneous_confidence(np.column_stack([one, other, one + other])) < 1 - 0.05 / 3
    assert st.simultaneous_confidence(np.column_stack([one, 0 * one])) == 0.95  # a contrast that never differs is none


def test_simultaneous_intervals_hold_together():
    # three contrasts of four correlated arms: all three intervals of a family hold in 95 % of the studies, single ones would in fewer
    stream, together, single = np.random.default_rng(1), 0, 0
    for _ in range(1000):
        arms = stream.normal(size=(60, 1)) + stream.normal(size=(60, 4))
        values = arms[:, 1:] - arms[:, :1]
        reach = values.std(0, ddof=1) / np.sqrt(60)
        level = st.simultaneous_confidence(values, samples=4000)
        together += bool((np.abs(values.mean(0)) <= t.ppf((1 + level) / 2, 59) * reach).all())
        single += bool((np.abs(values.mean(0)) <= t.ppf(0.975, 59) * reach).all())
    assert 0.935 <= together / 1000 <= 0.97 and single / 1000 < 0.92


def cas_studies(cells, count, seed):
    """`count` simulated studies of two axes with 50 prompts each, drawn from (both, only a, only b, neither) shares of 50."""
    stream = np.random.default_rng(seed)
    return zip(*(stream.multinomial(50, np.array(part) / 50, size=count) for part in cells), strict=True)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cas_difference_covers_as_it_says(seed):
    # cells of the released sft_dpo - sft: 4,000 studies over the three seeds
    hits, widths = [], []
    intervals = {}
    for tables in cas_studies((HMR_SFT_TO_SFT_DPO, HPR_SFT_TO_SFT_DPO), 1334, seed):
        for table in tables:
            key = tuple(table)
            intervals.setdefault(key, st.paired_difference(*key))
        _, low, high = st.mover_mean(*(intervals[tuple(table)] for table in tables))
        hits.append(low <= 0.03 <= high)
        widths.append(high - low)
    assert 0.935 <= np.mean(hits) <= 0.975 and np.mean(widths) <= 0.21


@pytest.mark.parametrize("cells", [(25, 0.25, 0.25, 24.5), (49, 0.5, 0.5, 0), (0, 0.25, 0.25, 49.5)])
def test_sparse_and_ceiling_differences_cover_and_never_collapse(cells):
    # 1 to 2 % of the prompts discordant: most studies see no change at all, and that is no certainty
    hits = []
    for (table,) in cas_studies((cells,), 2000, 5):
        _, low, high = st.paired_difference(*map(int, table))
        assert low < high and np.isfinite([low, high]).all()
        hits.append(low <= (cells[2] - cells[1]) / 50 <= high)
    assert np.mean(hits) >= 0.94


def test_wilsons_interval_holds_the_proportion_where_rounding_does_not():
    for n in range(1, 60):
        for successes in (0, n):
            low, high = st.wilson(successes, n)
            assert low <= successes / n <= high and (low == 0 or high == 1)
