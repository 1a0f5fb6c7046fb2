"""A judge's rewards of released responses beside the ratings that were released with them: is it the same judge, read in the same way?"""

import pandas as pd
import pyarrow as pa

from hh_align.analysis.ratings import Ratings, read_ratings
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.command import parse, run

RESCORING = pa.schema(
    [
        ("judge", pa.string()),
        ("released", pa.string()),
        ("policy", pa.string()),
        ("axis", pa.string()),
        ("n", pa.int64()),
        ("largest_difference", pa.float64()),
        ("mean_difference", pa.float64()),
        ("mean_absolute_difference", pa.float64()),
        ("correlation", pa.float64()),
        ("other_labels", pa.int64()),
    ]
)


def compare_with_released(ratings: Ratings, released: str) -> list[dict]:
    """One row per judge, policy and axis. Differences are judge - released; correlation is Pearson's, null where one of them is constant."""
    rows = []
    for (judge, policy, seed, axis), frame in ratings.items():
        theirs = ratings.get((released, policy, seed, axis))
        if judge == released or theirs is None:
            continue
        difference = frame["reward"] - theirs["reward"]
        correlation = frame["reward"].corr(theirs["reward"])
        rows.append(
            {
                "judge": judge,
                "released": released,
                "policy": policy,
                "axis": axis,
                "n": len(frame),
                "largest_difference": float(difference.abs().max()),
                "mean_difference": float(difference.mean()),
                "mean_absolute_difference": float(difference.abs().mean()),
                "correlation": None if pd.isna(correlation) else float(correlation),
                "other_labels": int((frame["label"] != theirs["label"]).sum()),
            }
        )
    return rows


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", output="path")
    rows = compare_with_released(read_ratings(args.ratings).ratings, args.config["released"])
    for judge in sorted({row["judge"] for row in rows}):
        own = [row for row in rows if row["judge"] == judge]
        say(
            f"{judge} against the released ratings: differences up to {max(row['largest_difference'] for row in own):.6f}, "
            f"{sum(row['other_labels'] for row in own)} of {sum(row['n'] for row in own)} labels differ"
        )
    write_table(args.output, rows, RESCORING, provenance(args.config, [args.ratings]))


if __name__ == "__main__":
    run(main)
