"""What a contrast isolates: one difference, or several at once."""

import pytest
from configs import SCHEMA, load

from hh_align.config.lineage import differences, other_weights
from hh_align.config.resolve import resolve

SFT = {
    "method": "sft",
    "trainer": "sft",
    "parent": "base",
    "data": "hh",
    "settings": {"epochs": 2, "learning_rate": 2e-5, "loss_on": "reply", "micro_batch": 8},
}
DPO = {"method": "dpo", "trainer": "dpo", "parent": "base", "data": "hh", "settings": {"epochs": 1, "learning_rate": 2e-5, "beta": 0.1, "micro_batch": 4, "lora": {"r": 8, "targets": ["q_proj", "v_proj"]}}}  # fmt: skip


def changed(training, **settings):
    return {**training, "method": "other", "settings": {**training["settings"], **settings}}


def test_a_training_more_is_one_difference_wherever_it_stands():
    after_sft = {**DPO, "parent": "sft"}
    assert differences([SFT], []) == ["sft on hh added"]
    assert differences([], [SFT]) == ["sft on hh left out"]
    assert differences([SFT, after_sft], [SFT]) == ["dpo on hh added"]
    assert differences([SFT, after_sft], [DPO]) == ["sft on hh added"]


def test_settings_are_told_one_by_one_and_nested_ones_by_their_path():
    assert differences([changed(DPO, beta=0.5)], [DPO]) == ["beta 0.1 → 0.5"]
    assert differences([changed(DPO, lora={"r": 16, "targets": ["q_proj", "v_proj"]})], [DPO]) == ["lora.r 8 → 16"]
    assert differences([changed(DPO, lora=None)], [DPO]) == ["lora r 8, targets q_proj v_proj → none"]
    assert differences([{**DPO, "data": "clean"}], [DPO]) == ["data hh → clean"]
    assert differences([SFT, changed(DPO, beta=0.5)], [SFT, DPO]) == ["beta 0.1 → 0.5"]


def test_the_papers_own_contrast_of_dpo_and_sft_isolates_nothing():
    assert differences([DPO], [SFT]) == ["trainer sft → dpo", "epochs 2 → 1", "lora none → r 8, targets q_proj v_proj"]
    assert differences([changed(DPO, lora=None, epochs=2)], [SFT]) == ["trainer sft → dpo"]


def test_a_micro_batch_is_no_difference():
    assert differences([changed(DPO, micro_batch=8, beta=0.5)], [DPO]) == ["beta 0.1 → 0.5"]
    assert differences([changed(DPO, micro_batch=8)], [DPO]) == []


@pytest.mark.parametrize("name", ["extended", "extended_demo"])
def test_the_extended_study_compares_dpo_with_sft_at_equal_budget(name):
    # the paper's own contrast changes the trainer, the passes and the weights that are trained
    config = resolve(load(name), SCHEMA)
    assert ["dpo", "sft_lora"] in config["analysis"]["contrasts"]

    def training(policy):
        entry, method = config["policies"][policy], config["methods"][config["policies"][policy]["method"]]
        return {**entry, "data": entry.get("data"), "trainer": method["trainer"], "settings": method}

    assert differences([training("dpo")], [training("sft_lora")]) == ["trainer sft → dpo"]


def test_weights_that_are_given_are_named():
    assert other_weights(["models.base", "theirs"], ["models.base"]) == ["adapter theirs added"]
    assert other_weights(["models.base"], ["models.base", "theirs"]) == ["adapter theirs left out"]
    assert other_weights(["a/b"], ["models.base"]) == ["weights models.base → a/b"]
    assert other_weights(["a/b", "x"], ["a/b", "x"]) == []
