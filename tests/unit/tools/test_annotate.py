"""The page that collects labels: blind, in random order, nothing lost, nothing executed, nobody else let in."""

import http.client
import json
import os
import socket

import pyarrow.parquet as pq
import pytest
from label_page import HOSTILE, items_of, labels_of, served, write_study

from hh_align.core.artifacts import logical_name, write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import RESPONSES
from hh_align.tools import annotate
from hh_align.tools.annotate import PAGE
from hh_align.tools.answers import Answers
from hh_align.tools.asked import read_study


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path)


def test_no_policy_reaches_the_page_and_equal_replies_are_asked_once(study):
    items = items_of(study)
    assert len(items) == 12 * 3 - 2
    with served(items, study) as get:
        shown = get("GET", "/items")[1]
    assert len(json.loads(shown)) == len(items)
    assert not any(name in shown for name in ("base", "sft", "dpo", "seed", "sides", "contrast", "polic"))


def test_the_order_is_random_and_the_seeds(study):
    orders = [[item["item"] for item in items_of(study, seed=seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2] and sorted(orders[0]) == sorted(orders[2])
    first = [item["checkpoints"][0][0] for item in items_of(study, seed=3)[:36:3]]
    assert len(set(first)) > 1  # no policy is always the first of its prompt


def test_answers_survive_a_kill_and_become_labels(study):
    items = items_of(study)
    with served(items, study) as get:
        for item, answer in zip(items, ["good", "bad", "skip", "bad"], strict=False):
            assert get("POST", "/answers", {"item": item["item"], "answer": answer})[0] == 200
        get("POST", "/answers", {"item": items[1]["item"], "answer": "good"})  # thought better of it
    path = study / "labels/answers.jsonl"
    path.write_bytes(path.read_bytes() + b'{"annotator": "me", "it')  # killed in the middle of a line
    with served(items_of(study), study) as get:
        known = [item["answer"] for item in json.loads(get("GET", "/items")[1])]
        assert known[:5] == ["good", "good", "skip", "bad", None]
        get("POST", "/answers", {"item": items[4]["item"], "answer": "good"})
    rows = pq.read_table(study / "labels/labels.parquet").to_pylist()
    said = {0: True, 1: True, 2: None, 3: False, 4: True}  # the third was skipped
    expected = {(policy, seed, items[n]["prompt_id"], good) for n, good in said.items() for policy, seed in items[n]["checkpoints"]}
    assert [row["good"] is None for row in rows] == [row["skipped"] for row in rows]
    assert {(row["policy"], row["seed"], row["prompt_id"], row["good"]) for row in rows} == expected
    assert {row["annotator"] for row in rows} == {"me"}


def test_another_annotator_starts_anew_in_the_same_file(study):
    items = items_of(study)
    for name in ("me", "you"):
        with served(items, study, name) as get:
            assert not any(item["answer"] for item in json.loads(get("GET", "/items")[1]))
            get("POST", "/answers", {"item": items[0]["item"], "answer": "good"})
    assert {row["annotator"] for row in pq.read_table(study / "labels/labels.parquet").to_pylist()} == {"me", "you"}


def test_choices_name_the_policy_whichever_side_it_stood_on(study):
    items = items_of(study, "sft_dpo,sft")
    assert len(items) == 10  # not asked where both say the same
    assert {item["sides"][0] for item in items} == {"sft", "sft_dpo"}
    with served(items, study) as get:
        for item in items[:-1]:
            get("POST", "/answers", {"item": item["item"], "answer": "left" if item["texts"][0].endswith(" 2") else "right"})
        get("POST", "/answers", {"item": items[-1]["item"], "answer": "tie"})
    rows = pq.read_table(study / "labels/choices.parquet").to_pylist()
    assert sorted(row["preferred"] for row in rows) == ["b"] * 9 + ["tie"]  # always the reply of sft_dpo
    assert {(row["policy_b"], row["policy_a"], row["seed"]) for row in rows} == {("sft_dpo", "sft", 42)}


def test_a_changed_response_is_asked_again(study):
    before = items_of(study)
    table = pq.read_table(study / "responses/sft/seed-42.parquet").to_pylist()
    write_table(study / "responses/sft/seed-42.parquet", [{**row, "response": row["response"] + "!"} for row in table], RESPONSES, {})
    names = [{item["item"] for item in items if ("sft", 42) in item["checkpoints"]} for items in (before, items_of(study))]
    assert not names[0] & names[1]


def test_texts_stay_texts(study):
    # responses travel as JSON only, and the page puts them in as text
    with served(items_of(study), study) as get:
        _, shown, _ = get("GET", "/items")
        _, page, headers = get("GET", "/")
    assert HOSTILE in json.loads(shown)[0]["texts"][0] and HOSTILE not in page
    script = PAGE.read_text()
    assert not any(word in script for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("))
    assert "http:" not in script and "https:" not in script
    assert "default-src 'none'" in headers["Content-Security-Policy"] and "unsafe" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/items", None, {"Host": "evil.example"}, 403),
        ("POST", "/answers", {"item": "x", "answer": "good"}, {"Origin": "http://evil.example"}, 403),
        ("POST", "/answers", {"item": "unknown", "answer": "good"}, {}, 400),
        ("POST", "/answers", ["nonsense"], {}, 400),
        ("POST", "/answers", {"item": ["x"], "answer": "good"}, {}, 400),
        ("POST", "/answers", {"item": "x", "answer": "good"}, {"Content-Length": "-1"}, 400),
        ("POST", "/answers", {"item": "x", "answer": "good"}, {"Content-Length": "99999999"}, 400),
        ("GET", "/../../etc/passwd", None, {}, 404),
    ],
)
def test_nobody_else_and_nothing_else(study, method, path, body, headers, status):
    with served(items_of(study), study) as get:
        assert get(method, path, body, **headers)[0] == status
    assert not (study / "labels/labels.parquet").exists()


def test_a_choice_that_does_not_belong_to_the_item_is_refused(study):
    items = items_of(study)
    with served(items, study) as get:
        assert get("POST", "/answers", {"item": items[0]["item"], "answer": "left"})[0] == 400


def test_a_folder_without_responses_and_an_unknown_policy_are_named(study, tmp_path):
    with pytest.raises(StudyError, match="no prompts and responses here"):
        read_study(tmp_path / "nowhere")
    with pytest.raises(StudyError, match=r"ppo has no responses. The study has base, sft, sft_dpo"):
        items_of(study, "ppo,sft")


def test_deep_json_is_not_an_answer(study):
    with served(items_of(study), study) as get:
        deep = http.client.HTTPConnection("127.0.0.1", get.args[0], timeout=10)
        deep.request("POST", "/answers", "[" * 9_000)
        assert deep.getresponse().status == 400


def test_a_page_that_sends_less_than_it_says_holds_no_thread(study, monkeypatch):
    monkeypatch.setattr(annotate.LocalHandler, "timeout", 0.2)
    with served(items_of(study), study) as get, socket.create_connection(("127.0.0.1", get.args[0]), timeout=10) as slow:
        slow.sendall(f"POST /answers HTTP/1.1\r\nHost: 127.0.0.1:{get.args[0]}\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert slow.recv(100) == b""


def test_another_sample_and_another_seed_take_no_label_away(study):
    for sample, seed in ((None, 0), (2, 0), (1, 7), (None, 7)):
        items = items_of(study, seed=seed, sample=sample)
        with served(items, study, f"of sample {sample}, seed {seed}") as get:
            for item in items:
                assert get("POST", "/answers", {"item": item["item"], "answer": "good"})[0] == 200
    # 12 prompts or 2 or 4 of them, 3 policies each, by four annotators
    assert len(labels_of(study)) == 3 * (12 + 4 + 2 + 12)


def test_a_choice_means_the_same_text_under_another_seed(study):
    sides = {seed: {item["item"]: item["sides"] for item in items_of(study, "sft_dpo,sft", seed)} for seed in (0, 1)}
    assert sides[0].keys() == sides[1].keys() and sides[0] != sides[1]
    with served(items_of(study, "sft_dpo,sft", 0), study) as get:
        for name, (left, _) in sides[0].items():
            get("POST", "/answers", {"item": name, "answer": "left" if left == "sft" else "right"})
    with served(items_of(study, "sft_dpo,sft", 1), study) as get:
        shown = {item["item"]: item["answer"] for item in json.loads(get("GET", "/items")[1])}
    assert all(sides[1][name][("left", "right").index(answer)] == "sft" for name, answer in shown.items())
    assert {row["preferred"] for row in labels_of(study, "choices")} == {"a"}


def test_two_pages_share_one_record(study):
    items = items_of(study)
    with served(items, study, "me") as mine, served(items, study, "you") as yours:
        for item in items[:20]:
            for get in (mine, yours):
                assert get("POST", "/answers", {"item": item["item"], "answer": "bad"})[0] == 200
    count = sum(len(item["checkpoints"]) for item in items[:20])
    assert [sum(row["annotator"] == name for row in labels_of(study)) for name in ("me", "you")] == [count, count]


def test_an_answer_that_the_disk_does_not_take_is_not_acknowledged(study, monkeypatch):
    items = items_of(study)
    path = study / "labels/answers.jsonl"
    with served(items, study) as get:
        get("POST", "/answers", {"item": items[0]["item"], "answer": "good"})
        before = path.read_bytes()
        whole = os.write
        monkeypatch.setattr("hh_align.tools.answers.os.write", lambda file, line: whole(file, line[: len(line) // 2]))
        status, body, _ = get("POST", "/answers", {"item": items[1]["item"], "answer": "good"})
        assert status == 507 and "cannot be written (No space left on device)" in body
        assert path.read_bytes() == before
        monkeypatch.undo()
        assert get("POST", "/answers", {"item": items[1]["item"], "answer": "good"})[0] == 200
    assert Answers(path, "me").of(items[1]) == "good"


def test_a_changed_line_is_not_an_answer(study, capsys):
    items = items_of(study)
    with served(items, study) as get:
        for item in items[:2]:
            get("POST", "/answers", {"item": item["item"], "answer": "good"})
    path = study / "labels/answers.jsonl"
    path.write_bytes(path.read_bytes().replace(b"good", b"bad!", 1))
    answers = Answers(path, "me")
    assert [answers.of(item) for item in items[:2]] == [None, "good"]
    assert "answers.jsonl, line 1: not an answer, passed over" in capsys.readouterr().out


def test_only_discard_takes_answers_away(study, monkeypatch, capsys):
    items = items_of(study)
    for name in ("me", "you"):
        with served(items, study, name) as get:
            for item in items[:3]:
                get("POST", "/answers", {"item": item["item"], "answer": "good"})
    path = study / "labels/answers.jsonl"
    before = path.read_bytes()
    monkeypatch.setattr("sys.argv", ["annotate", "--folder", str(study), "--discard", "me"])
    annotate.main()
    assert "3 answers of me count no longer" in capsys.readouterr().out
    assert {row["annotator"] for row in labels_of(study)} == {"you"} and path.read_bytes().startswith(before)


def test_replies_to_earlier_prompts_and_of_a_policy_that_is_gone_stop_nothing(study, capsys):
    items = items_of(study)
    with served(items, study) as get:
        for item in items:
            get("POST", "/answers", {"item": item["item"], "answer": "good"})
    before = len(labels_of(study))
    made_by = {"inputs": {logical_name(study / "prompts/prompts.parquet"): "of the prompts before"}}
    rows = pq.read_table(study / "responses/sft/seed-42.parquet").to_pylist()
    write_table(study / "responses/sft/seed-42.parquet", rows[:5], RESPONSES, made_by)
    again = items_of(study)
    assert not any(("sft", 42) in item["checkpoints"] for item in again)
    assert "responses/sft/seed-42.parquet: left out: it answers other prompts" in capsys.readouterr().out
    with served(again, study) as get:
        get("POST", "/answers", {"item": again[0]["item"], "answer": "bad"})
    assert len(labels_of(study)) == before - 12
    write_table(study / "responses/sft/seed-42.parquet", rows, RESPONSES, {"inputs": {}})
    with served(items, study) as get:
        get("POST", "/answers", {"item": items[0]["item"], "answer": "good"})
    assert len(labels_of(study)) == before
