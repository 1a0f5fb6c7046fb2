"""Intervals and tests for rates on few, paired prompts. Rates are proportions here; tables hold percentages."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion. Newcombe 1998, Statistics in Medicine 17:857, method 3."""
    return tuple(map(float, proportion_confint(successes, n, 1 - confidence, method="wilson")))


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


def sign_flip(*axes: tuple[int, int, int]) -> float:
    """Two-sided exact p that the mean over axes of rate b - rate a is 0, given each axis's (only a, only b, n).

    Conditional sign-flip: under the null each discordant pair favours either side with probability 1/2, so the sum over axes of
    (only b - only a) / n has a known distribution, enumerated here. With equal n it is McNemar's test on the pooled pairs.
    """
    scale = math.lcm(*(n for _, _, n in axes))
    masses = {0: 1.0}
    for only_a, only_b, n in axes:
        count = only_a + only_b
        steps = [((2 * k - count) * scale // n, float(stats.binom.pmf(k, count, 0.5))) for k in range(count + 1)]
        joined: dict[int, float] = {}
        for total, mass in masses.items():
            for step, share in steps:
                joined[total + step] = joined.get(total + step, 0.0) + mass * share
        masses = joined
    observed = abs(sum((only_b - only_a) * scale // n for only_a, only_b, n in axes))
    return min(1.0, sum(mass for total, mass in masses.items() if abs(total) >= observed))


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


def bootstrap_mean(values: Sequence[float], samples: int, seed: int) -> tuple[float, float]:
    """Percentile bootstrap interval (95 %) of a mean, from `samples` resamples of one stream."""
    values = np.asarray(values, float)
    stream = np.random.default_rng(seed)
    means = np.concatenate([values[stream.integers(len(values), size=(chunk, len(values)))].mean(1) for chunk in _chunks(samples)])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _chunks(samples: int, size: int = 1000) -> list[int]:
    return [min(size, samples - start) for start in range(0, samples, size)]


def crossed_mean(*blocks: np.ndarray) -> tuple[float, float, float]:
    """(mean, variance of the mean, degrees of freedom) for new prompts and new seeds.

    Each block holds values (prompts x seeds); blocks have prompts of their own and share the seeds, the mean is over the blocks' means.
    Two-way random-effects analysis of variance; Satterthwaite 1946, Biometrics Bulletin 2:110, for the degrees of freedom.
    """
    by_seed = np.mean([block.mean(0) for block in blocks], axis=0)
    seed_term = (by_seed.var(ddof=1) / len(by_seed), len(by_seed) - 1)
    prompt_terms, rest_terms = [], []
    for block in blocks:
        prompts, seeds = block.shape
        by_prompt = block.mean(1)
        rest = block - by_prompt[:, None] - block.mean(0) + block.mean()
        free = (prompts - 1) * (seeds - 1)
        prompt_terms.append((by_prompt.var(ddof=1) / prompts / len(blocks) ** 2, prompts - 1))
        rest_terms.append((-(rest**2).sum() / free / block.size / len(blocks) ** 2, free))
    terms = [seed_term, *prompt_terms, *rest_terms]
    variance = max(sum(term for term, _ in terms), sum(term for term, _ in prompt_terms), seed_term[0])
    weight = sum(term**2 / free for term, free in terms)
    return float(by_seed.mean()), float(variance), float(variance**2 / weight) if weight else 1.0


def t_interval(mean: float, variance: float, freedom: float) -> tuple[float, float]:
    """95 % interval of a mean by Student's t."""
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, max(freedom, 1.0))) * math.sqrt(variance)
    return mean - reach, mean + reach
