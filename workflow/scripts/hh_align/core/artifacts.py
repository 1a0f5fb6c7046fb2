"""Artifacts: whole or not at all, equal bytes for equal inputs, with their provenance inside."""

import errno
import hashlib
import json
import os
import platform
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from hh_align.core.errors import StudyError, printable
from hh_align.core.processes import is_first

LIBRARIES = ("numpy", "pandas", "pyarrow", "torch", "transformers", "trl", "peft", "tokenizers", "scipy", "statsmodels")
CHECKOUT = Path(__file__).resolve().parents[4]
ROW_GROUP = 10_000
WINDOW = ROW_GROUP // 10
"""Rows that a step reads, plans and writes together: its memory does not grow with their number."""
LONGEST_NAME = 255  # bytes
REBUILD = "Delete the file; the next run rebuilds it."
BUILDS = "HH_ALIGN_BUILDS"
"""The variable by which rules tell their steps which folders a run can make again: the study's and that of the downloads."""
NO_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on failure it is removed. Raises StudyError where the disk is
    full or read-only."""
    path = Path(path)
    temporary = path.with_name(temporary_name(path.name))
    try:
        with writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Within, a file is written. Raises StudyError, naming it, where the disk is full or read-only."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_DISK:
            raise cannot_write(path, os.strerror(error.errno)) from None
        raise


def temporary_name(name: str) -> str:
    """What a file is called while it is written: hidden, with the process and the machine that write it."""
    return f".{name}.{os.getpid()}@{socket.gethostname()}.tmp"


def cannot_write(path: Path, why: str) -> StudyError:
    """The error to raise where a disk does not take a file."""
    return StudyError(f"{path}: cannot be written ({why}). Make room on that disk, or make it writable, and run again.")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically, keys sorted."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def logical_name(path: Path) -> str:
    """An artifact's name that does not depend on where the repository or the study lies: its path below results/, else below the working
    directory or the checkout, else its last three parts."""
    path = Path(path).absolute()
    if "results" in path.parts:
        return "/".join(path.parts[len(path.parts) - path.parts[::-1].index("results") :])
    folder = next((folder for folder in (Path.cwd(), CHECKOUT) if path.is_relative_to(folder)), None)
    return path.relative_to(folder).as_posix() if folder else "/".join(path.parts[-3:])


def provenance(config: object, inputs: list[Path], **facts: object) -> dict:
    """What made an artifact: step config, sha256 of each logical input, library versions, further facts (device, dtype, …); no clock."""
    return {
        "config": config,
        "inputs": {logical_name(path): sha256(path) for path in inputs},
        "python": platform.python_version(),
        "libraries": {name: installed for name in LIBRARIES if (installed := _version(name))},
        **facts,
    }


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_table(path: Path, rows: list[Mapping] | pa.Table, schema: pa.Schema, made_by: dict) -> None:
    """Write rows as Parquet under an explicit schema, with the provenance in the file's metadata (key `provenance`)."""
    write_windows(path, [rows], schema, made_by)


def write_windows(path: Path, windows: Iterable[list[Mapping] | pa.Table], schema: pa.Schema, made_by: dict) -> None:
    """As write_table, a window of rows at a time: each becomes one row group, or several where it is large."""
    described = schema.with_metadata({"provenance": json.dumps(made_by, sort_keys=True)})
    with (
        atomic(path) as temporary,
        pq.ParquetWriter(temporary, described, compression="zstd", compression_level=3, write_page_checksum=True) as writer,
    ):
        for rows in windows:
            table = rows.select(schema.names).cast(schema) if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=schema)
            writer.write_table(table.replace_schema_metadata(described.metadata), row_group_size=ROW_GROUP)


def read_table(path: Path, columns: list[str] | pa.Schema | None = None) -> pa.Table:
    """Read an artifact's columns (None: all), which must have the schema's types where one is given.

    Raises StudyError where the file cannot be read (as set_aside does), or lacks a column or has it of another type.
    """
    with readable(path, columns) as names:
        return pq.read_table(path, columns=names, page_checksum_verification=True).replace_schema_metadata(None)


