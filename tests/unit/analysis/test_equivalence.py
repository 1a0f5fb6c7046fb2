"""Equivalence of paired rates: what an enumeration of all tables gives, its size at the margin, and what cannot be equivalent."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import multinomial

from hh_align.analysis.contrasts import compare_labels, over_seeds
from hh_align.analysis.effective import Mean
from hh_align.analysis.equivalence import mean_p, paired_p, pooled_p, score

MARGIN = 0.05


def tables_of(n):
    """(only a, only b) of every table of n prompts."""
    return np.array([(only_a, only_b) for only_a in range(n + 1) for only_b in range(n + 1 - only_a)])


def chances(tables, n, discordance, difference):
    shares = [(discordance - difference) / 2, (discordance + difference) / 2, 1 - discordance]
    return multinomial.pmf(np.column_stack([tables, n - tables.sum(1)]), n, shares)


def test_the_score_statistic_is_the_published_one():
    # Tango 1998, soft contact lenses: 1 of 44 discordant, margin 10 points; Fagerland, Lydersen and Laake 2014, airway data: the 95 % limits
    assert score(np.array([0]), np.array([1]), 44, 0.1)[0] == pytest.approx(1.709, abs=5e-4)
    limits = [brentq(lambda margin, z=z: score(np.array([1]), np.array([7]), 21, margin)[0] + z, 1e-6, 0.9) for z in (-1.959964, 1.959964)]
    assert limits == pytest.approx([0.517, 0.026], abs=5e-4)


@pytest.mark.parametrize(("only_a", "only_b", "n"), [(1, 2, 20), (0, 0, 30), (2, 2, 40)])
def test_p_is_the_worst_of_the_enumerated_tails(only_a, only_b, n):
    tables = tables_of(n)
    reached = score(tables[:, 1], tables[:, 0], n, 0.2) >= score(np.array([only_b]), np.array([only_a]), n, 0.2) - 1e-8
    below = max(chances(tables, n, share, -0.2)[reached].sum() for share in np.linspace(0.2, 1, 400))
    other = paired_p(only_b, only_a, n, 0.2)
    assert paired_p(only_a, only_b, n, 0.2) == other >= below - 1e-6
    if only_a == only_b:
        assert other == pytest.approx(below, abs=2e-4)


@pytest.mark.parametrize("n", [20, 50, 70])
def test_the_size_at_the_margin_is_at_most_5_percent(n):
    """All tables, a true difference of exactly 5 points; tests/bench/bench_statistics.py goes to 500 prompts."""
    tables = tables_of(n)
    tables = tables[np.abs(tables[:, 1] - tables[:, 0]) < MARGIN * n]
    equivalent = tables[[paired_p(*table, n, MARGIN) < 0.05 for table in tables]]
    worst = max(chances(equivalent, n, share, MARGIN).sum() for share in np.linspace(MARGIN, 1, 60)) if len(equivalent) else 0.0
    assert worst <= 0.05 and (n < 70 or worst > 0)


def test_nothing_changed_on_50_prompts_is_not_equivalent():
    same, single = np.ones(50, bool), [np.arange(50)]
    for labels in (same, ~same):
        row = compare_labels([(labels, labels)], single, 5.0)
        assert row["p_equivalence"] == pytest.approx(0.95**50, abs=1e-6) and row["p_equivalence"] > 0.05
        assert over_seeds([np.zeros((50, 3))], single, 5.0, 0.95)[0]["p_equivalence"] > 0.05
    assert compare_labels([(np.ones(100, bool),) * 2], [np.arange(100)], 5.0)["p_equivalence"] < 0.05


def test_two_axes_are_one_sample_of_both():
    assert pooled_p([(1, 2, 50), (3, 0, 50)], MARGIN) == paired_p(4, 2, 100, MARGIN)
    assert pooled_p([(1, 2, 50), (6, 0, 100)], MARGIN) == paired_p(4, 2, 100, MARGIN)  # axes count alike


def test_over_seeds_no_spread_is_no_certainty():
    assert mean_p(Mean(0.0, 0.0, 49), MARGIN, [50]) > 0.05 > mean_p(Mean(0.0, 0.0, 99), MARGIN, [100])
    assert mean_p(Mean(MARGIN, 1e-4, 49), MARGIN, [50]) == pytest.approx(0.5)


def test_a_margin_of_everything_holds_all():
    assert paired_p(3, 10, 50, 1.0) == 0 and paired_p(0, 0, 1, 1.0) == 0
