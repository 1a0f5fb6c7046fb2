"""Methods beside the paper's: each through its script, against TRL's own trainer on the same rows and weights."""

import math

import pytest
import torch
from peft import get_peft_model
from stock_trainers import stock_dpo, stock_sft
from training_study import (
    DPO,
    LORA,
    SFT,
    dpo,
    farthest,
    linear_weights,
    lora_weights,
    make_study,
    moved,
    of_all_weights,
    references,
    sft,
    weights,
)

from hh_align.models.folders import load_policy
from hh_align.training.adapters import lora_config, merge


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with 17 preferences, so that the last step is a short one, a random base policy without dropout and its references."""
    folder = make_study(tmp_path_factory.mktemp("methods"))
    references(folder)
    return folder


CASES = {
    "robust": ({"loss": "robust", "label_smoothing": 0.2}, {"loss_type": ["robust"], "label_smoothing": 0.2}),
    "apo_zero": ({"loss": "apo_zero"}, {"loss_type": ["apo_zero"]}),
    "sigmoid_norm": ({"loss": "sigmoid_norm", "beta": 2.0}, {"loss_type": ["sigmoid_norm"]}),
    "hinge": ({"loss": "hinge"}, {"loss_type": ["hinge"]}),
    # TRL's sigmoid takes no label_smoothing; its aot does, and on single pairs, where nothing is sorted, it is the same
    "conservative": ({"label_smoothing": 0.1, "batch_size": 1, "micro_batch": 1}, {"loss_type": ["aot"], "label_smoothing": 0.1}),
    "sft term": ({"sft_weight": 0.5}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}),
}


@pytest.mark.parametrize("name", CASES)
def test_each_loss_trains_as_the_stock_trainer_does(study, name):
    ours, theirs = CASES[name]
    method = DPO | ours
    _, log = dpo(study, name, method, study / "references-base.parquet")
    _, expected = stock_dpo(study, method, **theirs)
    assert [row["loss"] for row in log] == pytest.approx(expected, abs=2e-3)
    assert log[0]["chosen_rewards"] == pytest.approx(0, abs=1e-4) and log[-1]["loss"] < log[0]["loss"]


def test_the_sft_term_does_not_depend_on_the_micro_batches(study):
    # the stock trainer's does: it takes the mean over the tokens of each micro-batch, and then of these means
    path = study / "references-base.parquet"
    logs = [dpo(study, f"term_{micro}", DPO | {"sft_weight": 0.5, "micro_batch": micro}, path)[1] for micro in (1, 4)]
    assert [row["loss"] for row in logs[0]] == pytest.approx([row["loss"] for row in logs[1]], abs=1e-3)


def test_full_dpo_is_the_stock_trainers_and_moves_every_parameter(study):
    _, log = dpo(study, "full", of_all_weights(DPO), study / "references-base.parquet")
    stock, expected = stock_dpo(study, of_all_weights(DPO))
    assert [row["loss"] for row in log] == pytest.approx(expected, abs=2e-3)
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-5) and log[-1]["loss"] < log[0]["loss"]
    assert farthest(weights(study, "full"), stock.model.state_dict()) < 5e-3
    assert not [name for name in weights(study, "base").keys() - moved(study, "full") if "k_proj.bias" not in name]


@pytest.mark.parametrize("targets", [LORA["targets"], "all-linear"])
def test_sft_with_lora_is_the_stock_trainers_and_moves_only_its_targets(study, targets):
    method = SFT | {"lora": LORA | {"targets": targets}}
    name = "sft_lora_" + "_".join(targets)
    _, log = sft(study, name, method)
    _, expected = stock_sft(study, method)
    assert [row["loss"] for row in log] == pytest.approx(expected, abs=2e-3)
    assert moved(study, name) == (linear_weights(study) if targets == "all-linear" else lora_weights(study))


def test_dpo_with_all_linear_moves_every_linear_weight(study):
    dpo(study, "dpo_all_linear", DPO | {"lora": LORA | {"targets": "all-linear"}}, study / "references-base.parquet")
    assert moved(study, "dpo_all_linear") == linear_weights(study)


def test_merged_weights_give_the_adapters_logits(study):
    ids = list(range(3, 40))
    model, _ = load_policy(study / "base/manifest.json")
    base = model(input_ids=torch.tensor([ids])).logits
    adapted = get_peft_model(model, lora_config(model, LORA | {"targets": "all-linear"}))
    torch.manual_seed(1)
    for name, tensor in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(tensor, std=0.3)
    expected = adapted(input_ids=torch.tensor([ids])).logits.detach()
    merged = merge(adapted, ids, "cpu")
    assert (merged(input_ids=torch.tensor([ids])).logits - expected).abs().max() < 1e-4 < (base - expected).abs().max()
    assert not any("lora" in name for name in merged.state_dict())
