"""Whether the labelled responses are a random sample of the judged ones, by what the judge says of both."""

from pathlib import Path

import numpy as np
from scipy import stats

from hh_align.analysis.effective import are_single, design_effect, spread_of
from hh_align.analysis.labels import Labels
from hh_align.analysis.ratings import Rated, judged_axes
from hh_align.analysis.statistics import holm
from hh_align.core.errors import StudyError

ALPHA = 0.01
"""The chance with which labels drawn at random are refused, over all policies, seeds and axes of a study."""
MEND = (
    "Corrected by them the rates would be wrong. Label responses that are drawn at random (make annotate SAMPLE=…), or say with which chance each "
    "was drawn, in a column probability."
)


def unlike(opinions: np.ndarray, drawn: np.ndarray, chances: tuple[float, float] | None, clusters: np.ndarray) -> float:
    """p that a random sample has as many good ones by the judge's opinions, or fewer or more.

    opinions, drawn: boolean, shape (n,); chances: the smallest and the largest of the file, absent where all are alike; clusters: numbers,
    shape (n,). Of equal chances the hypergeometric test (Fisher's, two-sided); where prompts share clusters whole ones may have been drawn:
    the larger of its p and that of a normal test at the design effect of all. Chances are known of drawn responses only: then binomial tests
    that no chances between these two would draw as few, or as many, of the judge's good and of its bad ones.
    """
    n, good, labelled = len(opinions), int(opinions.sum()), int(drawn.sum())
    if good in (0, n) or labelled in (0, n):
        return 1.0
    inside = int((opinions & drawn).sum())
    effect = design_effect(opinions.astype(float), clusters)
    if chances is not None:
        low, high = chances
        tails = []
        for count, there in ((inside, good), (labelled - inside, n - good)):
            k, size = count / effect, np.ceil(there / effect)
            tails += [stats.binom.cdf(np.ceil(k), size, low), stats.binom.sf(np.floor(k) - 1, size, high)]
        return float(min(1.0, len(tails) * min(tails)))
    p = float(stats.fisher_exact([[inside, labelled - inside], [good - inside, n - labelled - good + inside]]).pvalue)
    if are_single(clusters):
        return p
    variance = spread_of(opinions.astype(float)) * (1 / labelled - 1 / n) * effect
    return max(p, float(2 * stats.norm.sf(abs(inside / labelled - good / n) / np.sqrt(variance))))


def require_random(path: Path, drawn: Labels, chances: Labels | None, rated: Rated, config: dict) -> None:
    """Raise StudyError where the judge's opinion of a policy's drawn responses is not that of a random sample of all of them.

    drawn: 1 where a response has been drawn to be labelled (a skip is drawn as well), else NaN. Holm's correction is over judges, policies,
    seeds and axes.
    """
    tested: dict[tuple, float] = {}
    known = np.concatenate(list(chances.values())) if chances else None
    bounds = None if known is None else (float(np.nanmin(known)), float(np.nanmax(known)))
    for judge in sorted(config["judges"]):
        for key, each in drawn.items():
            if key[2] in judged_axes(config["judges"][judge]) and (there := ~np.isnan(each)).any():
                opinions = rated.ratings[judge, *key]["label"].to_numpy(bool)
                tested[judge, *key] = unlike(opinions, there, bounds, rated.clusters[key[2]])
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True)) if tested else {}
    refused = [key for key, p in adjusted.items() if p < ALPHA]
    if not refused:
        return
    worst = min(refused, key=adjusted.get)
    judge, policy, seed, axis = worst
    opinions, there = rated.ratings[worst]["label"].to_numpy(bool), ~np.isnan(drawn[policy, seed, axis])
    what = "no random sample of the responses" if chances is None else "not drawn with the chances that column probability gives"
    more = f" ({len(refused)} of {len(tested)} policies, seeds and axes are like this)" if len(refused) > 1 else ""
    raise StudyError(
        f"{path}: the labelled responses of {policy}, seed {seed}, {axis} are {what}{more}: judge {judge} calls "
        f"{(opinions & there).sum()} of these {there.sum()} good, and {opinions.sum()} of all {len(opinions)} (p {adjusted[worst]:.1g}). {MEND}"
    )
