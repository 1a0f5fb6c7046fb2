"""Sweeps and controls: what short forms of a config stand for."""

import pytest
import yaml
from configs import SCHEMA, load, merged
from study_folder import REPOSITORY

from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError


def swept(**dpo):
    return merged(load("config"), {"methods": {"dpo": dpo}, "analysis": {"primary": None}})


def test_a_list_becomes_methods_and_arms():
    resolved = resolve(swept(beta=[0.05, 0.5]), SCHEMA)
    assert list(resolved["methods"]) == ["sft", "dpo_beta0.05", "dpo_beta0.5"]
    assert [resolved["methods"][f"dpo_beta{beta}"]["beta"] for beta in (0.05, 0.5)] == [0.05, 0.5]
    assert resolved["policies"] == {
        "base": {},
        "sft": {"parent": "base", "method": "sft"},
        "dpo_beta0.05": {"parent": "base", "method": "dpo_beta0.05"},
        "dpo_beta0.5": {"parent": "base", "method": "dpo_beta0.5"},
        "sft_dpo_beta0.05": {"parent": "sft", "method": "dpo_beta0.05"},
        "sft_dpo_beta0.5": {"parent": "sft", "method": "dpo_beta0.5"},
    }
    assert resolved["sweeps"]["policies"]["dpo_beta0.5"] == {"of": "dpo", "settings": {"dpo.beta": 0.5}}


def test_contrasts_meet_at_the_same_setting():
    # sft_dpo at beta 0.05 against dpo at beta 0.5 would mix two changes
    contrasts = resolve(swept(beta=[0.05, 0.5]), SCHEMA)["analysis"]["contrasts"]
    assert contrasts == [
        ["dpo_beta0.05", "base"], ["dpo_beta0.5", "base"], ["dpo_beta0.05", "sft"], ["dpo_beta0.5", "sft"],
        ["sft_dpo_beta0.05", "sft"], ["sft_dpo_beta0.5", "sft"],
        ["sft_dpo_beta0.05", "dpo_beta0.05"], ["sft_dpo_beta0.5", "dpo_beta0.5"],
    ]  # fmt: skip


def test_a_claim_is_asked_of_each_arm():
    claims = resolve(swept(beta=[0.05, 0.5]), SCHEMA)["claims"]
    parts = {claim["claim"]: claim["parts"] for claim in claims if "parts" in claim}
    assert parts["DPO does better than SFT (dpo_beta0.5)"][0] | {"metrics": []} == {"higher": "dpo_beta0.5", "than": ["sft"], "metrics": []}
    assert {part["higher"] for part in parts["SFT outperforms DPO (dpo_beta0.05)"]} == {"sft"}
    assert "SFT outperforms DPO" not in parts


def test_several_keys_make_a_grid_named_by_the_alphabet():
    # the order of keys in a file is of no account; texts are what --config gives
    first = resolve(swept(beta=["0.05", "0.5"], learning_rate=["2.0e-5", "0.001"], lora={"r": [4, 8]}), SCHEMA)
    second = resolve(swept(lora={"r": [4, 8]}, learning_rate=[2.0e-5, 1.0e-3], beta=[0.05, 0.5]), SCHEMA)
    assert first["policies"] == second["policies"] and first["sweeps"] == second["sweeps"]
    method = first["methods"]["dpo_beta0.05_learning_rate2e-05_lora_r4"]
    assert (method["beta"], method["learning_rate"], method["lora"]["r"], method["lora"]["targets"]) == (
        0.05,
        2e-5,
        4,
        ["q_proj", "v_proj"],
    )
    assert len(first["methods"]) == 1 + 8 and len(first["policies"]) == 2 + 16


def test_a_descendant_follows_its_lineage_the_roots_settings_first():
    config = swept(beta=[0.1, 0.5])
    config["methods"]["sft"]["epochs"] = [1, 2]
    config["policies"]["again"] = {"parent": "sft_dpo", "method": "dpo"}
    policies = resolve(config, SCHEMA)["policies"]
    assert policies["again_epochs1_beta0.5"] == {"parent": "sft_dpo_epochs1_beta0.5", "method": "dpo_beta0.5"}
    assert policies["dpo_beta0.5"]["parent"] == "base"
    assert sum(name.startswith("again") for name in policies) == 4  # one beta along a lineage, not one per step


