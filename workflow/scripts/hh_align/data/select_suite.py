"""The prompts of a suite, out of a file of its own: a column of instructions, transcripts or messages, filtered and drawn."""

import json
import random
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa

from hh_align.core.artifacts import provenance, say, verify_manifest, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.records import has_value, look_up
from hh_align.core.tables import PROMPTS
from hh_align.core.tabular import read_any, to_text
from hh_align.data.formats import SPEAKERS, dialogue, messages_of
from hh_align.data.transcripts import ASSISTANT, HUMAN, cluster_of

LEFT_OUT = pa.schema([("row", pa.int64()), ("reason", pa.string()), ("excerpt", pa.string())])
EXCERPT = 200  # characters of a row that is left out
SHOWN = 12  # values of a column that a message names
ALL = "all"


def as_prompt(value: object) -> str:
    """A prompt as the study has it, without a cue at its end: an instruction becomes `Human: …`; a transcript that begins with `Human:` and a
    list of messages stay the turns that they are, less a reply at their end.

    Raises ValueError, with the reason, for a value that is empty, neither text nor messages, or without a turn of the user.
    """
    if isinstance(value, list | dict):
        turns = messages_of(value, "the prompt")
        text = dialogue(turns[:-1] if SPEAKERS.get(turns[-1][0]) == ASSISTANT else turns)
        prompt = text.removesuffix(ASSISTANT).strip() if HUMAN in text else ""
    else:
        text = (to_text(value) or "").strip()
        if text.startswith("[{") and "content" in text:
            raise ValueError("messages written as one text, not a list: take JSON lines or Parquet")
        prompt = without_reply(text) if text.startswith("Human:") else text and f"Human: {text}"
    if not prompt.removeprefix("Human:").strip():
        raise ValueError("the prompt is empty")
    return prompt


def without_reply(transcript: str) -> str:
    """A transcript up to the end of the human's last turn, where the assistant's stands behind it."""
    asked, cue, reply = transcript.rpartition(ASSISTANT)
    return asked.rstrip() if cue and HUMAN not in reply else transcript


def chosen_rows(frame: pd.DataFrame, path: Path, how: dict) -> pd.DataFrame:
    """The rows that have the values of `where`. Raises StudyError for a column that is not there, and where a value of it chooses nothing."""
    for key, name in [("column", how["column"]), ("category", how.get("category")), *(("where", name) for name in how.get("where", {}))]:
        if name is not None and name not in frame and name.split(".")[0] not in frame:
            raise StudyError(f"{path}: it has no column {name}, which {how['key']}.{key} names. It has: {', '.join(map(str, frame))}.")
    for name, wanted in how.get("where", {}).items():
        values = column_of(frame, name)
        chosen = frame[[has_value(value, wanted) for value in values]]
        if chosen.empty:
            known = sorted({str(value) for value in values})
            shown = ", ".join(known[:SHOWN]) + (", …" if len(known) > SHOWN else "")
            raise StudyError(f"{path}: no row has {name} as {how['key']}.where says ({wanted}). The column holds: {shown:.400}.")
        frame = chosen
    return frame


def column_of(frame: pd.DataFrame, name: str) -> list:
    """The values of a column, or of what a dotted path leads to in the columns."""
    return frame[name].tolist() if name in frame else [look_up(row, name) for row in frame.to_dict("records")]


def suite_rows(path: Path, how: dict) -> tuple[list[dict], list[dict]]:
    """Rows of PROMPTS in the file's order, without prompt_id, and of LEFT_OUT: empty prompts, and all but the first of those that are the same.

    subset is the category, `all` without one; row the number of the record, from 0. Raises StudyError as read_any and chosen_rows do.
    """
    frame = chosen_rows(read_any(path, [], how.get("records")), path, how)
    values = column_of(frame, how["column"])
    categories = column_of(frame, how["category"]) if "category" in how else [ALL] * len(frame)
    rows, left_out, first = [], [], {}
    for number, value, category in zip(frame.index.tolist(), values, categories, strict=True):
        try:
            prompt = as_prompt(value)
            if first.setdefault(prompt, number) != number:
                raise ValueError("the prompt stands in an earlier row, too")
        except ValueError as error:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            left_out.append({"row": number, "reason": str(error), "excerpt": text[:EXCERPT]})
            continue
        origin = {"axis": how["axis"], "subset": str(category).strip() or ALL, "row": number, "cluster": cluster_of(prompt)}
        rows.append({**origin, "prompt": prompt, "keywords": []})
    return rows, left_out


def draw_suite(rows: list[dict], how: dict, path: Path) -> list[dict]:
    """`n` of the rows, drawn by the seed, or all in their order, with their prompt_id: the suite's name and a number from 0.

    Raises StudyError where there are fewer, or none.
    """
    if not rows:
        raise StudyError(f"{path}: column {how['column']} holds no prompt. Name the right one ({how['key']}.column).")
    n = how.get("n", len(rows))
    if len(rows) < n:
        raise StudyError(f"{how['key']}.n is {n}, but {path} gives {len(rows)} prompts. Lower n, or ask for more rows (where).")
    drawn = random.Random(how["seed"]).sample(rows, n) if "n" in how else rows
    return [{**row, "prompt_id": f"{how['name']}-{number:03d}"} for number, row in enumerate(drawn)]


def main() -> None:
    args = parse(__doc__, config="config", file="path", manifest="path?", output="path", quarantine="path")
    config, path = args.config, args.file
    if args.manifest:
        verify_manifest(args.manifest)
    rows, left_out = suite_rows(path, config)
    drawn = draw_suite(rows, config, path)
    for reason, count in sorted(Counter(row["reason"] for row in left_out).items()):
        say(f"left out, {reason}: {count:,}")
    turns = sum(mark in row["prompt"] for row in drawn for mark in (HUMAN, ASSISTANT))
    say(f"{config['name']}: {len(rows):,} prompts, {len(drawn):,} drawn" + (f"; {turns:,} further turns within them" if turns else ""))
    made_by = provenance(config, [path])
    write_table(args.quarantine, left_out, LEFT_OUT, made_by)
    write_table(args.output, drawn, PROMPTS, made_by)


if __name__ == "__main__":
    run(main)
