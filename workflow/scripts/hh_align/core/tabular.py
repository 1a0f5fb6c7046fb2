"""Tables that people bring, with the columns that are needed: identity and text are texts, whatever kind of file they come from."""

import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa

from hh_align.core.errors import StudyError
from hh_align.core.records import Record, kind_of, parquet_table, python_values, read_records

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?inf(inity)?|nan", re.IGNORECASE)
MISWRITTEN = {
    r"[-+]?[1-9]\d{0,2}(,\d{3})+": ": write it without commas, or with a point",
    r"[-+]?\d+,\d+": ": write it with a point",
    "true|false": ": write 1 for true and 0 for false",
}
"""What stands in the place of a number -> what to do."""
TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def read_any(path: Path, columns: list[str], records: str | None = None) -> pd.DataFrame:
    """The file's rows as they stand there: of CSV every value is a text.

    Raises StudyError for a missing, unreadable or empty file, for a record that is no row of named values, and for a missing column,
    naming what it has.
    """
    if kind_of(path) == ".parquet" and path.is_file():
        table = parquet_table(path)
        frame = pd.DataFrame(python_values(path, lambda: {name: column_of(table[name]) for name in table.column_names}))
        return with_columns(frame, path, columns)
    return with_columns(frame_of(path, read_records(path, records)), path, columns)


def frame_of(path: Path, records: list[Record]) -> pd.DataFrame:
    """Records as rows. Raises StudyError for one that is no row of named values."""
    for where, row in records:
        if not isinstance(row, dict):
            raise StudyError(f"{path}: {where}: not a row of named values but {type(row).__name__}.")
    return pd.DataFrame([row for _, row in records], dtype=object)


def with_columns(frame: pd.DataFrame, path: Path, columns: list[str]) -> pd.DataFrame:
    """The frame. Raises StudyError where it is empty or lacks a column, naming what it has."""
    if frame.empty:
        raise StudyError(f"{path}: it holds no row.")
    if missing := [name for name in columns if name not in frame]:
        raise StudyError(
            f"{path}: column {', '.join(missing)} is missing; it has {', '.join(map(str, frame))}. Needed: {', '.join(columns)}."
        )
    return frame


def column_of(column: pa.ChunkedArray) -> pd.Series:
    """A column of a Parquet file: numbers with a point as such, everything else as Python objects."""
    if pa.types.is_floating(column.type):
        return column.to_pandas()
    return pd.Series(column.to_pylist(), dtype=object)


def convert(frame: pd.DataFrame, path: Path, to: Callable[[object], object], columns: Iterable[str], dtype: str = "object") -> None:
    """Convert the frame's columns value by value. Raises StudyError, naming the place, for a value that `to` refuses by ValueError."""
    for name in columns:
        if name in frame:
            values = []
            for label, value in zip(frame.index, frame[name].tolist(), strict=True):
                try:
                    values.append(to(value))
                except ValueError as error:
                    raise StudyError(f"{path}, {place(label)}: {name} is {value!r:.80}, {error}.") from None
            frame[name] = pd.Series(values, index=frame.index, dtype=dtype)


def require_full(frame: pd.DataFrame, path: Path, columns: Iterable[str]) -> None:
    """Raise StudyError where a converted column that the frame has is empty in some row."""
    for name in columns:
        if name in frame and len(empty := frame.index[frame[name].isna()]):
            raise StudyError(
                f"{path}: column {name} is empty in {len(empty)} row{'s' * (len(empty) > 1)} (the first is {place(empty[0])})."
            )


def place(label: object) -> str:
    """What an error calls a row by its index: `row 1` for 0; a text is a place already."""
    return label if isinstance(label, str) else f"row {label + 1}"


def missing(value: object) -> bool:
    """Whether a value is absent: None, NaN, or an empty cell."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def to_text(value: object) -> str | None:
    """A text or a whole number as text; None where it is absent. Raises ValueError for anything else."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str) and value:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("half a surrogate pair, not a text") from None
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if missing(value):
        return None
    raise ValueError("not a text or a whole number")


def to_cluster(value: object) -> str | None:
    """As text, and a whole number that a table keeps with a point (3.0) is the same as without."""
    if isinstance(value, float) and value % 1 == 0:
        return str(int(value))
    return to_text(value.removesuffix(".0") if isinstance(value, str) else value)


def to_number(value: object) -> float:
    """A number, NaN where it is absent. Raises ValueError for anything else."""
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        return float(value)
    if isinstance(value, float) or (isinstance(value, int | Decimal) and not isinstance(value, bool) and abs(value) < 1e300):
        return float(value)
    if missing(value):
        return math.nan
    how = next((advice for pattern, advice in MISWRITTEN.items() if re.fullmatch(pattern, str(value).strip(), re.IGNORECASE)), "")
    raise ValueError(f"not a number{how}")


def to_whole(value: object) -> int:
    """A whole number. Raises ValueError for anything else."""
    count = to_number(value)
    if count % 1 or abs(count) >= 2**53:
        raise ValueError("not a whole number")
    return int(count)


def to_truth(value: object) -> bool | None:
    """true or false, or 1 or 0; None where it is absent. Raises ValueError for anything else."""
    if missing(value):
        return None
    if str(value).lower() not in TRUTHS:
        raise ValueError("neither true nor false")
    return TRUTHS[str(value).lower()]
