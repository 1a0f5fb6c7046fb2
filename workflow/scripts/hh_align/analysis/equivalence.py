"""Whether two rates of the same prompts differ by less than a margin: two one-sided tests. Rates and margins are proportions."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import stats
from scipy.special import stdtr

from hh_align.analysis.effective import Mean

NUISANCE = 200
"""Shares of discordant prompts, from the least that the margin allows to 1, at which the exact test looks."""
HOPELESS = 0.2
"""From this asymptotic p on the exact one is not sought."""
TAIL = 8.0
"""Standard deviations of the number of discordant prompts beyond which nothing is summed."""


def paired_p(only_a: float, only_b: float, n: float, margin: float) -> float:
    """p that the rates of a and b differ by the margin or more, from the prompts on which only a or only b is good; 0 < margin <= 1, at 1 it is 0.

    The larger of two one-sided exact unconditional tests (Hsueh, Liu and Chen 2001, Biometrics 57:478) of the score statistic (Tango
    1998, Statistics in Medicine 17:891; Liu et al. 2002, Statistics in Medicine 21:231): the worst over all shares of discordant prompts.
    Fractions, as clusters leave them, keep their statistic; n is rounded down.
    """
    return max(_not_below(only_b, only_a, n, margin), _not_below(only_a, only_b, n, margin))


def _not_below(gained: float, lost: float, n: float, margin: float) -> float:
    """p that (gained - lost) / n is -margin or less in truth; asymptotic where that is hopeless."""
    if margin >= 1:
        return 0.0
    whole = math.floor(n + 1e-9)
    if whole < 1:
        return 1.0
    statistic = float(score(np.array([gained]), np.array([lost]), n, margin)[0])
    asymptotic = float(stats.norm.sf(statistic))
    return asymptotic if asymptotic > HOPELESS else largest_tail(round(statistic, 9), whole, margin)


def score(gained: np.ndarray, lost: np.ndarray, n: float, margin: float) -> np.ndarray:
    """Tango's statistic of (gained - lost) / n against a true difference of -margin, with the variance that the margin implies."""
    linear = margin * (2 * n - gained + lost) + gained + lost
    share = (np.sqrt(np.maximum(linear**2 - 8 * n * lost * margin * (1 + margin), 0.0)) + linear) / (4 * n)
    return (gained - lost + n * margin) / np.sqrt(n * (2 * share - margin * (1 + margin)))


@lru_cache(maxsize=4096)
def largest_tail(statistic: float, n: int, margin: float) -> float:
    """The largest probability, over the shares of discordant prompts, of a statistic so large or larger at a difference of -margin."""
    shares, lost_shares = nuisance(margin)
    reach = TAIL * np.sqrt(n * shares * (1 - shares)) + TAIL
    first, last = np.maximum(0, np.floor(n * shares - reach)), np.minimum(n, np.ceil(n * shares + reach))
    sizes = (last - first + 1).astype(int)
    starts = np.cumsum(sizes) - sizes
    share, lost_share = np.repeat(shares, sizes), np.repeat(lost_shares, sizes)
    counts = (np.arange(sizes.sum()) + np.repeat(first - starts, sizes)).astype(int)
    gained = stats.binom.sf(least_gained(statistic, n, margin)[counts] - 1, counts, 1 - lost_share)
    return min(1.0, float(np.add.reduceat(stats.binom.pmf(counts, n, share) * gained, starts).max()))


def nuisance(margin: float) -> tuple[np.ndarray, np.ndarray]:
    """(shares of discordant prompts, of these the share lost) at a difference of -margin; close together where few are discordant."""
    discordant = margin + (1 - margin) * np.linspace(0, 1, NUISANCE) ** 2
    return discordant, (discordant + margin) / 2 / discordant


def least_gained(statistic: float, n: int, margin: float) -> np.ndarray:
    """For each number 0 … n of discordant prompts, the fewest gained that reach the statistic; one more than all where none does."""
    counts = np.arange(n + 1)
    low, high = np.zeros(n + 1, int), counts + 1
    while (open_ := low < high).any():
        middle = (low + high) // 2
        reached = score(middle, counts - middle, n, margin) >= statistic - 2e-9
        high, low = np.where(open_ & reached, middle, high), np.where(open_ & ~reached, middle + 1, low)
    return low


def pooled_p(tables: Sequence[tuple[float, float, float]], margin: float) -> float:
    """p of the mean over axes of their differences, from (only a, only b, n) of each: all as if of one sample.

    Axes count alike, so the larger is scaled to the smaller. Prompts of unlike axes vary less than as many of one (Hoeffding 1956,
    Annals of Mathematical Statistics 27:713), which errs to the safe side.
    """
    least = min(n for _, _, n in tables)
    only_a, only_b = (sum(table[side] * least / table[2] for table in tables) for side in (0, 1))
    return paired_p(only_a, only_b, len(tables) * least, margin)


def mean_p(difference: Mean, margin: float, prompts: Sequence[float]) -> float:
    """p of a mean over seeds by two one-sided t tests (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657).

    Policies that never differ vary at least as the margin allows: margin (1 - margin) / prompts, the score statistic's variance there.
    """
    least = sum(margin * (1 - margin) / n for n in prompts) / len(prompts) ** 2
    return t_p(difference.value, math.sqrt(max(difference.variance, least)), difference.freedom, margin)


def t_p(difference: float, error: float, freedom: float, margin: float) -> float:
    """p of two one-sided t tests that a difference is the margin or more, given its standard error."""
    return float(stdtr(max(freedom, 1.0), (abs(difference) - margin) / error))
