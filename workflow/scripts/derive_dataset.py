"""A dataset derived from another: a selection of its rows, or its labels flipped by coin or reversed."""

import random

import pyarrow as pa

from study.artifacts import provenance, read_table, say, write_table
from study.command import StudyError, parse, run
from study.preferences import SCHEMA, fit_for
from study.transcripts import cluster_of


def in_training_half(cluster: str) -> bool:
    """Whether a first human turn (its hash) falls into the half that may be trained on."""
    return int(cluster[-1], 16) % 2 == 0


def select(rows: list[dict], subsets: list[str] | None, half: list[str], excluded: set[str]) -> list[dict]:
    """Rows of `subsets` (None: all) whose first human turn is none of `excluded` and, in the subsets of `half`, in the training half."""
    kept = []
    for row in rows:
        cluster = cluster_of(row["prompt"])
        in_half = row["subset"] not in half or in_training_half(cluster)
        if (subsets is None or row["subset"] in subsets) and in_half and cluster not in excluded:
            kept.append(row)
    return kept


def relabel(rows: list[dict], labels: str | bool, seed: int) -> list[dict]:
    """Rows with chosen and rejected exchanged: in none (`True`), in each with probability 1/2 (`coin`), in all (`reversed`)."""
    stream = random.Random(seed)
    swap = {True: lambda: False, "coin": lambda: stream.random() < 0.5, "reversed": lambda: True}[labels]
    return [exchanged(row) if swap() else row for row in rows]


def exchanged(row: dict) -> dict:
    """The row with its replies exchanged, the flag `swapped` set and its uses stated anew."""
    rename = {"empty_chosen": "empty_rejected", "empty_rejected": "empty_chosen"}
    flags = [*(rename.get(flag, flag) for flag in row["flags"]), "swapped"]
    prompts = {}
    if row["rejected_prompt"] is not None:
        prompts = {"prompt": row["rejected_prompt"], "rejected_prompt": row["prompt"]}
    return {**row, **prompts, "chosen": row["rejected"], "rejected": row["chosen"], "flags": flags, **fit_for(flags)}


def main() -> None:
    args = parse(__doc__, config="config", preferences="path", prompts="path?", output="path")
    rows = read_table(args.preferences, SCHEMA.names).to_pylist()
    prompts = read_table(args.prompts, ["cluster"])["cluster"].to_pylist() if args.prompts else []
    kept = select(rows, args.config.get("subsets"), args.config["training_half"], set(prompts))
    if not kept:
        raise StudyError("no row is left in the derived dataset: check its subsets and training_half.")
    kept = relabel(kept, args.config["labels"], args.config["label_seed"])
    swapped = sum("swapped" in row["flags"] for row in kept)
    say(f"{len(kept):,} of {len(rows):,} rows kept, {swapped:,} with chosen and rejected exchanged")
    inputs = [path for path in (args.preferences, args.prompts) if path]
    write_table(args.output, pa.Table.from_pylist(kept, schema=SCHEMA), SCHEMA, provenance(args.config, inputs))


if __name__ == "__main__":
    run(main)
