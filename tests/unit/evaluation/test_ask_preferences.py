"""A pairwise judge behind an endpoint: each pair asked in both orders, a consistent answer is a preference, and nothing else is."""

import json

import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call
from endpoint_server import KEY, Server
from small_evaluation import write_answered
from study_folder import REPOSITORY

from hh_align.core.artifacts import write_table
from hh_align.core.axes import AXES
from hh_align.core.tables import CHOICES, RESPONSES
from hh_align.evaluation import ask_preferences
from hh_align.evaluation.ask_preferences import MARKS, letter_in, outcome
from hh_align.evaluation.endpoint import read_rubric

RUBRIC = "{prompt}|{response_a}|{response_b}"
SAME = 5


@pytest.fixture
def server(monkeypatch):
    with Server.running(monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """Prompts, and responses of two policies: `base` and one whose number SAME is the same."""
    folder = tmp_path_factory.mktemp("answered")
    write_answered(folder)
    rows = pq.read_table(folder / "responses/base/seed-0.parquet").to_pylist()
    other = [row | {"response": row["response"] if number == SAME else f"other {number}"} for number, row in enumerate(rows)]
    write_table(folder / "responses/dpo/seed-1.parquet", other, RESPONSES, {})
    (folder / "rubric.txt").write_text(RUBRIC)
    return folder


def options(server, answered, folder, axes=AXES, **config):
    settings = {"judge": "referee", "url": server.url, "model": "m", "seed": 5, "max_tokens": 8, "failed": "error"}
    inputs = {"prompts": "prompts.parquet", "policy": "responses/dpo/seed-1.parquet", "against": "responses/base/seed-0.parquet"}
    return {
        "config": settings | {"axes": list(axes)} | config,
        **{
            "timeout": 5,
            "tries": 2,
            "price": "2:10",
            "key_env": "JUDGE_KEY",
            "answers": folder / "kept.jsonl",
            "rubrics": [answered / "rubric.txt"] * len(axes),
        },
        **{name: answered / path for name, path in inputs.items()},
        "state": folder / "state",
        **{name: folder / f"{name}.parquet" for name in ("output", "quarantine")},
        "timing": folder / "timing.json",
    }


def test_every_pair_is_asked_in_both_orders_and_equal_responses_are_not(server, answered, tmp_path):
    said = {0: ("A", "b"), 1: ("B", " a\n"), 2: ("A", "A"), 3: ("tie", "Tie"), 4: ("tie", "A"), 6: ("B", "B"), 7: ("A", "B")}

    def reply(text):
        first, second = text.split("|")[1:]
        number = int((first if first.startswith("other") else second).removeprefix("other "))
        return said[number][second.startswith("other")]

    server.reply = reply
    status, printed = call(ask_preferences, **options(server, answered, tmp_path))
    assert status == 0, printed
    rows = pq.read_table(tmp_path / "output.parquet", schema=CHOICES).to_pylist()
    outcomes = ["policy", "against", "inconsistent", "tie", "inconsistent", "same", "inconsistent", "policy"]
    assert [row["outcome"] for row in rows] == outcomes
    first = [(row["policy_first"], row["against_first"]) for row in rows]
    assert first[2] == ("policy", "against") and first[6] == ("against", "policy") and first[SAME] == (None, None)
    texts = [body["messages"][0]["content"] for body in server.asked]
    assert len(texts) == len(set(texts)) == 14 and {tuple(sorted(text.split("|")[1:])) for text in texts} == {
        tuple(sorted(text.split("|")[1:])) for text in texts[::2]
    }
    spent = json.loads((tmp_path / "timing.json").read_text())
    assert (spent["requests"], spent["unreadable"]) == (14, 0) and pq.read_table(tmp_path / "quarantine.parquet").num_rows == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_an_unreadable_answer_is_an_error_or_a_counted_tie_and_the_others_are_kept(server, answered, tmp_path):
    server.reply = lambda text: "A, I think" if text.split("|")[1] == "other 2" else "A"
    refused = call(ask_preferences, **options(server, answered, tmp_path))
    assert_refused(
        refused, r"1 of 14 questions got no A, B or tie \(harmlessness-002\)\. Mend the rubric, or set judges.referee.failed to tie"
    )
    before = len(server.asked)
    status, printed = call(ask_preferences, **options(server, answered, tmp_path, failed="tie"))
    assert status == 0 and len(server.asked) == before, printed
    rows = pq.read_table(tmp_path / "output.parquet").to_pylist()
    assert (rows[2]["policy_first"], rows[2]["against_first"], rows[2]["outcome"]) == (None, "against", "unreadable")
    assert [row["outcome"] for row in rows].count("inconsistent") == 6
    assert pq.read_table(tmp_path / "quarantine.parquet").to_pylist()[0]["answer"] == "A, I think"


def test_after_a_refusal_only_what_is_missing_is_asked(server, answered, tmp_path):
    good = (200, {}, json.dumps({"choices": [{"message": {"content": "B"}}]}))
    server.plan.extend([good] * 5 + [(401, {}, "")])
    server.reply = lambda text: "B"
    assert_refused(call(ask_preferences, **options(server, answered, tmp_path)), "status 401 for harmlessness-002. Check the key")
    assert call(ask_preferences, **options(server, answered, tmp_path))[0] == 0
    assert len(server.asked) == 15 and len({body["messages"][0]["content"] for body in server.asked}) == 14


def test_a_judge_of_one_axis_is_asked_about_its_prompts_only(server, answered, tmp_path):
    server.reply = lambda text: "tie"
    status, printed = call(ask_preferences, **options(server, answered, tmp_path, axes=["helpfulness"]))
    assert status == 0, printed
    assert {row["axis"] for row in pq.read_table(tmp_path / "output.parquet").to_pylist()} == {"helpfulness"}


def test_a_rubric_needs_all_its_marks(server, answered, tmp_path):
    (tmp_path / "rubric.txt").write_text("{prompt} {response_a}")
    asked = options(server, answered, tmp_path) | {"rubrics": [tmp_path / "rubric.txt"] * 2}
    assert_refused(call(ask_preferences, **asked), r"the rubric lacks \{response_b\}", where=tmp_path / "rubric.txt")
    assert not server.asked


@pytest.mark.parametrize(
    ("answer", "letter"), [("A", "A"), (" b\n", "B"), ("TIE", "tie"), ("A.", None), ("A B", None), ("", None), (None, None)]
)
def test_a_letter_alone_is_an_answer(answer, letter):
    assert letter_in(answer) == letter


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [("policy", "policy", "policy"), ("policy", "against", "inconsistent"), ("tie", "tie", "tie"), ("tie", "policy", "inconsistent"), (None, "tie", "unreadable")],
)  # fmt: skip
def test_two_answers_come_to_one_outcome_in_either_order(first, second, said):
    assert outcome(first, second) == outcome(second, first) == said


@pytest.mark.parametrize("axis", AXES)
def test_the_shipped_texts_have_a_mark_for_everything(axis):
    assert "A, B or tie" in read_rubric(REPOSITORY / f"resources/preference_{axis}.txt", MARKS)
