"""Which rows of its source a derived dataset begins with, and what a judge says of them."""

import pyarrow as pa

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


def in_training_half(cluster: str) -> bool:
    """Whether a first human turn (its hash) falls into the half that may be trained on."""
    return int(cluster[-1], 16) % 2 == 0


def left_out_by(row: dict, subsets: list[str] | None, half: list[str], excluded: set[str]) -> str | None:
    """The first of the keys `subsets`, `training_half` and `exclude_prompts` that leaves a row out; None where all keep it.

    subsets: those kept (None: all); half: those of which only the training half is kept; excluded: clusters of evaluation prompts.
    """
    if subsets is not None and row["subset"] not in subsets:
        return "subsets"
    cluster = cluster_of(row["prompt"])
    if row["subset"] in half and not in_training_half(cluster):
        return "training_half"
    return "exclude_prompts" if cluster in excluded else None


def selected_rows(rows: list[dict], subsets: list[str] | None, half: list[str], excluded: set[str]) -> list[dict]:
    """Rows of `subsets` (None: all) whose first human turn is none of `excluded` and, in the subsets of `half`, in the training half."""
    return [row for row in rows if left_out_by(row, subsets, half, excluded) is None]
