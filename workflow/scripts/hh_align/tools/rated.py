"""Files of rated responses, as the verdict reads them: each column by its kind, and nothing that contradicts itself."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pandas as pd

from hh_align.analysis.verdict import some
from hh_align.core.artifacts import say
from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError
from hh_align.core.finish import COLUMNS, finish
from hh_align.core.meant import did_you_mean
from hh_align.core.records import chosen_records, look_up
from hh_align.core.tabular import (
    TRUTHS,
    convert,
    missing,
    place,
    require_full,
    to_cluster,
    to_number,
    to_text,
    to_truth,
    to_whole,
)
from hh_align.data.scored_logs import Log, rating_rows, scored_log
from hh_align.data.transcripts import cluster_of, prompt_text, reply_text
from hh_align.tools.rated_columns import REQUIRED, require_columns
from hh_align.tools.rated_rows import placed_rows, require_content, require_once


def advising(read: Callable[[object], object], advice: str) -> Callable[[object], object]:
    """The same reader, whose refusal also says what to do, where it does not do so yet."""

    def reader(value: object) -> object:
        try:
            return read(value)
        except ValueError as error:
            raise ValueError(str(error) if ":" in str(error) else f"{error}: {advice}") from None

    return reader


TEXT, NUMBER, WHOLE = "write it as a text", "write one, or take this prompt out of every policy", "write one, such as 0 for a single run"
KINDS = {
    **dict.fromkeys(["policy", "axis", "prompt_id", "judge", "parent"], (advising(to_text, TEXT), "str")),
    "prompt": (advising(lambda value: to_text(prompt_text(value)), TEXT), "str"),
    "response": (advising(lambda value: to_text(reply_text(value)), TEXT), "str"),
    "cluster": (advising(to_cluster, TEXT), "str"),
    "finish": (finish, "str"),
    "seed": (advising(to_whole, WHOLE), "int64"),
    "reward": (advising(to_number, NUMBER), "float64"),
    **dict.fromkeys(["tokens", "words"], (advising(to_number, "write one, or leave the column out"), "float64")),
    **dict.fromkeys(["empty", "run_on", "unrated", "label"], (advising(to_truth, "write one of the two"), "object")),
}
"""Column -> how a value is read, and the type of the column."""
FULL = ("policy", "prompt_id", "prompt", "judge")
"""Columns that need a value in every row where the file has them."""
LOGS = ("*.eval", "samples_*.jsonl")
"""What a folder is searched for: the names by which harnesses write logs."""


def files_in(paths: Sequence[Path]) -> list[Path]:
    """The files, and for a folder the logs below it, by name. Raises StudyError for a folder without any."""
    files = []
    for path in paths:
        below = sorted({file for pattern in LOGS for file in path.rglob(pattern)}) if path.is_dir() else [path]
        if not below:
            raise StudyError(f"{path}: no log in this folder ({' or '.join(LOGS)}). Name the files.")
        files += below
    return files


def read_rated(paths: Sequence[Path], settings: Mapping | None = None, source: str = "the settings") -> pd.DataFrame:
    """The rows of all files with every column that the verdict reads.

    settings: those of a verdict; of them records, columns, only, score, axes and files say how files are read; source: where they stand. Raises StudyError for an
    unreadable file, a missing column, a value of another kind than its column's, and for rows that contradict each other.
    """
    settings = settings or {}
    names = {name for path in paths for name in (str(path), path.name)}
    if unknown := sorted(set(settings.get("files", {})) - names):
        raise StudyError(f"{source}: files: {unknown[0]} is none of the files, {', '.join(map(str, paths))}.")
    frames = [read_file(path, settings, source) for path in paths]
    if len(paths) == 1:
        return checked(frames[0], str(paths[0])).reset_index(drop=True)
    label = ", ".join(map(str, paths))
    for column in (*FULL, "seed", "cluster"):
        have = [column in frame for frame in frames]
        if any(have) and not all(have):
            raise StudyError(f"{label}: column {column} is in {paths[have.index(True)]}, but not in {paths[have.index(False)]}.")
    check_apart(paths, frames)
    for path, frame in zip(paths, frames, strict=True):
        frame.index = [f"{place(number)} of {path}" for number in frame.index]
    return checked(pd.concat(frames), label).reset_index(drop=True)


def check_apart(paths: Sequence[Path], frames: Sequence[pd.DataFrame]) -> None:
    """Raise StudyError where two files rate one policy's replies to the same prompts by the same judge."""
    rated: dict[tuple, Path] = {}
    for path, frame in zip(paths, frames, strict=True):
        key = [name for name in ("policy", "seed", "judge", "axis", "prompt_id", "prompt") if name in frame]
        rows = list(dict.fromkeys(frame[key].astype(object).itertuples(index=False, name=None)))
        if twice := next((row for row in rows if row in rated), None):
            raise StudyError(
                f"{rated[twice]} and {path} both rate policy {twice[0]} on the same prompts. Where these are two policies, give them names "
                f"in the settings: files: {{{path.name}: …}}."
            )
        rated |= dict.fromkeys(rows, path)


