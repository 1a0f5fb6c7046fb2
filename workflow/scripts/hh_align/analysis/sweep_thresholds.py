"""The policies' rates at every threshold that the judge's labels could have used: who leads where, and where the order flips."""

import math
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import rankdata

from hh_align.analysis.ratings import Ratings, is_good, judged_axes, read_ratings, seeds_of
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.axes import THRESHOLD_KEYS
from hh_align.core.command import parse, run

THRESHOLDS = pa.schema(
    [
        ("judge", pa.string()),
        ("axis", pa.string()),
        ("threshold", pa.float64()),
        ("policy", pa.string()),
        ("rate", pa.float64()),
        ("rank", pa.int64()),
        ("plausible", pa.bool_()),
    ]
)
LEADS = pa.schema(
    [
        ("judge", pa.string()),
        ("axis", pa.string()),
        ("policy", pa.string()),
        ("plausible_low", pa.float64()),
        ("plausible_high", pa.float64()),
        ("leads", pa.float64()),
    ]
)
FLIPS = pa.schema(
    [
        ("judge", pa.string()),
        ("axis", pa.string()),
        ("policy_a", pa.string()),
        ("policy_b", pa.string()),
        ("threshold", pa.float64()),
        ("leader_below", pa.string()),
        ("leader_from", pa.string()),
        ("plausible", pa.bool_()),
    ]
)
POINTS = 400
PLAUSIBLE = (10, 90)


def grid(low: float, high: float, own: float) -> np.ndarray:
    """Round thresholds from below `low` to above `high`, at most about 400 in steps of 1, 2 or 5 times a power of ten, and the study's own."""
    raw = (high - low) / POINTS or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(size for size in (1, 2, 5, 10) if size * power >= raw * (1 - 1e-9))
    numbers = np.arange(math.floor(low / step), math.ceil(high / step) + 2)
    digits = max(0, -math.floor(math.log10(step)))
    return np.unique(np.append(np.round(numbers * step, digits), own))


def rate_at(thresholds: np.ndarray, rewards: np.ndarray, axis: str) -> np.ndarray:
    """Percent of rewards that are good by each threshold."""
    side = "left" if is_good(axis, 0.0, 0.0) else "right"  # whether a reward at the threshold counts
    return 100 * (len(rewards) - np.searchsorted(np.sort(rewards), thresholds, side=side)) / len(rewards)


def sweep(ratings: Ratings, config: dict) -> tuple[list[dict], list[dict], list[dict]]:
    """(thresholds, leads, flips): rows of the three tables.

    A policy's rate is over all its seeds. Plausible are thresholds that between 10 and 90 % of all replies of the axis pass; `leads`
    is the share (percent) of these at which a policy has the highest rate, ties shared. A flip is the first threshold at which the
    one policy's rate is above the other's where it was below.
    """
    swept, leads, flips = [], [], []
    for judge in sorted(config["judges"]):
        for axis in judged_axes(config["judges"][judge]):
            rewards = {
                policy: np.concatenate([ratings[judge, policy, seed, axis]["reward"] for seed in seeds_of(config, policy)])
                for policy in config["order"]
            }
            everything = np.concatenate(list(rewards.values()))
            thresholds = grid(everything.min(), everything.max(), config["judges"][judge][THRESHOLD_KEYS[axis]])
            rates = np.stack([rate_at(thresholds, values, axis) for values in rewards.values()])
            passed = rate_at(thresholds, everything, axis)
            plausible = (passed >= PLAUSIBLE[0]) & (passed <= PLAUSIBLE[1])
            about = {"judge": judge, "axis": axis}
            swept += [{**about, **row} for row in swept_rows(thresholds, rates, plausible, config["order"])]
            flips += [{**about, **row} for row in flip_rows(thresholds, rates, plausible, config["order"])]
            if plausible.any():
                inside = rates[:, plausible]
                top = inside == inside.max(0)
                span = {"plausible_low": thresholds[plausible].min(), "plausible_high": thresholds[plausible].max()}
                shares = 100 * (top / top.sum(0)).mean(1)
                leads += [
                    {**about, **span, "policy": policy, "leads": share} for policy, share in zip(config["order"], shares, strict=True)
                ]
    return swept, leads, flips


def swept_rows(thresholds: np.ndarray, rates: np.ndarray, plausible: np.ndarray, order: list[str]) -> list[dict]:
    """One row per threshold and policy; rank 1 is the highest rate, equal rates share the better rank. rates: (policies, thresholds)."""
    ranks = rankdata(-np.round(rates, 9), method="min", axis=0).astype(int)
    frame = pd.DataFrame(
        {
            "threshold": np.repeat(thresholds, len(order)),
            "policy": np.tile(order, len(thresholds)),
            "rate": rates.T.ravel(),
            "rank": ranks.T.ravel(),
            "plausible": np.repeat(plausible, len(order)),
        }
    )
    return frame.to_dict("records")


def flip_rows(thresholds: np.ndarray, rates: np.ndarray, plausible: np.ndarray, order: list[str]) -> list[dict]:
    """Where the order of two policies turns round, thresholds at which they are equal passed over."""
    rows = []
    for (a, first), (b, second) in combinations(zip(order, rates, strict=True), 2):
        lead = np.sign(np.round(first - second, 9))
        apart = np.flatnonzero(lead)
        for before, after in pairwise(apart):
            if lead[before] != lead[after]:
                below, above = (a, b) if lead[before] > 0 else (b, a)
                about = {"policy_a": a, "policy_b": b, "threshold": float(thresholds[after]), "plausible": bool(plausible[after])}
                rows.append({**about, "leader_below": below, "leader_from": above})
    return rows


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", output="path", leads="path", flips="path")
    swept, leads, flips = sweep(read_ratings(args.ratings).ratings, args.config)
    for row in leads:
        say(f"{row['judge']}, {row['axis']}: {row['policy']} leads at {row['leads']:.0f} % of the plausible thresholds")
    made_by = provenance(args.config, [args.ratings])
    write_table(args.leads, leads, LEADS, made_by)
    write_table(args.flips, flips, FLIPS, made_by)
    write_table(args.output, swept, THRESHOLDS, made_by)


if __name__ == "__main__":
    run(main)
