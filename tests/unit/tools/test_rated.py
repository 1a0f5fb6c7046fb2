"""Rated responses in every form in which they come: identity and texts stay texts, and all forms give what their Parquet twin gives."""

import gzip
import io
import json
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError
from hh_align.tools.rated import read_rated

ROWS = [
    {"policy": policy, "axis": axis, "prompt_id": f"{axis}-{number}", "reward": value + number / 8, "response": f"reply; {number}, a\tb"}
    for policy, value in (("base", -1.25), ("sft", 0.5))
    for axis in ("harmlessness", "helpfulness")
    for number in range(3)
]


def with_values(**columns):
    """ROWS with other values in the first rows of some columns."""
    rows = [dict(row) for row in ROWS]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=False):
            row[name] = value
    return rows


def as_csv(rows, separator=","):
    return pd.DataFrame(rows, dtype=object).to_csv(index=False, sep=separator).encode()


def as_parquet(rows):
    output = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), output)
    return output.getvalue()


def as_lines(rows):
    return "\n".join(map(json.dumps, rows)).encode()


def read(folder, name, content, **options):
    (folder / name).write_bytes(content)
    return read_rated([folder / name], options)


TABLE = pd.DataFrame(ROWS, dtype=object)
FORMS = {
    "x.csv": as_csv(ROWS),
    "marked.csv": b"\xef\xbb\xbf" + as_csv(ROWS),
    "utf16.csv": as_csv(ROWS).decode().encode("utf-16"),
    "semi.csv": as_csv(ROWS, ";"),
    "tab.csv": as_csv(ROWS, "\t"),
    "x.tsv": as_csv(ROWS, "\t"),
    "X.CSV": as_csv(ROWS),
    "x.csv.gz": gzip.compress(as_csv(ROWS)),
    "x.jsonl": as_lines(ROWS),
    "x.ndjson": as_lines(ROWS),
    "blank.jsonl": as_lines(ROWS).replace(b"\n", b"\n\n"),
    "marked.jsonl": b"\xef\xbb\xbf" + as_lines(ROWS),
    "windows.jsonl": as_lines(ROWS).replace(b"\n", b"\r\n"),
    "x.json": json.dumps(ROWS).encode(),
    "lines.json": as_lines(ROWS),
    "list.jsonl": json.dumps(ROWS).encode(),
    "columns.json": TABLE.to_json().encode(),
    "lists.json": json.dumps(TABLE.to_dict("list")).encode(),
    "x.jsonl.gz": gzip.compress(as_lines(ROWS)),
    "x.parquet": as_parquet(ROWS),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_rows(tmp_path, name):
    expected = read(tmp_path, "twin.parquet", as_parquet(ROWS))
    pd.testing.assert_frame_equal(read(tmp_path, name, FORMS[name]), expected)
    assert expected["reward"].tolist() == [row["reward"] for row in ROWS]


TEXTS = ["N/A", "None", "null", "nan", "NA", "", "1", "007", "1e-3", "0.10", "true", "1_0"]


@pytest.mark.parametrize("column", ["response", "policy", "prompt_id"])
def test_texts_and_names_that_look_like_something_else_stay_as_they_are(tmp_path, column):
    values = [value for value in TEXTS if value or column == "response"]
    plain = {"policy": "base", "reward": 0.5, "response": "r"}
    rows = [{**plain, "axis": axis, "prompt_id": f"p{number}", column: value} for axis in AXES for number, value in enumerate(values)]
    expected = [f"{row['axis']}-{row[column]}" if column == "prompt_id" else row[column] for row in rows]
    for name, make in (("x.csv", as_csv), ("x.jsonl", as_lines), ("x.parquet", as_parquet)):
        assert read(tmp_path, name, make(rows))[column].fillna("").tolist() == expected, name


def test_whole_numbers_are_names_and_stay_whole_and_apart(tmp_path):
    names = [1344800117571260417, 1344800117571260418, 12]
    rows = [{**row, "prompt_id": names[number % 3]} for number, row in enumerate(ROWS)]
    for name, make in (("x.csv", as_csv), ("x.jsonl", as_lines), ("x.parquet", as_parquet)):
        assert read(tmp_path, name, make(rows))["prompt_id"].tolist()[:3] == [f"harmlessness-{number}" for number in names]


def test_bytes_categories_decimals_and_messages_are_read_for_what_they_hold(tmp_path):
    table = pa.table(
        {
            "policy": pa.array([row["policy"] for row in ROWS]).dictionary_encode(),
            "axis": pa.array([row["axis"] for row in ROWS]),
            "prompt_id": pa.array([row["prompt_id"] for row in ROWS]),
            "reward": pa.array([Decimal(str(row["reward"])) for row in ROWS]),
            "response": pa.array([row["response"].encode() for row in ROWS]),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    expected = read(tmp_path, "twin.parquet", as_parquet(ROWS))
    pd.testing.assert_frame_equal(read_rated([tmp_path / "x.parquet"]), expected)
    said = [row | {"response": [{"role": "assistant", "content": row["response"]}]} for row in ROWS]
    pd.testing.assert_frame_equal(read(tmp_path, "said.jsonl", as_lines(said)), expected)
    asked = [row | {"prompt": [{"role": "user", "content": row["prompt_id"]}]} for row in ROWS]
    assert read(tmp_path, "asked.jsonl", as_lines(asked))["prompt"].tolist() == [f"Human: {row['prompt_id']}" for row in ROWS]


def test_a_list_within_a_file_is_picked_by_its_path(tmp_path):
    nested = json.dumps({"model": "m", "results": {"all": ROWS}}).encode()
    expected = read(tmp_path, "twin.parquet", as_parquet(ROWS))
    pd.testing.assert_frame_equal(read(tmp_path, "x.json", nested, records="results.all"), expected)
    with pytest.raises(
        StudyError,
        match=r"x.json: no list of records but dict; it has model, results\. It must be the whole file, or stand where the key records says",
    ):
        read(tmp_path, "x.json", nested)


CLUSTERS = ["a", "a", "b"]


@pytest.mark.parametrize("values", [CLUSTERS, [1, 1, 2], [1.0, 1.0, 2.0]], ids=["texts", "numbers", "with a point"])
def test_clusters_may_be_given_on_one_axis_only(tmp_path, values):
    rows = [row | {"cluster": values[index % 3] if row["axis"] == "harmlessness" else None} for index, row in enumerate(ROWS)]
    frames = [read(tmp_path, name, make(rows)) for name, make in (("x.csv", as_csv), ("x.jsonl", as_lines), ("x.parquet", as_parquet))]
    for frame in frames:
        pd.testing.assert_frame_equal(frame, frames[0])
        harmless = frame[frame["axis"] == "harmlessness"]
        assert harmless["cluster"].tolist() == [str(value).removesuffix(".0") for value in values] * 2
        assert frame["cluster"][frame["axis"] == "helpfulness"].tolist() == [
            row["prompt_id"] for row in ROWS if row["axis"] == "helpfulness"
        ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"cluster": ["a", "a", None]}, r"column cluster is empty in 4 rows of harmlessness \(the first is line 3\)"),
        ({"cluster": ["a"] * 6 + ["b"] * 6}, r"harmlessness harmlessness-0 has cluster 'a' in line 1 and 'b' in line 7\.$"),
        ({"prompt": ["Human: a", "Human: b", "Human: c"] * 2 + ["Human: a", "Human: c"] + ["Human: c"] * 4}, r"harmlessness harmlessness-1 has prompt 'Human: b' in line 2 and 'Human: c' in line 8\.$"),
        ({"parent": [None] * 6 + ["base"] * 3 + ["sft"] * 3}, r"sft has parent 'base' in line 7 and 'sft' in line 10\.$"),
        ({"policy": ["base "]}, r"column policy holds 'base' and 'base ': take the blank away\.$"),
        ({"reward": [True]}, r"line 1: reward is True, not a number: write 1 for true and 0 for false"),
        ({"reward": [[1.5]]}, r"line 1: reward is \[1\.5\], not a number: write one, or take this prompt out of every policy\.$"),
        ({"prompt_id": [0.5]}, r"line 1: prompt_id is 0\.5, not a text or a whole number: write it as a text\.$"),
        ({"policy": [True]}, r"line 1: policy is True, not a text or a whole number: write it as a text\.$"),
        ({"finish": ["eos", "end"]}, r"line 2: finish is 'end', not a known reason for a reply's end\. Known: eos, end_turn, stop, "),
        ({"finish": ["eos", "content_filter"]}, r"line 2: finish is 'content_filter', a generation that failed"),
        ({"empty": ["yes"]}, r"line 1: empty is 'yes', neither true nor false: write one of the two\.$"),
        ({"response": [{"text": "a"}]}, r"line 1: response is \{'text': 'a'\}, not a text or a whole number: write it as a text\.$"),
    ],
)  # fmt: skip
def test_rows_that_contradict_each_other_or_their_column_are_refused(tmp_path, columns, said):
    rows = [{**row, **dict.fromkeys(columns)} if not set(columns) & set(row) else dict(row) for row in ROWS]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=False):
            row[name] = value
    with pytest.raises(StudyError, match=said):
        read(tmp_path, "x.jsonl", as_lines(rows))


