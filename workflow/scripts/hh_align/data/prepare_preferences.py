"""Files of preferences -> preferences.parquet (every parseable row, with flags and uses) and quarantine.parquet (the rest)."""

import codecs
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from hh_align.core.artifacts import provenance, say, verify_manifest, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.records import kind_of, look_up, read_records
from hh_align.data.formats import form_of, is_stripped, sides_of
from hh_align.data.preferences import SCHEMA, fit_for
from hh_align.data.transcripts import ASSISTANT, HUMAN

QUARANTINE = pa.schema(
    [("split", pa.string()), ("subset", pa.string()), ("row", pa.int64()), ("reason", pa.string()), ("excerpt", pa.string())]
)
EXCERPT = 200


def read_line(line: bytes) -> object:
    """The JSON value of a line. Raises ValueError with the reason where it cannot be read."""
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise ValueError("not JSON (nested too deeply)") from None
    except ValueError:
        raise ValueError("not JSON (a number of too many digits)") from None


def split_pair(record: object, columns: dict[str, str] | None = None) -> dict:
    """Prompt, replies and flags of a pair. Raises ValueError where it is none."""
    sides = sides_of(record, columns)
    names = form_of(record) | (columns or {})
    before = sides.prompt[: max(sides.prompt.find(HUMAN), 0)]  # what stands before the human's first turn
    human, speaks = sides.prompt.startswith(HUMAN) or bool(before), ASSISTANT in f"\n\n{before}"
    holds = {
        "empty_chosen": not sides.chosen.strip(),
        "empty_rejected": not sides.rejected.strip(),
        "identical": sides[:2] == sides[2:],
        "prompt_differs": sides.prompt != sides.rejected_prompt,
        "human_last": HUMAN in sides.chosen or HUMAN in sides.rejected,
        "no_human_first": not human or speaks,
        "system_first": bool(before.strip()) and not speaks,
        "lead_restored": any(is_stripped(look_up(record, names[side])) for side in ("chosen", "rejected")),
    }
    flags = [flag for flag, true in holds.items() if true]
    return {
        "prompt": sides.prompt,
        "chosen": sides.chosen,
        "rejected": sides.rejected,
        "rejected_prompt": sides.rejected_prompt if holds["prompt_differs"] else None,
        "flags": flags,
        **fit_for(flags),
    }


def lines_of(path: Path) -> Iterator[bytes]:
    """Lines of a .jsonl or .jsonl.gz file without their ends. Raises StudyError where the compressed data are damaged."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            for line in file:
                number += 1
                yield line.rstrip(b"\r\n").removeprefix(codecs.BOM_UTF8 if number == 1 else b"")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise StudyError(f"{path}: damaged gzip data after line {number} ({error}). Replace the file.") from None


def entries_of(path: Path) -> Iterator[object]:
    """The lines of a file of JSON lines, as bytes; of another kind of file the records."""
    if kind_of(path) in (".jsonl", ".ndjson"):
        yield from lines_of(path)
    else:
        yield from (record for _, record in read_records(path))


def excerpt_of(entry: object) -> str:
    """The beginning of a line or record."""
    line = entry if isinstance(entry, bytes) else json.dumps(entry, ensure_ascii=False, default=str).encode("utf-8", "replace")
    return line[:EXCERPT].decode("utf-8", "replace")


def read_preferences(files: list[Path], columns: dict[str, str] | None = None) -> tuple[list[dict], list[dict]]:
    """Rows and quarantined lines of files named .../<subset>/<split>.<ending>, in file order.

    Raises StudyError where more than half of a file cannot be read as pairs: it is of another kind, and the rest is read by chance.
    """
    rows, quarantine = [], []
    for path in files:
        origin = {"split": path.name.split(".")[0], "subset": path.parent.name}
        before = len(rows), len(quarantine)
        for number, entry in enumerate(entries_of(path)):
            try:
                record = read_line(entry) if isinstance(entry, bytes) else entry
                rows.append({**origin, "row": number, **split_pair(record, columns)})
            except ValueError as error:
                quarantine.append({**origin, "row": number, "reason": str(error), "excerpt": excerpt_of(entry)})
        good, bad = len(rows) - before[0], len(quarantine) - before[1]
        say(f"{origin['subset']}/{origin['split']}: {good:,} rows, {bad:,} quarantined")
        if bad > good or not good:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in reasons_of(quarantine[before[1] :]).most_common(3))
            what = (
                f"{bad:,} of {good + bad:,} lines could not be read as pairs" if good else "no line could be read as a pair of transcripts"
            )
            raise StudyError(
                f"{path}: {what}{f' ({reasons})' if reasons else ''}. Name the columns (datasets.*.columns), or take these lines out."
            )
    return rows, quarantine


def reasons_of(quarantine: list[dict]) -> Counter:
    """Reason without its particulars -> quarantined lines."""
    return Counter(row["reason"].split(" (")[0] for row in quarantine)


def main() -> None:
    args = parse(__doc__, config="config", files="paths", manifest="path?", preferences="path", quarantine="path")
    if args.manifest:
        verify_manifest(args.manifest)
    missing = [str(path) for path in args.files if not path.is_file()]
    if missing:
        raise StudyError(
            f"{', '.join(missing)}: no such file. The folder must be laid out as the hub's: <subset>/<split>, as .jsonl.gz, .jsonl, .json, .parquet or .csv"
        )
    rows, quarantine = read_preferences(args.files, args.config.get("columns"))
    for flag, count in sorted(Counter(flag for row in rows for flag in row["flags"]).items()):
        say(f"flag {flag}: {count:,}")
    for reason, count in sorted(reasons_of(quarantine).items()):
        say(f"quarantined, {reason}: {count:,}")
    say(f"fit for SFT {sum(row['use_sft'] for row in rows):,}, for DPO {sum(row['use_dpo'] for row in rows):,} of {len(rows):,} rows")
    made_by = provenance(args.config, args.files)
    write_table(args.quarantine, quarantine, QUARANTINE, made_by)
    write_table(args.preferences, rows, SCHEMA, made_by)


if __name__ == "__main__":
    run(main)
