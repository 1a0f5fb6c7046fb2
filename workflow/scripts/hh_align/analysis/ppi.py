"""Prediction-powered inference: a rate from few labels and many opinions of a judge.

Angelopoulos et al. 2023, Science 382:669; the weight of the opinions as in PPI++ (arXiv 2311.01453, section 6). The labelled
responses are a random sample of the judged ones: each as likely as any other, or each with a known chance, by whose inverse it counts then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hh_align.analysis.effective import rest_variance, satterthwaite, shrinkage, spread_of, too_few
from hh_align.analysis.statistics import wilson

Clusters = dict[str, np.ndarray]
"""axis -> the number of each prompt's cluster"""


def kish(weights: np.ndarray) -> float:
    """How many equal weights say as much as these: (sum)² / sum of squares (Kish 1965, Survey Sampling, 11.7)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


@dataclass
class Estimate:
    """A rate or a difference of rates (proportions): its value, the influence of each prompt on it per axis, and its least variance.

    influence: axis -> shape (prompts,), so that estimates on the same prompts pair; extra: variance that the labels are too few to show;
    weights: of each of its parts the axis and what each prompt's label counts for, 0 where there is none, shape (prompts,); seeds: the
    variance that the choice of seeds adds, what it counts as for the degrees of freedom, and these.
    """

    value: float
    influence: dict[str, np.ndarray]
    extra: float
    weights: list[tuple[str, np.ndarray]]
    seeds: tuple[float, float, int] = (0.0, 0.0, 0)

    @property
    def labelled(self) -> float:
        """The smallest number of labels behind a part, of labels with unequal chances the number that says as much."""
        return min(kish(weights) for _, weights in self.weights)

    def clustered(self, clusters: Clusters) -> float:
        """The same number of labels in clusters: of one cluster they count as one (Carter, Schnepel and Steigerwald 2017)."""
        return min(kish(np.bincount(clusters[axis], weights=weights)) for axis, weights in self.weights)

    def few_clusters(self, clusters: Clusters) -> bool:
        """Whether the labels of a part share clusters, and these are fewer than five."""
        return any(too_few(np.unique(clusters[axis][weights > 0], return_inverse=True)[1]) for axis, weights in self.weights)

    def minus(self, other: "Estimate") -> "Estimate":
        """The paired difference of two estimates on the same prompts; its variance is at least that of 2 more prompts of 4 that differ."""
        influence = {axis: values - other.influence[axis] for axis, values in self.influence.items()}
        labelled = min(self.labelled, other.labelled)
        seen = sum(float((values**2).sum()) / len(values) ** 2 for values in influence.values())
        least = 2 / (labelled + 4) / labelled / len(influence)
        extra = max(self.extra + other.extra, least - seen)
        return Estimate(self.value - other.value, influence, extra, [*self.weights, *other.weights])

    def variance(self, clusters: Clusters) -> float:
        """Variance of the value: influences summed over the prompts of a cluster, at least that of single ones; axes independent."""
        labelled = max(self.clustered(clusters), 2.0)
        total = self.extra * max(1.0, self.labelled / labelled) + self.seeds[0]
        for axis, values in self.influence.items():
            sums = np.bincount(clusters[axis], weights=values)
            total += max(float((sums**2).sum()), float((values**2).sum())) / len(values) ** 2 * labelled / (labelled - 1)
        return total

    def freedom(self, clusters: Clusters) -> float:
        """Degrees of freedom of the variance: labels, or their clusters, less 1; with those of the seeds by Satterthwaite."""
        own, (between, counted, free) = max(self.clustered(clusters) - 1, 1.0), self.seeds
        variance = self.variance(clusters)
        return satterthwaite([(variance - between, own), (counted, free)], variance) if free else own

    def interval(self, clusters: Clusters, confidence: float = 0.95) -> tuple[float, float]:
        """Student's t."""
        reach = float(stats.t.ppf((1 + confidence) / 2, self.freedom(clusters))) * math.sqrt(self.variance(clusters))
        return self.value - reach, self.value + reach

    def p(self, clusters: Clusters) -> float:
        """Two-sided p that the value is 0."""
        return float(2 * stats.t.sf(abs(self.value) / math.sqrt(self.variance(clusters)), self.freedom(clusters)))


