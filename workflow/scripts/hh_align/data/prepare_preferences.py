"""HH-RLHF's files -> preferences.parquet (every parseable row, with flags and uses) and quarantine.parquet (the rest)."""

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
from hh_align.data.preferences import SCHEMA, fit_for
from hh_align.data.transcripts import HUMAN, split_transcript

QUARANTINE = pa.schema(
    [("split", pa.string()), ("subset", pa.string()), ("row", pa.int64()), ("reason", pa.string()), ("excerpt", pa.string())]
)
EXCERPT = 200


def read_pair(line: bytes) -> dict[str, str]:
    """The chosen and rejected transcripts of one line. Raises ValueError with the reason where it cannot be read."""
    try:
        pair = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise ValueError("not JSON (nested too deeply)") from None
    except ValueError:
        raise ValueError("not JSON (a number of too many digits)") from None
    if not isinstance(pair, dict):
        raise ValueError(f"not a JSON object but {type(pair).__name__}")
    for key in ("chosen", "rejected"):
        if key not in pair:
            raise ValueError(f"no key {key}")
        if not isinstance(pair[key], str):
            raise ValueError(f"{key} is {type(pair[key]).__name__}, not text")
        try:
            pair[key].encode()
        except UnicodeEncodeError:
            raise ValueError(f"{key} holds half a surrogate pair") from None
    return pair


def with_lead(transcript: str) -> str:
    """The transcript as HH-RLHF writes it, from a blank line on; one that was stripped gets its blank line back."""
    begun = transcript.lstrip()
    return f"\n\n{begun}" if begun.startswith(HUMAN.strip()) else transcript


def split_pair(pair: dict[str, str]) -> dict:
    """Prompt, replies and flags of a pair. Raises ValueError where a transcript has no assistant turn."""
    transcripts = {side: with_lead(pair[side]) for side in ("chosen", "rejected")}
    prompt, chosen = split_transcript(transcripts["chosen"])
    rejected_prompt, rejected = split_transcript(transcripts["rejected"])
    holds = {
        "empty_chosen": not chosen.strip(),
        "empty_rejected": not rejected.strip(),
        "identical": transcripts["chosen"] == transcripts["rejected"],
        "prompt_differs": prompt != rejected_prompt,
        "human_last": HUMAN in chosen or HUMAN in rejected,
        "no_human_first": not prompt.startswith(HUMAN),
        "lead_restored": any(transcripts[side] != pair[side] for side in transcripts),
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
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            for line in file:
                number += 1
                yield line.rstrip(b"\r\n")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise StudyError(f"{path}: damaged gzip data after line {number} ({error}). Replace the file.") from None


def read_preferences(files: list[Path]) -> tuple[list[dict], list[dict]]:
    """Rows and quarantined lines of files named .../<subset>/<split>.jsonl[.gz], in file order."""
    rows, quarantine = [], []
    for path in files:
        origin = {"split": path.name.split(".")[0], "subset": path.parent.name}
        before = len(rows), len(quarantine)
        for number, line in enumerate(lines_of(path)):
            try:
                rows.append({**origin, "row": number, **split_pair(read_pair(line))})
            except ValueError as error:
                excerpt = line[:EXCERPT].decode("utf-8", "replace")
                quarantine.append({**origin, "row": number, "reason": str(error), "excerpt": excerpt})
        say(f"{origin['subset']}/{origin['split']}: {len(rows) - before[0]:,} rows, {len(quarantine) - before[1]:,} quarantined")
        if len(rows) == before[0]:
            raise StudyError(f"{path}: no line could be read as a pair of transcripts. Is it a file of HH-RLHF's preference format?")
    return rows, quarantine


def main() -> None:
    args = parse(__doc__, config="config", files="paths", manifest="path?", preferences="path", quarantine="path")
    if args.manifest:
        verify_manifest(args.manifest)
    missing = [str(path) for path in args.files if not path.is_file()]
    if missing:
        raise StudyError(f"{', '.join(missing)}: no such file. The folder must be laid out as the hub's: <subset>/<split>.jsonl.gz")
    rows, quarantine = read_preferences(args.files)
    for flag, count in sorted(Counter(flag for row in rows for flag in row["flags"]).items()):
        say(f"flag {flag}: {count:,}")
    for reason, count in sorted(Counter(row["reason"].split(" (")[0] for row in quarantine).items()):
        say(f"quarantined, {reason}: {count:,}")
    say(f"fit for SFT {sum(row['use_sft'] for row in rows):,}, for DPO {sum(row['use_dpo'] for row in rows):,} of {len(rows):,} rows")
    made_by = provenance(args.config, args.files)
    write_table(args.quarantine, quarantine, QUARANTINE, made_by)
    write_table(args.preferences, rows, SCHEMA, made_by)


if __name__ == "__main__":
    run(main)
