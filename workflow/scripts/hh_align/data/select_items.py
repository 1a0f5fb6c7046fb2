"""Items of multiple choice out of files: what stands before, the options, and which of them is right."""

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa

from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.records import look_up
from hh_align.core.tabular import read_any, to_text

ITEMS = pa.schema(
    [
        ("task", pa.string()),
        ("item", pa.string()),
        ("row", pa.int64()),
        ("context", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.int64()),
    ]
)
SCORES = pa.schema(
    [
        ("task", pa.string()),
        ("item", pa.string()),
        ("answer", pa.int64()),
        ("logps", pa.list_(pa.float64())),
        ("tokens", pa.list_(pa.int64())),
        ("bytes", pa.list_(pa.int64())),
        ("right", pa.bool_()),
        ("right_norm", pa.bool_()),
        ("cut_tokens", pa.int64()),
    ]
)
"""What a policy makes of ITEMS."""
LEFT_OUT = pa.schema([("task", pa.string()), ("row", pa.int64()), ("reason", pa.string()), ("excerpt", pa.string())])
PAST = "the answer is the number behind the last option"
EXCERPT = 200  # characters of a row that is left out


def options_of(record: dict, names: str | list[str]) -> list[str]:
    """The options of a row: of a column with a list, or of a column for each. Raises ValueError for fewer than two, an empty one and one that stands twice."""
    values = [look_up(record, name) for name in names] if isinstance(names, list) else look_up(record, names)
    if not isinstance(values, list):
        raise ValueError("the options are no list")
    options = [(to_text(value) or "").strip() for value in values]
    if len(options) < 2 or not all(options):
        raise ValueError("an option is empty" if len(options) > 1 else "there are fewer than two options")
    if len(set(options)) < len(options):
        raise ValueError("an option stands twice")
    return options


def answer_of(record: dict, options: list[str], columns: dict) -> int:
    """The number of the right option, from 0: the place of the answer among the labels where there are any; else the number that it is, or the
    place of the option that it is. Raises ValueError where it is none of these, or both of the last with different results."""
    answer = to_text(look_up(record, columns["answer"]))
    if answer is None or not answer.strip():
        raise ValueError("there is no answer")
    answer = answer.strip()
    if "labels" in columns:
        labels = look_up(record, columns["labels"])
        named = [to_text(label) for label in labels] if isinstance(labels, list) else []
        if len(named) != len(options) or named.count(answer) != 1:
            raise ValueError("the answer is not one of the labels")
        return named.index(answer)
    found = {options.index(answer)} if answer in options else set()
    if answer.isdecimal() and int(answer) < len(options):
        found.add(int(answer))
    if not found and answer == str(len(options)):
        raise ValueError(PAST)
    if len(found) != 1:
        raise ValueError("the answer is the number of one option and the text of another" if found else "the answer is none of the options")
    return found.pop()


def items_of(path: Path, how: dict) -> tuple[list[dict], list[dict]]:
    """Rows of ITEMS in the file's order, and of LEFT_OUT.

    how: task, columns, and what of template, records, n and seed there is. Raises StudyError for a file without a column or without an item, for
    numbers of answers that begin at 1, and for fewer items than n.
    """
    task, columns = how["task"], how["columns"]
    options = columns["options"] if isinstance(columns["options"], list) else [columns["options"]]
    named = [columns["context"], *options, columns["answer"], *([columns["labels"]] if "labels" in columns else [])]
    frame = read_any(path, list(dict.fromkeys(name.split(".")[0] for name in named)), how.get("records"))
    items, left_out = [], []
    for row, record in enumerate(frame.to_dict("records")):
        try:
            choices = options_of(record, columns["options"])
            answer = answer_of(record, choices, columns)
            context = how.get("template", "{context}").replace("{context}", (to_text(look_up(record, columns["context"])) or "").strip())
        except ValueError as error:
            left_out.append({"task": task, "row": row, "reason": str(error), "excerpt": str(record)[:EXCERPT]})
            continue
        items.append({"task": task, "item": f"{task}-{row:05d}", "row": row, "context": context, "options": choices, "answer": answer})
    past = [row["row"] for row in left_out if row["reason"] == PAST]
    if past and items and not any(item["answer"] == 0 for item in items):
        raise StudyError(
            f"{path}: the answers of capability.{task} seem to count from 1: in row {past[0]} it is the number behind the last option, and no row's is "
            "0. Count from 0, or name the column of the options' labels (columns: labels)."
        )
    if not items:
        raise StudyError(
            f"{path}: no row is an item of capability.{task} ({left_out[0]['reason']}). Say which columns hold what (columns)."
        )
    if len(items) < how.get("n", 0):
        raise StudyError(f"capability.{task}.n is {how['n']}, but {path} gives {len(items)} items. Lower n.")
    if "n" in how:
        items = [items[number] for number in sorted(random.Random(how["seed"]).sample(range(len(items)), how["n"]))]
    return items, left_out


def main() -> None:
    args = parse(__doc__, config="config", sources="paths", output="path", quarantine="path")
    items, left_out = [], []
    for how, path in zip(args.config["tasks"], args.sources, strict=True):
        own, refused = items_of(path, how)
        items, left_out = items + own, left_out + refused
        counts = Counter(row["reason"] for row in refused)
        say(f"{how['task']}: {len(own):,} items" + "".join(f"; left out, {reason}: {count:,}" for reason, count in sorted(counts.items())))
    made_by = provenance(args.config, args.sources)
    write_table(args.quarantine, left_out, LEFT_OUT, made_by)
    write_table(args.output, items, ITEMS, made_by)


if __name__ == "__main__":
    run(main)
