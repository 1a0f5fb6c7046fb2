"""Tasks of lm-evaluation-harness become items word for word, or are refused by name; without the library one message says how to get it."""

import tomllib
from importlib.metadata import PackageNotFoundError

import pyarrow.parquet as pq
import pytest
import yaml
from command_line import assert_refused, call
from harness_tasks import DOCS, PLAIN, needs_lm_eval, write_tasks
from study_folder import REPOSITORY

from hh_align.core.artifacts import read_provenance
from hh_align.core.errors import StudyError
from hh_align.data import select_lm_eval
from hh_align.data.select_lm_eval import REQUESTS, VERSION, folders_of, items_of


@pytest.mark.parametrize(("installed", "said"), [(None, "here it is not installed"), ("0.3.0", "here it is 0.3.0")])
def test_without_the_library_one_message_has_the_command(tmp_path, monkeypatch, installed, said):
    def version(name):
        if installed is None:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(select_lm_eval, "version", version)
    config = {"tasks": [{"task": "arc", "lm_eval": "arc_easy"}]}
    result = call(select_lm_eval, config=config, output=tmp_path / "o.parquet", quarantine=tmp_path / "q.parquet")
    assert_refused(result, rf"{said}. make lm-eval, or python -m pip install lm-eval=={VERSION}")
    assert not any(tmp_path.iterdir())


def test_every_place_names_the_same_version():
    pinned = (REPOSITORY / "requirements-lm-eval.txt").read_text().splitlines()
    extra = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]["lm-eval"]
    assert f"lm-eval=={VERSION}" in pinned and extra == [f"lm-eval=={VERSION}"]
    assert "lm-eval" not in (REPOSITORY / "requirements.in").read_text() + (REPOSITORY / "requirements.lock").read_text()


def test_a_folder_in_another_is_read_once(tmp_path):
    files = [tmp_path / "a/x.yaml", tmp_path / "a/deeper/y.yaml", tmp_path / "ab/z.yaml"]
    assert folders_of(files) == [str(tmp_path / "a"), str(tmp_path / "ab")] and folders_of([]) == []


@pytest.fixture
def manager(tmp_path):
    from lm_eval.tasks import TaskManager

    return lambda **how: TaskManager(include_path=str(write_tasks(tmp_path / "tasks", **how)), include_defaults=False)


@needs_lm_eval
def test_requests_are_the_harnesss_own_and_so_is_the_right_option(manager):
    items, left_out, about = items_of(manager(), {"task": "mine", "lm_eval": "plain"})
    assert items[1] == {
        "task": "mine", "item": "mine-00001", "row": 1, "options": ["please", "of it"], "answer": 1,
        "contexts": ("Question: tell me the old way\nAnswer:",) * 2, "continuations": (" please", " of it"),
    }  # fmt: skip
    assert [item["answer"] for item in items] == [doc["label"] for doc in DOCS] and left_out == []
    assert about == {"plain": {"version": 1.0, "dataset": "json", "name": None, "fewshot": 0}}
    blanks, _, _ = items_of(manager(), {"task": "b", "lm_eval": "blanks"})
    assert blanks[0]["contexts"] == ("the a bell rings", "a a bell rings") and blanks[0]["continuations"] == (" and more",) * 2


@needs_lm_eval
def test_examples_are_those_of_every_run_whatever_is_drawn(manager):
    shots = {"task": "t", "lm_eval": "shots"}
    whole, again = (items_of(manager(), shots)[0] for _ in range(2))
    assert whole == again and all(item["contexts"][0].count("Answer:") == 3 for item in whole)
    drawn, _, _ = items_of(manager(), shots | {"n": 3, "seed": 1})
    assert drawn == [item for item in whole if item["row"] in {row["row"] for row in drawn}] and len(drawn) == 3
    one, _, about = items_of(manager(), shots | {"fewshot": 1})
    assert all(item["contexts"][0].count("Answer:") == 2 for item in one) and about["shots"]["fewshot"] == 1


