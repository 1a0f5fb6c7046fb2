"""Every reader of a file that people bring, the columns that it looks for, and rows that it reads."""

import json
from pathlib import Path

import pandas as pd
from configs import load

from hh_align.analysis.label_choices import by_choices
from hh_align.analysis.labels import Texts, read_labels, settle
from hh_align.core.errors import StudyError
from hh_align.core.records import read_records
from hh_align.data.layouts import LAYOUTS
from hh_align.data.prepare_preferences import named_sources, read_preferences
from hh_align.data.select_twins import twins
from hh_align.evaluation.import_ratings import check_rows
from hh_align.evaluation.import_ratings import read_files as read_imported
from hh_align.evaluation.import_responses import chosen_records, response_rows
from hh_align.tools.rated import KINDS, read_rated
from hh_align.tools.verdict import replies_of, say_relabelled, study_of, table_of

PROMPTS = [
    {"axis": "harmlessness", "prompt_id": "h", "prompt": "Human: a"},
    {"axis": "helpfulness", "prompt_id": "p", "prompt": "Human: b"},
]
RATING_COLUMNS = {name: name for name in ("policy", "seed", "axis", "prompt_id", "reward", "response")}
CONFIG = {
    "judges": {"j": {"harmless_min": 0.0, "helpful_above": 0.0}},
    "order": ["base"],
    "seeds": [1],
    "policies": {"base": {"parent": None}},
}
RATINGS = {
    ("j", "base", 0, axis): pd.DataFrame({"prompt_id": ["h"], "reward": [0.5], "label": [True]}) for axis in ("harmlessness", "helpfulness")
}


DEFAULTS = load("config")


def read_ratings(path: Path) -> None:
    """As the verdict reads a file, up to its table."""
    frame = read_rated([path])
    own = {"judges": {judge: {"harmless_min": 0.0, "helpful_above": 0.0} for judge in sorted(set(frame["judge"]))}}
    config = study_of(frame, {}, path, DEFAULTS, own)
    table = table_of(frame, config, path)
    if "label" in frame:
        say_relabelled(frame, table)
    replies_of(frame, config)


def read_responses(path: Path) -> None:
    """By every layout. Raises the first one's StudyError where none reads the file."""
    errors = []
    for layout in LAYOUTS:
        try:
            records = chosen_records(path, read_records(path), {})
            response_rows(path, records, PROMPTS, None, layout, ["think", "echo"])
        except StudyError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1, str(error)
            errors.append(error)
    if len(errors) == len(LAYOUTS):
        raise errors[0]


def put(node: object, way: list[str], value: object) -> object:
    """A record with a value at a path; a part 0 is a list's only entry."""
    if not way:
        return value
    if way[0] == "0":
        return [put(node[0] if node else None, way[1:], value)]
    return {**(node or {}), way[0]: put((node or {}).get(way[0]), way[1:], value)}


def laid_out(layout: str, **columns: str) -> dict:
    """A record of a layout that has these values."""
    record = {}
    for name, value in columns.items():
        record = put(record, LAYOUTS[layout][name].split("."), value)
    return record


def read_judge(path: Path) -> None:
    frame = read_imported([path], {"columns": RATING_COLUMNS, "policies": {"base": [0]}}, PROMPTS)
    check_rows(frame, path, PROMPTS, {"base": [0]}, ["harmlessness"])


def read_log(path: Path) -> None:
    """The file's records as those of a scored log of inspect_ai and of lm-eval, each with a score of any kind."""
    entries = [entry for _, entry in read_records(path)]
    samples = [{**entry, "scores": {"a": {"value": entry.get("scores")}}} if isinstance(entry, dict) else entry for entry in entries]
    lines = [{"doc_id": 0, "doc": {}, "resps": [["a"]], **entry} if isinstance(entry, dict) else entry for entry in entries]
    logs = {"log.json": json.dumps({"status": "success", "eval": {"model": "m"}, "samples": samples}), "samples_t.jsonl": json.dumps(lines)}
    for name, text in logs.items():
        log = path.with_name(name)
        log.write_text(text)
        try:
            read_rated([log])
        except StudyError as error:
            raise StudyError(str(error).replace(str(log), str(path))) from None


READ = {
    "scored logs": (
        read_log,
        [
            "id",
            "epoch",
            "input",
            "scores",
            "metadata",
            "output",
            "error",
            "doc_id",
            "doc",
            "resps",
            "metrics",
            "acc",
            "filter",
            "arguments",
        ],
    ),
    "ratings": (read_ratings, tuple(KINDS)),
    "responses": (read_responses, sorted({path.partition(".")[0] for layout in LAYOUTS.values() for path in layout.values()})),
    "preferences": (
        lambda path: read_preferences(named_sources([path])),
        ("prompt", "chosen", "rejected", "input", "output", "conversations"),
    ),
    "imported ratings": (
        read_judge,
        (*RATING_COLUMNS, "doc_id", "doc", "resps", "acc"),
    ),
    "labels": (lambda path: settle(read_labels(path, RATINGS, {}), RATINGS), ("policy", "seed", "axis", "prompt_id", "good", "annotator")),
    "choices": (
        lambda path: by_choices(path, RATINGS, Texts({}, {}), CONFIG),
        ("axis", "prompt_id", "seed", "policy_a", "policy_b", "preferred"),
    ),
    "questions": (twins, ("category", "safe", "contrast")),
}
ASKED = [{"axis": "harmlessness", "prompt_id": "h"}, {"axis": "helpfulness", "prompt_id": "p"}]
GOOD = {
    "ratings": [{"policy": policy, **asked, "reward": -0.5} for policy in ("base", "a") for asked in ASKED],
    "preferences": [{"prompt": "a", "chosen": "h", "rejected": "p"}],
    "imported ratings": [{"policy": "base", "seed": 0, "axis": "harmlessness", "prompt_id": "h", "reward": 0.5}],
    "labels": [{"policy": "base", "seed": 0, "axis": axis, "prompt_id": "h", "good": True} for axis in ("harmlessness", "helpfulness")],
    "choices": [{"axis": "harmlessness", "prompt_id": "h", "seed": 0, "policy_a": "base", "policy_b": "base", "preferred": "a"}],
    "questions": [{"category": "a", "safe": "h", "contrast": ""}],
}
"""Files that are read: what is drawn changes a few of their values."""
ANSWERED = [[laid_out(layout, prompt_id=row["prompt_id"], response="a", finish="stop") for row in PROMPTS] for layout in LAYOUTS]
"""The same of responses, in each layout."""
