"""Files of anything at all: every reader of people's files gives a table or one error that names the file, never a traceback."""

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hh_align.analysis.correct_by_labels import Texts, by_choices
from hh_align.analysis.labels import read_labels
from hh_align.core.errors import StudyError
from hh_align.core.records import READERS, read_records
from hh_align.data.prepare_preferences import named_sources, read_preferences
from hh_align.evaluation.import_ratings import read_rated as read_imported
from hh_align.evaluation.import_responses import chosen_records, response_rows
from hh_align.evaluation.layouts import LAYOUTS
from hh_align.tools.rated import KINDS, read_rated

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


def read_responses(path: Path) -> None:
    for layout in LAYOUTS:
        records = chosen_records(path, read_records(path), {})
        response_rows(path, records, PROMPTS, None, layout, ["think", "echo"])


READ = {
    "ratings": (read_rated, tuple(KINDS)),
    "responses": (read_responses, ("prompt_id", "prompt", "response", "axis", "finish", "outputs", "custom_id", "id")),
    "preferences": (
        lambda path: read_preferences(named_sources([path])),
        ("prompt", "chosen", "rejected", "input", "output", "conversations"),
    ),
    "imported ratings": (lambda path: read_imported(path, RATING_COLUMNS, {"base": [0]}), tuple(RATING_COLUMNS)),
    "labels": (lambda path: read_labels(path, RATINGS, {}), ("policy", "seed", "axis", "prompt_id", "good", "annotator")),
    "choices": (
        lambda path: by_choices(path, RATINGS, Texts({}, {}), CONFIG),
        ("axis", "prompt_id", "seed", "policy_a", "policy_b", "preferred"),
    ),
}

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


@pytest.mark.parametrize("draws", [100, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_or_refused_in_one_line(name, draws, tmp_path):
    read, columns = READ[name]
    kinds = [kind for kind in READERS if kind != ".eval"]

    @settings(max_examples=draws, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(kinds), rows_with(columns), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]), st.binary(max_size=3))
    def check(kind, rows, encoding, end):
        path = tmp_path / "shop" / f"train{kind}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(kind, rows, encoding) + end * (end[:1] == b"\xff"))
        try:
            read(path)
        except StudyError as error:
            assert str(path) in str(error) and len(str(error).splitlines()) == 1, str(error)

    check()
