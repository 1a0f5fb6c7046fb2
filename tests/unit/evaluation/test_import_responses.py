"""Responses of the user's own: every layout ends in the same table, and what is wrong is named by file and record."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import call

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.records import look_up, read_records
from hh_align.core.tables import PROMPTS, RESPONSES
from hh_align.data.layouts import LAYOUTS, RECORDS
from hh_align.data.transcripts import ASSISTANT
from hh_align.evaluation import import_responses
from hh_align.evaluation.import_responses import response_rows

HOSTILE = '</script><img src=x onerror="x()">\x00\u202e\n\nHuman: "=1+1",;'
ASKED = [
    ("harmlessness", "harmlessness-000", "Human: how, \"exactly\"?\nNow"),
    ("harmlessness", "harmlessness-001", "Human: same"),
    ("helpfulness", "helpfulness-000", "Human: same"),
    ("helpfulness", "helpfulness-001", "Human: last"),
]  # fmt: skip
TEXTS = [" a reply", "", HOSTILE, "ü\n"]


def prompt_rows():
    row = {"subset": "s", "row": 0, "cluster": "c", "keywords": []}
    return [{**row, "axis": axis, "prompt_id": name, "prompt": text} for axis, name, text in ASKED]


def put(record, path, value):
    """Set a value at a dotted path of nested dicts and lists."""
    head, _, rest = path.partition(".")
    if not rest:
        record[head] = value
    elif rest.split(".")[0].isdigit():
        inner = rest.partition(".")[2]
        record[head] = [value] if not inner else [put({}, inner, value)]
    else:
        put(record.setdefault(head, {}), rest, value)
    return record


def put_at(path, value):
    """Nested objects with a value at a dotted path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def laid_out(layout, keys):
    """The study's responses, last prompt first, with these of a layout's columns."""
    columns, records = LAYOUTS[layout], []
    for (axis, name, prompt), text in reversed(list(zip(ASKED, TEXTS, strict=True))):
        record = put({"other": [1, {"x": None}]}, columns["response"], text)
        for key, value in (("prompt_id", name), ("prompt", prompt), ("axis", axis)):
            record = put(record, columns[key], value) if key in keys else record
        records.append(record)
    return records


def save(path, records, layout="table"):
    if path.suffix == ".jsonl":
        path.write_text("\n".join([*map(json.dumps, records), ""]))
    elif path.suffix == ".json":
        path.write_text(json.dumps(put_at(RECORDS[layout], records) if layout in RECORDS else records))
    else:
        frame = pa.Table.from_pylist([{key: value for key, value in record.items() if key != "other"} for record in records])
        pq.write_table(frame, path) if path.suffix == ".parquet" else frame.to_pandas().to_csv(path, index=False)
    return path


def imported(tmp_path, path, **config):
    write_table(tmp_path / "prompts.parquet", prompt_rows(), PROMPTS, {})
    files = {"file": path, "prompts": tmp_path / "prompts.parquet", "output": tmp_path / "o.parquet"}
    status, printed = call(import_responses, config={"layout": "table"} | config, **files)
    assert status == 0, printed
    table = pq.read_table(tmp_path / "o.parquet")
    assert table.schema.remove_metadata() == RESPONSES
    return table.to_pylist()


def expected():
    rest = dict.fromkeys(["response_tokens", "finish", "top2_gap_min", "cut_tokens"])
    return [{"axis": axis, "prompt_id": name, "response": text, **rest} for (axis, name, _), text in zip(ASKED, TEXTS, strict=True)]


@pytest.mark.parametrize("keys", [("prompt_id",), ("prompt", "axis"), ("prompt_id", "prompt")])
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet", ".csv"])
def test_every_kind_of_file_gives_the_same_table(tmp_path, suffix, keys):
    # the order of the file is of no account, an empty response is one, and a text comes through byte for byte
    path = save(tmp_path / f"r{suffix}", laid_out("table", keys))
    assert imported(tmp_path, path) == expected()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_every_layout_gives_the_same_table(tmp_path, layout, suffix):
    path = save(tmp_path / f"r{suffix}", laid_out(layout, ("prompt_id",)), layout)
    assert imported(tmp_path, path, layout=layout) == expected()


def test_a_file_as_each_engine_writes_it(monkeypatch, tmp_path):
    # the presets' paths, written out from records of these tools
    one = [("harmlessness", "h-0", "Human: a")]
    monkeypatch.setattr(sys.modules[__name__], "ASKED", one)
    monkeypatch.setattr(sys.modules[__name__], "TEXTS", ["yes"])
    choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "length"}
    records = {
        "vllm": {
            "request_id": "0",
            "prompt": "Human: a",
            "outputs": [{"index": 0, "text": "yes", "token_ids": [1], "finish_reason": "stop"}],
        },
        "lm_eval": {
            "doc_id": 0,
            "doc": {"prompt_id": "h-0", "prompt": "Human: a"},
            "target": "",
            "arguments": {"gen_args_0": {"arg_0": "x"}},
            "resps": [["yes "]],
            "filtered_resps": ["yes"],
        },
        "inspect_ai": {
            "id": 1,
            "epoch": 1,
            "input": "Human: a",
            "target": "",
            "output": {"model": "m", "choices": [], "completion": "yes"},
        },
        "openai": {"id": "b", "custom_id": "h-0", "response": {"status_code": 200, "body": {"choices": [choice]}}, "error": None},
    }
    finishes = {"vllm": "stop", "openai": "length"}
    for layout, record in records.items():
        path = tmp_path / f"{layout}.json"
        path.write_text(json.dumps({"version": 2, "samples": [record]} if layout == "inspect_ai" else [record]))
        rows = imported(tmp_path, path, layout=layout)
        assert [row | {"finish": None} for row in rows] == expected()
        assert rows[0]["finish"] == finishes.get(layout)


