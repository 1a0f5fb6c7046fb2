"""Files of preferences -> preferences.parquet (every parseable row, with flags and uses) and quarantine.parquet (the rest)."""

import codecs
import gzip
import io
import json
import zlib
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from hh_align.core.artifacts import provenance, say, verify_manifest, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.records import fits, kind_of, look_up, read_records, text_of_value
from hh_align.data.formats import sides_of
from hh_align.data.hub_layout import layout_file
from hh_align.data.preferences import SCHEMA, fit_for
from hh_align.data.transcripts import ASSISTANT, HUMAN

QUARANTINE = pa.schema(
    [("split", pa.string()), ("subset", pa.string()), ("row", pa.int64()), ("reason", pa.string()), ("excerpt", pa.string())]
)
EXCERPT = 200
DAMAGE = (gzip.BadGzipFile, EOFError, zlib.error)
BUFFER = 1 << 18  # bytes read at once: a gzip file's lines come a fifth faster than from Python's own buffer


class Source(NamedTuple):
    """The files of one split, in their order; subset: theirs, or None where a row's columns say it."""

    subset: str | None
    split: str
    files: list[Path]


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


def is_blank(text: str) -> bool:
    """Whether a text is empty or white space."""
    return not text or text.isspace()


def split_pair(record: object, columns: dict[str, str] | None = None) -> dict:
    """Prompt, replies and flags of a pair. Raises ValueError where it is none."""
    prompt, chosen, rejected_prompt, rejected, lead_restored = sides_of(record, columns)
    begins = prompt.find(HUMAN)
    before = prompt[:begins] if begins > 0 else ""  # what stands before the human's first turn
    speaks = bool(before) and ASSISTANT in f"\n\n{before}"
    holds = {
        "empty_chosen": is_blank(chosen),
        "empty_rejected": is_blank(rejected),
        "identical": prompt == rejected_prompt and chosen == rejected,
        "prompt_differs": prompt != rejected_prompt,
        "human_last": HUMAN in chosen or HUMAN in rejected,
        "no_human_first": begins < 0 or speaks,
        "system_first": bool(before.strip()) and not speaks,
        "lead_restored": lead_restored,
    }
    flags = [flag for flag, true in holds.items() if true]
    return {
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "rejected_prompt": rejected_prompt if holds["prompt_differs"] else None,
        "flags": flags,
        **fit_for(flags),
    }


def lines_of(path: Path) -> Iterator[bytes]:
    """Lines of a .jsonl or .jsonl.gz file without their ends. Raises StudyError where the compressed data are damaged."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            for number, line in enumerate(io.BufferedReader(file, BUFFER)):
                yield line.rstrip(b"\r\n") if number else line.rstrip(b"\r\n").removeprefix(codecs.BOM_UTF8)
    except DAMAGE as error:
        raise StudyError(f"{path}: damaged gzip data after line {sound_lines(path)} ({error}). Replace the file.") from None


def sound_lines(path: Path) -> int:
    """How many lines of a damaged gzip file can be read."""
    number = 0
    with suppress(*DAMAGE), gzip.open(path) as file:
        for _ in file:
            number += 1
    return number


def entries_of(path: Path) -> Iterator[object]:
    """The lines of a file of JSON lines, as bytes; of another kind of file the records."""
    if kind_of(path) in (".jsonl", ".ndjson"):
        return lines_of(path)
    return (record for _, record in read_records(path))


def excerpt_of(entry: object) -> str:
    """The beginning of a line or record."""
    line = entry if isinstance(entry, bytes) else json.dumps(entry, ensure_ascii=False, default=str).encode("utf-8", "replace")
    return line[:EXCERPT].decode("utf-8", "replace")


def named_sources(files: list[Path], has_subsets: bool = True) -> list[Source]:
    """A source of each file <split>.<ending>, which lies in the folder of its subset where it has one."""
    return [Source(path.parent.name if has_subsets else None, path.name.split(".")[0], [path]) for path in files]


def laid_out_sources(layout: Path, subset: str | None, has_subsets: bool) -> list[Source]:
    """The sources of a hub's dataset, of the note that lies in its folder. subset: name of the only one; else each config is one."""
    entries = json.loads(layout.read_text(encoding="utf-8"))
    return [
        Source(subset or entry["config"] if has_subsets else None, entry["split"], [layout.parent / name for name in entry["files"]])
        for entry in entries
    ]


def subset_of(record: object, where: dict[str, dict]) -> str | None:
    """The subset whose columns have the record's values, None where there is none. Raises ValueError where there are several."""
    subsets = [subset for subset, columns in where.items() if fits(record, columns)]
    if len(subsets) > 1:
        raise ValueError(f"of several subsets ({', '.join(subsets)})")
    return subsets[0] if subsets else None


def values_in(record: dict, where: dict[str, dict]) -> str:
    """What a record has in the columns that the subsets go by."""
    columns = dict.fromkeys(column for values in where.values() for column in values)
    return ", ".join(f"{column} {text_of_value(look_up(record, column))[:40]}" for column in columns)