@pytest.mark.parametrize("word", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_words_for_a_cut_reply_are_one(tmp_path, word):
    frame = read(tmp_path, "x.csv", as_csv(with_values(finish=[word] * len(ROWS))))
    assert set(frame["finish"]) == {"length"}


def test_a_column_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"x\.csv: column reward stands twice\. Rename one of them\.$"):
        read(tmp_path, "x.csv", as_csv(ROWS).replace(b"response\n", b"reward\n", 1))


def test_an_empty_parent_is_the_root(tmp_path):
    frame = read(tmp_path, "x.jsonl", as_lines([row | {"parent": ""} for row in ROWS]))
    assert frame["parent"].isna().all()


def test_policies_that_are_numbers_are_names_and_their_parents_may_have_a_point(tmp_path):
    names = {"base": "0", "sft": "1"}
    rows = [row | {"policy": names[row["policy"]], "parent": "0.0" if row["policy"] == "sft" else ""} for row in ROWS]
    frame = read(tmp_path, "x.csv", as_csv(rows))
    assert set(frame["policy"]) == {"0", "1"} and set(frame["parent"].dropna()) == {"0"}


def test_the_reason_for_an_end_may_have_another_name_and_the_settings_may_say_which(tmp_path, capsys):
    words = with_values(finish_reason=["length"] * len(ROWS), stop_reason=["stop"] * len(ROWS))
    assert set(read(tmp_path, "x.csv", as_csv(words))["finish"]) == {"length"}
    assert "x.csv: finish_reason is read as finish" in capsys.readouterr().out
    assert set(read(tmp_path, "x.csv", as_csv(words), columns={"finish": "stop_reason"})["finish"]) == {"stop"}
    assert "read as finish" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "make", "place"), [("x.csv", as_csv, "line 15"), ("x.jsonl", as_lines, "line 14"), ("x.parquet", as_parquet, "row 14")]
)
def test_only_keeps_a_number_in_every_form_and_rows_keep_their_places(tmp_path, name, make, place):
    whole = int if name == "x.csv" else float  # a text stays the text that it is
    rows = [row | {"epoch": whole(epoch)} for epoch in (2, 1) for row in ROWS]
    content = make(rows)
    assert len(read(tmp_path, name, content, only={"epoch": 1})) == len(ROWS)
    rows[14]["axis"] = None
    rows[13]["finish"] = "odd"
    with pytest.raises(StudyError, match=rf"{place}: finish is 'odd'"):
        read(
            tmp_path,
            name,
            make([row | {"axis": row["axis"] or "helpfulness", "finish": row.get("finish")} for row in rows]),
            only={"epoch": 1},
        )
