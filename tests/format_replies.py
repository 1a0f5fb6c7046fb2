"""Files of replies that other engines wrote, as they lay them out."""

import json
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
from format_cases import Case, Section, step

from hh_align.core.artifacts import write_table
from hh_align.core.tables import PROMPTS as SCHEMA
from hh_align.evaluation import import_responses

ORIGIN = {"subset": "s", "row": 0, "cluster": "c", "keywords": []}
PROMPTS = [
    {"axis": "harmlessness", "prompt_id": "q0", "prompt": "Human: hi"} | ORIGIN,
    {"axis": "helpfulness", "prompt_id": "q1", "prompt": "Human: yo"} | ORIGIN,
]


def replies_to(prompts: list[dict], path: Path, settings: dict) -> list[tuple]:
    asked, answered = path.with_name("prompts.parquet"), path.with_name("responses.parquet")
    write_table(asked, prompts, SCHEMA, {})
    step(import_responses, config={"layout": "table"} | settings, file=path, prompts=asked, output=answered)
    return [(row["response"], row["finish"]) for row in pq.read_table(answered).to_pylist()]


def read(path: Path, settings: dict) -> list[tuple]:
    """(reply, finish) to the study's one prompt, `q0`: `Human: hi`."""
    return replies_to(PROMPTS[:1], path, settings)


def read_two(path: Path, settings: dict) -> list[tuple]:
    """The same of a study that also has `q1`: `Human: yo`."""
    return replies_to(PROMPTS, path, settings)


def vllm(*texts: str, **more) -> list[dict]:
    outputs = [{"text": text, "finish_reason": "length"} for text in texts]
    return [{"prompt": "Human: hi", "outputs": outputs} | more]


def sample(name: object = "q0", stop: str = "stop", **more) -> dict:
    return {"id": name, "epoch": 1, "output": {"completion": "Hello", "choices": [{"stop_reason": stop}]}} | more


def log(**samples: dict) -> str:
    return json.dumps({"status": "success", "samples": list(samples.values())})