def read_file(path: Path, settings: Mapping, source: str) -> pd.DataFrame:
    """A file's rows, each column converted by its kind; a row of a scored log per record and score."""
    require_content(path)
    log, records = scored_log(path, settings.get("records"))
    whole = rows_of_log(path, log, settings) if log else rows_of_table(path, placed_rows(path, records), settings, source)
    require_columns(whole, path)
    frame = whole[[name for name in KINDS if name in whole]].copy()
    axes = settings.get("axes", {})
    named_axes = [axes.get(axis, axis) if isinstance(axis, str) else axis for axis in frame["axis"]]
    frame["axis"] = pd.Series(named_axes, frame.index, dtype=object)
    if not (given := ~frame["axis"].map(missing).astype(bool)).all():
        raise StudyError(f"{path}, {place(frame.index[~given][0])}: column axis is empty. Allowed: {', '.join(AXES)}.")
    if unknown := sorted({str(axis) for axis in frame["axis"]} - set(AXES)):
        how = f" The key axes says what it means: axes: {{{unknown[0]}: {AXES[0]}}}." if unknown[0].strip() else ""
        raise StudyError(f"{path}: axis {', '.join(unknown[:5])} is unknown. Allowed: {', '.join(AXES)}.{how}")
    for column, (read, dtype) in KINDS.items():
        convert(frame, path, read, [column], dtype)
    require_full(frame, path, FULL)
    for column in ("words", "empty"):
        if column in frame and 0 < (unknown := int(frame[column].isna().sum())) < len(frame):
            many = f"{unknown} row{'s' * (unknown > 1)}"
            raise StudyError(f"{path}: column {column} is empty in {many}. Give it in every row, or in none.")
    require_once(frame, whole, path, settings)
    return frame


def rows_of_log(path: Path, log: Log, settings: Mapping) -> pd.DataFrame:
    """The rows of a scored log, its policy by the name that `files` gives, else the log, else the file has."""
    kept = log._replace(records=chosen_records(path, log.records, settings.get("only", {})))
    frame = pd.DataFrame(rating_rows(path, kept, settings.get("columns", {}), settings.get("score")), dtype=object)
    frame["policy"] = frame["policy"].where(frame["policy"].notna(), path.name.split(".")[0])
    if name := named(path, settings):
        frame["policy"] = name
    return frame


def named(path: Path, settings: Mapping) -> str | None:
    """The policy that the settings' `files` name for a file, by its path or its name."""
    files = settings.get("files", {})
    return files.get(str(path), files.get(path.name))


