"""Whose rewards spread more: the difference of two standard deviations."""

import numpy as np
from scipy.stats import pearsonr

from hh_align.analysis.contrasts import t_test
from hh_align.analysis.effective import Mean, are_single, freedom_of, t_interval, too_few
from hh_align.analysis.statistics import bootstrap_means, percentiles


def compare_spreads(a: np.ndarray, b: np.ndarray, clusters: np.ndarray, bootstrap: dict) -> dict:
    """Standard deviation of b minus that of a, rewards of shape (prompts, seeds), mean over the seeds; percentile bootstrap over prompts.

    p by Pitman's and Morgan's test (Biometrika 31:9 and 31:13, 1939) for one seed, the correlation of sum and difference, null where
    these do not vary; for several the share of resamples on the other side of 0, twice (Davison and Hinkley 1997, section 4.4).
    Of prompts in clusters (numbers, shape (prompts,)) Student's t, and nothing of fewer than five.
    """
    difference = float((b.std(0, ddof=1) - a.std(0, ddof=1)).mean()) if len(a) > 1 else 0.0
    if not are_single(clusters):
        return {"difference": difference, **over_clusters(a, b, clusters, difference)}
    both = np.hstack([b, a])
    means = bootstrap_means(np.hstack([both, both**2]), **bootstrap)
    half = both.shape[1]
    spreads = np.sqrt(np.maximum(means[:, half:] - means[:, :half] ** 2, 0) * len(a) / max(len(a) - 1, 1))
    resampled = (spreads[:, : half // 2] - spreads[:, half // 2 :]).mean(1)
    low, high = percentiles(resampled[:, None])[0]
    if a.shape[1] > 1:
        beyond = min((resampled <= 0).sum(), (resampled >= 0).sum())
        p, test = min(1.0, 2 * float(beyond + 1) / (len(resampled) + 1)), "percentile bootstrap"
    else:
        varies = len(a) > 2 and (a - b).any() and (a - b).std() > 0 and (a + b).std() > 0
        p, test = float(pearsonr((a + b)[:, 0], (b - a)[:, 0]).pvalue) if varies else None, "Pitman-Morgan, percentile bootstrap"
    return {"difference": difference, "ci_low": low, "ci_high": high, "p": p, "test": test}


def over_clusters(a: np.ndarray, b: np.ndarray, clusters: np.ndarray, difference: float) -> dict:
    """Interval, p and test of a difference of spreads over clusters: jackknife, Student's t with their effective number less 1 (`freedom_of`).

    Of the difference without a cluster each; at least the variance of the jackknife over prompts.
    """
    test, unknown = "jackknife over clusters, t", too_few(clusters)
    variance = 0.0 if unknown else max(jackknife(a, b, groups) for groups in (clusters, np.arange(len(a))))
    if not variance:
        return {"ci_low": None, "ci_high": None, "p": None, "test": f"{test}: too few clusters" if unknown else test}
    mean = Mean(difference, variance, freedom_of(clusters))
    low, high = t_interval(mean)
    return {"ci_low": low, "ci_high": high, "p": t_test(mean), "test": test}


def jackknife(a: np.ndarray, b: np.ndarray, clusters: np.ndarray) -> float:
    """Variance of the difference of spreads, without a cluster each (Efron and Tibshirani 1993, An Introduction to the Bootstrap, 11.5)."""
    count = int(clusters.max()) + 1

    def without(values: np.ndarray) -> np.ndarray:
        """Standard deviations without a cluster each, shape (clusters, seeds)."""
        centred = values - values.mean(0)
        moments = []
        for power in (0, 1, 2):
            sums = np.stack([np.bincount(clusters, weights=column, minlength=count) for column in (centred**power).T], axis=1)
            moments.append(sums.sum(0) - sums)
        n, first, second = moments
        return np.sqrt(np.maximum(second - first**2 / n, 0) / np.maximum(n - 1, 1))

    left = (without(b) - without(a)).mean(1)
    return float(((left - left.mean()) ** 2).sum() * (count - 1) / count)
