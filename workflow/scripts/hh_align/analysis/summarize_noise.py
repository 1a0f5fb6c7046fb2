"""What noise in the labels costs each method: the oracle's rates by share of exchanged labels, over seeds and prompts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.effective import crossed_mean, t_interval, too_few
from hh_align.analysis.ratings import read_ratings
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import AXES
from hh_align.core.command import parse, run
from hh_align.core.numbers import digits

NOISE = pa.schema(
    [
        ("series", pa.string()),
        ("method", pa.string()),
        ("policy", pa.string()),
        ("noise", pa.float64()),
        ("axis", pa.string()),
        ("n_seeds", pa.int64()),
        ("n", pa.int64()),
        ("rate", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("lost", pa.float64()),
        ("lost_low", pa.float64()),
        ("lost_high", pa.float64()),
        ("spared", pa.float64()),
        ("spared_low", pa.float64()),
        ("spared_high", pa.float64()),
    ]
)
SCOPES = {**{axis: (axis,) for axis in AXES}, "both": AXES}
Block = dict[str, np.ndarray]
"""Axis -> percent per response, 0 or 100 or a difference of such, shape (prompts, seeds)."""


def blocks(labels: pd.DataFrame, policies: Sequence[str]) -> dict[str, Block]:
    """The oracle's labels of each policy, prompts in the order of prompt_id."""
    wanted = labels[labels["policy"].isin(policies)]
    return {
        policy: {
            axis: 100.0 * part.pivot(index="prompt_id", columns="seed", values="good").sort_index().to_numpy(float)
            for axis, part in rows.groupby("axis")
        }
        for policy, rows in wanted.groupby("policy")
    }


def estimate(block: Block, clusters: dict[str, np.ndarray], axes: Sequence[str]) -> tuple[float, float | None, float | None]:
    """(mean over the axes' means, low, high) for new prompts and new seeds; no interval of one seed, of fewer than five clusters, or where all values are equal."""
    parts = [block[axis] for axis in axes]
    if parts[0].shape[1] < 2:
        return float(np.mean([part.mean() for part in parts])), None, None
    groups = [clusters[axis] for axis in axes]
    mean = crossed_mean(*parts, clusters=groups)
    return mean.value, *(t_interval(mean) if mean.variance and not any(map(too_few, groups)) else (None, None))


def less(one: Block, other: Block) -> Block:
    return {axis: one[axis] - other[axis] for axis in one}


def summarize(labels: pd.DataFrame, clusters: dict[str, np.ndarray], arms: list[dict]) -> list[dict]:
    """One row per arm and axis, and one for both axes together, in the order of `arms`.

    arms: policy, method, noise (percent), series (the policy of the same parent and method without noise) and plain (that of the same
    parent by sigmoid DPO without smoothing, or None). `lost` is the series' rate without noise less the arm's; `spared` is what plain DPO
    loses at the same noise less that.
    """
    by_policy = blocks(labels, [arm["policy"] for arm in arms])
    at = {(arm["series"], arm["noise"]): by_policy[arm["policy"]] for arm in arms}
    losses = {key: less(at[key[0], 0.0], block) for key, block in at.items() if key[1]}
    rows = []
    for arm in arms:
        loss, plain = (losses.get((arm[name], arm["noise"])) for name in ("series", "plain"))
        spared = less(plain, loss) if loss and plain and arm["plain"] != arm["series"] else None
        for scope, axes in SCOPES.items():
            block = at[arm["series"], arm["noise"]]
            rate, low, high = estimate(block, clusters, axes)
            row = {**arm, "axis": scope, "n_seeds": block[axes[0]].shape[1], "n": sum(len(block[axis]) for axis in axes)}
            row |= {"rate": rate, "ci_low": low and max(low, 0.0), "ci_high": high and min(high, 100.0)}
            for name, difference in (("lost", loss), ("spared", spared)):
                if difference:
                    row |= dict(zip((name, f"{name}_low", f"{name}_high"), estimate(difference, clusters, axes), strict=True))
            rows.append(row)
    return rows


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", labels="path", output="path")
    labels = read_table(args.labels, ["policy", "seed", "axis", "prompt_id", "good"]).to_pandas()
    rows = summarize(labels, read_ratings(args.ratings).clusters, args.config["arms"])
    for row in rows:
        if row["axis"] == "both" and "lost" in row:
            say(
                f"{row['policy']}, {row['noise']:.0f} % of the labels exchanged: {row['rate']:.1f} %, {digits(row['lost'], '+.1f')} points lost"
            )
    write_table(args.output, rows, NOISE, provenance(args.config, [args.ratings, args.labels]))


if __name__ == "__main__":
    run(main)
