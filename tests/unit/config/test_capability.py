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


@pytest.mark.parametrize(
    ("capability", "name", "message"),
    [
        (["arc_easy"], "config", "capability.arc_easy lacks the key path, or the name of a task that the project has: agreement, "),
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
