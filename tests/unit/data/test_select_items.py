"""Items of multiple choice: the project's own are what its generator makes, and files of people's are read as they mean them, or left out by name."""

import importlib.util
import json

import pyarrow.parquet as pq
import pytest
from command_line import call
from study_folder import REPOSITORY

from hh_align.config.check_capability import OWN
from hh_align.core.errors import StudyError
from hh_align.data import select_items
from hh_align.data.select_items import items_of

FOLDER = REPOSITORY / "resources/capability"
PLAIN = {"context": "context", "options": "options", "answer": "answer"}
ARC = {"context": "question", "options": "choices.text", "labels": "choices.label", "answer": "answerKey"}


def generator():
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("task", OWN)
def test_our_files_are_what_the_generator_makes_and_every_item_can_be_used(task):
    path = FOLDER / f"{task}.jsonl"
    assert path.read_text(encoding="utf-8") == generator().text_of(task)
    items, left_out = items_of(path, {"task": task, "columns": PLAIN})
    assert not left_out and len({item["context"] for item in items}) == len(items) >= 40
    for item in items:
        assert len(item["options"]) == (2 if task == "agreement" else 4)
    # an option is right in one item and wrong in another: to know which words are frequent does not answer
    right = {item["options"][item["answer"]] for item in items}
    assert {option for item in items for option in item["options"]} & right == right
    places = [item["answer"] for item in items]
    assert all(0.1 < places.count(place) / len(places) < 0.7 for place in set(places))


def test_the_tasks_of_the_generator_are_those_that_the_config_knows():
    assert sorted(generator().TASKS) == sorted(OWN)


def written(folder, rows):
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_answers_are_numbers_texts_or_labels(tmp_path):
    choices = {"text": ["a cat", "a dog"], "label": ["A", "B"]}
    rows = [{"question": "Which barks?", "choices": choices, "answerKey": "B"}]
    how = {"task": "t", "columns": ARC, "template": "Question: {context}\nAnswer:"}
    (item,), _ = items_of(written(tmp_path, rows), how)
    assert item == {
        "task": "t", "item": "t-00000", "row": 0, "context": "Question: Which barks?\nAnswer:", "options": ["a cat", "a dog"], "answer": 1,
    }  # fmt: skip
    rows = [{"context": "It", "options": ["is", "are"], "answer": answer} for answer in (1, "1", "are", " are ")]
    assert [item["answer"] for item in items_of(written(tmp_path, rows), {"task": "t", "columns": PLAIN})[0]] == [1] * 4


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"options": ["is"]}, "there are fewer than two options"),
        ({"options": ["is", " "]}, "an option is empty"),
        ({"options": ["is", "is "]}, "an option stands twice"),
        ({"options": "is"}, "the options are no list"),
        ({"answer": 2}, "the answer is the number behind the last option"),
        ({"answer": 3}, "the answer is none of the options"),
        ({"answer": None}, "there is no answer"),
        ({"options": ["1", "0"], "answer": "1"}, "the answer is the number of one option and the text of another"),
    ],
)
def test_a_row_that_is_no_item_is_left_out_and_says_why(tmp_path, row, reason):
    good = {"context": "It", "options": ["is", "are"], "answer": 0}
    path = written(tmp_path, [good, good | row])
    config = {"tasks": [{"task": "t", "columns": PLAIN}]}
    status, said = call(select_items, config=config, sources=[path], output=tmp_path / "o.parquet", quarantine=tmp_path / "q.parquet")
    assert status == 0 and f"t: 1 items; left out, {reason}: 1" in said
    assert [(row["row"], row["reason"]) for row in pq.read_table(tmp_path / "q.parquet").to_pylist()] == [(1, reason)]
    with pytest.raises(StudyError, match=f"no row is an item of capability.t \\({reason}"):
        items_of(written(tmp_path, [good | row]), config["tasks"][0])


def test_answers_that_count_from_1_are_refused_not_read_one_further(tmp_path):
    path = written(tmp_path, [{"context": "It", "options": ["is", "are"], "answer": answer} for answer in ("1", "2", "1")])
    with pytest.raises(StudyError, match=r"the answers of capability.t seem to count from 1: in row 1 .* Count from 0, or name"):
        items_of(path, {"task": "t", "columns": PLAIN})


def test_a_draw_is_the_seeds_and_keeps_the_files_order(tmp_path):
    path = written(tmp_path, [{"context": str(row), "options": ["is", "are"], "answer": 0} for row in range(30)])
    drawn = [[item["row"] for item in items_of(path, {"task": "t", "columns": PLAIN, "n": 9, "seed": seed})[0]] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] == sorted(drawn[0]) and drawn[0] != drawn[2] and len(drawn[0]) == 9
    with pytest.raises(StudyError, match=r"capability.t.n is 31, but .* gives 30 items"):
        items_of(path, {"task": "t", "columns": PLAIN, "n": 31, "seed": 1})


def test_a_missing_column_is_named(tmp_path):
    path = written(tmp_path, [{"question": "It", "options": ["is", "are"], "answer": 0}])
    with pytest.raises(StudyError, match="column context is missing; it has question, options, answer"):
        items_of(path, {"task": "t", "columns": PLAIN})
