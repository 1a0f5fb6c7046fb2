"""The preferences table: columns, and the uses that a row is fit for."""

import random
from collections import Counter

import pyarrow as pa

from hh_align.core.errors import StudyError

SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("prompt", pa.string()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("rejected_prompt", pa.string()),
        ("flags", pa.list_(pa.string())),
        ("use_sft", pa.bool_()),
        ("use_dpo", pa.bool_()),
    ]
)
KEY = ["split", "subset", "row"]


NO_HINDRANCE = {"swapped", "lead_restored", "system_first"}
"""Flags of a row that is fit for every use."""
BAR_SFT = {"empty_chosen", "human_last"}


def fit_for(flags: list[str]) -> dict[str, bool]:
    """Uses of a row: SFT needs a chosen reply that ends the dialogue, DPO two different ones to the same prompt."""
    return {"use_sft": BAR_SFT.isdisjoint(flags), "use_dpo": NO_HINDRANCE.issuperset(flags)}


def training_rows(rows: list[dict], train_split: str, use: str | None, max_rows: int | None) -> list[dict]:
    """Rows of the training split fit for `use` (None: all of them), in file order.

    `max_rows` keeps the first ones of a fixed shuffle: the same rows for every seed. Raises StudyError where none is left.
    """
    split = [row for row in rows if row["split"] == train_split]
    fit = [row for row in split if use is None or row[use]]
    if not split:
        raise StudyError(f"no row of split {train_split} to train on: check datasets.*.train_split and splits.")
    if not fit:
        flags = Counter(flag for row in split for flag in row["flags"])
        counts = ", ".join(f"{flag} {count:,}" for flag, count in flags.most_common())
        raise StudyError(f"none of the {len(split):,} rows of split {train_split} is fit for training ({counts}): their flags say why.")
    if max_rows is not None and max_rows < len(fit):
        return [fit[index] for index in sorted(random.Random(0).sample(range(len(fit)), max_rows))]
    return fit


def row_name(row: dict) -> str:
    """subset/split:line (1-based), as an editor counts."""
    return f"{row['subset']}/{row['split']}:{row['row'] + 1}"