@needs_lm_eval
def test_a_tag_is_one_task_of_all_its_items(manager):
    tasks = {"one": {"tag": "both"}, "two": {"tag": "both", "doc_to_text": "{{question}}"}}
    items, _, about = items_of(manager(tasks=tasks), {"task": "mine", "lm_eval": "both"})
    assert {item["task"] for item in items} == {"mine"} and set(about) == {"one", "two"}
    assert len({item["item"] for item in items}) == 2 * len(DOCS) and items[0]["item"] == "mine/one-00000"


@needs_lm_eval
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"label": 5}, "no option is right"),
        ({"choices": ["yes"]}, "there are fewer than two options"),
        ({"choices": ["a", ""]}, "an option is empty"),
    ],
)
def test_a_row_that_is_no_item_is_left_out_and_says_why(manager, more, reason):
    items, left_out, _ = items_of(manager(docs=[*DOCS, DOCS[0] | more]), {"task": "t", "lm_eval": "plain"})
    assert len(items) == len(DOCS) and [(row["row"], row["reason"]) for row in left_out] == [(len(DOCS), reason)]


@needs_lm_eval
@pytest.mark.parametrize(
    ("how", "tasks", "said"),
    [
        ({"lm_eval": "plane"}, {"plain": {}}, f"lm-eval {VERSION} has no task, group or tag plane. Did you mean plain?"),
        ({}, {"plain": {"output_type": "generate_until"}}, "plain is a task of lm-eval's kind generate_until. Only multiple_choice is read"),
        ({}, {"plain": {"output_type": "loglikelihood"}}, "plain is a task of lm-eval's kind loglikelihood."),
        ({}, {"plain": {"metric_list": PLAIN["metric_list"][1:]}}, "plain counts no item right or wrong"),
        ({}, {"plain": {"dataset_path": "no/such"}}, "the task's data are not at hand, and the hub does not answer"),
        ({}, {"plain": {"doc_to_text": "{{ question"}}, "lm-eval cannot make this task (TemplateSyntaxError: "),
        ({"fewshot": 2}, {"plain": {"num_fewshot": 0}}, "capability.t.fewshot is 2, but this task of lm-eval takes no examples"),
        ({"n": 6, "seed": 1}, {"plain": {}}, "capability.t.n is 6, but plain gives 5 items. Lower n."),
    ],
)  # fmt: skip
def test_what_cannot_be_read_by_likelihood_is_one_message(manager, monkeypatch, how, tasks, said):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    if "no/such" in str(tasks):
        tasks = {"plain": tasks["plain"] | {"dataset_kwargs": {}}}
    with pytest.raises(StudyError) as caught:
        items_of(manager(tasks=tasks), {"task": "t", "lm_eval": "plain"} | how)
    assert "capability.t" in str(caught.value) and said in str(caught.value)


@needs_lm_eval
def test_the_step_finds_tasks_of_ones_own_and_writes_equal_bytes(tmp_path):
    folder = write_tasks(tmp_path / "tasks")
    config = {"tasks": [{"task": "mine", "lm_eval": "shots"}]}
    for name in ("a", "b"):
        output = {"output": tmp_path / f"{name}.parquet", "quarantine": tmp_path / f"{name}-q.parquet"}
        status, said = call(select_lm_eval, config=config, include=sorted(folder.iterdir()), **output)
        assert status == 0 and "mine: 5 items" in said
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pq.read_schema(tmp_path / "a.parquet").names == REQUESTS.names
    made_by = read_provenance(tmp_path / "a.parquet")
    assert made_by["lm_eval"] == VERSION and made_by["tasks"]["mine"]["shots"]["fewshot"] == 2
    assert yaml.safe_load((folder / "shots.yaml").read_text())["task"] == "shots" and len(made_by["inputs"]) == 6
