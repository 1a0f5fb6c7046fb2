"""What a judge and people's labels say of the policies: the corrected rates, as labelled and if what was skipped were all bad or all good."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from hh_align.analysis.labels import Labels, chances, settle, skips
from hh_align.analysis.ppi import Estimate, mean_of, over_seeds, rate
from hh_align.analysis.ratings import Rated, Ratings, judged_axes, judged_rates, seed_of
from hh_align.core.artifacts import say
from hh_align.core.axes import CAS, RATES


class Labelled(NamedTuple):
    """What people say of the responses."""

    truth: Labels
    chances: Labels | None
    """With which chance each response was drawn to be labelled; None where the labels do not say it: then all are alike."""
    skipped: Labels

    def filled(self, value: float) -> Labels:
        """The labels if everything that was skipped had this one."""
        return {key: np.where(self.skipped[key] == 1, value, labels) for key, labels in self.truth.items()}


def labelled_by(frame: pd.DataFrame, ratings: Ratings) -> Labelled:
    """Of the rows that `read_labels` gives."""
    return Labelled(settle(frame, ratings), chances(frame, ratings), skips(frame, ratings))


Estimates = dict[tuple[str, str], Estimate]
"""(policy, metric) -> the corrected rate, of those with enough labels"""


class Opinions(NamedTuple):
    """What a judge and the labels say of the policies at one seed."""

    judge: str
    seed: int
    judged: dict[tuple[str, str], np.ndarray]
    """(policy, axis) -> the judge's labels, boolean, shape (prompts,)"""
    labels: dict[tuple[str, str], np.ndarray] | None
    """(policy, axis) -> true labels, NaN where there is none, shape (prompts,); None where they were drawn with known chances"""
    truth: dict[tuple[str, str], float]
    """(policy, axis) -> the rate of the labels alone, in percent"""
    sizes: dict[tuple[str, str], tuple[int, int, int]]
    """(policy, axis) -> prompts, those labelled, and those skipped"""
    estimates: dict[str, Estimates]
    """as labelled; bad and good: if everything that was skipped were so"""
    clusters: dict[str, np.ndarray]


AS_LABELLED, ALL_BAD, ALL_GOOD = "as labelled", "bad", "good"
Group = list[Opinions]
"""One judge's, at one seed or at all of them."""


def opinions_of(labelled: Labelled, rated: Rated, config: dict, judge: str, seed: int) -> Opinions:
    """Policies with fewer than 2 labels on an axis are left out of the estimates and said."""
    axes = judged_axes(config["judges"][judge])
    at = {policy: seed_of(config, policy, seed) for policy in config["order"]}
    judged = {(policy, axis): rated.ratings[judge, policy, at[policy], axis]["label"].to_numpy(bool) for policy in at for axis in axes}
    truth, sizes, estimates = {}, {}, {}
    for fill, labels in ((AS_LABELLED, labelled.truth), (ALL_BAD, labelled.filled(0.0)), (ALL_GOOD, labelled.filled(1.0))):
        estimates[fill] = own = {}
        for (policy, axis), opinions in judged.items():
            key = (policy, at[policy], axis)
            known, chances = ~np.isnan(labels[key]), labelled.chances and labelled.chances[key]
            if fill == AS_LABELLED:
                weights = None if chances is None else 1 / chances[known]
                truth[policy, axis] = 100 * float(np.average(labels[key][known], weights=weights)) if known.any() else np.nan
                sizes[policy, axis] = len(known), int(known.sum()), int((labelled.skipped[key] == 1).sum())
            if sizes[policy, axis][1] >= 2:
                own[policy, RATES[axis]] = rate(axis, opinions.astype(float), labels[key], chances)
            elif fill == AS_LABELLED:
                say(f"{policy}, seed {seed}, {axis}: fewer than 2 labels, nothing is corrected")
        for policy in config["order"] if CAS in judged_rates(config["judges"][judge]) else ():
            if all((policy, metric) in own for metric in RATES.values()):
                own[policy, CAS] = mean_of(*(own[policy, metric] for metric in RATES.values()))
    known = None if labelled.chances else {(policy, axis): labelled.truth[policy, at[policy], axis] for policy, axis in judged}
    return Opinions(judge, seed, judged, known, truth, sizes, estimates, rated.clusters)


def joint(estimates: list[Estimate]) -> Estimate:
    """Over the seeds where there are several."""
    return estimates[0] if len(estimates) == 1 else over_seeds(estimates)


def labels_level(policy: str, axes: tuple[str, ...], group: Group) -> float:
    return float(np.mean([each.truth[policy, axis] for each in group for axis in axes]))


def method(group: Group) -> str:
    parts = [estimate.weights for each in group for estimate in each.estimates[AS_LABELLED].values()]
    unequal = any(np.ptp(weights[weights > 0]) > 0 for part in parts for _, weights in part)
    return "prediction-powered" + (", labels weighed by 1 / probability" if unequal else "")


def sizes(group: Group, who: list[tuple[str, str]]) -> dict:
    """Prompts, the labelled and the skipped of these (policy, axis)."""
    counts = np.sum([each.sizes[key] for each in group for key in who], axis=0)
    return dict(zip(("n", "labelled", "skipped"), (int(counts[0]) // len(group), *map(int, counts[1:])), strict=True))
