"""Files of other engines with what happens in them: failed generations, several replies to a prompt, refusals, thoughts, echoes."""

import io
import json
import re
import struct
import zipfile
import zlib

import pyarrow as pa
import pytest

from hh_align.config.checks import RESPONSE_FILES
from hh_align.core.errors import StudyError
from hh_align.core.records import READERS, read_records
from hh_align.data.layouts import RECORDS
from hh_align.evaluation.import_responses import chosen_records, response_rows

PROMPTS = [
    {"axis": "harmlessness", "prompt_id": "harmlessness-000", "prompt": "Human: a"},
    {"axis": "helpfulness", "prompt_id": "helpfulness-000", "prompt": "Human: b"},
]
NAMES = [row["prompt_id"] for row in PROMPTS]


def rows(folder, records, layout="table", name="r.jsonl", **config):
    path = folder / name
    path.write_text("\n".join(map(json.dumps, records)))
    read = chosen_records(path, read_records(path, config.get("records")), config.get("only", {}))
    return response_rows(path, read, PROMPTS, config.get("columns"), layout, config.get("clean", []))


def replies(*arguments, **options):
    return [row["response"] for row in rows(*arguments, **options)]


def vllm(*texts, finished=True, finish="length"):
    outputs = [[{"index": index, "text": f"{text}{index or ''}", "finish_reason": finish} for index in range(1)] for text in texts]
    return [{"prompt": row["prompt"], "outputs": entry, "finished": finished} for row, entry in zip(PROMPTS, outputs, strict=True)]


def chat(name, content, **message):
    choice = {"index": 0, "message": {"role": "assistant", "content": content} | message, "finish_reason": "stop"}
    return {"custom_id": name, "response": {"status_code": 200, "body": {"choices": [choice]}}, "error": None}


def sample(name, reply, **more):
    output = {"choices": [{"stop_reason": "max_tokens"}], "completion": reply}
    return {"id": name, "epoch": 1, "input": "x", "output": output} | more


def filtered(name, reply, kind="none"):
    return {"doc": {"prompt_id": name}, "resps": [["r"]], "filtered_resps": reply, "filter": kind}


def batch(name, kind="succeeded"):
    message = {"content": [{"type": "text", "text": "r"}], "stop_reason": "end_turn"}
    return {"custom_id": name, "result": {"type": kind} | ({"message": message} if kind == "succeeded" else {})}


READ = {
    "vllm": (vllm("x", "y"), ["x", "y"], "length"),
    "openai": ([chat(name, "r") for name in NAMES], ["r", "r"], "stop"),
    "inspect_ai": ([sample(name, "r") for name in NAMES], ["r", "r"], "length"),
    "lm_eval": ([filtered(name, ["r"]) for name in NAMES], ["r", "r"], None),
    "anthropic": ([batch(name) for name in NAMES], ["r", "r"], "eos"),
    "alpaca_eval": ([{"instruction": row["prompt"], "output": "r", "generator": "m"} for row in PROMPTS], ["r", "r"], None),
    "mt_bench": ([{"question_id": name, "choices": [{"index": 0, "turns": ["r"]}]} for name in NAMES], ["r", "r"], None),
    "promptfoo": (
        [{"vars": {"prompt_id": name}, "response": {"output": "r"}, "success": False, "error": "an assertion"} for name in NAMES],
        ["r", "r"],
        None,
    ),
}


@pytest.mark.parametrize("layout", READ)
def test_each_engines_records_give_replies_and_why_they_ended(tmp_path, layout):
    records, expected, finish = READ[layout]
    made = rows(tmp_path, records, layout)
    assert ([row["response"] for row in made], {row["finish"] for row in made}) == (expected, {finish})


