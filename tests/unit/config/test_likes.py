"""A method that is like another one: what it stands for is what one would have written out."""

from copy import deepcopy

import pytest
from configs import SCHEMA, load, merged

from hh_align.config.resolve import resolve, without_nulls
from hh_align.config.short_forms import write_likes
from hh_align.core.errors import StudyError

PAPER = load("config")
DPO, SFT = PAPER["methods"]["dpo"], PAPER["methods"]["sft"]


def study(methods, **more):
    """The paper's study with these methods, and a policy that is trained by `own`."""
    own = {"policies": {"own": {"parent": "sft", "method": "own"}}, "methods": methods}
    return merged(merged(deepcopy(PAPER), own), deepcopy(more))


def read(config):
    """The config as the schema's check gets it."""
    write_likes(config)
    return without_nulls(config)


@pytest.mark.parametrize(
    ("methods", "written_out"),
    [
        ({"own": {"like": "dpo"}}, DPO),
        ({"own": {"like": "dpo", "trainer": "dpo", "beta": 0.3}}, {**DPO, "beta": 0.3}),
        ({"own": {"like": "dpo", "lora": {"r": 16}}}, {**DPO, "lora": {**DPO["lora"], "r": 16}}),
        ({"own": {"like": "dpo", "lora": None}}, {key: value for key, value in DPO.items() if key != "lora"}),
        ({"own": {"like": "dpo", "lora": "null"}}, {key: value for key, value in DPO.items() if key != "lora"}),  # --config gives texts
        ({"own": {"like": "sft", "lora": {"targets": ["q_proj"]}}}, {**SFT, "lora": {"targets": ["q_proj"]}}),
        ({"own": {"like": "between", "beta": 0.3}, "between": {"like": "dpo", "loss": "ipo"}}, {**DPO, "loss": "ipo", "beta": 0.3}),
        ({"own": {"like": None, **DPO}}, DPO),
    ],
)
def test_it_is_the_method_written_out(methods, written_out):
    others = {name: method for name, method in methods.items() if name != "own"}
    assert read(study(methods)) == read(study({**others, "own": written_out}))


def test_a_step_gets_the_same_of_it_as_of_the_method_written_out():
    # rules read the resolved config and nothing else, so that no result is stale
    assert resolve(study({"own": {"like": "dpo", "beta": 0.3}}), SCHEMA) == resolve(study({"own": {**DPO, "beta": 0.3}}), SCHEMA)


def test_it_follows_the_other_method_and_leaves_it_alone():
    methods = read(study({"own": {"like": "dpo", "lora": {"r": 16}}, "dpo": {"beta": 0.7}}))["methods"]
    assert methods["own"]["beta"] == 0.7
    assert methods["dpo"]["lora"]["r"] == 8


def test_it_is_swept_where_the_other_one_is():
    # both follow the same rule: a list is a sweep, whoever wrote it
    named = {"primary": None, "contrasts": [["own", "sft"]]}
    swept = resolve(study({"own": {"like": "dpo"}, "dpo": {"beta": [0.1, 0.2]}}, analysis=named), SCHEMA)
    assert {"own_beta0.1", "own_beta0.2"} < set(swept["policies"])
    kept = resolve(study({"own": {"like": "dpo", "beta": 0.3}, "dpo": {"beta": [0.1, 0.2]}}, analysis=named), SCHEMA)
    assert "own" in kept["policies"] and kept["methods"]["own"]["beta"] == 0.3


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (
            {"own": {"like": "dpoo"}},
            r"^config: methods\.own\.like is dpoo, which does not exist\. Allowed: dpo, own, sft\. Did you mean dpo\?$",
        ),
        ({"own": {"like": "own"}}, r"^config: methods\.own\.like leads back to own: .*\(own -> own\)\.$"),
        ({"own": {"like": "b"}, "b": {"like": "c"}, "c": {"like": "b"}}, r"like leads back to b: .*\(own -> b -> c -> b\)"),
        ({"own": {"like": "dpo", "trainer": "kto"}}, r"methods\.own is like dpo, whose trainer is dpo, but its own is kto"),
        ({"own": {"like": ["dpo"], **DPO}}, r"methods\.own\.like is \['dpo'\]"),
        ({"own": {"like": "dpo", "loss_on": "reply"}}, r"methods\.own has no key loss_on\. Allowed: .*\blike\b"),
    ],
)
def test_what_it_cannot_be_is_said_in_one_line(methods, said):
    with pytest.raises(StudyError, match=said) as error:
        resolve(study(methods), SCHEMA)
    assert "\n" not in str(error.value)
