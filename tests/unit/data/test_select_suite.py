"""Prompts of a suite's file: what becomes of a column of texts, in any kind of file, and what a wrong file ends in."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call

from hh_align.core.artifacts import write_json
from hh_align.data import select_suite
from hh_align.data.select_suite import as_prompt, has_value
from hh_align.data.transcripts import cluster_of
from hh_align.models.chat import messages

ROWS = [
    {"id": "01", "q": "How do I kill a process?", "label": "safe", "lang": "en"},
    {"id": "1", "q": "N/A", "label": "unsafe", "lang": "de"},
    {"id": "2", "q": " Why?\n\nTell me. ", "label": "safe", "lang": "fr"},
]
HOW = {"name": "mine", "key": "suites.mine", "axis": "harmlessness", "column": "q", "seed": 100}


def selected(folder, file, **how):
    """(rows, rows left out, what was printed) of the step on a file."""
    status, said = call(select_suite, config=HOW | how, file=file, output=folder / "p.parquet", quarantine=folder / "q.parquet")
    assert status == 0, said
    return *(pq.read_table(folder / name).to_pylist() for name in ("p.parquet", "q.parquet")), said


def write_csv(path, separator=",", encoding="utf-8", rows=ROWS):
    pd.DataFrame(rows).to_csv(path, index=False, sep=separator, encoding=encoding)
    return path


def files_of(folder):
    """The same rows in every kind of file."""
    frame, lines = pd.DataFrame(ROWS), "\n".join(map(json.dumps, ROWS))
    frame.to_parquet(folder / "a.parquet")
    (folder / "a.jsonl").write_text(lines)
    (folder / "a.json").write_text(json.dumps(ROWS))
    (folder / "columns.json").write_text(json.dumps({name: list(frame[name]) for name in frame}))
    write_csv(folder / "a.tsv", "\t")
    write_csv(folder / "semi.csv", ";")
    write_csv(folder / "bom.csv", encoding="utf-8-sig")
    write_csv(folder / "utf16.csv", encoding="utf-16")
    write_csv(folder / "a.csv.gz")
    return sorted(folder.iterdir())


def test_every_kind_of_file_gives_the_same_prompts(tmp_path):
    write_csv(tmp_path / "a.csv")
    expected, left_out, said = selected(tmp_path, tmp_path / "a.csv", category="label")
    assert [row["prompt"] for row in expected] == ["Human: How do I kill a process?", "Human: N/A", "Human: Why?\n\nTell me."]
    assert [row["prompt_id"] for row in expected] == ["mine-000", "mine-001", "mine-002"]
    assert [row["subset"] for row in expected] == ["safe", "unsafe", "safe"] and [row["row"] for row in expected] == [0, 1, 2]
    assert {row["axis"] for row in expected} == {"harmlessness"} and left_out == [] and "mine: 3 prompts, 3 drawn" in said
    (tmp_path / "kinds").mkdir()
    for file in files_of(tmp_path / "kinds"):
        assert selected(tmp_path, file, category="label")[0] == expected, file


def test_nested_records_and_columns_are_reached_by_their_paths(tmp_path):
    nested = {"data": [{"turn": {"text": row["q"]}, "meta": {"lang": row["lang"]}} for row in ROWS]}
    (tmp_path / "a.json").write_text(json.dumps(nested))
    rows, _, _ = selected(tmp_path, tmp_path / "a.json", records="data", column="turn.text", where={"meta.lang": ["en", "fr"]})
    assert [row["row"] for row in rows] == [0, 2]


def test_a_prompt_has_the_form_of_the_studys_own():
    asked = "Human: a\n\nAssistant: b\n\nHuman: c"
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert as_prompt("c") == "Human: c" and as_prompt("c\n\nAssistant: d") == "Human: c\n\nAssistant: d"
    for value in (
        asked,
        f"\n\n{asked}\n\nAssistant:",
        f"\n\n{asked}\n\nAssistant: d",
        f"{asked}\n\nAssistant: d\n\ne",
        said,
        [*said, {"role": "assistant", "content": "d"}],
        [*said, {"role": "assistant", "content": "d\n\ne"}],
        [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "human", "value": "c"}],
    ):
        assert as_prompt(value) == asked, value
    assert messages(as_prompt(said)) == said
    assert as_prompt([{"role": "system", "content": "s"}, said[0]]) == "s\n\nHuman: a"
    assert cluster_of(as_prompt("a")) == cluster_of(f"\n\n{asked}\n\nAssistant:")  # by it training prompts are known again


@pytest.mark.parametrize("value", ["", "  ", None, "Human:", "Human: \n\nAssistant:", 1.5, True, {"a": 1}, [], b"\xff", '[{"role": "user", "content": "a"}]', [{"role": "tool", "content": "a"}], [{"role": "system", "content": "a"}], [{"role": "assistant", "content": "a"}]])  # fmt: skip
def test_what_is_no_prompt_is_told(value):
    with pytest.raises(ValueError):
        as_prompt(value)


def test_rows_without_a_prompt_and_second_ones_are_left_out_and_counted(tmp_path):
    rows = [{"q": text} for text in ("a", "", " a ", "b", "  ", "a")]
    write_csv(tmp_path / "a.csv", rows=rows)
    prompts, left_out, said = selected(tmp_path, tmp_path / "a.csv")
    assert [row["row"] for row in prompts] == [0, 3]
    assert [(row["row"], row["reason"]) for row in left_out] == [
        (1, "the prompt is empty"),
        (2, "the prompt stands in an earlier row, too"),
        (4, "the prompt is empty"),
        (5, "the prompt stands in an earlier row, too"),
    ]
    assert "left out, the prompt is empty: 2" in said and "left out, the prompt stands in an earlier row, too: 2" in said


def test_turns_within_an_instruction_are_told(tmp_path):
    write_csv(tmp_path / "a.csv", rows=[{"q": "a\n\nAssistant: b\n\nHuman: c"}, {"q": "d"}])
    assert "; 2 further turns within them" in selected(tmp_path, tmp_path / "a.csv")[2]


def test_where_is_by_text_and_truth():
    assert has_value("1", 1) and has_value(1, "1") and has_value(1.0, 1) and has_value("a", ["b", "a"])
    assert has_value("True", True) and has_value(True, True) and has_value("false", False) and not has_value("no", False)
    assert not has_value("01", 1) and not has_value("A", "a") and not has_value(None, "")


def test_n_prompts_are_drawn_by_the_seed(tmp_path):
    write_csv(tmp_path / "a.csv", rows=[{"q": f"question {number}"} for number in range(50)])
    whole = selected(tmp_path, tmp_path / "a.csv")[0]
    assert [row["row"] for row in whole] == list(range(50))
    draws = [[row["row"] for row in selected(tmp_path, tmp_path / "a.csv", n=10, seed=seed)[0]] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2] and len(set(draws[0])) == 10
    assert draws[0] != sorted(draws[0])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"column": "prompt"}, r"it has no column prompt, which suites\.mine\.column names\. It has: id, q, label, lang"),
        ({"category": "kind"}, r"no column kind, which suites\.mine\.category names"),
        ({"where": {"kind": "x"}}, r"no column kind, which suites\.mine\.where names"),
        ({"where": {"label": "Safe"}}, r"no row has label as suites\.mine\.where says \(Safe\)\. The column holds: safe, unsafe"),
        ({"n": 4}, r"suites\.mine\.n is 4, but .* gives 3 prompts"),
    ],
)
def test_a_config_that_does_not_fit_the_file_is_one_message(tmp_path, how, said):
    file = write_csv(tmp_path / "a.csv")
    result = call(select_suite, config=HOW | how, file=file, output=tmp_path / "p.parquet", quarantine=tmp_path / "q.parquet")
    assert_refused(result, said, where=file)
    assert not (tmp_path / "p.parquet").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"q\n", "it holds no row"),
        (b"q\n\xff\n", "line 2: not UTF-8"),
        (b"q,q\na,b\n", "column q stands twice"),
        (b"q\n\"\"\n' '\n", None),
        (b'q\n""\n" "\n', r"column q holds no prompt\. Name the right one \(suites\.mine\.column\)"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_message(tmp_path, content, said):
    (tmp_path / "a.csv").write_bytes(content)
    result = call(select_suite, config=HOW, file=tmp_path / "a.csv", output=tmp_path / "p.parquet", quarantine=tmp_path / "q.parquet")
    if said:
        assert_refused(result, said, where=tmp_path / "a.csv")
    else:
        assert result[0] == 0


def test_a_download_that_is_not_its_manifests_is_moved_aside(tmp_path):
    file = write_csv(tmp_path / "a.csv")
    write_json(tmp_path / "manifest-1.json", {"a.csv": "0" * 64})
    result = call(
        select_suite, config=HOW, file=file, manifest=tmp_path / "manifest-1.json", output=tmp_path / "p.parquet", quarantine=tmp_path / "q.parquet"
    )  # fmt: skip
    assert_refused(result, "a.csv is damaged", where=tmp_path / "manifest-1.json")
