"""Which rows of its source a derived dataset begins with, and what models say of its training pairs."""

from pathlib import Path

import pyarrow as pa

from hh_align.core.artifacts import read_table
from hh_align.core.tables import PROMPTS, columns_of
from hh_align.data.preferences import SCHEMA, training_rows
from hh_align.data.transcripts import cluster_of

MARGINS = pa.schema(
    [
        ("split", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("chosen_reward", pa.float64()),
        ("rejected_reward", pa.float64()),
        ("cut_tokens", pa.int64()),
    ]
)
SIMILARITIES = pa.schema(
    [
        ("split", pa.string()),
        ("subset", pa.string()),
        ("row", pa.int64()),
        ("ches", pa.float64()),
        ("normalized_ches", pa.float64()),
        ("chosen_tokens", pa.int64()),
        ("rejected_tokens", pa.int64()),
        ("cut_tokens", pa.int64()),
    ]
)


def in_training_half(cluster: str) -> bool:
    """Whether a first human turn (its hash) falls into the half that may be trained on."""
    return int(cluster[-1], 16) % 2 == 0


def in_range(cluster: str, low: float, high: float) -> bool:
    """Whether a first human turn's hash, read as a number from 0 to 1, lies in [low, high). Ranges that do not meet share no turn."""
    return low <= int(cluster[:8], 16) / 2**32 < high


def left_out_by(row: dict, selecting: dict, excluded: set[str]) -> str | None:
    """The first of the keys `subsets`, `training_half`, `hash_range` and `exclude_prompts` that leaves a row out; None where all keep it.

    selecting: the config of a derived dataset. subsets: those kept (absent: all); training_half: those of which only the training half is
    kept; hash_range: subset -> the range of its rows. excluded: clusters of evaluation prompts.
    """
    if row["subset"] not in selecting.get("subsets", [row["subset"]]):
        return "subsets"
    cluster = cluster_of(row["prompt"])
    if row["subset"] in selecting["training_half"] and not in_training_half(cluster):
        return "training_half"
    if not in_range(cluster, *selecting.get("hash_range", {}).get(row["subset"], (0, 1))):
        return "hash_range"
    return "exclude_prompts" if cluster in excluded else None


def selected_rows(rows: list[dict], selecting: dict, excluded: set[str]) -> list[dict]:
    """The rows that left_out_by keeps."""
    return [row for row in rows if left_out_by(row, selecting, excluded) is None]


def selected_pairs(preferences: Path, prompts: Path | None, config: dict) -> list[dict]:
    """The training pairs that are left to be cleaned, in file order. prompts: those of the evaluation, where `exclude_prompts` is on."""
    excluded = set(read_table(prompts, columns_of(PROMPTS, "cluster"))["cluster"].to_pylist()) if prompts else set()
    rows = selected_rows(read_table(preferences, SCHEMA).to_pylist(), config, excluded)
    return training_rows(rows, config["train_split"], "use_dpo", None)
