"""Small files of the kinds that people bring, each with what the readers make of it: the cases of docs/formats.md."""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from command_line import call

from hh_align.core.errors import StudyError


class Case(NamedTuple):
    """A file, and what is right for it."""

    what: str
    file: str
    content: str | bytes | list | Callable[[Path], None]
    """A list is written as the file's ending says; a function makes a folder."""
    gives: list[tuple] | None
    """The rows that are read; None: it is refused."""
    says: str = ""
    """The message of a refusal; of a file that is read, what is said beside. `…` stands for anything."""
    settings: dict = {}  # noqa: RUF012
    """What the config says of the file."""
    example: str = ""
    """What the page shows where the content cannot be shown."""


class Section(NamedTuple):
    """A kind of file: how it is read, and its cases."""

    title: str
    intro: str
    read: Callable[[Path, dict], list[tuple]]
    formats: list[Case]
    faults: list[Case]


def encoded(rows: list, ending: str) -> bytes:
    """Rows as a file of this ending."""
    if ending == ".parquet":
        output = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), output)
        return output.getvalue()
    if ending in (".csv", ".tsv"):
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t" if ending == ".tsv" else ",", lineterminator="\n")
        writer.writerows([list(rows[0]), *(row.values() for row in rows)])
        return text.getvalue().encode()
    return (json.dumps(rows) if ending == ".json" else "\n".join(map(json.dumps, rows))).encode()


def endings_of(name: str) -> list[str]:
    """The endings of a file's name, in small letters; of a folder's an empty one."""
    return [ending.lower() for ending in Path(name).suffixes] or [""]


def write(case: Case, folder: Path) -> Path:
    """Make the case's file in a folder."""
    path = folder / case.file
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(case.content):
        case.content(path)
        return path
    endings = endings_of(path.name)
    content = encoded(case.content, endings[0]) if isinstance(case.content, list) else case.content
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if endings[-1] == ".gz" else content)
    return path


def step(module: ModuleType, **options: object) -> None:
    """Run a step. Raises StudyError with the error that it ends with."""
    status, output = call(module, **options)
    if status:
        raise StudyError(output.splitlines()[-1].removeprefix("error: "))
    print(output)


def outcome(section: Section, case: Case, folder: Path) -> tuple[list[tuple] | None, str]:
    """(the rows that are read, what is said); of a refusal (None, its message)."""
    path, output = write(case, folder), io.StringIO()
    try:
        with redirect_stdout(output):
            rows = section.read(path, case.settings)
    except StudyError as error:
        return None, str(error).replace(f"{folder}/", "")
    return rows, output.getvalue().replace(f"{folder}/", "")


def matches(says: str, said: str, whole: bool) -> bool:
    """Whether a message is what the case expects, as a whole or within more."""
    pattern = ".*".join(map(re.escape, says.split("…")))
    return bool((re.fullmatch if whole else re.search)(pattern, said, re.DOTALL))
