"""A rate corrected by the judge's sensitivity and specificity: the plug-in of Rogan and Gladen 1978, American Journal of Epidemiology 107:71.

It takes both from the labels of all policies together, so it holds where the judge errs alike on every policy; labels are a random sample.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from hh_align.analysis.statistics import CONFIDENCE, mover_mean

Z = float(norm.ppf((1 + CONFIDENCE) / 2))


class Errors(NamedTuple):
    """How a judge labels responses whose true label is known: of the good ones it calls `right_good` good, of the bad ones `right_bad` bad."""

    right_good: int
    good: int
    right_bad: int
    bad: int


def errors_of(opinions: list[np.ndarray], truth: list[np.ndarray]) -> Errors:
    """opinions: the judge's labels of each policy, 0 or 1; truth: the true ones, NaN where there is none; shapes (prompts,)."""
    said, true = np.concatenate(opinions).astype(bool), np.concatenate(truth)
    good, bad = true == 1, true == 0
    return Errors(int((said & good).sum()), int(good.sum()), int((~said & bad).sum()), int(bad.sum()))


def plug_in(good: int, total: int, errors: Errors) -> tuple[float, float, float] | None:
    """(rate, low, high) in percent, within 0 and 100, of `good` of `total` responses by the judge; None where its errors are not known, or it
    does no better than chance.

    rate = (share called good + specificity - 1) / (sensitivity + specificity - 1). 95 % interval: Lang and Reiczigel 2014, Preventive
    Veterinary Medicine 113:13, equations 4, 6, 7, 16 and 17, made for sensitivity and specificity known from a sample of their own.
    """
    if not errors.good or not errors.bad:
        return None
    share, sensitivity, specificity = good / total, errors.right_good / errors.good, errors.right_bad / errors.bad
    trials, reliable, clear = total + Z**2, errors.good + 2, errors.bad + 2
    middle, hit, miss = (good + Z**2 / 2) / trials, (errors.right_good + 1) / reliable, (errors.right_bad + 1) / clear
    if sensitivity + specificity <= 1 or hit + miss <= 1:
        return None
    rate, centre = (share + specificity - 1) / (sensitivity + specificity - 1), (middle + miss - 1) / (hit + miss - 1)
    of_hits, of_misses = hit * (1 - hit) / reliable, miss * (1 - miss) / clear
    spread = np.sqrt(middle * (1 - middle) / trials + centre**2 * of_hits + (1 - centre) ** 2 * of_misses) / (hit + miss - 1)
    centre += 2 * Z**2 * (centre * of_hits - (1 - centre) * of_misses)
    return tuple(float(100 * np.clip(value, 0, 1)) for value in (rate, centre - Z * spread, centre + Z * spread))


def plugged(policy: str, axes: tuple[str, ...], judged: dict, truth: dict) -> dict:
    """Columns plug_in, plug_low and plug_high of a policy's metric over these axes; null where an axis has none.

    judged, truth: (policy, axis) -> labels by the judge, and the true ones (NaN where there is none), shape (prompts,).
    """
    parts = []
    for axis in axes:
        known = [key for key in judged if key[1] == axis]
        said = judged[policy, axis]
        parts.append(plug_in(int(np.sum(said)), len(said), errors_of([judged[key] for key in known], [truth[key] for key in known])))
    names = ("plug_in", "plug_low", "plug_high")
    if None in parts:
        return dict.fromkeys(names)
    return dict(zip(names, parts[0] if len(parts) == 1 else mover_mean(*parts), strict=True))
