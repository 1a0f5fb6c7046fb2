"""Policies that train nothing: their parent's weights, asked otherwise."""

import pytest
from configs import SCHEMA, load, merged

from hh_align.config.graph import policy_order
from hh_align.config.lineage import asked_otherwise
from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError

ASKED = {"parent": "sft_dpo", "generation": {"lead": True}}


def with_policies(**policies):
    return merged(load("config"), {"policies": policies})


def test_such_a_policy_stands_behind_its_parent_with_its_own_settings_alone():
    resolved, plain = resolve(with_policies(led=ASKED), SCHEMA), resolve(load("config"), SCHEMA)
    assert resolved["policies"] == plain["policies"] | {"led": ASKED}  # no default is filled in
    assert policy_order(resolved) == [*policy_order(plain), "led"]


def test_the_root_may_be_asked_otherwise():
    resolved = resolve(with_policies(base_led={"parent": "base", "generation": {"lead": True}}), SCHEMA)
    assert policy_order(resolved)[:2] == ["base", "base_led"]


def test_where_its_parent_is_swept_it_is_written_out_along():
    config = with_policies(led=ASKED)
    config["methods"]["dpo"]["beta"] = [0.1, 0.5]
    config["analysis"] = {"primary": None, "contrasts": [["led", "sft_dpo"]]}
    resolved = resolve(config, SCHEMA)
    assert resolved["policies"]["led_beta0.5"] == {"parent": "sft_dpo_beta0.5", "generation": {"lead": True}}
    assert resolved["analysis"]["contrasts"] == [[f"led_beta{beta}", f"sft_dpo_beta{beta}"] for beta in (0.1, 0.5)]


def test_controls_and_snapshots_make_no_arms_of_it():
    config = merged(with_policies(led=ASKED), {"controls": ["coin"], "methods": {"dpo": {"snapshots": [5]}}})
    policies = resolve(config, SCHEMA)["policies"]
    assert [name for name in policies if name.startswith("led")] == ["led"] and "sft_dpo_coin_step5" in policies


def test_a_contrast_tells_how_a_policy_is_asked():
    study = {"lead": False, "cue": True, "max_new_tokens": 50}
    assert asked_otherwise(study | {"lead": True}, study) == ["generation.lead false → true"]
    assert asked_otherwise(study, study) == []


@pytest.mark.parametrize("name", ["extended", "extended_demo", "faithful_demo"])
def test_the_extended_studies_have_an_arm_with_and_without_the_blank_line(name):
    config = resolve(load(name), SCHEMA)
    ((arm, entry),) = [(arm, entry) for arm, entry in config["policies"].items() if "generation" in entry]
    assert entry == {"parent": "sft_dpo", "generation": {"lead": not config["generation"]["lead"]}}
    assert [arm, "sft_dpo"] in config["analysis"]["contrasts"]


LEAD = {"lead": True}


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        ({"x": {"parent": "sft_dpo"}}, r"policies.x lacks the key method or generation"),
        ({"x": {"parent": "nope", "generation": LEAD}}, r"policies.x.parent is nope, which does not exist"),
        ({"x": {"parent": "x", "generation": LEAD}}, r"policies.x.parent leads back to x"),
        ({"x": {"generation": LEAD}}, r"policies.x is .*one asked otherwise parent and generation"),
        ({"base": {"generation": LEAD}}, r"policies.base is .*the root none"),
        ({"x": {"parent": "sft", "method": "dpo", "generation": LEAD}}, r"policies.x.generation .* trains nothing: take method and data out"),
        ({"x": {"parent": "sft", "data": "hh", "generation": LEAD}}, r"policies.x .* a trained policy needs both parent and method"),
        ({"x": {"parent": "sft", "controls": ["coin"], "generation": LEAD}}, r"policies.x.controls: only a policy that trains"),
        ({"x": {"parent": "sft", "generation": {}}}, r"policies.x.generation is \{\}.*1 or more entries"),
        ({"x": {"parent": "sft", "generation": {"lead": "yes please"}}}, r"policies.x.generation.lead is 'yes please'"),
        ({"x": {"parent": "sft", "generation": {"max_new_tokens": 9}}}, r"policies.x.generation has no key max_new_tokens. Allowed: cue, lead, stop, strip"),
        ({"x": {"parent": "sft", "generation": {"lead": False, "cue": False}}}, r"policies.x.generation is what `generation` says: nothing would differ from sft"),
        ({"x": {"parent": "sft", "generation": LEAD}, "y": {"parent": "x", "method": "dpo"}}, r"policies.y.parent is x, whose weights are those of sft: name that one"),
        ({"x": {"parent": "sft", "generation": LEAD}, "y": {"parent": "x", "generation": {"cue": True}}}, r"policies.y.parent is x, whose weights are those of sft"),
    ],
)  # fmt: skip
def test_nonsense_is_refused(policies, said):
    with pytest.raises(StudyError, match=said) as error:
        resolve(with_policies(**policies), SCHEMA)
    assert "\n" not in str(error.value)


def test_what_brings_its_own_responses_or_text_cannot_be_asked_otherwise():
    asked = with_policies(led=ASKED)
    with pytest.raises(StudyError, match=r"policies.led.generation says how led is asked, but responses.led brings its responses"):
        resolve(merged(asked, {"responses": {"led": {"path": "led-{seed}.json"}}}), SCHEMA)
    chat = {"models": {"base": {"chat_template": True}}, "generation": {"cue": True}}
    with pytest.raises(StudyError, match=r"policies.led.generation.lead has no meaning with models.base.chat_template"):
        resolve(merged(with_policies(led=ASKED), chat), SCHEMA)
    released = merged(load("published"), {"policies": {"led": ASKED}, "release": {"path": "somewhere"}})
    with pytest.raises(StudyError, match=r"policies.led.generation has a policy answer prompts, but a release has no weights"):
        resolve(released, SCHEMA)
