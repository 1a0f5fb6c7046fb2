"""Files of records that people bring: CSV and its kin, JSON, JSON lines, Parquet, inspect's logs; packed by gzip or not. A text stays the text that it is."""

import codecs
import csv
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError

T = TypeVar("T")
Record = tuple[str, object]
"""Where a record stands in the file (`line 3`, `record 7`, counted from 1), and its value."""
ZSTANDARD = 93
"""The number of that packing in a zip file."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def read_records(path: Path, records: str | None = None) -> list[Record]:
    """The file's records, in its order.

    records: the dotted path of the list within a JSON file, where it is not the whole. Raises StudyError for a missing or unreadable
    file, one of an unknown kind, and one whose columns are not all different.
    """
    kind = kind_of(path)
    if not path.is_file():
        raise StudyError(f"{path}: no such file.")
    return READERS[kind](path, records)


def kind_of(path: Path) -> str:
    """What the file's name says that it is: one of READERS. Raises StudyError for another ending."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings[-1:] == [".gz"]:
        endings.pop()
    if not endings or endings[-1] not in READERS:
        raise StudyError(f"{path}: what kind of file is this? Give one that ends with {', '.join(READERS)}, or with .gz behind that.")
    return endings[-1]


def bytes_of(path: Path) -> bytes:
    """The file's content, unpacked. Raises StudyError where the packing is damaged."""
    content = path.read_bytes()
    if path.suffix.lower() != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise StudyError(f"{path}: damaged gzip data ({error}). Replace the file.") from None


def text_of(path: Path) -> str:
    """The file as text: UTF-8, or UTF-16 with its mark. Raises StudyError, naming the line, for another encoding."""
    content = bytes_of(path)
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise StudyError(f"{path}: line {line}: not {'UTF-16' if marked else 'UTF-8'}. Save the file as UTF-8.") from None


def csv_records(path: Path, records: str | None) -> list[Record]:
    """The rows below the header, every value a text. Columns are separated by what the header separates."""
    text = text_of(path)
    header = text.partition("\n")[0]
    separator = "\t" if kind_of(path) == ".tsv" else max(SEPARATORS, key=header.count)
    if separator != "," and kind_of(path) != ".tsv":
        say(f"{path}: its columns are separated by {SEPARATORS[separator]}")
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    rows = []
    try:
        if not reader.fieldnames and text.strip():
            raise StudyError(f"{path}: line 1 is blank. The header belongs there: take the blank line out.")
        check_names(reader.fieldnames or [], path)
        for number, row in enumerate(reader, start=1):
            if None in row or None in row.values():
                raise StudyError(f"{path}: record {number} (up to line {reader.line_num}) has not one value for each column of the header.")
            rows.append((f"record {number}", row))
    except csv.Error as error:
        raise StudyError(f"{path}: line {reader.line_num + 1}: not CSV ({error}).") from None
    return rows


def json_records(path: Path, records: str | None) -> list[Record]:
    """The entries of a JSON list, of the list at the dotted path `records`, or the rows of a table that is written by columns."""
    text = text_of(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if str(error).startswith("Extra data") and text.lstrip().startswith("{"):
            say(f"{path}: a record a line, read as JSON lines")
            return json_line_records(path, records)
        raise StudyError(f"{path}: not JSON ({error}).") from None
    entries = value if records is None or isinstance(value, list) else look_up(value, records)
    entries = rows_of_columns(entries) or entries
    if not isinstance(entries, list):
        where = f"at {records} " if records else ""
        names = f"; it has {', '.join(map(str, value))}" if isinstance(value, dict) else ""
        lists = [name for name, entry in value.items() if isinstance(entry, list)] if isinstance(value, dict) else []
        example = f": {lists[0]}, perhaps" if lists and not records else ""
        raise StudyError(
            f"{path}: no list of records {where}but {type(entries).__name__}{names}. It must be the whole file, or stand where the key "
            f"records says (of responses, and of a verdict's settings){example}."
        )
    return numbered(entries)


def rows_of_columns(value: object) -> list[dict] | None:
    """The rows of {column: values} or {column: {row: value}}, as pandas writes tables; None for anything else."""
    columns = list(value.values()) if isinstance(value, dict) else []
    if columns and all(isinstance(column, dict) for column in columns) and len({tuple(column) for column in columns}) == 1:
        columns = [list(column.values()) for column in columns]
    if not columns or not all(isinstance(column, list) for column in columns) or len(set(map(len, columns))) > 1:
        return None
    if any(isinstance(entry, dict | list) for column in columns for entry in column):
        return None
    return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]


