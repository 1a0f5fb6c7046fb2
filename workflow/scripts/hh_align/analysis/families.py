"""The verdict by one rule: which tests are corrected together, and the intervals that say what those tests say."""

from collections.abc import Sequence

from hh_align.analysis.statistics import CONFIDENCE, holm
from hh_align.core.axes import CAS, RATE_METRICS

ALPHA = 1 - CONFIDENCE
FAMILY = ("judge", "seed", "metric", "family", "estimand")
"""The columns of comparisons in which contrasts are alike whose tests are corrected together."""
BEYOND = 1e-6
"""Points (or rewards) beyond 0, or inside the margin, of an interval's end that a test has put there."""


def is_primary(pair: Sequence[str], metric: str, primary: Sequence[str]) -> bool:
    """Whether (policy, against) on this metric is the study's primary test: (policy, against, metric), without a metric CAS; empty: there is none."""
    return tuple(pair) == tuple(primary[:2]) and metric == (primary[2] if len(primary) > 2 else CAS)


def add_holm(rows: list[dict]) -> None:
    """Add Holm's p over these rows, a family, of a difference and of equivalence, and how many contrasts it has."""
    for name in ("p", "p_equivalence") if rows else ():
        for row, p in zip(rows, holm([row[name] for row in rows]), strict=True):
            row |= {f"{name}_holm": p, "family_size": len(rows)}


def grouped(rows: list[dict], names: Sequence[str]) -> list[list[dict]]:
    """The rows that are alike in these columns, together."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return list(groups.values())


def settled(rows: list[dict], family: Sequence[str], margin: float | None) -> list[dict]:
    """The rows with Holm's p over those that are alike in the columns `family`, the verdict, and a simultaneous interval that agrees with it.

    margin: of equivalence, in points; only rates have one.
    """
    for group in grouped(rows, family):
        add_holm(group)
    return [agreeing(decided(row), margin if row["metric"] in RATE_METRICS else None) for row in rows]


def verdict(row: dict) -> str:
    """`better` or `worse` where Holm's p is below 0.05, `equivalent` where Holm's p of equivalence is, else `undecided`.

    Where the judge is not above chance on an axis of the metric nothing is ranked: `undecided`.
    """
    if row["judge_above_chance"] is False:
        return "undecided"
    if row["p_holm"] < ALPHA:
        return "better" if row["difference"] > 0 else "worse"
    return "equivalent" if row["p_equivalence_holm"] < ALPHA else "undecided"


def decided(row: dict) -> dict:
    """The row with its verdict, and whether a policy that is better or worse is so within the margin of equivalence."""
    said = verdict(row)
    return {**row, "verdict": said, "within_margin": said in ("better", "worse") and row["p_equivalence_holm"] < ALPHA}


def agreeing(row: dict, margin: float | None) -> dict:
    """The row, its simultaneous interval with the ends where Holm's tests have them.

    0 lies outside where a difference is found, else inside; the interval lies within the margin (None: there is none) where equivalence is
    found, else not.
    """
    low, high, upwards = row["sim_low"], row["sim_high"], row["difference"] > 0
    if low is None or high is None:
        return row
    if row["p_holm"] >= ALPHA:
        low, high = min(low, 0.0), max(high, 0.0)
    elif upwards:
        low = max(low, BEYOND)
    else:
        high = min(high, -BEYOND)
    if margin is not None and row["p_equivalence_holm"] < ALPHA:
        low, high = max(low, BEYOND - margin), min(high, margin - BEYOND)
    elif margin is not None and -margin < low and high < margin:
        low, high = (low, margin) if upwards else (-margin, high)
    return {**row, "sim_low": low, "sim_high": high}
