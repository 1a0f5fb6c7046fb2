"""Prediction-powered inference: a rate from few labels and many opinions of a judge.

Angelopoulos et al. 2023, Science 382:669; the weight of the opinions as in PPI++ (arXiv 2311.01453, section 6). The labelled
responses are a simple random sample of the judged ones.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hh_align.analysis.statistics import wilson


@dataclass
class Estimate:
    """A rate or a difference of rates (proportions): its value, the influence of each prompt on it per axis, and its least variance.

    influence: axis -> shape (prompts,), so that estimates on the same prompts pair; extra: variance that the labels are too few to show;
    labelled: the smallest number of labels behind a part.
    """

    value: float
    influence: dict[str, np.ndarray]
    extra: float
    labelled: int

    def minus(self, other: "Estimate") -> "Estimate":
        """The paired difference of two estimates on the same prompts; its variance is at least that of 2 more prompts of 4 that differ."""
        influence = {axis: values - other.influence[axis] for axis, values in self.influence.items()}
        labelled = min(self.labelled, other.labelled)
        seen = sum(float((values**2).sum()) / len(values) ** 2 for values in influence.values())
        least = 2 / (labelled + 4) / labelled / len(influence)
        return Estimate(self.value - other.value, influence, max(self.extra + other.extra, least - seen), labelled)

    def variance(self, clusters: dict[str, np.ndarray]) -> float:
        """Variance of the value: influences summed over the prompts of a cluster, axes independent."""
        total = self.extra
        for axis, values in self.influence.items():
            sums = np.bincount(clusters[axis], weights=values)
            total += float((sums**2).sum()) / len(values) ** 2 * self.labelled / (self.labelled - 1)
        return total

    def interval(self, clusters: dict[str, np.ndarray], confidence: float = 0.95) -> tuple[float, float]:
        """Student's t with labelled - 1 degrees of freedom."""
        reach = float(stats.t.ppf((1 + confidence) / 2, self.labelled - 1)) * math.sqrt(self.variance(clusters))
        return self.value - reach, self.value + reach

    def p(self, clusters: dict[str, np.ndarray]) -> float:
        """Two-sided p that the value is 0."""
        return float(2 * stats.t.sf(abs(self.value) / math.sqrt(self.variance(clusters)), self.labelled - 1))


def rate(axis: str, opinions: np.ndarray, labels: np.ndarray) -> Estimate:
    """The rate of good responses on one axis.

    opinions: the judge's labels of all prompts, 0 or 1, shape (n,); labels: the true ones, NaN where there is none; at least 2.
    theta = w mean(opinions) + mean over the labelled of (label - w opinion), with w = cov(label, opinion) / var(opinion) within 0 and 1.
    Where all is labelled this is the labels' own rate. The variance is at least that of 2 errors among 4 more labels (Agresti and
    Coull 1998, American Statistician 52:119): few labels without an error are no certainty.
    """
    known = ~np.isnan(labels)
    n, total = int(known.sum()), len(labels)
    label, opinion = labels[known], opinions[known].astype(float)
    spread = opinion.var()
    weight = min(max(float(((label - label.mean()) * (opinion - opinion.mean())).mean()) / spread, 0.0), 1.0) if spread else 0.0
    rest = label - weight * opinion
    value = float(weight * opinions.mean() + rest.mean())
    influence = weight * (opinions - opinions.mean())
    influence[known] += total / n * (rest - rest.mean())
    share = 2 / (n + 4)
    least = share * (1 - share)
    return Estimate(value, {axis: influence}, max(0.0, least - float(rest.var())) / n, n)


def score_interval(estimate: Estimate, clusters: dict[str, np.ndarray]) -> tuple[float, float]:
    """95 % interval of a rate: Wilson's for as many independent labels as would give the estimate's variance.

    Close to 0 and 1, where Student's t covers too little, it stays within them.
    """
    value = min(max(estimate.value, 0.0), 1.0)
    share = 2 / (estimate.labelled + 4)
    effective = max(value * (1 - value), share * (1 - share)) / estimate.variance(clusters)
    return wilson(value * effective, effective)


def mean_of(first: Estimate, second: Estimate) -> Estimate:
    """The mean of two estimates on different axes (CAS)."""
    influence = {axis: values / 2 for part in (first, second) for axis, values in part.influence.items()}
    return Estimate((first.value + second.value) / 2, influence, (first.extra + second.extra) / 4, min(first.labelled, second.labelled))
