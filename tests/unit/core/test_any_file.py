"""Files of anything at all: every reader of people's files gives a table or one error that names the file, never a traceback."""

import csv
import gzip
import io
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from any_readers import ANSWERED, GOOD, READ
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hh_align.core.errors import StudyError
from hh_align.core.records import READERS
from hh_align.tools.answers import Answers, line_of
from hh_align.tools.verdict_settings import read_settings

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
    good = ANSWERED if name == "responses" else [GOOD[name]] if name in GOOD else []
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