def rows_of_table(path: Path, frame: pd.DataFrame, settings: Mapping, source: str) -> pd.DataFrame:
    """A table's rows with the columns as the verdict calls them, of those that `only` keeps."""
    if "score" in settings:
        raise StudyError(f"{path}: a table, no scored log. Instead of score set columns: {{reward: {settings['score']}}}.")
    if {"scores_chosen", "scores_rejected"} <= set(frame):
        raise StudyError(
            f"{path}: a judge's scores of chosen and rejected replies, as RewardBench writes them. A verdict is about policies: it needs a row "
            f"per policy and prompt, with {', '.join(REQUIRED)}."
        )
    if "only" in settings:
        rows = zip(frame.index, frame.to_dict("records"), strict=True)
        frame = frame.loc[[label for label, _ in chosen_records(path, list(rows), settings["only"])]].copy()
    for name, column in settings.get("columns", {}).items():
        head, _, rest = column.partition(".")
        if column not in frame and head not in frame:
            there = list(map(str, frame))
            raise StudyError(
                f"{source}: columns names {column}, which {path} does not have (it has {', '.join(there)}).{did_you_mean(column, there)}"
            )
        frame[name] = (
            frame[column] if column in frame else pd.Series([look_up(value, rest) for value in frame[head]], frame.index, dtype=object)
        )
    if "reward" not in frame and "label" in frame:
        say(f"{path}: label is read as reward, 1 for true and 0 for false")
        told = frame["label"].map(lambda value: TRUTHS.get(str(value).lower()))  # another value is refused with the column label
        frame["reward"] = told.map({True: 1.0, False: 0.0})
    if "finish" not in frame and (other := next((name for name in COLUMNS if name in frame), None)):
        say(f"{path}: {other} is read as finish")
        frame["finish"] = frame[other]
    if name := named(path, settings):
        if "policy" in frame and len(there := list(dict.fromkeys(map(str, frame["policy"])))) > 1:
            raise StudyError(
                f"{source}: files calls {path.name} {name}, and its column policy names {some(there)}. Take the file out of files."
            )
        frame["policy"] = name
    return frame


def checked(frame: pd.DataFrame, path: str) -> pd.DataFrame:
    """The rows of all files, completed. Raises StudyError where they contradict each other."""
    for column in ("policy", "judge"):
        names = sorted(sorted(set(frame[column])), key=str.strip) if column in frame else []
        if odd := [name for name in names if not name.isprintable()]:
            raise StudyError(
                f"{path}: column {column} holds {odd[0]!r}: a name is made of letters that can be shown. Take the others out of it."
            )
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


def require_one(frame: pd.DataFrame, path: str, key: list[str], column: str) -> None:
    """Raise StudyError, naming both rows, where rows of one key hold different values of a column (an absent one is a value, too)."""
    if column not in frame:
        return
    rows = frame[[*key, column]].fillna({column: ""})
    first = rows.drop_duplicates([*key, column])
    if len(clash := first[first.duplicated(key)]):
        other = clash.iloc[0]
        one = first[(first[key] == other[key]).all(axis=1)].iloc[0]
        raise StudyError(
            f"{path}: {' '.join(map(str, other[key]))} has {column} {one[column]!r:.60} in {place(one.name)} "
            f"and {other[column]!r:.60} in {place(other.name)}."
        )


def completed(frame: pd.DataFrame, path: str) -> pd.DataFrame:
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
                f"{path}: column cluster is empty in {len(empty)} row{'s' * (len(empty) > 1)} of {axis} (the first is {place(empty[0])}). "
                "Give it in every row of an axis, or in none."
            )
    frame["cluster"] = frame["cluster"].where(frame["cluster"].notna(), own)
    for column, value in (("judge", "judge"), ("seed", 0)):
        if column not in frame:
            frame[column] = value
    for column in frame.columns.intersection(["response", "finish"]):
        frame[column] = frame.groupby(["policy", "seed", "axis", "prompt_id"])[column].transform("first")
    return frame
