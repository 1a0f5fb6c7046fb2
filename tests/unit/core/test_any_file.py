"""Files of anything at all: every reader of people's files gives a table or one error that names the file, never a traceback."""

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from configs import load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hh_align.analysis.correct_by_labels import Texts, by_choices
from hh_align.analysis.labels import read_labels, settle
from hh_align.core.errors import StudyError
from hh_align.core.records import READERS, read_records
from hh_align.data.prepare_preferences import read_preferences
from hh_align.data.select_twins import twins
from hh_align.evaluation.import_ratings import check_rows
from hh_align.evaluation.import_ratings import read_rated as read_imported
from hh_align.evaluation.import_responses import chosen_records, response_rows
from hh_align.evaluation.layouts import LAYOUTS
from hh_align.tools.answers import Answers, line_of
from hh_align.tools.rated import KINDS, read_rated
from hh_align.tools.verdict import check_labels, replies_of, study_of, table_of
from hh_align.tools.verdict_settings import read_settings

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
    frame = read_rated(path)
    config = study_of(frame, {}, path, DEFAULTS)
    table = table_of(frame, config, path)
    if "label" in frame:
        check_labels(frame, table, config["judges"], path)
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
    frame = read_imported(path, RATING_COLUMNS, {"base": [0]})
    check_rows(frame, path, PROMPTS, {"base": [0]}, ["harmlessness"])


READ = {
    "ratings": (read_ratings, tuple(KINDS)),
    "responses": (read_responses, sorted({path.partition(".")[0] for layout in LAYOUTS.values() for path in layout.values()})),
    "preferences": (lambda path: read_preferences([path]), ("prompt", "chosen", "rejected", "input", "output", "conversations")),
    "imported ratings": (read_judge, tuple(RATING_COLUMNS)),
    "labels": (lambda path: settle(read_labels(path, RATINGS, {}), RATINGS), ("policy", "seed", "axis", "prompt_id", "good", "annotator")),
    "choices": (
        lambda path: by_choices(path, RATINGS, Texts({}, {}), CONFIG),
        ("axis", "prompt_id", "seed", "policy_a", "policy_b", "preferred"),
    ),
    "questions": (twins, ("category", "safe", "contrast")),
}
ASKED = [{"axis": "harmlessness", "prompt_id": "h"}, {"axis": "helpfulness", "prompt_id": "p"}]
GOOD = {
    "ratings": [{"policy": policy, **asked, "reward": 0.5} for policy in ("base", "a") for asked in ASKED],
    "preferences": [{"prompt": "a", "chosen": "h", "rejected": "p"}],
    "imported ratings": [{"policy": "base", "seed": 0, "axis": "harmlessness", "prompt_id": "h", "reward": 0.5}],
    "labels": [{"policy": "base", "seed": 0, "axis": axis, "prompt_id": "h", "good": True} for axis in ("harmlessness", "helpfulness")],
    "choices": [{"axis": "harmlessness", "prompt_id": "h", "seed": 0, "policy_a": "base", "policy_b": "base", "preferred": "a"}],
    "questions": [{"category": "a", "safe": "h", "contrast": ""}],
}
"""Files that are read: what is drawn changes a few of their values."""
ANSWERED = [[laid_out(layout, prompt_id=row["prompt_id"], response="a", finish="stop") for row in PROMPTS] for layout in LAYOUTS]
"""The same of responses, in each layout."""

WORDS = [
    "base",
    "harmlessness",
    "helpfulness",
    "h",
    "p",
    "Human: a",
    "a",
    "",
    " ",
    "eos",
    "true",
    "nan",
    "1",
    "1.0",
    "0.5",
    "tie",
    "\n\nAssistant:",
    "\ud800",
    "\x00",
]
atoms = st.none() | st.booleans() | st.integers(-2, 2**70) | st.just(10**400) | st.floats() | st.sampled_from(WORDS) | st.text(max_size=5)
values = st.recursive(atoms, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["role", "content", "text", "0"]), inner, max_size=2), max_leaves=4)  # fmt: skip


def rows_with(columns):
    """Rows that have some of a reader's columns, mostly all, with values of every type."""
    usual = st.fixed_dictionaries(dict.fromkeys(columns, atoms))
    return st.lists(usual | st.dictionaries(st.sampled_from(columns), values, max_size=len(columns)) | values, max_size=4)


