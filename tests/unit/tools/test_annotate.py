"""The page that collects labels: blind, in random order, nothing lost, nothing executed, nobody else let in."""

import http.client
import json
from contextlib import contextmanager
from threading import Thread

import pyarrow.parquet as pq
import pytest

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES
from hh_align.tools.annotate import PAGE, Answers, draw, pair_items, read_study, serve, single_items

HOSTILE = '<img src=x onerror="alert(1)"></script><script>alert(2)</script>'
POLICIES = {"base": 0, "sft": 42, "sft_dpo": 42}


@pytest.fixture
def study(tmp_path):
    """6 prompts per axis; sft and sft_dpo say the same to number 0."""
    ids = [(axis, f"{axis}-{number:03d}") for axis in ("harmlessness", "helpfulness") for number in range(6)]
    prompts = [{"axis": axis, "prompt_id": name, "prompt": f"Human: {name}", "cluster": name, "keywords": []} for axis, name in ids]
    write_table(tmp_path / "prompts/prompts.parquet", prompts, PROMPTS, {})
    for number, (policy, seed) in enumerate(POLICIES.items()):
        texts = {name: f"{HOSTILE} {min(number, 1) if name.endswith('0') else number}" for _, name in ids}
        rows = [{"axis": axis, "prompt_id": name, "response": texts[name]} for axis, name in ids]
        write_table(tmp_path / f"responses/{policy}/seed-{seed}.parquet", rows, RESPONSES, {})
    return tmp_path


def items_of(study, contrast=None, seed=0):
    prompts, responses = read_study(study)
    drawn = draw(prompts, None, seed)
    return pair_items(drawn, responses, contrast, seed) if contrast else single_items(drawn, responses, seed)


@contextmanager
def served(items, study, annotator="me"):
    answers = Answers(study / "labels/answers.jsonl", annotator)
    server = serve(items, answers, study / "labels", 0)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield lambda method, path, body=None, **headers: ask(server.server_port, method, path, body, headers)
    finally:
        server.shutdown()
        server.server_close()


def ask(port, method, path, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.getheaders())


def test_no_policy_reaches_the_page_and_equal_replies_are_asked_once(study):
    items = items_of(study)
    assert len(items) == 12 * 3 - 2
    with served(items, study) as get:
        shown = get("GET", "/items")[1]
    assert len(json.loads(shown)) == len(items)
    assert not any(name in shown for name in ("base", "sft", "dpo", "seed", "flipped", "polic"))


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
    expected = {(policy, seed, items[n]["prompt_id"], n != 3) for n in (0, 1, 3, 4) for policy, seed in items[n]["checkpoints"]}
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
    items = items_of(study, ("sft_dpo", "sft"))
    assert len(items) == 10  # not asked where both say the same
    assert {item["flipped"] for item in items} == {True, False}
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
        items_of(study, ("ppo", "sft"))