FAILED = {
    "vllm that aborted": ("vllm", vllm("x", "y", finish="abort"), "generations that failed: 2 (abort 2; the first is line 1)"),
    "vllm unfinished": ("vllm", vllm("x", "y", finished=False), "generations that failed: 2 (not finished 2; the first is line 1)"),
    "a busy endpoint": ("openai", [{"custom_id": NAMES[0], "response": {"status_code": 429, "body": {}}}, chat(NAMES[1], "r")], "generations that failed: 1 (status 429 1;"),
    "an error of a batch": ("openai", [chat(NAMES[0], "r"), {"custom_id": NAMES[1], "response": None, "error": {"code": "x"}}], "generations that failed: 1 (error x 1; the first is line 2)"),
    "a sample's error": ("inspect_ai", [sample(NAMES[0], "r"), sample(NAMES[1], "", error={"message": "boom"})], "generations that failed: 1 (error 1;"),
    "a sample's limit": ("inspect_ai", [sample(NAMES[0], "r", limit={"type": "token"}), sample(NAMES[1], "r")], "generations that failed: 1 (stopped by a limit 1;"),
    "a filter without a match": ("lm_eval", [filtered(name, ["[invalid]"]) for name in NAMES], "generations that failed: 2 (no match of the filter 2;"),
    "an expired batch": ("anthropic", [batch(NAMES[0], "expired"), batch(NAMES[1])], "generations that failed: 1 (expired 1;"),
    "a content filter": ("table", [{"prompt_id": name, "response": "", "finish": "content_filter"} for name in NAMES], "generations that failed: 2 (content_filter 2;"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILED)
def test_a_generation_that_failed_is_no_reply(tmp_path, case):
    layout, records, said = FAILED[case]
    with pytest.raises(StudyError) as caught:
        rows(tmp_path, records, layout)
    assert str(caught.value).startswith(f"{tmp_path}/r.jsonl: {said}")


def test_of_several_replies_in_a_record_one_is_named_or_all_are_refused(tmp_path):
    records = vllm("x", "y")
    for record in records:
        record["outputs"].append({"index": 1, "text": "second", "finish_reason": "stop"})
    with pytest.raises(
        StudyError, match=r"line 1: 2 replies in outputs\. Set columns\.response to the path of one; outputs\.0\.text is the first\.$"
    ):
        rows(tmp_path, records, "vllm")
    second = rows(tmp_path, records, "vllm", columns={"response": "outputs.1.text"})
    assert [(row["response"], row["finish"]) for row in second] == [("second", "stop")] * 2  # the first ends by length
    assert replies(tmp_path, records, "vllm", columns={"response": "outputs.0.text"}) == ["x", "y"]
    turns = [{"question_id": name, "choices": [{"index": 0, "turns": ["one", "two"]}]} for name in NAMES]
    with pytest.raises(StudyError, match=r"line 1: 2 replies in choices\.0\.turns\. .*; choices\.0\.turns\.0 is the first\.$"):
        rows(tmp_path, turns, "mt_bench")
    assert replies(tmp_path, turns, "mt_bench", columns={"response": "choices.0.turns.0"}) == ["one", "one"]
    repeats = [filtered(name, [["one", "two"]]) for name in NAMES]
    with pytest.raises(StudyError, match=r"line 1: 2 replies in filtered_resps\.0\. Set columns\.response to the path of one"):
        rows(tmp_path, repeats, "lm_eval")
    assert replies(tmp_path, repeats, "lm_eval", columns={"response": "filtered_resps.0.1"}) == ["two", "two"]


def test_of_several_records_to_a_prompt_only_takes_one(tmp_path, capsys):
    records = [sample(name, f"epoch {epoch}", epoch=epoch) for epoch in (1, 2) for name in NAMES]
    with pytest.raises(
        StudyError, match=r"line 3: a second response to harmlessness-000, after line 1\. Keep one by only: \{column: value\}"
    ):
        rows(tmp_path, records, "inspect_ai")
    assert replies(tmp_path, records, "inspect_ai", only={"epoch": 2}) == ["epoch 2", "epoch 2"]
    assert "2 of 4 records left out: epoch is not 2" in capsys.readouterr().out
    filters = [filtered(name, [reply], kind) for kind, reply in (("strict", "[invalid]"), ("flexible", "r")) for name in NAMES]
    assert replies(tmp_path, filters, "lm_eval", only={"filter": "flexible"}) == ["r", "r"]
    with pytest.raises(StudyError, match=r"no record has filter loose\. There is: flexible, strict\.$"):
        rows(tmp_path, filters, "lm_eval", only={"filter": "loose"})


def test_a_refusal_is_a_reply_where_its_column_is_named(tmp_path):
    records = [chat(NAMES[0], None, refusal="I cannot."), chat(NAMES[1], "r")]
    with pytest.raises(StudyError, match=r"line 1: no response in column .*message\.content or .*; it has .*message\.refusal"):
        rows(tmp_path, records, "openai")
    paths = [f"response.body.choices.0.message.{key}" for key in ("content", "refusal")]
    assert replies(tmp_path, records, "openai", columns={"response": paths}) == ["I cannot.", "r"]


HELD = "Human: a\n\nAssistant: <think>Hm.\nSo</think>\n\nYes.<|im_end|>\n"


def test_thoughts_echoes_and_end_tokens_are_counted_and_taken_off_on_demand(tmp_path, capsys):
    records = [{"prompt_id": NAMES[0], "response": HELD}, {"prompt_id": NAMES[1], "response": "No </s> in the middle, <think> neither"}]
    assert replies(tmp_path, records) == [record["response"] for record in records]
    printed = capsys.readouterr().out
    assert "replies with echo: 1, left as it is (clean: [echo] takes it off)" in printed and "replies with end_token: 1" in printed
    taken = replies(tmp_path, records, clean=["echo", "think", "end_token"])
    assert taken == ["Yes.", records[1]["response"]]
    assert "replies with think: 1, taken off" in capsys.readouterr().out


def test_an_id_and_a_text_of_different_prompts_are_refused(tmp_path):
    records = [{"prompt_id": NAMES[1], "prompt": "Human: a", "response": "r"}]
    with pytest.raises(StudyError, match="line 1: prompt_id is helpfulness-000, but the prompt's text is that of harmlessness-000"):
        rows(tmp_path, records)


@pytest.mark.parametrize("prompt", ["<s>Human: a", "Human: a\n\nAssistant: ", "human: A", " Human: a\n"])
def test_a_text_that_nearly_is_a_prompts_is_refused_with_its_name(tmp_path, prompt):
    with pytest.raises(StudyError, match=r"\(harmlessness-000 differs in white space, case, a first token or the cue\)\.$"):
        rows(tmp_path, [{"prompt": prompt, "response": "r"}])


@pytest.mark.parametrize("prompt", [[{"role": "user", "content": "a"}], [{"role": "user", "content": "Human: a"}]])
def test_a_prompt_as_messages_is_found_by_its_text(tmp_path, prompt):
    assert replies(tmp_path, [{"id": 1, "prompt": prompt, "response": "r"}, {"prompt": "Human: b", "response": "s"}]) == ["r", "s"]


def test_a_number_for_an_id_says_what_the_studys_are(tmp_path):
    with pytest.raises(StudyError, match=r"line 1: prompt_id is 0, no text: the study's are, such as harmlessness-000"):
        rows(tmp_path, [{"prompt_id": 0, "response": "r"}])


def test_a_log_of_inspect_ai_is_read_as_it_is_packed(tmp_path):
    with zipfile.ZipFile(tmp_path / "log.eval", "w") as log:
        log.writestr("header.json", json.dumps({"version": 2, "status": "success"}))
        for name in NAMES:
            log.writestr(f"samples/{name}_epoch_1.json", json.dumps(sample(name, f"to {name}")))
    records = read_records(tmp_path / "log.eval", RECORDS["inspect_ai"])
    made = response_rows(tmp_path / "log.eval", records, PROMPTS, None, "inspect_ai")
    assert [row["response"] for row in made] == [f"to {name}" for name in NAMES]
    whole = (tmp_path / "log.eval").read_bytes()
    encrypted, packed, by_zstandard = bytearray(whole), bytearray(whole), zstandard(whole)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # what each file's two headers say of it
        for found in re.finditer(re.escape(signature), whole):
            encrypted[found.start() + flags] |= 1
            packed[found.start() + flags + 2] = 99
    for content in (b"PK", bytes(encrypted), bytes(packed), whole[:-9], changed(by_zstandard, by_zstandard.index(b"samples/") + 80)):
        (tmp_path / "log.eval").write_bytes(content)
        with pytest.raises(StudyError, match=r"log\.eval: not a readable log of inspect_ai \(.*\)\. Write it anew"):
            read_records(tmp_path / "log.eval")


def changed(content, at):
    """The content with another byte there."""
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


def zstandard(whole):
    """A zip file of stored files as inspect_ai packs it: each by Zstandard, in two frames."""
    with zipfile.ZipFile(io.BytesIO(whole)) as log:
        contents = {name: log.read(name) for name in log.namelist()}
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as log:
        for name, content in contents.items():
            log.writestr(name, b"".join(pa.compress(part, "zstd", asbytes=True) for part in (content[:9], content[9:])))
    packed = bytearray(output.getvalue())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):  # method, time, checksum, size packed, size
        for found, content in zip(re.finditer(re.escape(signature), bytes(packed)), contents.values(), strict=True):
            at = found.start() + method
            packed[at : at + 2], packed[at + 6 : at + 10], packed[at + 14 : at + 18] = (
                struct.pack("<H", 93), struct.pack("<I", zlib.crc32(content)), struct.pack("<I", len(content)),
            )  # fmt: skip
    return bytes(packed)