def changed(good, columns):
    """Good rows with other values in a few places, perhaps a column more, and perhaps their last row again."""
    places = st.lists(st.tuples(st.integers(0, len(good) - 1), st.sampled_from(columns), values), max_size=2)
    column = st.none() | st.tuples(st.sampled_from(columns), st.lists(atoms, min_size=len(good), max_size=len(good)))

    def change(places, column, again):
        rows = [dict(row) for row in good]
        for row, value in zip(rows, column[1] if column else [], strict=False):
            row[column[0]] = value
        for number, name, value in places:
            rows[number][name] = value
        return rows + rows[-1:] * again

    return st.builds(change, places, column, st.sampled_from([False, False, False, True]))


def encoded(kind, rows, encoding):
    """Rows as a file of one kind; where a row is none, as JSON lines all the same."""
    tables = [row for row in rows if isinstance(row, dict)]
    if kind in (".csv", ".tsv"):
        output = io.StringIO()
        writer = csv.writer(output, delimiter="\t" if kind == ".tsv" else ",")
        names = list(dict.fromkeys(name for row in tables for name in row))
        writer.writerows([names, *([row.get(name) for name in names] for row in tables)])
        return output.getvalue().encode(encoding, "replace")
    if kind == ".parquet":
        output = io.BytesIO()
        try:
            pq.write_table(pa.Table.from_pylist(tables), output)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError, ValueError):  # values of several types: no table
            return b"PAR1"
        return output.getvalue()
    text = json.dumps(rows) if kind == ".json" else "\n".join(map(json.dumps, rows))
    return text.encode(encoding, "replace")


def packed(content, kind):
    """Records as a log of inspect_ai packs them; other kinds by gzip."""
    if kind != ".eval":
        return gzip.compress(content)
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as log:
        log.writestr("samples/h_epoch_1.json", content)
    return output.getvalue()


ODD = [
    b"",
    b"\0" * 9,
    b"null",
    b"[]",
    b"{}",
    b"1",
    b"9" * 5000,
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"a\n" * 9,
    b'"',
    b"a,a\n1,2",
    b"PK\x03\x04",
    b"PAR1" * 9,
]
"""Files of nothing, of too much, of no end."""


def check_any_file(read, drawn, draws, folder, kinds):
    @settings(max_examples=draws, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(kinds),
        drawn,
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
        st.binary(max_size=3),
        st.one_of(*[st.none()] * 8, st.sampled_from(ODD), st.binary(max_size=40)),
        st.booleans(),
    )
    def check(kind, rows, encoding, end, raw, pack):
        content = encoded(kind, rows, encoding) + end * (end[:1] == b"\xff") if raw is None else raw
        path = folder / "shop" / f"train{kind}{'.gz' * (pack and kind != '.eval')}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(packed(content, kind) if pack or (kind == ".eval" and raw is None) else content)
        try:
            read(path)
        except StudyError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1, str(error)

    check()


@pytest.mark.parametrize("draws", [100, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_or_refused_in_one_line(name, draws, tmp_path):
    read, columns = READ[name]
    good = ANSWERED if name == "responses" else [GOOD[name]]
    kinds = [kind for kind in READERS if kind != ".eval" or name == "responses"]
    check_any_file(read, st.one_of(*[changed(rows, columns) for rows in good]) | rows_with(columns), draws, tmp_path, kinds)


@pytest.mark.parametrize(("name", "rows"), [*GOOD.items(), *(("responses", rows) for rows in ANSWERED)])
def test_the_good_rows_are_read(name, rows, tmp_path):
    (tmp_path / "train.jsonl").write_bytes(encoded(".jsonl", rows, "utf-8"))
    READ[name][0](tmp_path / "train.jsonl")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"9" * 5000, b'{"a":' * 3000, b'"', b"a,a", b"\x80", b"\xff\xfe", b"root: 2020-13-45", b"root: !!int x", b"root: !!python/object:os.system {}", b"? [a]\n: 1", b"sizes: [.nan]"],
)  # fmt: skip
def test_settings_of_a_verdict_that_are_none_are_refused_in_one_line(content, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(StudyError) as refused:
        read_settings(path)
    assert str(refused.value).startswith(f"{path}: ") and len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("draws", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_answers_of_an_annotator_are_read_whatever_stands_between(draws, tmp_path):
    # a kill leaves half a line, and half a letter
    good = line_of({"annotator": "me", "item": "i", "answer": "good"})

    @settings(max_examples=draws, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(rows_with(("annotator", "item", "answer")), st.binary(max_size=9) | st.sampled_from(ODD))
    def check(rows, end):
        path = tmp_path / "answers.jsonl"
        path.write_bytes("\n".join(map(json.dumps, rows)).encode() + b"\n" + good + end)
        assert Answers(path, "me").everyone["me", "i"]["answer"] == "good"

    check()
