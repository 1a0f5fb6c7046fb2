"""A judge behind an endpoint: every response rated once, whatever the server says, and the key in no file."""

import json
import os
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call
from endpoint_server import KEY, Server
from small_evaluation import write_answered
from study_folder import REPOSITORY

from hh_align.core.axes import AXES
from hh_align.evaluation import ask_endpoint
from hh_align.evaluation import endpoint as of_endpoint
from hh_align.evaluation.ask_endpoint import MARKS, class_in, number_in
from hh_align.evaluation.endpoint import filled, read_rubric, seconds_to_wait


@pytest.fixture
def server(monkeypatch):
    with Server.running(monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A folder with prompts and a policy's responses."""
    folder = tmp_path_factory.mktemp("answered")
    write_answered(folder)
    return folder


def options(server, answered, folder, tries=3, price="2:10", key_env="JUDGE_KEY", **config):
    (folder / "rubric.txt").write_text("Rate {response} to {prompt}.")
    settings = {
        "judge": "llm",
        "url": server.url,
        "model": "m",
        "lowest": 1,
        "highest": 10,
        "seed": 5,
        "max_tokens": 8,
        "failed": "error",
    }
    settings |= {"axes": list(AXES)} | config
    inputs = {
        "rubrics": [folder / "rubric.txt"] * 2,
        "prompts": answered / "prompts.parquet",
        "responses": answered / "responses/base/seed-0.parquet",
    }
    outputs = {"output": folder / "rewards.parquet", "quarantine": folder / "quarantine.parquet", "timing": folder / "timing.json"}
    effort = {"timeout": 5, "tries": tries, "price": price, "key_env": key_env}
    return {"config": settings, **effort, "answers": folder / "answers/kept.jsonl", **inputs, "state": folder / "state", **outputs}


def test_every_response_is_rated_once_and_what_it_cost_is_known(server, answered, tmp_path):
    server.reply = lambda text: f" {len(text) % 10 + 1}\n"
    status, printed = call(ask_endpoint, **options(server, answered, tmp_path))
    assert status == 0, printed
    rows = pq.read_table(tmp_path / "rewards.parquet").to_pylist()
    prompts, said = (pq.read_table(answered / name).to_pylist() for name in ("prompts.parquet", "responses/base/seed-0.parquet"))
    texts = [f"Rate {answer['response']} to {row['prompt']}." for row, answer in zip(prompts, said, strict=True)]
    assert [row["reward"] for row in rows] == [len(text) % 10 + 1 for text in texts]
    assert [body["messages"][0]["content"] for body in server.asked] == texts
    assert {(body["model"], body["temperature"], body["seed"], body["max_tokens"]) for body in server.asked} == {("m", 0, 5, 8)}
    assert set(server.keys) == {f"Bearer {KEY}"}
    spent = json.loads((tmp_path / "timing.json").read_text())
    assert (spent["responses"], spent["requests"], spent["tokens_in"], spent["tokens_out"], spent["unreadable"]) == (8, 8, 800, 16, 0)
    assert spent["price_per_1000_prompts"] == pytest.approx(1000 * (100 * 2 + 2 * 10) / 1e6)
    assert not (tmp_path / "state").exists() and pq.read_table(tmp_path / "quarantine.parquet").num_rows == 0
    assert json.loads(pq.read_schema(tmp_path / "rewards.parquet").metadata[b"provenance"])["answered_by"] == ["m-2026"]


def test_a_busy_server_is_asked_again(server, answered, tmp_path):
    server.plan.extend([(429, {"Retry-After": "0"}, KEY), (503, {}, ""), (200, {}, "no json")])
    status, printed = call(ask_endpoint, **options(server, answered, tmp_path, tries=4))
    assert status == 0 and len(server.asked) == 8 + 3, printed
    assert [body["seed"] for body in server.asked[:5]] == [5, 6, 7, 8, 5]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((401, {}, KEY), r"status 401 for harmlessness-000. Check the key in JUDGE_KEY"),
        ((404, {}, KEY), r"status 404 .* whether it has the model m"),
        ((400, {}, KEY), r"status 400 .*Check model, max_tokens and url"),
        ((307, {"Location": "http://127.0.0.1:1/"}, KEY), r"status 307 .*set url to that place"),
        ((503, {}, KEY), r"status 503 for harmlessness-000 in the last of 2 tries. Run again: answers are kept"),
        ((200, {}, "[]"), r"no chat completion in the answer for harmlessness-000 in the last of 2 tries"),
    ],
)
def test_a_refusal_says_where_and_never_the_key(server, answered, tmp_path, reply, said):
    server.plan.extend([reply] * 2)
    result = call(ask_endpoint, **options(server, answered, tmp_path, tries=2))
    assert_refused(result, said, where=server.url)
    assert KEY not in result[1] and not (tmp_path / "rewards.parquet").exists()