def test_a_log_that_is_packed_by_zstandard_is_read_as_one_that_is_not(tmp_path):
    with zipfile.ZipFile(tmp_path / "log.eval", "w") as log:
        for name in NAMES:
            log.writestr(f"samples/{name}_epoch_1.json", json.dumps(sample(name, f"to {name}")))
    (tmp_path / "packed.eval").write_bytes(zstandard((tmp_path / "log.eval").read_bytes()))
    assert read_records(tmp_path / "packed.eval") == read_records(tmp_path / "log.eval")
    assert len(read_records(tmp_path / "packed.eval")) == len(NAMES)


def test_the_config_allows_the_kinds_that_can_be_read():
    assert tuple(READERS) == RESPONSE_FILES


def test_an_empty_cell_is_absent(tmp_path):
    (tmp_path / "r.csv").write_text("prompt_id,prompt,axis,finish,response\n,Human: a,,,r\n,Human: b,,refusal,s\n")
    made = response_rows(tmp_path / "r.csv", read_records(tmp_path / "r.csv"), PROMPTS)
    assert [(row["response"], row["finish"]) for row in made] == [("r", None), ("s", "stop")]


def test_an_unknown_end_is_named_with_its_column(tmp_path):
    with pytest.raises(StudyError, match=r"line 1: finish is 'done', not a known reason for a reply's end\. Known: eos, "):
        rows(tmp_path, [{"prompt_id": NAMES[0], "response": "r", "finish": "done"}])


def test_of_a_dialogue_as_messages_the_last_words_are_the_reply(tmp_path):
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "yes"}]
    assert replies(tmp_path, [{"prompt_id": name, "response": said} for name in NAMES]) == ["yes", "yes"]
    with pytest.raises(StudyError, match="line 1: the response is no text"):
        rows(tmp_path, [{"prompt_id": name, "response": said[:1]} for name in NAMES])
