"""The policies' rates at every threshold that the judge's labels could have used: who could be first, and where the order flips."""

import math
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import rankdata

from hh_align.analysis.rank_sets import rank_sets
from hh_align.analysis.ratings import Ratings, is_good, judged_axes, read_ratings, seeds_of
from hh_align.analysis.reliability import read_reliability
from hh_align.analysis.text_gate import Examined, caveat_of, read_text
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
        ("rank_low", pa.int64()),
        ("rank_high", pa.int64()),
        ("could_be_first", pa.bool_()),
        ("first_share", pa.float64()),
        ("judge_above_chance", pa.bool_()),
        ("caveat", pa.string()),
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
RANKED = 15
"""Plausible thresholds at which ranks are sought, evenly spread; neighbours say the same."""


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


def sweep(
    ratings: Ratings,
    clusters: dict[str, np.ndarray],
    config: dict,
    reliable: dict[tuple[str, str], bool | None] | None = None,
    examined: Examined | None = None,
) -> tuple[list[dict], list[dict], list[dict]]:
    """(thresholds, leads, flips): rows of the three tables.

    A policy's rate is over all its seeds. Plausible are thresholds that between 10 and 90 % of all replies of the axis pass. A flip is the
    first threshold at which the one policy's rate is above the other's where it was below. reliable and examined as compare_policies takes them.
    """
    swept, leads, flips = [], [], []
    caveats = {policy: caveat_of(examined or {}, config, policy, config["seeds"]) for policy in config["order"]}
    for judge in sorted(config["judges"]):
        for axis in judged_axes(config["judges"][judge]):
            rewards = {
                policy: np.column_stack([ratings[judge, policy, seed, axis]["reward"] for seed in seeds_of(config, policy)])
                for policy in config["order"]
            }
            everything, own = np.concatenate([part.ravel() for part in rewards.values()]), config["judges"][judge][THRESHOLD_KEYS[axis]]
            thresholds = grid(everything.min(), everything.max(), own)
            rates = np.stack([rate_at(thresholds, values.ravel(), axis) for values in rewards.values()])
            passed = rate_at(thresholds, everything, axis)
            plausible = (passed >= PLAUSIBLE[0]) & (passed <= PLAUSIBLE[1])
            about = {"judge": judge, "axis": axis}
            swept += [{**about, **row} for row in swept_rows(thresholds, rates, plausible, config["order"])]
            flips += [{**about, **row} for row in flip_rows(thresholds, rates, plausible, config["order"])]
            about["judge_above_chance"] = (reliable or {}).get((judge, axis))
            ranked = ranks(rewards, clusters[axis], axis, thresholds[plausible], own)
            if about["judge_above_chance"] is False:
                ranked = [dict.fromkeys(row) | {"policy": row["policy"]} for row in ranked]
            leads += [{**about, **row, "caveat": caveats[row["policy"]]} for row in ranked]
    return swept, leads, flips


def ranks(rewards: dict[str, np.ndarray], clusters: np.ndarray, axis: str, plausible: np.ndarray, own: float) -> list[dict]:
    """Per policy the ranks that it may have by the study's own threshold, and at what share of the plausible ones it could be first.

    rewards: policy -> (prompts, seeds). All ranks at all these thresholds hold together with 95 %.
    """
    spread = (
        plausible[np.unique(np.linspace(0, len(plausible) - 1, min(RANKED, len(plausible))).round().astype(int))]
        if len(plausible)
        else plausible
    )
    cuts = np.append(spread, own)[:, None, None]
    sets = rank_sets([is_good(axis, values, cuts).astype(float) for values in rewards.values()], clusters)
    low, high = (plausible.min(), plausible.max()) if len(plausible) else (None, None)
    rows = []
    for number, policy in enumerate(rewards):
        *elsewhere, here = (each[number] for each in sets)
        share = 100 * float(np.mean([each.low == 1 for each in elsewhere])) if elsewhere else None
        about = {"policy": policy, "plausible_low": low, "plausible_high": high, "rank_low": here.low, "rank_high": here.high}
        rows.append({**about, "could_be_first": here.low == 1, "first_share": share})
    return rows


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
    args = parse(__doc__, config="config", ratings="path", judge="path?", text="path?", output="path", leads="path", flips="path")
    rated = read_ratings(args.ratings)
    swept, leads, flips = sweep(rated.ratings, rated.clusters, args.config, read_reliability(args.judge), read_text(args.text))
    for row in leads:
        if row["could_be_first"]:
            say(f"{row['judge']}, {row['axis']}: {row['policy']} could be first")
    made_by = provenance(args.config, [args.ratings, *(path for path in (args.judge, args.text) if path)])
    write_table(args.leads, leads, LEADS, made_by)
    write_table(args.flips, flips, FLIPS, made_by)
    write_table(args.output, swept, THRESHOLDS, made_by)


if __name__ == "__main__":
    run(main)
