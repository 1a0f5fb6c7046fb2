"""Responses that another engine wrote, from a file of the user's, as one policy's responses to the evaluation prompts."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES, columns_of
from hh_align.data.import_release import is_text
from hh_align.data.transcripts import ASSISTANT

LAYOUTS = {
    "table": {"prompt_id": "prompt_id", "prompt": "prompt", "response": "response", "axis": "axis"},
    "vllm": {"prompt_id": "prompt_id", "prompt": "prompt", "response": "outputs.0.text", "axis": "axis"},
    "lm_eval": {"prompt_id": "doc.prompt_id", "prompt": "doc.prompt", "response": "filtered_resps.0", "axis": "doc.axis"},
    "inspect_ai": {"prompt_id": "id", "prompt": "input", "response": "output.completion", "axis": "metadata.axis"},
    "openai": {"prompt_id": "custom_id", "prompt": "prompt", "response": "response.body.choices.0.message.content", "axis": "axis"},
}
RECORDS = {"inspect_ai": "samples"}
SHOWN = 60
"""Characters of a wrong value that a message shows."""

Record = tuple[str, object]
"""Where a record stands in the file (`line 3`, `record 7`, counted from 1), and its value."""


def json_records(path: Path, records: str | None) -> list[Record]:
    """The records of a JSON list, or of the list at the dotted path `records`. Raises StudyError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path}: not JSON ({error}).") from None
    entries = value if records is None or isinstance(value, list) else look_up(value, records)
    if not isinstance(entries, list):
        where = f"at {records} " if records else ""
        names = f"; it has {', '.join(map(str, value))}" if isinstance(value, dict) else ""
        raise StudyError(f"{path}: no list of records {where}but {type(entries).__name__}{names}. responses.*.records says where it is.")
    return [(f"record {number}", entry) for number, entry in enumerate(entries, start=1)]


def json_line_records(path: Path, records: str | None) -> Iterator[Record]:
    """The JSON value of each line that is not blank. Raises StudyError."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield f"line {number}", json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except (ValueError, RecursionError) as error:
                    raise StudyError(f"{path}: line {number}: not JSON ({error}).") from None


def csv_records(path: Path, records: str | None) -> Iterator[Record]:
    """The rows below the header, all texts. Raises StudyError."""
    csv.field_size_limit(2**31 - 1)
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for number, row in enumerate(reader, start=1):
                if None in row or None in row.values():
                    raise StudyError(
                        f"{path}: record {number} (up to line {reader.line_num}) has not one value for each column of the header."
                    )
                yield f"record {number}", row
        except (csv.Error, UnicodeDecodeError) as error:
            raise StudyError(f"{path}: line {reader.line_num + 1}: not CSV ({error}).") from None


def parquet_records(path: Path, records: str | None) -> list[Record]:
    """The rows, nested columns as dicts and lists. Raises StudyError."""
    try:
        return [(f"record {number}", row) for number, row in enumerate(pq.read_table(path).to_pylist(), start=1)]
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}).") from None


READERS: dict[str, Callable[[Path, str | None], Iterable[Record]]] = {
    ".json": json_records, ".jsonl": json_line_records, ".csv": csv_records, ".parquet": parquet_records,
}  # fmt: skip


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


def paths_in(value: object, depth: int = 4) -> list[str]:
    """The columns of a record as dotted paths, of a list those of its first entry."""
    entries = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    paths = []
    for name, entry in entries:
        inner = paths_in(entry, depth - 1) if depth > 1 else []
        paths += [f"{name}.{path}" for path in inner] or [str(name)]
    return paths


def beginning(value: object) -> str:
    """The beginning of a value."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def matcher(prompts: list[dict]) -> Callable[[object, object, object], str]:
    """A function (prompt_id, prompt, axis) -> the prompt_id of the study's prompt that a record answers.

    A prompt_id that is a text decides; else the prompt's exact text, or that text before one trailing cue. Nothing else is normalised.
    It raises ValueError, saying what is wrong.
    """
    known = {row["prompt_id"] for row in prompts}
    by_text: dict[str, list[dict]] = {}
    for row in prompts:
        by_text.setdefault(row["prompt"], []).append(row)

    def match(prompt_id: object, prompt: object, axis: object) -> str:
        if isinstance(prompt_id, str):
            if prompt_id not in known:
                raise ValueError(f"the study has no prompt {beginning(prompt_id)} ({min(known)} … {max(known)})")
            return prompt_id
        if not isinstance(prompt, str):
            raise ValueError(f"neither a prompt_id nor a prompt that is a text ({beginning(prompt)})")
        alike = by_text.get(prompt) or by_text.get(prompt.removesuffix(ASSISTANT)) or []
        alike = [row for row in alike if axis is None or row["axis"] == axis]
        if not alike:
            raise ValueError(
                f"the study has no prompt with exactly this text{f' on axis {beginning(axis)}' * (axis is not None)}: {beginning(prompt)}"
            )
        if len(alike) > 1:
            raise ValueError(f"the text is that of several prompts ({', '.join(row['prompt_id'] for row in alike[:5])}). Give prompt_id")
        return alike[0]["prompt_id"]

    return match


def response_rows(path: Path, records: Iterable[Record], prompts: list[dict], columns: dict[str, str]) -> list[dict]:
    """The rows of the table, in the order of the prompts; what the file does not say is null.

    Raises StudyError, naming file and record, for a column or value that is missing or no text, an unknown prompt and a second
    response to one; and for prompts without any.
    """
    match, answered = matcher(prompts), {}
    for where, record in records:
        response, prompt_id, prompt, axis = (look_up(record, columns[name]) for name in ("response", "prompt_id", "prompt", "axis"))
        try:
            if response is None:
                has = ", ".join(paths_in(record)) or type(record).__name__
                raise ValueError(f"no response in column {columns['response']}; it has {has}")
            if not is_text(response):
                raise ValueError(f"the response is no text ({beginning(response)})")
            if prompt_id is None and prompt is None:
                raise ValueError(f"neither column {columns['prompt_id']} nor {columns['prompt']}; it has {', '.join(paths_in(record))}")
            name = match(prompt_id, prompt, axis)
            if name in answered:
                raise ValueError(f"a second response to {name}, after {answered[name][0]}")
        except ValueError as error:
            raise StudyError(f"{path}: {where}: {error}.") from None
        answered[name] = where, response
    if missing := [row["prompt_id"] for row in prompts if row["prompt_id"] not in answered]:
        raise StudyError(
            f"{path}: no response to {len(missing)} of {len(prompts)} prompts ({', '.join(missing[:5])}). Every prompt needs one."
        )
    return [{"axis": row["axis"], "prompt_id": row["prompt_id"], "response": answered[row["prompt_id"]][1]} for row in prompts]


def main() -> None:
    args = parse(__doc__, config="config", file="path", prompts="path", output="path")
    layout = args.config["layout"]
    columns = LAYOUTS[layout] | args.config.get("columns", {})
    prompts = read_table(args.prompts, columns_of(PROMPTS, "axis", "prompt_id", "prompt")).to_pylist()
    records = READERS[args.file.suffix](args.file, args.config.get("records", RECORDS.get(layout)))
    rows = response_rows(args.file, records, prompts, columns)
    write_table(args.output, rows, RESPONSES, provenance(args.config, [args.prompts, args.file]))
    say(f"{args.file}: {len(rows)} responses, {sum(not row['response'].strip() for row in rows)} empty")


if __name__ == "__main__":
    run(main)
