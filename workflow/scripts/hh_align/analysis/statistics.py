"""Intervals and tests for rates on few, paired prompts. Rates are proportions here; tables hold percentages."""

import functools
import gc
import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
EXACT_PAIRS = 2000
THESE_CHECKPOINTS, NEW_SEEDS = "these checkpoints", "new seeds"  # what an estimate over seeds speaks of


def wilson(successes: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion, which holds the proportion. Newcombe 1998, Statistics in Medicine 17:857, method 3."""
    low, high = map(float, proportion_confint(successes, n, 1 - confidence, method="wilson"))
    return min(low, successes / n), max(high, successes / n)  # rounding takes the ends beside 0 and 1


def clopper_pearson(successes: int, n: int) -> tuple[float, float]:
    """The exact interval of a proportion (95 %, conservative). Clopper and Pearson 1934, Biometrika 26:404."""
    return tuple(map(float, proportion_confint(successes, n, 1 - CONFIDENCE, method="beta")))


def table_of(a: Sequence[bool], b: Sequence[bool]) -> tuple[int, int, int, int]:
    """(both, only a, only b, neither) of two paired label vectors of equal length."""
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    return int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum())


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p of McNemar's test on the discordant pairs (Biometrika 1947); 1 where there are none."""
    return float(stats.binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for their number. Holm 1979, Scandinavian Journal of Statistics 6:65."""
    gc.freeze()  # multipletests collects garbage every time: it need not look through all that is loaded
    try:
        return multipletests(p, method="holm")[1].tolist()
    finally:
        gc.unfreeze()


def sign_flip(*axes: tuple[Sequence[int], int]) -> float:
    """Two-sided exact p that the mean over axes of sum / n is 0, given each axis's signed integer sums (one per cluster) and its n.

    Conditional sign-flip: under the null each cluster's sum (only b - only a) is as likely to have the other sign, so the total has a
    known distribution, convolved here. With single prompts and equal n it is McNemar's test on the pooled discordant pairs.
    """
    sums = [np.asarray(each, np.int64) for each, _ in axes]
    counts = [n for _, n in axes]
    weights = [math.prod(counts) // n for n in counts]
    observed = abs(sum(weight * int(each.sum()) for weight, each in zip(weights, sums, strict=True)))
    if not observed:
        return 1.0
    masses = [_flips(each) for each in sums]
    if len(axes) == 1:
        return _tails(masses[0], np.array([observed]), np.array([-observed]))[0]
    totals = np.arange(len(masses[0])) - len(masses[0]) // 2
    upper = -((weights[0] * totals - observed) // weights[1])  # the smallest total of the other axis that reaches `observed`
    lower = (-observed - weights[0] * totals) // weights[1]
    return min(1.0, float(masses[0] @ _tails(masses[1], upper, lower)))


def _flips(sums: np.ndarray) -> np.ndarray:
    """Probabilities of the totals -T … T, T the sum of |sums|, where every sum takes either sign with probability 1/2."""
    mass = np.ones(1)
    for size, count in zip(*np.unique(np.abs(sums[sums != 0]), return_counts=True), strict=True):
        step = np.zeros(2 * size * count + 1)
        step[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        mass = np.convolve(mass, step)
    return mass


def _tails(mass: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """P(total >= upper or total <= lower) for a distribution over -T … T; upper > lower."""
    half = len(mass) // 2
    below = np.concatenate([[0.0], np.cumsum(mass)])
    above = np.concatenate([np.cumsum(mass[::-1])[::-1], [0.0]])
    return above[np.clip(upper + half, 0, len(mass))] + below[np.clip(lower + half + 1, 0, len(mass))]


def cluster_sums(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Sums of integer values (shape (n,)) over the prompts of each cluster (numbered from 0)."""
    return np.bincount(clusters, weights=values).astype(np.int64)


def phi(both: int, only_a: int, only_b: int, neither: int) -> float | None:
    """Pearson correlation of two paired binary vectors, -1 to 1; None where one of them is constant."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    return (both * neither - only_a * only_b) / math.sqrt(margins) if margins else None


def paired_difference(both: int, only_a: int, only_b: int, neither: int, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """(rate b - rate a, low, high): Newcombe 1998, Statistics in Medicine 17:2635, method 10 (square-and-add, corrected phi)."""
    n = both + only_a + only_b + neither
    rate_a, rate_b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = wilson(both + only_a, n, confidence), wilson(both + only_b, n, confidence)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    cross = both * neither - only_a * only_b
    correlation = (max(cross - n / 2, 0) if cross > 0 else cross) / math.sqrt(margins) if margins else 0.0

    def reach(down: float, up: float) -> float:
        return math.sqrt(max(down**2 - 2 * correlation * down * up + up**2, 0.0))

    difference = rate_b - rate_a
    return difference, difference - reach(rate_b - low_b, high_a - rate_a), difference + reach(high_b - rate_b, rate_a - low_a)


def mover_mean(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float, float]:
    """(value, low, high) of the mean of two independent estimates given as (value, low, high).

    MOVER: Zou and Donner 2008, Statistics in Medicine 27:1693, equation 3, for half the sum.
    """
    down = math.hypot(first[0] - first[1], second[0] - second[1]) / 2
    up = math.hypot(first[2] - first[0], second[2] - second[0]) / 2
    value = (first[0] + second[0]) / 2
    return value, value - down, value + up


def ratio_interval(both: int, only_a: int, only_b: int) -> tuple[float, float] | None:
    """95 % interval of rate b / rate a from paired labels; None where a has no success.

    Bonett and Price 2006, Statistics in Medicine 25:3039 (hybrid Wilson score interval; pairs without a success carry no weight).
    """
    n, a, b = both + only_a + only_b, both + only_a, both + only_b
    if not a:
        return None
    spread = math.sqrt((only_a + only_b + 2) / ((a + 1) * (b + 1)))
    parts = sum(math.sqrt((1 - (x + 1) / (n + 2)) / (x + 1)) for x in (a, b))
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * spread / parts
    bounds = []
    for x in (a, b):
        root = z * math.sqrt(z**2 + 4 * x * (1 - x / n))
        bounds.append(((2 * x + z**2 - root) / (2 * (n + z**2)), (2 * x + z**2 + root) / (2 * (n + z**2))))
    (low_a, high_a), (low_b, high_b) = bounds
    return low_b / high_a, high_b / low_a


def bootstrap_means(values: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Means of the columns of values, shape (n, k), in each of `samples` resamples of the rows: shape (samples, k).

    The rows (prompts) are drawn once for all columns. A NaN is left out of its column's mean, in every resample anew.
    """
    values = np.asarray(values, float)
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    stream, n = np.random.default_rng(seed), len(values)
    means = []
    for start in range(0, samples, 500):
        drawn = min(500, samples - start)
        rows = stream.integers(n, size=(drawn, n)) + n * np.arange(drawn)[:, None]
        weights = np.bincount(rows.ravel(), minlength=drawn * n).reshape(drawn, n).astype(float)
        counts = weights @ known
        means.append(np.where(counts > 0, weights @ filled / np.maximum(counts, 1), np.nan))
    return np.concatenate(means)


def percentiles(means: np.ndarray, confidence: float = CONFIDENCE) -> list[tuple[float, float]]:
    """Percentile bootstrap intervals from bootstrap_means, one (low, high) per column; NaN of a column without a value."""
    bounds = np.full((2, means.shape[1]), np.nan)
    known = ~np.isnan(means).all(0)
    if known.any():
        bounds[:, known] = np.nanquantile(means[:, known], [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return list(zip(*bounds.tolist(), strict=True))


def simultaneous_confidence(*blocks: np.ndarray, samples: int = 100_000, seed: int = 1) -> float:
    """The confidence that each interval of a family needs for all of them to hold together with 95 %, by max-T.

    blocks: per axis the differences of every contrast, shape (prompts, contrasts). The largest of the standardised means is
    simulated from their correlation (Hothorn, Bretz and Westfall 2008, Biometrical Journal 50:346); contrasts that never differ are left
    out, and one prompt shows nothing. At least 0.95, at most Bonferroni's level.
    """
    if min(map(len, blocks)) < 2:
        return CONFIDENCE
    covariance = sum(np.atleast_2d(np.cov(block, rowvar=False)) / len(block) for block in blocks)
    spread = np.sqrt(np.diag(covariance))
    varying = spread > 0
    if varying.sum() < 2:
        return CONFIDENCE
    correlation = (covariance / np.outer(np.where(varying, spread, 1), np.where(varying, spread, 1)))[np.ix_(varying, varying)]
    size, vectors = np.linalg.eigh(correlation)
    draws = _normals(samples, len(size), seed) @ (vectors * np.sqrt(np.maximum(size, 0))).T
    reach = np.quantile(functools.reduce(np.maximum, np.abs(draws).T), CONFIDENCE)  # by columns: of few, max(1) is slow
    level = float(stats.norm.cdf(reach) - stats.norm.cdf(-reach))
    return min(max(level, CONFIDENCE), 1 - (1 - CONFIDENCE) / len(spread))


@functools.lru_cache(maxsize=1)
def _normals(samples: int, size: int, seed: int) -> np.ndarray:
    """Standard normal numbers, the same for every metric of a family."""
    return np.random.default_rng(seed).standard_normal((samples, size))


def mcnemar_power(n: int, discordance: float, difference: float, alpha: float = 0.05) -> float:
    """Probability that McNemar's exact test rejects, for n pairs of which a share `discordance` differs and the rates by `difference`.

    Enumerated over the number of discordant pairs and their split. Needs |difference| <= discordance <= 1.
    """
    share = (discordance + difference) / 2 / discordance
    rejected = _rejected(1 << n.bit_length(), share, alpha)[:n]  # of few sizes, for a search asks for many n
    return float(stats.binom.pmf(np.arange(1, n + 1), n, discordance) @ rejected)


@functools.lru_cache(maxsize=8)
def _rejected(size: int, share: float, alpha: float) -> np.ndarray:
    """For 1 to `size` discordant pairs, of which each falls on one side with probability `share`: how probably the test rejects."""
    counts = np.arange(1, size + 1)
    critical = _critical(size, alpha)
    return stats.binom.cdf(critical, counts, share) + stats.binom.sf(counts - critical - 1, counts, share)


@functools.cache
def _critical(size: int, alpha: float) -> np.ndarray:
    """For counts 1 to `size` the largest k with 2 P(X <= k) <= alpha for X ~ Binomial(count, 1/2); -1 where there is none."""
    counts = np.arange(1, size + 1)
    k = stats.binom.ppf(alpha / 2, counts, 0.5)
    return np.where(2 * stats.binom.cdf(k, counts, 0.5) <= alpha, k, k - 1)


def detectable_difference(n: int, discordance: float, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """The smallest difference of paired rates that McNemar's exact test finds with this power; None where even the largest is not found."""
    if not discordance or mcnemar_power(n, discordance, discordance, alpha) < power:
        return None
    return float(optimize.brentq(lambda difference: mcnemar_power(n, discordance, difference, alpha) - power, 0.0, discordance, xtol=1e-7))


def pairs_needed(difference: float, discordance: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """The number of pairs from which on McNemar's exact test finds this difference with this power.

    The power is no smooth function of n: it is searched around the normal approximation (Connor 1987, Biometrics 43:207), which stands,
    with the exact test's correction for continuity, beyond EXACT_PAIRS.
    """
    z = stats.norm.ppf(1 - alpha / 2), stats.norm.ppf(power)
    guess = (z[0] * math.sqrt(discordance) + z[1] * math.sqrt(discordance - difference**2)) ** 2 / difference**2
    if guess > EXACT_PAIRS:
        return math.ceil(guess / 4 * (1 + math.sqrt(1 + 4 / (guess * difference))) ** 2)
    powers = _powers(math.ceil(guess * 1.3) + 29, discordance, difference, alpha)
    return int(np.flatnonzero(powers < power)[-1]) + 1


def _powers(most: int, discordance: float, difference: float, alpha: float) -> np.ndarray:
    """mcnemar_power for 0 to `most` pairs: the distribution of the discordant ones is carried from each number of pairs to the next."""
    rejected = _rejected(1 << most.bit_length(), (discordance + difference) / 2 / discordance, alpha)
    mass, powers = np.zeros(most + 1), np.zeros(most + 1)
    mass[0] = 1.0
    for n in range(1, most + 1):
        moved = discordance * mass[:n]
        mass[:n] -= moved
        mass[1 : n + 1] += moved
        powers[n] = mass[1 : n + 1] @ rejected[:n]
    return powers