def json_line_records(path: Path, records: str | None) -> list[Record]:
    """The JSON value of each line that is not blank; of one line with a list, its entries."""
    values = []
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if line.strip():
            try:
                values.append((f"line {number}", json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise StudyError(f"{path}: line {number}: not JSON ({error}).") from None
    if len(values) == 1 and isinstance(values[0][1], list):
        say(f"{path}: one list, read as JSON")
        return numbered(values[0][1])
    return values


def parquet_records(path: Path, records: str | None) -> list[Record]:
    """The rows, nested columns as dicts and lists."""
    return numbered(python_values(path, parquet_table(path).to_pylist))


def python_values(path: Path, convert: Callable[[], T]) -> T:
    """What `convert` makes of a Parquet file's table. Raises StudyError where a text in it is none."""
    try:
        return convert()
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: not a readable Parquet file (a text is not UTF-8: {error.reason}).") from None


def parquet_table(path: Path) -> pa.Table:
    """The whole table. Raises StudyError where it cannot be read, or a column stands twice."""
    try:
        source = pa.BufferReader(bytes_of(path)) if path.suffix.lower() == ".gz" else path
        table = pq.read_table(source, page_checksum_verification=True)
        check_names(table.column_names, path)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:  # a column's name may be no UTF-8
        raise StudyError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}).") from None
    return table


def inspect_records(path: Path, records: str | None) -> list[Record]:
    """The samples of a log of inspect_ai: a zip with a JSON file of each, `samples/<id>_epoch_<epoch>.json`."""
    with inspect_log(path) as log:
        names = sorted(name for name in log.namelist() if name.startswith("samples/") and name.endswith(".json"))
        return [(name, json_member(log, name)) for name in names]


@contextmanager
def inspect_log(path: Path) -> Iterator[zipfile.ZipFile]:
    """The log, opened. Raises StudyError where it, or what is read of it within, is damaged or packed in an unknown way.

    zipfile raises RuntimeError, or a kind of it, for an encrypted file and for a packing that it does not know.
    """
    try:
        with zipfile.ZipFile(path) as log:
            yield log
    except (zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, RecursionError, struct.error, pa.ArrowException, OSError) as error:
        raise StudyError(
            f"{path}: not a readable log of inspect_ai ({error}). Write it anew with `inspect log convert --to json`."
        ) from None


def json_member(log: zipfile.ZipFile, name: str) -> object:
    """The JSON of a file in a zip, packed as zipfile knows it or, as inspect_ai does, by Zstandard.

    Raises BadZipFile where the checksum is another, and what zipfile and json raise.
    """
    about = log.getinfo(name)
    if about.compress_type != ZSTANDARD or about.flag_bits & 1:
        return json.loads(log.read(name))
    log.fp.seek(about.header_offset)
    name_bytes, extra_bytes = struct.unpack("<HH", log.fp.read(30)[26:])
    log.fp.seek(name_bytes + extra_bytes, io.SEEK_CUR)
    content = pa.CompressedInputStream(pa.BufferReader(log.fp.read(about.compress_size)), "zstd").read()
    if zlib.crc32(content) != about.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {name!r}")
    return json.loads(content)


READERS: dict[str, Callable[[Path, str | None], list[Record]]] = {
    ".csv": csv_records,
    ".tsv": csv_records,
    ".json": json_records,
    ".jsonl": json_line_records,
    ".ndjson": json_line_records,
    ".parquet": parquet_records,
    ".eval": inspect_records,
}


def numbered(entries: Sequence) -> list[Record]:
    """Records counted from 1."""
    return [(f"record {number}", entry) for number, entry in enumerate(entries, start=1)]


def chosen_records(path: Path, records: list[Record], only: Mapping[str, object]) -> list[Record]:
    """The records whose columns have these values; the others are counted. Raises StudyError where none is left."""
    for column, value in only.items():
        values = [look_up(record, column) for _, record in records]
        kept = [record for record, there in zip(records, values, strict=True) if has_value(there, value)]
        if not kept:
            raise StudyError(f"{path}: no record has {column} {value}. There is: {', '.join(sorted(set(map(str, values)))[:9])}.")
        if len(kept) < len(records):
            say(f"{path}: {len(records) - len(kept)} of {len(records)} records left out: {column} is not {value}")
        records = kept
    return records


def check_names(names: Sequence[str], path: Path) -> None:
    """Raise StudyError where two columns have one name."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise StudyError(f"{path}: column {', '.join(twice)} stands twice. Rename one of them.")


def look_up(value: object, column: str) -> object:
    """What a dotted path leads to in nested dicts and lists; a column of that very name comes first. None where there is nothing."""
    if isinstance(value, dict) and column in value:
        return value[column]
    for part in column.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def text_of_value(value: object) -> str:
    """A value as a CSV file has it: a text as it is, a whole number without a point, anything else as JSON writes it."""
    if isinstance(value, str):
        return value
    value = value.item() if hasattr(value, "item") else value  # a number of a table's column
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, ensure_ascii=False, default=str)


def has_value(value: object, wanted: object) -> bool:
    """Whether a value is the wanted one, or one of a list of them: the same text, true and false in any case."""
    if isinstance(wanted, list):
        return any(has_value(value, each) for each in wanted)
    text = text_of_value(value)
    return (text.lower() if isinstance(wanted, bool) else text) == text_of_value(wanted)


def fits(record: object, where: Mapping[str, object]) -> bool:
    """Whether the record has in each column of `where` the value, or one of the list of values, that stands there."""
    return all(has_value(look_up(record, column), wanted) for column, wanted in where.items())