def test_the_key_is_in_no_file(server, answered, tmp_path):
    server.plan.append((429, {"Retry-After": KEY}, KEY))
    server.plan.extend([(200, {}, json.dumps({"choices": [{"message": {"content": "3"}}]}))] * 2 + [(401, {}, KEY)])
    assert call(ask_endpoint, **options(server, answered, tmp_path))[0] == 1  # leaves its state
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3 and not [path for path in files if KEY.encode() in path.read_bytes()]
    status, printed = call(ask_endpoint, **options(server, answered, tmp_path))
    assert status == 0 and KEY not in printed
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert json.loads((tmp_path / "timing.json").read_text())["tokens_in"] is None  # two answers did not say


@pytest.mark.parametrize("key", ["", "two\nlines"])
def test_a_missing_key_is_said_before_anything_is_sent(server, answered, tmp_path, monkeypatch, key):
    monkeypatch.setenv("JUDGE_KEY", key)
    result = call(ask_endpoint, **options(server, answered, tmp_path))
    assert_refused(result, "judges.llm: .*JUDGE_KEY")
    assert not server.asked and "two" not in result[1]


def test_answers_that_are_no_number_are_listed_and_an_error_or_null(server, answered, tmp_path):
    bad = pq.read_table(answered / "responses/base/seed-0.parquet")["response"].to_pylist()[2]
    server.reply = lambda text: "I'd say 7" if text.startswith(f"Rate {bad} to") else "4"
    refused = call(ask_endpoint, **options(server, answered, tmp_path))
    assert_refused(refused, r"responses got no number from 1 to 10 \(harmlessness-002")
    assert 'harmlessness-002: no number from 1 to 10 in any of 3 answers, the last one "I\'d say 7"' in refused[1]
    before = len(server.asked)
    status, _ = call(ask_endpoint, **options(server, answered, tmp_path, failed="lowest"))
    rows = pq.read_table(tmp_path / "rewards.parquet").to_pylist()
    failed = pq.read_table(tmp_path / "quarantine.parquet").to_pylist()
    assert status == 0 and rows[2]["reward"] is None and failed[0]["prompt_id"] == "harmlessness-002" and failed[0]["answer"] == "I'd say 7"
    assert len(server.asked) == before and len(failed) == 1  # what was answered in three tries is taken as it is
    assert json.loads((tmp_path / "timing.json").read_text())["unreadable"] == len(failed)


def test_after_a_refusal_only_what_is_missing_is_asked(server, answered, tmp_path):
    good = (200, {}, json.dumps({"choices": [{"message": {"content": "3"}}]}))
    server.plan.extend([good] * 5 + [(401, {}, "")])
    assert call(ask_endpoint, **options(server, answered, tmp_path))[0] == 1
    assert call(ask_endpoint, **options(server, answered, tmp_path))[0] == 0
    texts = [body["messages"][0]["content"] for body in server.asked]
    assert len(texts) == 9 and len(set(texts)) == 8  # the refused one twice


def completion(content, **more):
    return 200, {}, json.dumps({"choices": [{"message": {"content": content}}], **more})