def test_without_a_list_nothing_is_swept():
    resolved = resolve(load("config"), SCHEMA)
    assert "sweeps" not in resolved and "controls" not in resolved and "dpo" in resolved["methods"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"methods": {"dpo": {"beta": [0.1, 0.2]}}}, r"analysis.primary names sft_dpo.* one of sft_dpo_beta0.1, sft_dpo_beta0.2"),
        ({"methods": {"dpo": {"beta": [0.1, 0.10]}}}, r"methods.dpo.beta is \[0.1, 0.1\]: .* twice"),
        ({"methods": {"sft": {"epochs": [0, 1]}}, "analysis": {"primary": None}}, r"methods.sft_epochs0.epochs is 0.*at least 1"),
        ({"methods": {"dpo": {"beta": []}}}, r"methods.dpo.beta is \[\]"),
        ({"methods": {"dpo": {"trainer": ["sft", "dpo"]}}}, r"methods.dpo.trainer"),
        ({"methods": {"sft": {"loss_on": ["reply", "a/b"]}}, "analysis": {"primary": None}}, r"methods.sft.loss_on sweeps 'a/b'"),
        (
            {"methods": {"dpo": {"beta": [0.1]}}, "analysis": {"primary": None}, "policies": {"dpo_beta0.1": {"parent": "base", "method": "sft"}}},
            r"policies.dpo_beta0.1 is taken",
        ),
        ({"methods": {"dpo": {"beta": [0.1]}}, "analysis": {"primary": None}, "reproduction": {"folder": "x", "judges": ["deberta"], "policies": ["dpo"]}},
         r"reproduction.policies is dpo, .*Allowed: .*dpo_beta0.1"),
        ({"controls": ["coins"]}, r"controls\[1st\] is 'coins'.*Allowed: coin, reversed"),
        ({"controls": "coin"}, r"controls is 'coin'"),
        ({"policies": {"sft": {"controls": ["coin"]}}}, r"policies.sft.controls: only a policy that trains on preferences"),
        ({"controls": ["coin"], "datasets": {"coin": {"from": "hh", "labels": "coin", "label_seed": 9}}}, r"datasets.coin is taken"),
        ({"controls": ["coin"], "policies": {"dpo_coin": {"parent": "sft", "method": "dpo"}}}, r"policies.dpo_coin is taken"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_out_names_the_key(more, said):
    with pytest.raises(StudyError, match=said) as error:
        resolve(merged(load("config"), more), SCHEMA)
    assert "\n" not in str(error.value)


def test_controls_of_every_policy_that_trains_on_preferences():
    config = merged(load("config"), {"controls": ["coin", "reversed"]})
    resolved = resolve(config, SCHEMA)
    assert resolved["policies"]["dpo_coin"] == {"parent": "base", "method": "dpo", "data": "coin"}
    assert {"dpo_reversed", "sft_dpo_coin", "sft_dpo_reversed"} < set(resolved["policies"]) and "sft_coin" not in resolved["policies"]
    assert (resolved["datasets"]["reversed"]["from"], resolved["datasets"]["reversed"]["labels"]) == ("hh", "reversed")


def test_a_control_keeps_its_policys_rows():
    # derived data are derived again with other labels, not from all rows: else control and policy would differ in their prompts too
    resolved = resolve(load("smollm2"), SCHEMA)
    data = resolved["datasets"]
    assert resolved["policies"]["sft_dpo_coin"]["data"] == "training_coin" and "dpo_coin" not in resolved["policies"]
    assert data["training_coin"] == data["training"] | {"labels": "coin"}


def test_a_control_of_a_swept_policy_is_swept():
    config = merged(swept(beta=[0.1, 0.5]), {"controls": ["coin"]})
    assert resolve(config, SCHEMA)["policies"]["sft_dpo_coin_beta0.5"] == {"parent": "sft", "method": "dpo_beta0.5", "data": "coin"}


def test_the_demos_controls_are_those_that_were_written_out():
    assert yaml.safe_load((REPOSITORY / "config/demo.yaml").read_text())["policies"] == {"sft_dpo": {"controls": ["coin", "reversed"]}}
    resolved = resolve(load("demo"), SCHEMA)
    assert resolved["policies"]["sft_dpo_reversed"] == {"parent": "sft", "method": "dpo", "data": "reversed"}
    assert resolved["datasets"]["coin"]["from"] == "synthetic"