def read_preferences(sources: list[Source], columns: dict | None = None, where: dict | None = None) -> tuple[list[dict], list[dict]]:
    """Rows and quarantined lines of the sources, in their order; `row` counts the lines of a source from 0, through all its files.

    columns: names of the parts of a pair. where: subset -> columns and their values, for sources without a subset; a row of none is
    left out, and counted. Raises StudyError where more than half of a file is no pair (it is of another kind, and the rest is read by
    chance), and for a subset of `where` without a row.
    """
    rows, quarantine, others = [], [], Counter()
    for source in sources:
        numbers = count()
        for path in source.files:
            good, bad, left_out = read_file(path, source, numbers, columns, where)
            check_share(path, len(good), bad, left_out.total())
            rows += good
            quarantine += bad
            others += left_out
    for values, number in others.most_common():
        say(f"left out, as datasets.*.where has no subset for them: {values}: {number:,}")
    read = {row["subset"] for row in rows} if where else set()
    for subset in (name for name in where or {} if name not in read):
        there = "; ".join(f"{values}: {number:,}" for values, number in others.most_common(9))
        raise StudyError(f"no row of subset {subset} (datasets.*.where.{subset}). Rows of no subset: {there or 'none'}.")
    return rows, quarantine


def read_file(path: Path, source: Source, numbers: Iterator[int], columns: dict | None, where: dict | None) -> tuple[list, list, Counter]:
    """Rows, quarantined lines, and what the rows of no subset have in the columns of `where`; of one file of a source."""
    rows, quarantine, others = [], [], Counter()
    for entry, number in zip(entries_of(path), numbers, strict=False):
        place = {"split": source.split, "subset": source.subset, "row": number}
        try:
            record = read_line(entry) if isinstance(entry, bytes) else entry
            if where and isinstance(record, dict):
                place["subset"] = subset_of(record, where)
                if place["subset"] is None:
                    others[values_in(record, where)] += 1
                    continue
            rows.append(place | split_pair(record, columns))
        except ValueError as error:
            quarantine.append(place | {"reason": str(error), "excerpt": excerpt_of(entry)})
    return rows, quarantine, others


def check_share(path: Path, good: int, bad: list[dict], left_out: int) -> None:
    """Say what was read of a file. Raises StudyError where it holds nothing, and where more than half of its lines, or of those that belong to a
    subset, are quarantined."""
    more = f", {left_out:,} of no subset left out" if left_out else ""
    say(f"{path.parent.name}/{path.name}: {good:,} rows, {len(bad):,} quarantined{more}")
    of_subsets = [row for row in bad if row["subset"] is not None]
    kind, bad, others = ("lines of a subset", of_subsets, 0) if left_out and len(of_subsets) > good else ("lines", bad, left_out)
    if len(bad) > good + others or not good + left_out:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in reasons_of(bad).most_common(3))
        lines = f"{len(bad):,} of {good + others + len(bad):,} {kind} could not be read as pairs"
        what = lines if good + left_out else "no line could be read as a pair of transcripts"
        raise StudyError(
            f"{path}: {what}{f' ({reasons})' if reasons else ''}. Name the columns (datasets.*.columns), or take these lines out."
        )


def reasons_of(quarantine: list[dict]) -> Counter:
    """Reason without its particulars -> quarantined lines."""
    return Counter(row["reason"].split(" (")[0] for row in quarantine)


def sources_of(args: Namespace) -> list[Source]:
    """What the step is told to read. Raises StudyError where a file is missing or damaged."""
    has_subsets = "where" not in args.config
    if args.manifest:
        verify_manifest(args.manifest)
    if "layout" in args.config:
        return laid_out_sources(layout_file(args.manifest), args.config.get("subset"), has_subsets)
    folders = "<subset>/<split>" if has_subsets else "<split>"
    if missing := [str(path) for path in args.files if not path.is_file()]:
        raise StudyError(
            f"{', '.join(missing)}: no such file. The folder must be laid out as the hub's: {folders}, as .jsonl.gz, .jsonl, .json, .parquet or .csv"
        )
    return named_sources(args.files, has_subsets)


def main() -> None:
    args = parse(__doc__, config="config", files="paths?", manifest="path?", preferences="path", quarantine="path")
    sources = sources_of(args)
    rows, quarantine = read_preferences(sources, args.config.get("columns"), args.config.get("where"))
    for flag, number in sorted(Counter(flag for row in rows for flag in row["flags"]).items()):
        say(f"flag {flag}: {number:,}")
    for reason, number in sorted(reasons_of(quarantine).items()):
        say(f"quarantined, {reason}: {number:,}")
    say(f"fit for SFT {sum(row['use_sft'] for row in rows):,}, for DPO {sum(row['use_dpo'] for row in rows):,} of {len(rows):,} rows")
    made_by = provenance(args.config, [path for source in sources for path in source.files])
    write_table(args.quarantine, quarantine, QUARANTINE, made_by)
    write_table(args.preferences, rows, SCHEMA, made_by)


if __name__ == "__main__":
    run(main)
