"""A dataset derived from another: a selection of its rows, cleaned, and its labels kept, flipped by coin or reversed.

The steps come in a fixed order: subsets, training_half, hash_range, exclude_prompts, deduplicate, decontaminate, drop_near_identical, judge_margin,
ches, balance_length, labels. From `deduplicate` to `balance_length` only rows of `train_split` are looked at. Every row that a step drops is
listed, and every step is counted.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, columns_of
from hh_align.data import cleaning
from hh_align.data.cleaning import Losses
from hh_align.data.preferences import KEY, SCHEMA, fit_for
from hh_align.data.selection import MARGINS, SIMILARITIES, left_out_by

CENSUS = pa.schema(
    [
        ("step", pa.string()),
        ("split", pa.string()),
        ("subset", pa.string()),
        ("before", pa.int64()),
        ("dropped", pa.int64()),
        ("after", pa.int64()),
        ("reason", pa.string()),
    ]
)
DROPPED = pa.schema(
    [
        ("split", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("step", pa.string()),
        ("reason", pa.string()),
        ("partner", pa.string()),
        ("value", pa.float64()),
    ]
)
CONTAMINATED = pa.schema(
    [("split", pa.string()), ("subset", pa.string()), ("row", pa.int64()), ("prompt_id", pa.string()), ("shared", pa.float64())]
)

Scores = dict[str, dict[tuple, float]]
"""The keys that clean by what a model says -> that of each training pair, by its KEY: its margin, its length-normalized CHES score."""


def relabel(rows: list[dict], labels: str | bool, seed: int, noise: float | None = None) -> list[dict]:
    """Rows with chosen and rejected exchanged: in none (`True`), in each with probability `noise` (`noisy`) or 1/2 (`coin`), in all (`reversed`).

    Of one seed, the rows that a smaller noise exchanges are among those of a larger one.
    """
    stream = random.Random(seed)
    swap = {
        True: lambda: False,
        "noisy": lambda: stream.random() < noise,
        "coin": lambda: stream.random() < 0.5,
        "reversed": lambda: True,
    }[labels]
    return [exchanged(row) if swap() else row for row in rows]


def exchanged(row: dict) -> dict:
    """The row with its replies exchanged, the flag `swapped` set and its uses stated anew."""
    rename = {"empty_chosen": "empty_rejected", "empty_rejected": "empty_chosen"}
    flags = [*(rename.get(flag, flag) for flag in row["flags"]), "swapped"]
    prompts = {}
    if row["rejected_prompt"] is not None:
        prompts = {"prompt": row["rejected_prompt"], "rejected_prompt": row["prompt"]}
    return {**row, **prompts, "chosen": row["rejected"], "rejected": row["chosen"], "flags": flags, **fit_for(flags)}


def selection_steps(config: dict, excluded: set[str] | None) -> Iterator[tuple[str, str, Callable]]:
    """(step, reason, rows -> losses) of the keys that choose rows, in order. excluded: None where `exclude_prompts` is off."""

    def left_out(rows: list[dict], step: str) -> Losses:
        by = [left_out_by(row, config, excluded or set()) for row in rows]
        return {number: (None, None) for number, key in enumerate(by) if key == step}

    reasons = {
        "subsets": ("subsets" in config, "of a subset that is not kept"),
        "training_half": (bool(config["training_half"]), "first human turn not in the training half"),
        "hash_range": ("hash_range" in config, "hash of the first human turn outside the subset's range"),
        "exclude_prompts": (excluded is not None, "first human turn of an evaluation prompt"),
    }
    for step, (asked, reason) in reasons.items():
        if asked:
            yield step, reason, partial(left_out, step=step)


def cleaning_steps(config: dict, prompts: list[dict], scores: Scores, hits: list[dict]) -> Iterator[tuple[str, str, Callable]]:
    """(step, reason, training rows -> losses) of the keys that clean, in order. hits: filled with what `decontaminate` finds."""
    if config.get("deduplicate") == "exact":
        yield "deduplicate", "the same as an earlier row", cleaning.exact_duplicates
    elif "deduplicate" in config:
        near = config["near"]
        reason = f"Jaccard similarity of at least {near['threshold']} with an earlier row ({near['ngram']}-grams of words)"
        yield "deduplicate", reason, partial(cleaning.near_duplicates, **near)
    if "decontaminate" in config:
        leak = config["decontaminate"]

        def leaks(rows: list[dict]) -> Losses:
            these = cleaning.contamination(rows, prompts, **leak)
            hits.extend({**{key: rows[hit["index"]][key] for key in KEY}, **hit} for hit in these)
            return cleaning.contaminated(these)

        yield "decontaminate", f"holds at least {leak['overlap']} of an evaluation prompt's {leak['ngram']}-grams of words", leaks
    if "drop_near_identical" in config:
        similarity = config["drop_near_identical"]
        yield (
            "drop_near_identical",
            f"replies with a similarity of at least {similarity}",
            partial(cleaning.near_identical, similarity=similarity),
        )
    if "judge_margin" in config:
        margin = config["judge_margin"]
        reason = f"margin by judge {margin['judge']} below quantile {margin['quantile']}"
        yield "judge_margin", reason, partial(cleaning.low_margins, margins=scores["judge_margin"], quantile=margin["quantile"])
    if "ches" in config:
        share = config["ches"]["quantile"]
        reason = f"length-normalized CHES score among the highest {share:g} of the pairs"
        yield "ches", reason, partial(cleaning.high_similarities, similarities=scores["ches"], quantile=share)
    if config.get("balance_length"):
        yield (
            "balance_length",
            "too many pairs of this difference in length",
            partial(cleaning.surplus_lengths, seed=config["balance_seed"]),
        )


def census_rows(step: str, reason: str, before: list[dict], after: list[dict]) -> list[dict]:
    """Rows of CENSUS: one per split and subset that had rows before the step."""
    had, has = (Counter((row["split"], row["subset"]) for row in rows) for rows in (before, after))
    return [
        {
            "step": step,
            "split": split,
            "subset": subset,
            "before": count,
            "dropped": count - has[split, subset],
            "after": has[split, subset],
            "reason": reason,
        }
        for (split, subset), count in had.items()
    ]


def without(rows: list[dict], indices: list[int], losses: Losses, step: str, reason: str) -> tuple[list[dict], list[dict]]:
    """(rows that stay, rows of DROPPED). indices: those of the rows that the step saw; `losses` counts among these."""
    lost = {indices[number]: loss for number, loss in losses.items()}
    dropped = [
        {**{key: rows[index][key] for key in KEY}, "step": step, "reason": reason, "partner": partner, "value": value}
        for index, (partner, value) in sorted(lost.items())
    ]
    return [row for index, row in enumerate(rows) if index not in lost], dropped


def derive(
    rows: list[dict], config: dict, prompts: list[dict], excluded: set[str] | None, scores: Scores
) -> tuple[list[dict], list[dict], list[dict], list[dict]]:
    """(rows of the derived dataset before `labels`, census, dropped, contaminated). Raises StudyError where a step leaves no row."""
    hits: list[dict] = []
    census, dropped = census_rows("from", "rows of the source", rows, rows), []
    steps = [(False, step) for step in selection_steps(config, excluded)]
    steps += [(True, step) for step in cleaning_steps(config, prompts, scores, hits)]
    for cleans, (step, reason, losses_of) in steps:
        seen = [index for index, row in enumerate(rows) if not cleans or row["split"] == config["train_split"]]
        before, losses = rows, losses_of([rows[index] for index in seen])
        rows, lost = without(before, seen, losses, step, reason)
        census, dropped = census + census_rows(step, reason, before, rows), dropped + lost
        say(f"{step}: {len(lost):,} of {len(seen):,} rows dropped")
        if not rows:
            raise StudyError(f"no row is left after {step}: check datasets.*.{step}.")
        if cleans and len(lost) == len(seen):
            raise StudyError(f"no row of split {config['train_split']} is left after {step}: check datasets.*.{step} and train_split.")
    return rows, census, dropped, hits


def read_scores(margins: Path | None, ches: Path | None) -> Scores:
    """Of these tables, where the dataset is cleaned by them."""
    scores: Scores = {}
    if margins:
        rows = read_table(margins, MARGINS).to_pylist()
        scores["judge_margin"] = {tuple(row[key] for key in KEY): row["chosen_reward"] - row["rejected_reward"] for row in rows}
    if ches:
        rows = read_table(ches, SIMILARITIES).to_pylist()
        scores["ches"] = {tuple(row[key] for key in KEY): row["normalized_ches"] for row in rows}
    return scores


def main() -> None:
    args = parse(
        __doc__, config="config", preferences="path", prompts="path?", margins="path?", ches="path?", output="path", census="path",
        dropped="path", contaminated="path",
    )  # fmt: skip
    config = args.config
    rows = read_table(args.preferences, SCHEMA).to_pylist()
    prompts = read_table(args.prompts, columns_of(PROMPTS, "prompt_id", "cluster", "prompt")).to_pylist() if args.prompts else []
    excluded = {row["cluster"] for row in prompts} if config.get("exclude_prompts", args.prompts is not None) else None
    derived, census, dropped, hits = derive(rows, config, prompts, excluded, read_scores(args.margins, args.ches))
    derived = relabel(derived, config["labels"], config["label_seed"], config.get("noise"))
    swapped = sum("swapped" in row["flags"] for row in derived)
    say(f"{len(derived):,} of {len(rows):,} rows kept, {swapped:,} with chosen and rejected exchanged")
    made_by = provenance(config, [path for path in (args.preferences, args.prompts, args.margins, args.ches) if path])
    for path, table, schema in (
        (args.census, census, CENSUS), (args.dropped, dropped, DROPPED), (args.contaminated, hits, CONTAMINATED),
    ):  # fmt: skip
        write_table(path, table, schema, made_by)
    write_table(args.output, pa.Table.from_pylist(derived, schema=SCHEMA), SCHEMA, made_by)


if __name__ == "__main__":
    run(main)
