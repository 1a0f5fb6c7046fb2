"""Preference files in HH-RLHF's format for tests of prepare_preferences: lines good and bad, packed or plain, and what the step makes of them."""

import gzip
import json
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
from command_line import call
from preference_rows import asked

from hh_align.data import prepare_preferences

GOOD = b'{"chosen": "\\n\\nHuman: a\\n\\nAssistant: b", "rejected": "\\n\\nHuman: a\\n\\nAssistant: c"}'


class Prepared(NamedTuple):
    """What prepare_preferences ended with and wrote: (exit status, output), rows of both tables (None: not written)."""

    result: tuple[int, str]
    rows: list[dict] | None
    quarantined: list[dict] | None


def dialogue(human: str = "a", reply: str = " b") -> str:
    """A transcript of one question and its reply."""
    return asked(human) + reply


def line(chosen: object = None, rejected: object = None, **more: object) -> bytes:
    """One line with these transcripts, each a good one where it is not given, and further keys."""
    pair = {"chosen": dialogue() if chosen is None else chosen, "rejected": dialogue(reply=" c") if rejected is None else rejected}
    return json.dumps(pair | more, ensure_ascii=False).encode()


def without(key: str) -> bytes:
    """The good line without one of its keys."""
    return json.dumps({name: value for name, value in json.loads(GOOD).items() if name != key}).encode()


def packed(lines: list[bytes], end: bytes = b"\n") -> bytes:
    """The gzip archive of lines: the same bytes at any time."""
    return gzip.compress(b"".join(text + end for text in lines), compresslevel=1, mtime=0)


def prepare(folder: Path, content: bytes, name: str = "helpful-base/test.jsonl.gz") -> Prepared:
    """Run the step on one file."""
    path = folder / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    tables = {"preferences": folder / "preferences.parquet", "quarantine": folder / "quarantine.parquet"}
    for table in tables.values():
        table.unlink(missing_ok=True)
    result = call(prepare_preferences, config={}, files=path, **tables)
    return Prepared(result, *(pq.read_table(table).to_pylist() if table.exists() else None for table in tables.values()))
