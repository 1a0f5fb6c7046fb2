"""The config's tasks of multiple choice: short forms, and one message for each fault."""

import pytest
from configs import load
from whole_configs import SCHEMA

from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError


def resolved(capability, name="config"):
    return resolve(load(name, {"capability": capability}), SCHEMA)


def test_a_list_of_names_is_a_task_each_and_our_files_need_no_path():
    config = resolved(["kinds", "agreement"])
    assert {name: task["path"] for name, task in config["capability"].items()} == {
        "kinds": "resources/capability/kinds.jsonl", "agreement": "resources/capability/agreement.jsonl",
    }  # fmt: skip
    assert config == resolved({"kinds": {}, "agreement": {}})
    assert resolved({"kinds": {"path": "mine.csv"}})["capability"]["kinds"]["path"] == "mine.csv"


def test_tasks_of_the_harness_stand_in_a_list_by_their_names_or_in_a_mapping_by_ones_own():
    arc = {"lm_eval": "arc_easy", "n": 200}
    config = resolved(["kinds", arc, {"lm_eval": "agreement"}])
    assert config["capability"]["arc_easy"] == arc | {"seed": 100} and config["capability"]["agreement"] == {
        "lm_eval": "agreement",
        "seed": 100,
    }
    assert config == resolved({"kinds": {}, "arc_easy": arc, "agreement": {"lm_eval": "agreement"}})
    assert set(resolved({"mine": {"lm_eval": "x", "include": "tasks", "fewshot": 0}})["capability"]["mine"]) == {
        "lm_eval",
        "include",
        "fewshot",
        "seed",
    }


@pytest.mark.parametrize(
    ("capability", "name", "message"),
    [
        (["arc_easy"], "config", "capability.arc_easy lacks the key path, or the name of a task that the project has: agreement, "),
        (["arc_easy"], "config", "One of lm-evaluation-harness is written {lm_eval: arc_easy}."),
        ([{"lm_eval": "arc_easy"}, {"lm_eval": "arc_easy", "n": 9}], "config", "capability has arc_easy twice. Give each a name"),
        (["kinds", {"lm_eval": "kinds"}], "config", "capability has kinds twice"),
        (["kinds", {"n": 9}], "config", "capability"),
        ([{"lm_eval": "Upper_Case"}], "config", "Upper_Case"),
        ([{"lm_eval": "arc_easy", "path": "items.csv"}], "config", "path"),
        ({"mine": {"path": "items.csv", "fewshot": 2}}, "config", "fewshot"),
        ({"all": {"lm_eval": "arc_easy"}}, "config", "capability.all bears the name of all tasks together"),
        ([{"lm_eval": "arc_easy"}], "published", "a release has no weights"),
        ({"mine": {"path": "items.txt"}}, "config", "capability.mine.path is items.txt, no known kind of file"),
        ({"all": {"path": "items.csv"}}, "config", "capability.all bears the name of all tasks together"),
        ({"kinds": {"template": "Q:"}}, "config", "capability.kinds.template is 'Q:': it must hold {context}"),
        (["kinds"], "published", "a release has no weights"),
    ],
)
def test_faults_are_one_message(capability, name, message):
    with pytest.raises(StudyError) as caught:
        resolved(capability, name)
    assert message in str(caught.value)
