"""What would decide a contrast: against enumeration, statsmodels' power of a t test, and studies drawn with the numbers that are named."""

from functools import cache
from itertools import product
from math import ceil, comb

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from hh_align.analysis.contrasts import over_seeds
from hh_align.analysis.deciding import Crossed, Paired, design
from hh_align.analysis.statistics import mcnemar, pairs_needed

HOLM = 0.0125
p_of = cache(mcnemar)


def enumerated(n, discordance, difference, alpha):
    """Power of McNemar's exact test, table by table."""
    gain, loss = (discordance + difference) / 2, (discordance - difference) / 2
    tables = ((b, a) for b, a in product(range(n + 1), repeat=2) if a + b <= n)
    return sum(
        comb(n, a) * comb(n - a, b) * gain**b * loss**a * (1 - discordance) ** (n - a - b)
        for b, a in tables
        if p_of(min(a, b), max(a, b)) <= alpha
    )


def test_prompts_of_one_seed_are_those_of_the_enumerated_test_at_holms_level():
    plan = Paired(60, 60, 0.3)
    assert plan.power(0.25, 1, 1, HOLM) == pytest.approx(enumerated(60, 0.3, 0.25, HOLM), abs=1e-9)
    n = plan.prompts(0.25, HOLM)
    assert enumerated(n, 0.3, 0.25, HOLM) >= 0.8 > enumerated(n - 1, 0.3, 0.25, HOLM)
    assert n > plan.prompts(0.25, 0.05)
    found = plan.detectable(HOLM)
    assert enumerated(60, 0.3, found, HOLM) == pytest.approx(0.8, abs=1e-5)


def test_a_rare_difference_is_found_where_enough_prompts_fall_on_one_side():
    found = Paired(60, 60, 0.05).detectable(HOLM)
    assert found > 0.05 and enumerated(60, found, found, HOLM) == pytest.approx(0.8, abs=1e-4)
    assert Paired(4, 4, 0.5).detectable(HOLM) is None  # four prompts have no p below 0.0125


@pytest.mark.parametrize(("difference", "discordance"), [(0.03, 0.3), (0.025, 0.1)])
def test_beyond_the_exact_search_the_approximation_is_within_one_percent(monkeypatch, difference, discordance):
    approximate = pairs_needed(difference, discordance, alpha=HOLM)
    monkeypatch.setattr("hh_align.analysis.statistics.EXACT_PAIRS", 10**9)
    assert approximate == pytest.approx(pairs_needed(difference, discordance, alpha=HOLM), rel=0.01)


def test_clusters_ask_for_more_prompts_and_few_of_them_for_none():
    stream = np.random.default_rng(0)
    single = stream.choice([-1.0, 0.0, 1.0], p=[0.05, 0.7, 0.25], size=(60, 1))
    once, twice = design([single], [np.arange(60)]), design([np.repeat(single, 2, axis=0)], [np.repeat(np.arange(60), 2)])
    assert twice.prompts(0.2, HOLM) == pytest.approx(2 * once.prompts(0.2, HOLM), rel=0.1)
    assert design([single], [np.arange(60) % 5]) is None
    assert design([np.repeat(single, 2, axis=1)], [np.arange(60) % 4]) is None


def test_seeds_that_change_nothing_leave_the_t_test_of_prompts():
    plan = Crossed(n=50, discordance=0.3, seeds=3, prompt=0.25 / 50, seed=0.0, rest=0.0, freedom=49)
    wanted = TTestPower().solve_power(effect_size=0.1 / 0.5, alpha=HOLM, power=0.8)
    assert plan.prompts(0.1, HOLM) == ceil(wanted)
    assert plan.more_seeds(0.1, HOLM) is None  # 50 prompts find 10 points at no number of seeds
    only_seeds = Crossed(n=50, discordance=0.3, seeds=3, prompt=0.0, seed=0.01 / 3, rest=0.0, freedom=49)
    assert only_seeds.more_seeds(0.1, HOLM) == ceil(TTestPower().solve_power(effect_size=1.0, alpha=HOLM, power=0.8))
    assert only_seeds.prompts(0.1, HOLM) is None
    assert TTestPower().power(only_seeds.detectable(0.05) / 0.1, 3, 0.05) == pytest.approx(0.8, abs=1e-3)


def test_the_number_that_is_named_decides_as_often_as_it_says():
    """Prompts and seeds drawn with known variances: of the studies of the named size at least 80 % find the difference, and not nearly all."""
    prompt, seed, rest, difference, seeds = 0.2, 0.02, 0.3, 0.05, 8
    plan = Crossed(50, 0.3, seeds, prompt**2 / 50, seed**2 / seeds, rest**2 / (50 * seeds), 49)
    n, stream, found = plan.prompts(difference, HOLM), np.random.default_rng(1), 0
    for _ in range(400):
        shape = (n, seeds)
        block = difference + prompt * stream.normal(size=(n, 1)) + seed * stream.normal(size=(1, seeds)) + rest * stream.normal(size=shape)
        found += over_seeds([100 * block], [np.arange(n)], None, 0.95)[0]["p"] < HOLM
    assert 0.74 < found / 400 < 0.93
