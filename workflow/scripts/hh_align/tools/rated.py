"""A file of rated responses, as the verdict reads it: each column by its kind, and nothing that contradicts itself."""

from itertools import pairwise
from pathlib import Path

import pandas as pd

from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError
from hh_align.core.finish import finish
from hh_align.core.tabular import convert, read_any, require_full, to_cluster, to_number, to_text, to_truth, to_whole
from hh_align.data.transcripts import cluster_of, prompt_text, reply_text

REQUIRED = ("policy", "axis", "reward")
KINDS = {
    **dict.fromkeys(["policy", "axis", "prompt_id", "judge", "parent"], (to_text, "str")),
    "prompt": (lambda value: to_text(prompt_text(value)), "str"),
    "response": (lambda value: to_text(reply_text(value)), "str"),
    "cluster": (to_cluster, "str"),
    "finish": (finish, "str"),
    "seed": (to_whole, "int64"),
    **dict.fromkeys(["reward", "tokens", "words"], (to_number, "float64")),
    **dict.fromkeys(["empty", "run_on", "unrated", "label"], (to_truth, "object")),
}
"""Column -> how a value is read, and the type of the column."""
FULL = ("policy", "prompt_id", "prompt", "judge")
"""Columns that need a value in every row where the file has them."""


def read_rated(path: Path, records: str | None = None) -> pd.DataFrame:
    """The file's rows with every column that the verdict reads.

    records: the dotted path of the list within a JSON file. Raises StudyError for an unreadable file, a missing column, a value of
    another kind than its column's, and for rows that contradict each other.
    """
    frame = read_any(path, list(REQUIRED), records)
    if not {"prompt_id", "prompt"} & set(frame):
        raise StudyError(f"{path}: column prompt_id (or prompt) is missing; it has {', '.join(map(str, frame))}.")
    frame = frame[[name for name in KINDS if name in frame]].copy()
    unknown = sorted({str(axis) for axis in frame["axis"]} - set(AXES))
    if unknown:
        raise StudyError(f"{path}: axis {', '.join(unknown[:5])} is unknown. Allowed: {', '.join(AXES)}.")
    for column, (read, dtype) in KINDS.items():
        convert(frame, path, read, [column], dtype)
    require_full(frame, path, FULL)
    for column in ("words", "empty"):
        if column in frame and 0 < (unknown := frame[column].isna().sum()) < len(frame):
            raise StudyError(f"{path}: column {column} is empty in {unknown} rows. Give it in every row, or in none.")
    if missing := [axis for axis in AXES if axis not in set(frame["axis"])]:
        raise StudyError(f"{path}: no prompt of axis {' and '.join(missing)}: both axes, {' and '.join(AXES)}, are needed.")
    for column in ("policy", "judge"):
        names = sorted(sorted(set(frame[column])), key=str.strip) if column in frame else []
        if alike := [pair for pair in pairwise(names) if pair[0].strip() == pair[1].strip()]:
            raise StudyError(f"{path}: column {column} holds {alike[0][0]!r} and {alike[0][1]!r}: take the blank away.")
    if "prompt_id" in frame:
        require_one(frame, path, ["axis", "prompt_id"], "prompt")
    if "parent" in frame:  # a table of whole numbers with gaps keeps them with a point
        names = {f"{name}.0": name for name in set(frame["policy"])}
        frame["parent"] = frame["parent"].where(frame["parent"].isin(set(frame["policy"])), frame["parent"].replace(names))
    frame = completed(frame, path)
    require_one(frame, path, ["policy"], "parent")
    require_one(frame, path, ["axis", "prompt_id"], "cluster")
    return frame


def require_one(frame: pd.DataFrame, path: Path, key: list[str], column: str) -> None:
    """Raise StudyError, naming both rows, where rows of one key hold different values of a column (an absent one is a value, too)."""
    if column not in frame:
        return
    rows = frame[[*key, column]].fillna({column: ""})
    first = rows.drop_duplicates([*key, column])
    if len(clash := first[first.duplicated(key)]):
        other = clash.iloc[0]
        one = first[(first[key] == other[key]).all(axis=1)].iloc[0]
        raise StudyError(
            f"{path}: {' '.join(map(str, other[key]))} has {column} {one[column]!r:.60} in row {one.name + 1} "
            f"and {other[column]!r:.60} in row {other.name + 1}."
        )


def completed(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """With prompt_id (numbered in the order of the prompts' first appearance), judge, seed and cluster where the file has none, and with a
    reply's text and finish in the rows of all its judges where one of them has it.

    Raises StudyError where a cluster is given to some of an axis's prompts only.
    """
    if "prompt_id" not in frame:
        numbers = {axis: {text: n for n, text in enumerate(part["prompt"].unique())} for axis, part in frame.groupby("axis")}
        frame["prompt_id"] = [f"{axis}-{numbers[axis][text]:05d}" for axis, text in zip(frame["axis"], frame["prompt"], strict=True)]
    elif len(frame[["axis", "prompt_id"]].drop_duplicates()) > frame["prompt_id"].nunique():  # each axis counts its prompts from 0
        frame["prompt_id"] = frame["axis"] + "-" + frame["prompt_id"]
    own = frame["prompt"].map(cluster_of) if "prompt" in frame else frame["prompt_id"]
    if "cluster" not in frame:
        frame["cluster"] = own
    for axis, part in frame.groupby("axis"):
        empty = part.index[part["cluster"].isna()]
        if 0 < len(empty) < len(part):
            raise StudyError(
                f"{path}: column cluster is empty in {len(empty)} rows of {axis} (the first is row {empty[0] + 1}). "
                "Give it in every row of an axis, or in none."
            )
    frame["cluster"] = frame["cluster"].where(frame["cluster"].notna(), own)
    for column, value in (("judge", "judge"), ("seed", 0)):
        if column not in frame:
            frame[column] = value
    for column in frame.columns.intersection(["response", "finish"]):
        frame[column] = frame.groupby(["policy", "seed", "axis", "prompt_id"])[column].transform("first")
    return frame