@contextmanager
def readable(path: Path, columns: list[str] | pa.Schema | None) -> Iterator[list[str] | None]:
    """The columns' names. Within, an error of Parquet means a damaged artifact. Raises StudyError as read_table does."""
    try:
        stored, names = pq.read_schema(path), columns.names if isinstance(columns, pa.Schema) else columns
        if missing := [name for name in names or [] if name not in stored.names]:
            raise StudyError(f"{path}: column {', '.join(missing)} is missing; it has {', '.join(stored.names)}. {REBUILD}")
        for field in columns if isinstance(columns, pa.Schema) else []:
            if stored.field(field.name).type != field.type:
                raise StudyError(f"{path}: column {field.name} is {stored.field(field.name).type}, not {field.type}. {REBUILD}")
        yield names
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError, OSError) as error:
        if getattr(error, "errno", None):  # the file is not there or may not be read: it says nothing of its content
            raise StudyError(f"{path}: {error.strerror}.") from None
        set_aside(path, f"not a readable Parquet file ({str(error).splitlines()[0]})")


def read_windows(path: Path, columns: pa.Schema, size: int) -> Iterator[list[dict]]:
    """An artifact's rows, `size` at a time. Raises StudyError as read_table does."""
    with readable(path, columns) as names, pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(batch_size=size, columns=names, use_threads=False):
            yield batch.to_pylist()


def read_provenance(path: Path) -> dict:
    """The provenance that write_table stored in a Parquet file. Raises StudyError as read_table does, and where the file carries none."""
    with readable(path, None):
        stored = (pq.read_schema(path).metadata or {}).get(b"provenance")
    if stored is None:
        raise StudyError(f"{path}: carries no provenance: no step of a study made it. Move it out of the study's folder.")
    return json.loads(stored)


def is_rebuilt(path: Path) -> bool:
    """Whether the run that this step belongs to can make the file again; False for every file where a step or a tool runs outside a run."""
    folders = filter(None, os.environ.get(BUILDS, "").split(os.pathsep))
    return any(Path(path).resolve().is_relative_to(Path(folder).resolve()) for folder in folders)


def set_aside(path: Path, why: str) -> NoReturn:
    """Raise StudyError for a damaged file. One that the run can make again is renamed to `<name>.damaged`, so that the next run does; any
    other stays as it is."""
    path = Path(path)
    if not is_rebuilt(path):
        raise StudyError(f"{path}: {why}. It was left as it is: put a sound copy in its place, or delete it where a run can make it again.")
    os.replace(path, path.with_name(path.name + ".damaged"))
    raise StudyError(f"{path}: {why}. Moved aside to {path.name}.damaged; run the same command again to rebuild it.")


def write_manifest(folder: Path, names: list[str]) -> None:
    """Write folder/manifest.json: name -> sha256 of each file. Written last, it says that the folder is complete."""
    write_json(folder / "manifest.json", {name: sha256(folder / name) for name in sorted(names)})


def sums_of(manifest: Path) -> dict[str, str]:
    """File -> sha256 of what a manifest vouches for. Left out is the NOTICE of a model that was made here, also where the manifest names it: its
    wording may change without the weights, and its own receipt holds its sum. A downloaded NOTICE stays.

    Raises ValueError, AttributeError or RecursionError where the manifest cannot be read.
    """
    sums = dict(json.loads(manifest.read_text(encoding="utf-8")).items())
    return {name: total for name, total in sums.items() if name != "NOTICE" or "provenance.json" not in sums}


def verify_manifest(manifest: Path) -> Path:
    """Check every file that a manifest vouches for and return its folder.

    Raises StudyError for the first file that is missing or has other bytes. The file and the manifest are moved aside where the run can
    make them again (set_aside).
    """
    manifest = Path(manifest)
    try:
        sums = sums_of(manifest)
        json.dumps(list(sums), ensure_ascii=False).encode()
    except (ValueError, AttributeError, RecursionError):
        set_aside(manifest, "not a readable manifest")
    if odd := [name for name in sums if not name.isprintable() or any(len(part.encode()) > LONGEST_NAME for part in name.split("/"))]:
        raise StudyError(f"{manifest}: it names {odd[0][:80]!r}, which is no file's name. Delete it; nothing was read.")
    if outside := [name for name in sums if not (manifest.parent / name).resolve().is_relative_to(manifest.parent.resolve())]:
        raise StudyError(f"{manifest}: it names {outside[0]}, which lies outside its folder. Delete it; nothing was read.")
    for name in sorted(sums):
        path = manifest.parent / name
        checksum = sha256(path) if path.is_file() else None
        if checksum != sums[name]:
            if checksum and is_rebuilt(manifest):
                os.replace(path, path.with_name(path.name + ".damaged"))
            set_aside(manifest, f"{name} is damaged (sha256 {checksum}, expected {sums[name]})" if checksum else f"{name} is missing")
    return manifest.parent


def say(text: str) -> None:
    """Print to the log, at once, with escapes for control characters; of several processes that share a training only the first speaks."""
    if is_first():
        print(printable(text, keep="\n"), flush=True, file=sys.stdout)
