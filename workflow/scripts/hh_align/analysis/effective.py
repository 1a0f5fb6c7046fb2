"""What a mean over prompts is worth where prompts come in clusters, or are crossed with seeds: its variance, degrees of freedom, effective number."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from hh_align.analysis.statistics import CONFIDENCE, wilson

FEWEST_CLUSTERS = 5
"""With fewer clusters nothing is said of how far a mean may be off."""


class Mean(NamedTuple):
    """A mean, its variance and the degrees of freedom of that variance."""

    value: float
    variance: float
    freedom: float


def are_single(clusters: np.ndarray) -> bool:
    """Whether every prompt is a cluster of its own (clusters are numbered from 0)."""
    return int(clusters.max()) + 1 == len(clusters)


def too_few(clusters: np.ndarray) -> bool:
    """Whether prompts share clusters, and these are fewer than five."""
    return not are_single(clusters) and int(clusters.max()) + 1 < FEWEST_CLUSTERS


def freedom_of(clusters: np.ndarray) -> float:
    """Degrees of freedom of a mean over clusters: their effective number, (sum of sizes)² / sum of sizes², less 1; at least 1.

    Carter, Schnepel and Steigerwald 2017, Review of Economics and Statistics 99:698, at its largest intra-cluster correlation. Clusters of
    one size count each.
    """
    sizes = np.bincount(clusters)
    return max(1.0, float(sizes.sum() ** 2 / (sizes**2).sum()) - 1)


def spread_of(values: np.ndarray) -> float:
    """Variance of values, shape (n,): 0 of equal ones, whatever their mean is rounded to, and of a single one."""
    return float(values.var(ddof=1)) if len(values) > 1 and np.ptp(values) > 1e-12 * np.abs(values).max() else 0.0


def variance_of_mean(values: np.ndarray, clusters: np.ndarray) -> float:
    """Variance of the mean of values, shape (n,): by the jackknife over clusters, at least that of independent values.

    Of the mean without a cluster each: MacKinnon, Nielsen and Webb 2023, Journal of Applied Econometrics 38:671, CV3.
    """
    values = np.asarray(values, float)
    independent = spread_of(values) / len(values)
    if are_single(clusters) or clusters.max() == 0:
        return independent
    sizes = np.bincount(clusters)
    if not independent:
        return 0.0
    without = np.bincount(clusters, weights=values - values.mean()) / (len(values) - sizes)
    return max(independent, float((without**2).sum()) * (len(sizes) - 1) / len(sizes))


def design_effect(values: Sequence[float], clusters: np.ndarray) -> float:
    """How many times the variance of a mean of clustered values is that of independent ones, at least 1 (Kish 1965, Survey Sampling, 5.4).

    1 where every cluster has one member. Equal values do not show how alike a cluster's members are: each cluster counts once then.
    """
    values = np.asarray(values, float)
    if are_single(clusters):
        return 1.0
    independent = spread_of(values) / len(values)
    return variance_of_mean(values, clusters) / independent if independent else len(values) / (int(clusters.max()) + 1)


def effective_number(values: Sequence[float], clusters: np.ndarray, confidence: float = CONFIDENCE) -> float:
    """The number of independent prompts that say as much as these clustered ones; that of the prompts where each is a cluster of its own.

    n / design effect, times (z / t)² for the degrees of freedom: Korn and Graubard 1998, Survey Methodology 24:193.
    """
    n = len(values)
    return float(n) if are_single(clusters) else n / design_effect(values, clusters) * shrinkage(freedom_of(clusters), confidence)


def shrinkage(freedom: float, confidence: float = CONFIDENCE) -> float:
    """(z / t)², at most 1."""
    share = (1 + confidence) / 2
    return float((ndtri(share) / stdtrit(max(freedom, 1.0), share)) ** 2)


def prompt_terms(blocks: Sequence[np.ndarray], clusters: Sequence[np.ndarray] | None) -> list[tuple[float, float]]:
    """(variance, degrees of freedom) that the prompts of each block contribute to the mean over the blocks' means."""
    groups = [np.arange(len(block)) for block in blocks] if clusters is None else clusters
    means = [block.mean(1) for block in blocks]
    return [(variance_of_mean(mean, each) / len(blocks) ** 2, freedom_of(each)) for mean, each in zip(means, groups, strict=True)]


def satterthwaite(terms: Sequence[tuple[float, float]], variance: float) -> float:
    """Degrees of freedom of a sum of variances; 1 where there is none. Satterthwaite 1946, Biometrics Bulletin 2:110."""
    weight = sum(term**2 / free for term, free in terms)
    return max(1.0, variance**2 / weight) if weight else 1.0


def prompt_mean(*blocks: np.ndarray, clusters: Sequence[np.ndarray] | None = None) -> Mean:
    """The mean over the means of blocks (prompts x seeds), for new prompts and these checkpoints; clusters of the prompts, one array per block."""
    terms = prompt_terms(blocks, clusters)
    variance = sum(term for term, _ in terms)
    return Mean(float(np.mean([block.mean() for block in blocks])), variance, satterthwaite(terms, variance))


def crossed_mean(*blocks: np.ndarray, clusters: Sequence[np.ndarray] | None = None) -> Mean:
    """The mean over the means of blocks (prompts x seeds), for new prompts and new seeds; blocks have prompts of their own and share the seeds.

    The variance between prompt means plus that between seed means, which counts what neither explains twice and so errs to the safe side
    (Davezies, D'Haultfœuille and Guyonvarch 2021, Annals of Statistics 49:845). Few seeds may be alike by chance: for the degrees of
    freedom the seeds' part is at least what the rest alone would make of it.
    """
    seeds = blocks[0].shape[1]
    by_seed = np.mean([block.mean(0) for block in blocks], axis=0)
    seed_term = spread_of(by_seed) / seeds
    terms = prompt_terms(blocks, clusters)
    variance = sum(term for term, _ in terms) + seed_term
    by_chance = sum(rest_variance(block) / block.size for block in blocks) / len(blocks) ** 2
    return Mean(float(by_seed.mean()), variance, satterthwaite([*terms, (max(seed_term, by_chance), seeds - 1)], variance))


def rest_variance(block: np.ndarray) -> float:
    """Mean square of what neither prompt nor seed explains, of a block (prompts x seeds)."""
    prompts, seeds = block.shape
    rest = block - block.mean(1)[:, None] - block.mean(0) + block.mean()
    return float((rest**2).sum()) / ((prompts - 1) * (seeds - 1)) if prompts > 1 and seeds > 1 else 0.0


def t_interval(mean: Mean, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of a mean by Student's t."""
    reach = float(stdtrit(max(mean.freedom, 1.0), (1 + confidence) / 2)) * math.sqrt(mean.variance)
    return mean.value - reach, mean.value + reach


def score_interval(mean: Mean, prompts: float, answers: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval of a rate (proportions) over prompts and seeds, at the number of answers that its variance is worth.

    Dean and Pagano 2015, Journal of Survey Statistics and Methodology 3:484. At most `answers`, all there are; where all are equal
    their variance says nothing, and they count as `prompts`, the independent ones.
    """
    value = mean.value
    effective = min(value * (1 - value) / mean.variance, answers) * shrinkage(mean.freedom, confidence) if mean.variance else prompts
    return wilson(value * effective, effective, confidence)