def eval_log(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("header.json", "{}")
        packed.writestr("samples/q0_epoch_1.json", json.dumps(sample()))


def task(reply: object = ("Hello",), name: str = "none") -> dict:
    return {"doc": {"prompt_id": "q0"}, "resps": [["Hello"]], "filtered_resps": reply, "filter": name}


def batch(status: int = 200, **body) -> list[dict]:
    return [{"custom_id": "q0", "response": {"status_code": status, "body": body}}]


def chat(content: str | None = "Hello", end: str = "stop", **message) -> list[dict]:
    return batch(choices=[{"message": {"content": content} | message, "finish_reason": end}])


def message(kind: str = "succeeded", **what) -> list[dict]:
    return [{"custom_id": "q0", "result": {"type": kind} | what}]


def provider(name: str, reply: str) -> dict:
    return {"vars": {"prompt_id": "q0"}, "provider": {"id": name}, "response": {"output": reply}}


def table(response: object = "Hello", **more) -> list[dict]:
    return [{"prompt_id": "q0", "response": response} | more]


HELLO = [("Hello", None)]
STOP, CUT = [("Hello", "stop")], [("Hello", "length")]
TWO = json.dumps({"results": {"results": [provider("openai:a", "Hello"), provider("openai:b", "Hi")]}})
REFUSAL = "response.body.choices.0.message"
FORMATS = [
    Case("a table by `prompt_id`", "r.csv", table(), HELLO),
    Case("a table by the prompt's text", "r.jsonl", [{"prompt": "Human: hi", "response": "Hello"}], HELLO),
    Case("columns of other names", "r.jsonl", [{"id": "q0", "answer": {"text": "Hello"}}], HELLO, settings={"columns": {"prompt_id": "id", "response": "answer.text"}}),
    Case("a table in Parquet", "r.parquet", table(), HELLO),
    Case("JSON by columns", "r.json", json.dumps({"prompt_id": {"0": "q0"}, "response": {"0": "Hello"}}), HELLO),
    Case("a reply as messages: the last one", "r.jsonl", table([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello"}]), HELLO),
    Case("a prompt as messages", "r.jsonl", [{"prompt": [{"role": "user", "content": "Human: hi"}], "response": "Hello"}], HELLO),
    Case("vLLM", "r.jsonl", vllm("Hello"), CUT, settings={"layout": "vllm"}),
    Case("vLLM, asked with the cue", "r.jsonl", vllm("Hello", prompt="\n\nHuman: hi\n\nAssistant:"), CUT, settings={"layout": "vllm"}),
    Case("vLLM, the second of n = 2", "r.jsonl", vllm("Hello", "Hi"), [("Hi", "length")], settings={"layout": "vllm", "columns": {"response": "outputs.1.text"}}),
    Case("lm-evaluation-harness, logged samples", "r.jsonl", [task()], HELLO, settings={"layout": "lm_eval"}),
    Case("lmms-eval: the filter's only reply as a text", "r.jsonl", [task("Hello")], HELLO, settings={"layout": "lm_eval"}),
    Case("lm-evaluation-harness, one of two filters", "r.jsonl", [task(["[invalid]"], "strict"), task(name="flexible")], HELLO, "r.jsonl: 1 of 2 records left out: filter is not flexible", {"layout": "lm_eval", "only": {"filter": "flexible"}}),
    Case("inspect_ai, JSON log", "r.json", log(a=sample()), STOP, settings={"layout": "inspect_ai"}),
    Case("inspect_ai, one of two epochs", "r.json", log(a=sample(), b=sample(epoch=2)), STOP, "r.json: 1 of 2 records left out: epoch is not 2", {"layout": "inspect_ai", "only": {"epoch": 2}}),
    Case("inspect_ai, `.eval` log", "r.eval", eval_log, STOP, settings={"layout": "inspect_ai"}, example="samples/q0_epoch_1.json in a zip"),
    Case("OpenAI batch, chat", "r.jsonl", chat(), STOP, settings={"layout": "openai"}),
    Case("OpenAI batch, completions", "r.jsonl", batch(choices=[{"text": "Hello", "finish_reason": "length"}]), CUT, settings={"layout": "openai"}),
    Case("OpenAI batch, a refusal as the reply", "r.jsonl", chat(None, refusal="I cannot."), [("I cannot.", "stop")], settings={"layout": "openai", "columns": {"response": [f"{REFUSAL}.content", f"{REFUSAL}.refusal"]}}),
    Case("Anthropic batch", "r.jsonl", message(message={"content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn"}), [("Hello", "eos")], settings={"layout": "anthropic"}),
    Case("AlpacaEval", "r.json", [{"instruction": "Human: hi", "output": "Hello", "generator": "m"}], HELLO, settings={"layout": "alpaca_eval"}),
    Case("MT-bench, its ids as texts", "r.jsonl", [{"question_id": "q0", "choices": [{"turns": ["Hello"]}]}], HELLO, settings={"layout": "mt_bench"}),
    Case("promptfoo, one of two providers", "r.json", TWO, [("Hi", None)], settings={"layout": "promptfoo", "only": {"provider.id": "openai:b"}}),
    Case("thoughts before the reply, taken off", "r.jsonl", table("<think>so</think> Hello</s>"), HELLO, "r.jsonl: replies with think: 1, taken off", {"clean": ["think", "end_token"]}),
    Case("the prompt before the reply, taken off", "r.jsonl", table("Human: hi\n\nAssistant: Hello"), HELLO, "r.jsonl: replies with echo: 1, taken off", {"clean": ["echo"]}),
]  # fmt: skip

FAILED = "r.jsonl: generations that failed: 1 ({}; the first is line 1). They are no replies: generate them again, or leave them out by only: {{column: value}}."
FAULTS = [
    Case("thoughts before the reply", "r.jsonl", table("<think>so</think> Hello"), [("<think>so</think> Hello", None)], "r.jsonl: replies with think: 1, left as it is (clean: [think] takes it off)"),
    Case("a reply `N/A`", "r.csv", table("N/A"), [("N/A", None)]),
    Case("a reply that is a number: CSV", "r.csv", table("4"), [("4", None)]),
    Case("a reply that is a whole number: JSON", "r.jsonl", table(4), [("4", None)]),
    Case("a reply that is a number with a point: JSON", "r.jsonl", table(4.5), None, "r.jsonl: line 1: the response is no text (4.5)."),
    Case("a reason for the end in `finish_reason`", "r.csv", table(finish_reason="length"), [("Hello", "length")]),
    Case("a reason for the end in `stop_reason`", "r.jsonl", table(stop_reason="end_turn"), [("Hello", "eos")]),
    Case("a content filter in `finish_reason`", "r.jsonl", table("", finish_reason="content_filter"), None, FAILED.format("content_filter 1")),
    Case("a reply that is null", "r.jsonl", table(None), None, "r.jsonl: line 1: no response in column response; it has prompt_id, response."),
    Case("an empty reply is a reply", "r.jsonl", table(""), [("", None)]),
    Case("no column of that name", "r.jsonl", [{"prompt_id": "q0", "answer": "Hello"}], None, "r.jsonl: line 1: no response in column response; it has prompt_id, answer."),
    Case("vLLM, n = 2", "r.jsonl", vllm("Hello", "Hi"), None, "r.jsonl: line 1: 2 replies in outputs. Set columns.response to the path of one; outputs.0.text is the first.", {"layout": "vllm"}),
    Case("vLLM, aborted", "r.jsonl", vllm("Hel", outputs=[{"text": "Hel", "finish_reason": "abort"}]), None, FAILED.format("abort 1"), {"layout": "vllm"}),
    Case("vLLM, not finished", "r.jsonl", vllm("Hel", finished=False), None, FAILED.format("not finished 1"), {"layout": "vllm"}),
    Case("lm-evaluation-harness, a filter without a match", "r.jsonl", [task(["[invalid]"])], None, FAILED.format("no match of the filter 1"), {"layout": "lm_eval"}),
    Case("lm-evaluation-harness, two filters", "r.jsonl", [task(name="strict"), task(name="flexible")], None, "r.jsonl: line 2: a second response to q0, after line 1. Keep one by only: {column: value}.", {"layout": "lm_eval"}),
    Case("lm-evaluation-harness, repeats", "r.jsonl", [task([["Hello", "Hi"]])], None, "r.jsonl: line 1: 2 replies in filtered_resps.0. Set columns.response to the path of one; filtered_resps.0.0 is the first.", {"layout": "lm_eval"}),
    Case("inspect_ai, a sample's error", "r.json", log(a=sample(error={"message": "m"})), None, FAILED.format("error 1").replace("r.jsonl", "r.json").replace("line", "record"), {"layout": "inspect_ai"}),
    Case("inspect_ai, a sample stopped by a limit", "r.json", log(a=sample(limit={"type": "time"})), None, FAILED.format("stopped by a limit 1").replace("r.jsonl", "r.json").replace("line", "record"), {"layout": "inspect_ai"}),
    Case("inspect_ai, a log without samples", "r.json", '{"status": "started"}', None, "r.json: no list of records at samples but NoneType; it has status. It must be the whole file, or stand where the key records says (of responses, and of a verdict's settings).", {"layout": "inspect_ai"}),
    Case("OpenAI batch, status 429", "r.jsonl", batch(429), None, FAILED.format("status 429 1"), {"layout": "openai"}),
    Case("OpenAI batch, a content filter", "r.jsonl", chat("", "content_filter"), None, FAILED.format("content_filter 1"), {"layout": "openai"}),
    Case("OpenAI batch, a refusal in its own column", "r.jsonl", chat(None, refusal="I cannot."), None, "r.jsonl: line 1: no response in column response.body.choices.0.message.content or response.body.choices.0.text; it has …message.refusal…", {"layout": "openai"}),
    Case("Anthropic batch, expired", "r.jsonl", message("expired"), None, FAILED.format("expired 1"), {"layout": "anthropic"}),
    Case("MT-bench, its ids as numbers", "r.jsonl", [{"question_id": 81, "choices": [{"turns": ["Hello"]}]}], None, "r.jsonl: line 1: prompt_id is 81, no text: the study's are, such as q0. Give it, or the prompt.", {"layout": "mt_bench"}),
    Case("promptfoo, two providers", "r.json", TWO, None, "r.json: record 2: a second response to q0, after record 1. Keep one by only: {column: value}.", {"layout": "promptfoo"}),
    Case("an unknown reason for the end", "r.jsonl", table(finish="done"), None, "r.jsonl: line 1: finish is 'done', not a known reason for a reply's end. Known: eos, end_turn, stop, …"),
    Case("a prompt that the study does not have", "r.jsonl", [{"prompt_id": "q9", "response": "Hello"}], None, "r.jsonl: line 1: the study has no prompt 'q9' (q0 … q0)."),
    Case("a prompt behind a begin token", "r.jsonl", [{"prompt": "<s>Human: hi", "response": "Hello"}], None, "r.jsonl: line 1: the study has no prompt with exactly this text: '<s>Human: hi' (q0 differs in white space, case, a first token or the cue)."),
    Case("a prompt in another case", "r.jsonl", [{"prompt": "human: Hi", "response": "Hello"}], None, "r.jsonl: line 1: the study has no prompt with exactly this text: 'human: Hi' (q0 differs in white space, case, a first token or the cue)."),
    Case("two lists in one file", "r.json", "[][]", None, "r.json: not JSON (…)."),
]  # fmt: skip
SECTIONS = [
    Section("Responses", "`responses: {api: {path: r.jsonl, …}}`; the keys below an example stand beside `path`. These examples belong to a study with one prompt, `q0`: \"Human: hi\". The third column holds the reply and `finish`.", read, FORMATS, FAULTS),
    Section(
        "Responses to two prompts",
        "As before, in a study that also has the prompt `q1`: \"Human: yo\".",
        read_two,
        [Case("rows in any order", "r.csv", "prompt_id,response\nq1,Hey\nq0,Hello\n", [("Hello", None), ("Hey", None)])],
        [
            Case("a prompt without a reply", "r.csv", "prompt_id,response\nq1,Hey\n", None, "r.csv: no response to 1 of 2 prompts (q0). Every prompt needs one."),
            Case("an id beside another prompt's text", "r.jsonl", [{"prompt_id": "q1", "prompt": "Human: hi", "response": "Hello"}], None, "r.jsonl: line 1: prompt_id is q1, but the prompt's text is that of q0."),
        ],
    ),
]  # fmt: skip
