"""Tables that people bring: Parquet, CSV, JSON or JSON lines, with the columns that are needed."""

from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa

from hh_align.core.errors import StudyError

READERS = {
    ".parquet": pd.read_parquet,
    ".csv": pd.read_csv,
    ".json": partial(pd.read_json, precise_float=True),
    ".jsonl": partial(pd.read_json, precise_float=True, lines=True),
}


def read_any(path: Path, columns: list[str]) -> pd.DataFrame:
    """The file's rows. Raises StudyError for a missing, unreadable or empty file and for a missing column, naming what it has."""
    if path.suffix not in READERS:
        raise StudyError(f"{path}: what kind of file is this? Give one that ends with {', '.join(READERS)}.")
    if not path.is_file():
        raise StudyError(f"{path}: no such file.")
    try:
        frame = READERS[path.suffix](path)
    except (ValueError, pa.ArrowInvalid) as error:
        raise StudyError(f"{path}: cannot be read as {path.suffix[1:]} ({str(error).splitlines()[0]}).") from None
    if missing := [name for name in columns if name not in frame]:
        raise StudyError(
            f"{path}: column {', '.join(missing)} is missing; it has {', '.join(map(str, frame))}. Needed: {', '.join(columns)}."
        )
    if frame.empty:
        raise StudyError(f"{path}: it holds no row.")
    return frame
