"""How far a pairwise judge can be trusted: whether it prefers what it is shown first, and how often its two answers contradict each other."""

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.choices import Choices, read_choices
from hh_align.analysis.effective import effective_number, too_few
from hh_align.analysis.ratings import read_ratings
from hh_align.analysis.statistics import paired_difference, wilson
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.command import parse, run

PAIRWISE = pa.schema(
    [
        ("judge", pa.string()),
        ("policy_b", pa.string()),
        ("policy_a", pa.string()),
        ("seed", pa.int64()),
        ("axis", pa.string()),
        ("n", pa.int64()),
        ("wins", pa.int64()),
        ("losses", pa.int64()),
        ("ties", pa.int64()),
        ("inconsistent", pa.int64()),
        ("unreadable", pa.int64()),
        ("same", pa.int64()),
        ("inconsistency", pa.float64()),
        ("inconsistency_low", pa.float64()),
        ("inconsistency_high", pa.float64()),
        ("decided", pa.int64()),
        ("first", pa.float64()),
        ("first_low", pa.float64()),
        ("first_high", pa.float64()),
    ]
)
COUNTS = {"wins": "policy", "losses": "against", "ties": "tie", "inconsistent": "inconsistent", "unreadable": "unreadable", "same": "same"}
"""Column -> the outcome that it counts."""


def numbered(clusters: np.ndarray) -> np.ndarray:
    """The same clusters, numbered from 0 without gaps."""
    return np.unique(clusters, return_inverse=True)[1]


def inconsistency(frame: pd.DataFrame, clusters: np.ndarray) -> dict:
    """The share of pairs, in %, whose two orders got different answers, of those with two readable ones, with Wilson's interval at the
    effective number of pairs, if they lie in five clusters or more; nothing where there is no such pair."""
    readable = ~frame["outcome"].isin(["unreadable", "same"]).to_numpy()
    if not readable.any():
        return {}
    differs, groups = (frame["outcome"] == "inconsistent").to_numpy()[readable], numbered(clusters[readable])
    row = {"inconsistency": 100 * differs.mean()}
    if too_few(groups):
        return row
    effective = effective_number(differs, groups)
    low, high = wilson(differs.sum() * (effective / len(differs)), effective)
    return {**row, "inconsistency_low": 100 * low, "inconsistency_high": 100 * high}


def first_share(frame: pd.DataFrame, clusters: np.ndarray) -> dict:
    """The share of answers, in %, that prefer the response shown first, over the pairs (`decided`) where neither answer is a tie or unreadable.

    50 means no bias: a policy's response is preferred as often in the first place as in the second. The share is 50 plus half of the
    difference of these two rates, and its interval Newcombe's of that difference, at the effective number of pairs, if they lie in five
    clusters or more.
    """
    sides = ["policy", "against"]
    known = (frame["policy_first"].isin(sides) & frame["against_first"].isin(sides)).to_numpy()
    if not known.any():
        return {"decided": 0}
    first, second = ((frame[order] == "policy").to_numpy()[known] for order in ("policy_first", "against_first"))
    groups = numbered(clusters[known])
    effective = effective_number(first.astype(int) - second.astype(int), groups)
    cells = np.array([(first & second).sum(), (~first & second).sum(), (first & ~second).sum(), (~first & ~second).sum()])
    share, low, high = (50 + 50 * bound for bound in paired_difference(*cells * (effective / len(groups))))
    row = {"decided": int(known.sum()), "first": share}
    return row if too_few(groups) else {**row, "first_low": low, "first_high": high}


def examined(frame: pd.DataFrame, clusters: np.ndarray) -> dict:
    """The numbers of a row of PAIRWISE; clusters: of each row of the frame."""
    counts = {column: int((frame["outcome"] == outcome).sum()) for column, outcome in COUNTS.items()}
    return {"n": len(frame), **counts, **inconsistency(frame, clusters), **first_share(frame, clusters)}


def examine_pairwise(choices: Choices, clusters: dict[str, np.ndarray], config: dict) -> list[dict]:
    """The rows of pairwise.parquet: of each judge and axis all pairs together, then each contrast and seed."""
    rows = []
    for judge, axes in sorted(config["pairwise"].items()):
        for axis in axes:
            parts = {key: frame for key, frame in choices.items() if (key[0], key[-1]) == (judge, axis)}
            together = pd.concat(parts.values(), ignore_index=True)
            about = {"judge": judge, "axis": axis}
            rows.append(about | examined(together, np.tile(clusters[axis], len(parts))))
            for (_, policy, against, seed, _), frame in parts.items():
                rows.append(about | {"policy_b": policy, "policy_a": against, "seed": seed} | examined(frame, clusters[axis]))
    return rows


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", choices="paths", output="path")
    rated = read_ratings(args.ratings)
    rows = examine_pairwise(read_choices(args.choices, args.config, rated.prompts), rated.clusters, args.config)
    for row in rows:
        if "policy_b" not in row:
            differs = (
                f"{row['inconsistency']:.1f} % of pairs answered otherwise in the other order"
                if "inconsistency" in row
                else "no pair answered"
            )
            first = f", {row['first']:.1f} % of answers prefer the first" if "first" in row else ""
            say(f"{row['judge']}, {row['axis']}: {differs}{first}")
    write_table(args.output, rows, PAIRWISE, provenance(args.config, [args.ratings, *args.choices]))


if __name__ == "__main__":
    run(main)
