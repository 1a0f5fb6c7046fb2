"""The rows of a file of ratings: the names of their places, and what is said where two of them are about the same."""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hh_align.analysis.verdict import listed
from hh_align.core.errors import StudyError
from hh_align.core.finish import COLUMNS
from hh_align.core.records import SEPARATORS, Record, kind_of, read_records, text_of
from hh_align.core.tabular import frame_of, place, read_any
from hh_align.tools.rated_columns import in_yaml, meant

WHO = ("policy", "judge", "seed", "axis")
"""With the prompt, what a row is about."""


def require_content(path: Path) -> None:
    """Raise StudyError for a file of 0 bytes, and for one of an unknown kind."""
    kind_of(path)
    if path.is_file() and not path.stat().st_size:
        raise StudyError(f"{path}: the file is empty (0 bytes). Write it again, or name another.")


def placed_rows(path: Path, records: list[Record] | None) -> pd.DataFrame:
    """A table's rows by their places: `line 5` where the file has lines, `row 4` of a Parquet file, else `record 4`.

    records: those of the file, where they are read. Raises StudyError for a file without a row, and as read_any does.
    """
    kind = kind_of(path)
    if kind == ".parquet":
        frame = read_any(path, [])
        return frame.set_axis([place(number) for number in range(len(frame))])
    read = read_records(path) if records is None else records
    if not read:
        below = ": a header, and nothing below it" if kind in (".csv", ".tsv") and text_of(path).strip() else ""
        raise StudyError(f"{path}: it holds no row{below}. Write a row per policy and prompt.")
    return frame_of(path, read).set_axis(csv_lines(path) if kind in (".csv", ".tsv") else [where for where, _ in read])


def csv_lines(path: Path) -> list[str]:
    """The line in which each row of a CSV file begins; its texts may have several, and lines may be blank."""
    text = text_of(path)
    separator = "\t" if kind_of(path) == ".tsv" else max(SEPARATORS, key=text.partition("\n")[0].count)
    reader, begins, lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator), 1, []
    for row in reader:
        lines += [f"line {begins}"] if row else []
        begins = reader.line_num + 1
    return lines[1:]


def places(one: object, other: object) -> str:
    """`lines 2 and 362` of the places of two rows; of places with names of their own `a and b`."""
    first, second = map(place, (one, other))
    numbered = [re.fullmatch(r"(line|row|record) (\d+)", each) for each in (first, second)]
    return f"{numbered[0][1]}s {numbered[0][2]} and {numbered[1][2]}" if all(numbered) else f"{first} and {second}"


def require_once(frame: pd.DataFrame, whole: pd.DataFrame, path: Path, settings: Mapping) -> None:
    """Raise StudyError where two rated rows have the same policy, judge, seed and prompt; it names columns that would tell them apart.

    frame: the rows as they are read; whole: with all columns of the file.
    """
    prompt = "prompt_id" if "prompt_id" in frame else "prompt"
    key = [*(name for name in WHO if name in frame), prompt]
    rated = frame[frame["reward"].notna()]
    again = rated.duplicated(key)
    if not again.any():
        return
    second = rated[again].iloc[0]
    first = rated[(rated[key] == second[key]).all(axis=1)].iloc[0]
    who = [f"seed {second[name]}" if name == "seed" else str(second[name]) for name in key[:-1]]
    which = f"prompt {second[prompt]}" if prompt == "prompt_id" else "one prompt"
    more = int(again.sum()) - 1
    also = f", and so do{'es' * (more == 1)} {more:,} more" if more else ""
    keep = "one of each" if more else "one"
    hint = telling_apart(rated, whole.loc[rated.index], key, settings)
    raise StudyError(f"{path}, {places(first.name, second.name)}: {', '.join([*who, which])} stands twice{also}. {hint or 'Keep '}{keep}.")


def telling_apart(rated: pd.DataFrame, whole: pd.DataFrame, key: list[str], settings: Mapping) -> str:
    """Which columns that are not read tell rows apart, and how the settings name the judge or the seed; empty where there are none.

    Columns with the names of a judge or a seed elsewhere come first, though they leave rows alike; others tell all rows apart. One that has
    another value in every row is a number of the row.
    """
    read = {*rated, *COLUMNS, *(column.partition(".")[0] for column in (*settings.get("columns", {}).values(), *settings.get("only", {})))}
    unread = [name for name in whole if name not in read and whole[name].astype(str).nunique() < len(whole)]
    alike = {name: rated[key].assign(**{"": whole[name].astype(str)}).duplicated().sum() for name in unread}
    known = {name: column for name, column in meant(("judge", "seed"), unread).items() if alike[column] < rated.duplicated(key).sum()}
    columns = list(known.values()) or [name for name in unread if not alike[name]]
    free = [name for name in ("judge", "seed") if name not in key]
    names = known or dict(zip(free[:1], columns, strict=False))
    if not names:
        return ""
    one, who = len(columns) == 1, " and the ".join(names)
    said = f"The column{'' if one else 's'} {listed(columns)} {'is' if one else 'are'} not read"
    if_so = f"If {'it names' if one else 'they name' if known else 'one of them names'} the {who}"
    form = ", ".join(f"{name}: {in_yaml(column)}" for name, column in names.items())
    return f"{said}. {if_so}, say so in the settings: columns: {{{form}}}. Else keep "