def rate(axis: str, opinions: np.ndarray, labels: np.ndarray, chances: np.ndarray | None = None) -> Estimate:
    """The rate of good responses on one axis.

    opinions: the judge's labels of all prompts, 0 or 1, shape (n,); labels: the true ones, NaN where there is none; at least 2; chances:
    with which each labelled one was drawn, absent where all are alike.
    theta = w mean(opinions) + mean over the labelled of (label - w opinion), with w = cov(label, opinion) / var(opinion) within 0 and 1.
    Means over the labelled, and w, weigh each by 1 / chance (Hájek; Särndal, Swensson and Wretman 1992, Model Assisted Survey Sampling, 5.7
    and 6.3; Zrnic and Candès 2024, arXiv 2403.03208, for chances that a model chooses).
    Where all is labelled this is the labels' own rate. The variance is at least that of 2 errors among 4 more labels (Agresti and
    Coull 1998, American Statistician 52:119): few labels without an error are no certainty.
    """
    known = ~np.isnan(labels)
    weights = np.zeros(len(labels))
    weights[known] = 1.0 if chances is None else 1 / chances[known]

    def mean(values: np.ndarray) -> float:
        return float(np.average(values, weights=weights[known]))

    label, opinion = labels[known], opinions[known].astype(float)
    apart = opinion - mean(opinion)
    spread = mean(apart**2)
    weight = min(max(mean((label - mean(label)) * apart) / spread, 0.0), 1.0) if spread else 0.0
    rest = label - weight * opinion
    influence = weight * (opinions - opinions.mean())
    influence[known] += len(labels) * weights[known] / weights.sum() * (rest - mean(rest))
    n = kish(weights)
    share = 2 / (n + 4)
    extra = max(0.0, share * (1 - share) - mean((rest - mean(rest)) ** 2)) / n
    if chances is not None:
        extra = max(extra, least_by_opinion(opinions, weights) - float((influence**2).sum()) / len(labels) ** 2)
    return Estimate(float(weight * opinions.mean()) + mean(rest), {axis: influence}, extra, [(axis, weights)])


def least_by_opinion(opinions: np.ndarray, weights: np.ndarray) -> float:
    """The least variance of a rate whose labels were drawn with unequal chances: of what the judge calls good, or bad, few labels may have been
    drawn, or none. Of each of the two 2 errors among 4 more labels, in its share of all."""
    total = 0.0
    for alike in (opinions == 0, opinions == 1):
        n = kish(weights[alike]) if weights[alike].any() else 0.0
        share = 2 / (n + 4)
        total += float(alike.mean()) ** 2 * share * (1 - share) / max(n, 1.0)
    return total


def score_interval(estimate: Estimate, clusters: Clusters) -> tuple[float, float]:
    """95 % interval of a rate: Wilson's for as many independent labels as would give the estimate's variance.

    Close to 0 and 1, where Student's t covers too little, it stays within them. Labels in clusters, with unequal chances or over seeds count
    for less, by their degrees of freedom (Korn and Graubard 1998, Survey Methodology 24:193).
    """
    value = min(max(estimate.value, 0.0), 1.0)
    share = 2 / (estimate.labelled + 4)
    effective = max(value * (1 - value), share * (1 - share)) / estimate.variance(clusters)
    counts = min(int((weights > 0).sum()) for _, weights in estimate.weights)
    if estimate.freedom(clusters) < counts - 1.000001:
        effective *= shrinkage(estimate.freedom(clusters))
    return wilson(value * effective, effective)


def mean_of(first: Estimate, second: Estimate) -> Estimate:
    """The mean of two estimates on different axes (CAS)."""
    influence = {axis: values / 2 for part in (first, second) for axis, values in part.influence.items()}
    return Estimate((first.value + second.value) / 2, influence, (first.extra + second.extra) / 4, [*first.weights, *second.weights])


def over_seeds(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of one estimate at each of several seeds, for new prompts and new seeds, as `effective.crossed_mean` has it."""
    count, values = len(estimates), np.array([estimate.value for estimate in estimates])
    blocks = {axis: np.column_stack([estimate.influence[axis] for estimate in estimates]) for axis in estimates[0].influence}
    between = spread_of(values) / count
    by_chance = sum(rest_variance(block) / block.size for block in blocks.values())
    return Estimate(
        float(values.mean()),
        {axis: block.mean(1) for axis, block in blocks.items()},
        float(np.mean([estimate.extra for estimate in estimates])),
        [part for estimate in estimates for part in estimate.weights],
        (between, max(between, by_chance), count - 1),
    )
