"""What training on pairs does to the probability of the chosen and of the rejected replies: mean changes, and how often the chosen one falls."""

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.effective import Mean, crossed_mean, prompt_mean, score_interval, t_interval, too_few
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.numbers import digits

TABLE = pa.schema(
    [
        ("policy", pa.string()),
        ("parent", pa.string()),
        ("seed", pa.int64()),
        ("n_seeds", pa.int64()),
        ("pairs", pa.string()),
        ("n", pa.int64()),
        ("chosen_before", pa.float64()),
        ("chosen_after", pa.float64()),
        ("rejected_before", pa.float64()),
        ("rejected_after", pa.float64()),
        ("chosen", pa.float64()),
        ("chosen_low", pa.float64()),
        ("chosen_high", pa.float64()),
        ("rejected", pa.float64()),
        ("rejected_low", pa.float64()),
        ("rejected_high", pa.float64()),
        ("per_token", pa.float64()),
        ("fell", pa.float64()),
        ("fell_low", pa.float64()),
        ("fell_high", pa.float64()),
        ("displaced", pa.bool_()),
    ]
)
COLUMNS = [
    "split",
    "subset",
    "row",
    "cluster",
    "trained",
    "chosen_before",
    "rejected_before",
    "chosen_after",
    "rejected_after",
    "chosen_tokens",
]
SETS = {"training": True, "held-out": False}
KEY = ["split", "subset", "row"]


def mean_of(block: np.ndarray, clusters: np.ndarray) -> Mean:
    """Of values (pairs, seeds): over new seeds where there are several."""
    return (crossed_mean if block.shape[1] > 1 else prompt_mean)(block, clusters=[clusters])


def interval(mean: Mean, known: bool) -> tuple[float | None, float | None]:
    """Student's t over clusters of pairs; none of fewer than five clusters, nor of values without any spread."""
    return t_interval(mean) if known and mean.variance else (None, None)


def share(block: np.ndarray, clusters: np.ndarray, known: bool) -> dict:
    """Percent of values that are true, with Wilson's interval at the number of pairs that its variance is worth."""
    mean = mean_of(block.astype(float), clusters)
    low, high = score_interval(mean, clusters.max() + 1, block.size) if known else (None, None)
    return {"fell": 100 * mean.value, "fell_low": 100 * low if known else None, "fell_high": 100 * high if known else None}


def summarize(seeds: list[pd.DataFrame]) -> dict:
    """A row of TABLE but for its names, from the same pairs at each seed, in equal order."""
    clusters = np.unique(seeds[0]["cluster"], return_inverse=True)[1]
    known = len(clusters) > 1 and not too_few(clusters)
    row = {"n": len(clusters), "n_seeds": len(seeds)}
    blocks = {name: np.column_stack([frame[name] for frame in seeds]) for name in COLUMNS[5:]}
    row |= {name: float(blocks[name].mean()) for name in COLUMNS[5:-1]}
    for side in ("chosen", "rejected"):
        mean = mean_of(blocks[f"{side}_after"] - blocks[f"{side}_before"], clusters)
        row |= dict(zip((side, f"{side}_low", f"{side}_high"), (mean.value, *interval(mean, known)), strict=True))
    change = blocks["chosen_after"] - blocks["chosen_before"]
    row |= {"per_token": float(change.sum() / blocks["chosen_tokens"].sum()), **share(change < 0, clusters, known)}
    return row | {"displaced": row["chosen_high"] is not None and row["chosen_high"] < 0}


def displacement(tables: dict[tuple[str, int], pd.DataFrame], parents: dict[str, str]) -> list[dict]:
    """Rows of displacement.parquet: of each policy and set of pairs each seed, and all of them together where there are several."""
    rows = []
    for policy in dict.fromkeys(policy for policy, _ in tables):
        own = {seed: frame.sort_values(KEY, ignore_index=True) for (name, seed), frame in tables.items() if name == policy}
        for pairs, trained in SETS.items():
            parts = {seed: frame[frame["trained"] == trained] for seed, frame in own.items()}
            if any(part.empty for part in parts.values()):
                continue
            about = {"policy": policy, "parent": parents[policy], "pairs": pairs}
            rows += [about | {"seed": seed} | summarize([part]) for seed, part in parts.items()]
            if len(parts) > 1:
                rows.append(about | {"seed": None} | summarize(list(parts.values())))
    return rows


def main() -> None:
    args = parse(__doc__, config="config", displacement="paths", output="path")
    measured = [tuple(pair) for pair in args.config["measured"]]
    tables = {pair: read_table(path, COLUMNS).to_pandas() for pair, path in zip(measured, args.displacement, strict=True)}
    rows = displacement(tables, args.config["parents"])
    for row in rows:
        if row["displaced"]:
            say(f"{row['policy']}, {row['pairs']} pairs: chosen {digits(row['chosen'], '+.2f')} nats")
    write_table(args.output, rows, TABLE, provenance(args.config, args.displacement))


if __name__ == "__main__":
    run(main)
