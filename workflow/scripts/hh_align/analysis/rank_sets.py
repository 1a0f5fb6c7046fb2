"""Which ranks policies may have, and which could be first, once noise is paid for: the confidence sets of ranks.

Mogstad, Romano, Shaikh and Wilhelm 2024, Review of Economic Studies 91:476: a policy ranks below those that are surely above it, by
intervals of all pairs' differences that hold at once.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from hh_align.analysis.contrasts import flips_alike
from hh_align.analysis.effective import crossed_mean, prompt_mean, t_interval, too_few
from hh_align.analysis.statistics import CONFIDENCE, bootstrap_means

SAMPLES = 1000
"""Resamples of the joint level; many pairs of policies at many thresholds make each of them large."""


class RankSet(NamedTuple):
    """Ranks from `low` (best) to `high`, of one policy under one rule of labels."""

    low: int
    high: int


def rank_sets(labels: Sequence[np.ndarray], clusters: np.ndarray, seed: int = 1) -> list[list[RankSet]]:
    """For each rule of labels (a threshold) the rank set of every policy; all sets hold together with 95 %.

    labels: per policy 0 or 1, shape (rules, prompts, seeds); a policy of one checkpoint has one seed. For new prompts, and new seeds
    where there are several. Of fewer than five clusters, or one prompt, every rank is possible.
    """
    policies, surely = len(labels), pairs_above(labels, clusters, seed)
    return [[RankSet(1 + int(above[:, one].sum()), policies - int(above[one].sum())) for one in range(policies)] for above in surely]


def pairs_above(labels: Sequence[np.ndarray], clusters: np.ndarray, seed: int = 1, confidence: float = CONFIDENCE) -> np.ndarray:
    """[rule, a, b]: whether policy a is surely above policy b; all of it holds together with this confidence. Labels as rank_sets takes them."""
    rules, policies = len(labels[0]), len(labels)
    surely = np.zeros((rules, policies, policies), bool)
    pairs = list(combinations(range(policies), 2))
    if pairs and not too_few(clusters) and len(clusters) > 1:
        differences = {pair: labels[pair[0]] - labels[pair[1]] for pair in pairs}
        level = joint_confidence(np.concatenate([block.mean(2) for block in differences.values()]).T, clusters, seed, confidence)
        for (a, b), blocks in differences.items():
            for rule, block in enumerate(blocks):
                sign = surely_above(block, clusters, level)
                surely[rule, a, b], surely[rule, b, a] = sign > 0, sign < 0
    return surely


def surely_above(block: np.ndarray, clusters: np.ndarray, confidence: float) -> int:
    """1 where the interval of a difference (prompts x seeds) lies above 0, -1 where below, else 0: by Student's t, or without spread exactly."""
    mean = (crossed_mean if block.shape[1] > 1 else prompt_mean)(block, clusters=[clusters])
    if not mean.variance:
        return int(np.sign(mean.value)) if flips_alike(mean.value, [clusters]) < 1 - confidence else 0
    low, high = t_interval(mean, confidence)
    return int(low > 0) - int(high < 0)


def joint_confidence(columns: np.ndarray, clusters: np.ndarray, seed: int, together: float = CONFIDENCE) -> float:
    """The confidence that each of many intervals needs for all to hold together with 95 %, or `together`; columns: differences, (prompts, k).

    Clusters of prompts are drawn again, and the largest of the standardised deviations is what the intervals must reach.
    """
    sums = np.column_stack([np.bincount(clusters, weights=column) for column in columns.T])
    deviations = bootstrap_means(sums, SAMPLES, seed) - sums.mean(0)
    spread = deviations.std(0)
    if not (spread > 0).any():
        return together
    reach = np.quantile(np.abs(deviations[:, spread > 0] / spread[spread > 0]).max(1), together)
    return max(together, float(norm.cdf(reach) - norm.cdf(-reach)))