@pytest.mark.parametrize("change", [{"highest": 20}, {"key_env": "OTHER_KEY"}, {"judge": "renamed"}, {"failed": "lowest"}])
def test_another_config_asks_no_question_again(server, answered, tmp_path, monkeypatch, change):
    monkeypatch.setenv("OTHER_KEY", KEY)
    server.plan.extend([completion("3")] * 5 + [(401, {}, "")])
    assert call(ask_endpoint, **options(server, answered, tmp_path))[0] == 1
    status, printed = call(ask_endpoint, **options(server, answered, tmp_path, url=f"{server.url}/", **change))
    assert status == 0 and len(server.asked) == 9, printed


def test_a_finished_step_asks_nothing_again(server, answered, tmp_path, monkeypatch):
    # after an edit of the code, another name of the key's variable, a slash at the end of the url: the questions are the same
    monkeypatch.setenv("OTHER_KEY", KEY)
    assert call(ask_endpoint, **options(server, answered, tmp_path))[0] == 0
    first = (tmp_path / "rewards.parquet").read_bytes()
    (tmp_path / "rewards.parquet").unlink()
    assert call(ask_endpoint, **options(server, answered, tmp_path, key_env="OTHER_KEY"))[0] == 0
    assert len(server.asked) == 8 and (tmp_path / "rewards.parquet").read_bytes() == first
    assert call(ask_endpoint, **options(server, answered, tmp_path, url=f"{server.url}/"))[0] == 0 and len(server.asked) == 8
    assert call(ask_endpoint, **options(server, answered, tmp_path, seed=6))[0] == 0 and len(server.asked) == 16


def test_answers_outlast_an_edit_of_the_code_and_are_read_anew(server, answered, tmp_path, monkeypatch):
    server.plan.extend([completion("3")] * 5 + [(401, {}, "")])
    assert call(ask_endpoint, **options(server, answered, tmp_path))[0] == 1
    monkeypatch.setattr(of_endpoint, "code_hash", lambda module: "edited", raising=False)
    monkeypatch.setattr(ask_endpoint, "number_in", lambda answer, lowest, highest: 2 * float(answer))
    assert call(ask_endpoint, **options(server, answered, tmp_path))[0] == 0
    rewards = [row["reward"] for row in pq.read_table(tmp_path / "rewards.parquet").to_pylist()]
    assert len(server.asked) == 9 and rewards == [6.0] * 5 + [14.0] * 3


@pytest.mark.parametrize("change", [{"model": "other"}, {"seed": 6}, {"max_tokens": 9}])
def test_another_question_is_asked(server, answered, tmp_path, change):
    server.plan.extend([completion("3")] * 5 + [(401, {}, "")])
    assert call(ask_endpoint, **options(server, answered, tmp_path))[0] == 1
    assert call(ask_endpoint, **options(server, answered, tmp_path, **change))[0] == 0
    assert len(server.asked) == 6 + 8


@pytest.mark.parametrize(
    ("content", "usage", "read"),
    [(7, None, 7), ([{"type": "text", "text": "7"}], {}, None), ("7", {"prompt_tokens": "many"}, 7), ("7", [], 7), ("7", {"prompt_tokens": float("inf")}, 7)],
)  # fmt: skip
def test_answers_of_any_shape_are_read_or_counted(server, answered, tmp_path, content, usage, read):
    server.plan.extend([completion(content, usage=usage, model=["m"])] * 24)
    status, printed = call(ask_endpoint, **options(server, answered, tmp_path, failed="lowest"))
    assert status == 0, printed
    assert {row["reward"] for row in pq.read_table(tmp_path / "rewards.parquet").to_pylist()} == {read}


def test_deep_json_is_no_answer_and_a_key_that_is_sent_back_is_taken_out(server, answered, tmp_path):
    server.plan.extend([(200, {"Retry-After": "nan"}, "[" * 100_000), *[completion(f"{KEY} 7", model=KEY)] * 24])
    status, printed = call(ask_endpoint, **options(server, answered, tmp_path, failed="lowest"))
    assert status == 0 and KEY not in printed
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert {row["answer"] for row in pq.read_table(tmp_path / "quarantine.parquet").to_pylist()} == {"[key] 7"}