def test_columns_of_other_names_and_records_elsewhere(tmp_path):
    records = [{"q": {"key": name}, "output": {"choices": [{"text": text}]}} for (_, name, _), text in zip(ASKED, TEXTS, strict=True)]
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"run": {"all": records}}))
    columns = {"prompt_id": "q.key", "response": "output.choices.0.text"}
    assert imported(tmp_path, path, records="run.all", columns=columns) == expected()
    assert look_up({"a.b": 1, "a": {"b": 2}}, "a.b") == 1  # a CSV's header may hold dots


def test_what_policies_read_around_a_prompt_is_all_that_is_normalised():
    prompts = prompt_rows()[3:]
    for text in ("Human: last" + ASSISTANT, "\n\nHuman: last", "\n\nHuman: last" + ASSISTANT):
        (row,) = response_rows("f", [("line 1", {"prompt": text, "response": "r"})], prompts)
        assert row["prompt_id"] == "helpfulness-001"
    for text in ("human: last", " Human: last", "\nHuman: last", "\n\n\n\nHuman: last", "Human: last\n", "Human: last" + ASSISTANT * 2):
        with pytest.raises(StudyError, match="f: line 1: the study has no prompt with exactly this text: "):
            response_rows("f", [("line 1", {"prompt": text, "response": "r"})], prompts)


GOOD = [{"prompt_id": name, "response": "r"} for _, name, _ in ASKED]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"prompt_id": "harmlessness-000"}, "line 5: no response in column response; it has prompt_id"),
        ({"prompt_id": "harmlessness-000", "response": None}, "line 5: no response in column response; it has prompt_id, response"),
        ({"prompt_id": "harmlessness-000", "response": 3.5}, "line 5: the response is no text (3.5)"),
        ({"prompt_id": "harmlessness-000", "response": ["r"]}, "line 5: the response is no text"),
        ({"prompt_id": "harmlessness-000", "response": "\ud800"}, "line 5: the response is no text"),
        ({"prompt_id": "harmlessness-009", "response": "r"}, "line 5: the study has no prompt 'harmlessness-009' (harmlessness-000 … helpfulness-001)"),
        ({"prompt_id": "harmlessness-001", "response": "r"}, "line 5: a second response to harmlessness-001, after line 2"),
        ({"response": "r"}, "line 5: neither column prompt_id nor prompt; it has response"),
        ({"prompt": [1], "response": "r"}, "line 5: neither a prompt_id nor a prompt that is a text"),
        ({"prompt": "Human: same", "response": "r"}, "line 5: the text is that of several prompts (harmlessness-001, helpfulness-000). Give prompt_id"),
        ({"prompt": "Human: last", "axis": "harmlessness", "response": "r"}, "line 5: the study has no prompt with exactly this text on axis 'harm"),
        ("text", "line 5: no response in column response; it has str"),
    ],
)  # fmt: skip
def test_a_wrong_record_is_named(tmp_path, record, said):
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in [*GOOD, record]))
    with pytest.raises(StudyError) as caught:
        response_rows(path, read_records(path), prompt_rows())
    assert str(caught.value).startswith(f"{path}: {said}")


def test_a_prompt_without_a_response_is_named():
    with pytest.raises(StudyError, match=r"f: no response to 2 of 4 prompts \(helpfulness-000, helpfulness-001\)"):
        response_rows("f", [("line 1", GOOD[0]), ("line 2", GOOD[1])], prompt_rows())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("r.jsonl", b'{"response": "r"}\n\n{"response": \n', "r.jsonl: line 3: not JSON"),
        ("r.jsonl", b'{"response": "\xff"}\n', "r.jsonl: line 1: not UTF-8"),
        ("r.json", b"[", "r.json: not JSON"),
        ("r.json", b'{"a": 1}', "r.json: no list of records but dict; it has a"),
        ("r.csv", b"prompt_id,response\na,b,c\n", r"r.csv: record 1 \(up to line 2\) has not one value for each column"),
        ("r.csv", b'prompt_id,response\na,"b\n', "r.csv: line .: not CSV"),
        ("r.csv", b"prompt_id,response\na,\xff\n", "r.csv: line 2: not UTF-8"),
        ("r.parquet", b"PAR1", "r.parquet: not a readable Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(StudyError, match=said):
        read_records(path)