def test_a_key_with_quotes_is_taken_out_of_json_too(server, answered, tmp_path, monkeypatch):
    key = 'sk-"quoted"-\\-secret'
    monkeypatch.setenv("JUDGE_KEY", key)
    server.plan.extend([completion([{"type": "text", "text": key}], model={"name": key})] * 24)
    status, printed = call(ask_endpoint, **options(server, answered, tmp_path, failed="lowest"))
    everything = printed.encode() + b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert status == 0 and b"secret" not in everything and b"[key]" in everything


def test_a_kill_loses_at_most_one_answer(server, answered, tmp_path):
    server.delay = 0.15
    asked_for = options(server, answered, tmp_path)
    words = ["-m", ask_endpoint.__spec__.name]
    for name, value in asked_for.items():
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        words += ["--" + name.replace("_", "-"), *map(str, values)]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, env=os.environ | {"no_proxy": "127.0.0.1"})
    while len(server.asked) < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert call(ask_endpoint, **asked_for)[0] == 0
    texts = [body["messages"][0]["content"] for body in server.asked]
    assert len(set(texts)) == 8 and len(texts) <= 9


def test_a_torn_line_of_the_state_is_asked_again(tmp_path, capsys):
    answers = of_endpoint.AnswerFile(tmp_path / "answers.jsonl")
    answers.add("a", {"value": 1.0})
    with open(answers.path, "ab") as file:
        file.write(b'{"key": "b", "rew')
    again = of_endpoint.AnswerFile(answers.path)
    again.add("c", {"value": 2.0})
    assert set(of_endpoint.AnswerFile(answers.path).entries) == {"a", "c"} and "damaged answer" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "value"), [("7", 7), (" 7.5\n", 7.5), ("+3", 3), ("1", 1), ("10", 10)])
def test_a_number_alone_is_an_answer(answer, value):
    assert number_in(answer, 1, 10) == value


@pytest.mark.parametrize(
    "answer", [None, "", "seven", "7/10", "7 8", "Rating: 7", "7.", "0", "10.5", "1e1", "nan", "inf", "٧", "7 because"]
)
def test_anything_else_is_none(answer):
    assert number_in(answer, 1, 10) is None


def test_a_judge_that_answers_a_class_rates_by_its_number(server, answered, tmp_path):
    server.reply = lambda text: " Unsafe\n" if len(text) % 2 else "safe"
    classes = {"safe": 1, "unsafe": 0}
    status, printed = call(ask_endpoint, **options(server, answered, tmp_path, classes=classes))
    assert status == 0, printed
    texts = [body["messages"][0]["content"] for body in server.asked]
    assert [row["reward"] for row in pq.read_table(tmp_path / "rewards.parquet").to_pylist()] == [1 - len(text) % 2 for text in texts]
    server.reply = lambda text: "It is safe"
    refused = call(ask_endpoint, **options(server, answered, tmp_path, classes=classes, model="other"))
    assert_refused(refused, r"8 of 8 responses got none of the classes safe, unsafe \(harmlessness-000")


@pytest.mark.parametrize("answer", [None, "", "safe.", "safe unsafe", "saf", "1"])
def test_an_answer_that_is_no_class_alone_is_none(answer):
    assert class_in(answer, {"safe": 1, "unsafe": 0}) is None


def test_texts_with_braces_stay_as_they_are():
    assert filled("[{prompt}] [{response}]", {"prompt": "{response} {x}", "response": "{prompt}"}) == "[{response} {x}] [{prompt}]"


def test_retry_after_is_heard_within_bounds():
    assert seconds_to_wait("7", 1) == 7 and seconds_to_wait("1e9", 1) == of_endpoint.LONGEST_WAIT and seconds_to_wait("-5", 1) == 0
    assert [seconds_to_wait(None, tries) for tries in (1, 2, 3)] == [1, 2, 4] and seconds_to_wait("soon", 2) == 2 == seconds_to_wait(
        "nan", 2
    )
    assert seconds_to_wait("Fri, 01 Jan 2100 00:00:00 GMT", 1) == of_endpoint.LONGEST_WAIT


@pytest.mark.parametrize("axis", AXES)
def test_the_shipped_rubrics_have_a_mark_for_everything(axis):
    text = read_rubric(REPOSITORY / f"resources/rubric_{axis}.txt", MARKS)
    assert "one number from 1 to 10" in text
