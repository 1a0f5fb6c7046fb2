"""Methods beside the paper's: each through its script, against TRL's own trainer on the same rows and weights."""

import math

import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_trainers import farthest, ordered, stock_arguments, weights
from test_trainers import losses as stock_losses
from test_training import DPO, LORA, SFT, dpo, references, sft, still_study
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.data.preferences import training_rows
from hh_align.models.folders import load_policy
from hh_align.models.tokens import encoder, transcript_view
from hh_align.training.adapters import lora_config, merge
from hh_align.training.pairs import pairs

FULL = {name: value for name, value in DPO.items() if name != "lora"} | {"learning_rate": 1e-3}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with 17 preferences, so that the last step is a short one, a random base policy without dropout and its references."""
    folder = still_study(tmp_path_factory.mktemp("methods"))
    references(folder)
    return folder


def adapter(lora):
    return lora and LoraConfig(
        r=lora["r"], lora_alpha=lora["alpha"], lora_dropout=0.0, target_modules=lora["targets"], task_type="CAUSAL_LM"
    )


class StockDPO(DPOTrainer):
    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset


def stock_dpo(place, method, **options):
    """TRL's DPOTrainer, trained on the same pairs in the same steps; its own reference pass in the loop. And its losses."""
    model, tokenizer = load_policy(place / "base/manifest.json")
    _, views, _ = pairs(pq.read_table(place / "preferences.parquet").to_pylist(), tokenizer, method, "train")
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    sizes = [sum(len(view[name]) for name in names) for view in views]
    trainer = StockDPO(
        model=model,
        args=DPOConfig(**stock_arguments(place / "out", method), beta=method["beta"], seed=1, **options),
        train_dataset=ordered([{name: view[name] for name in names} for view in views], sizes, method),
        processing_class=tokenizer,
        peft_config=adapter(method.get("lora")),
    )
    return trainer, stock_losses(trainer)


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
def test_each_loss_trains_as_the_stock_trainer_does(place, name):
    ours, theirs = CASES[name]
    method = DPO | ours
    _, log = dpo(place, name, method, place / "references-base.parquet")
    _, expected = stock_dpo(place, method, **theirs)
    assert [row["loss"] for row in log] == pytest.approx(expected, abs=2e-3)
    assert log[0]["chosen_rewards"] == pytest.approx(0, abs=1e-4) and log[-1]["loss"] < log[0]["loss"]


def test_the_sft_term_does_not_depend_on_the_micro_batches(place):
    # the stock trainer's does: it takes the mean over the tokens of each micro-batch, and then of these means
    path = place / "references-base.parquet"
    logs = [dpo(place, f"term_{micro}", DPO | {"sft_weight": 0.5, "micro_batch": micro}, path)[1] for micro in (1, 4)]
    assert [row["loss"] for row in logs[0]] == pytest.approx([row["loss"] for row in logs[1]], abs=1e-3)


def test_references_of_other_weights_stop_a_run_with_an_sft_term(place):
    rows = pq.read_table(place / "references-base.parquet")
    wrong = [row | {"ref_chosen_logps": row["ref_chosen_logps"] - 1.0} for row in rows.to_pylist()]
    write_table(place / "wrong.parquet", wrong, rows.schema.remove_metadata(), {})
    with pytest.raises(StudyError, match="the first DPO loss is"):
        dpo(place, "wrong", DPO | {"sft_weight": 0.5}, place / "wrong.parquet")


def test_full_dpo_is_the_stock_trainers_and_moves_every_parameter(place):
    _, log = dpo(place, "full", FULL, place / "references-base.parquet")
    stock, expected = stock_dpo(place, FULL)
    assert [row["loss"] for row in log] == pytest.approx(expected, abs=2e-3)
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-5) and log[-1]["loss"] < log[0]["loss"]
    assert farthest(weights(place, "full"), stock.model.state_dict()) < 5e-3
    before, after = weights(place, "base"), weights(place, "full")
    same = [name for name, tensor in before.items() if torch.equal(tensor, after[name])]
    assert not [name for name in same if "k_proj.bias" not in name]


def linear_weights(place):
    """Names of the weights that all-linear means: every linear module's but the output's."""
    model, _ = load_policy(place / "base/manifest.json")
    return {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name != "lm_head"}


@pytest.mark.parametrize("targets", [LORA["targets"], "all-linear"])
def test_sft_with_lora_is_the_stock_trainers_and_moves_only_its_targets(place, targets):
    method = SFT | {"lora": LORA | {"targets": targets}}
    name = "sft_lora_" + "_".join(targets)
    _, log = sft(place, name, method)
    model, tokenizer = load_policy(place / "base/manifest.json")
    rows = training_rows(pq.read_table(place / "preferences.parquet").to_pylist(), "train", None, None)
    views = transcript_view(rows, encoder(tokenizer), 2, 2, method["max_length"], "transcript")
    examples = [{"input_ids": view["input_ids"], "labels": view["labels"]} for view in views]
    stock = SFTTrainer(
        model=model,
        args=SFTConfig(**stock_arguments(place / "out", method), seed=1, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=ordered(examples, [len(example["input_ids"]) for example in examples], method),
        processing_class=tokenizer,
        peft_config=adapter(method["lora"]),
    )
    assert [row["loss"] for row in log] == pytest.approx(stock_losses(stock), abs=2e-3)
    before, after = weights(place, "base"), weights(place, name)
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    wanted = (
        linear_weights(place) if targets == "all-linear" else {key for key in before if key.endswith(("q_proj.weight", "v_proj.weight"))}
    )
    assert moved == wanted


def test_dpo_with_all_linear_moves_every_linear_weight(place):
    dpo(place, "dpo_all_linear", DPO | {"lora": LORA | {"targets": "all-linear"}}, place / "references-base.parquet")
    before, after = weights(place, "base"), weights(place, "dpo_all_linear")
    assert {name for name, tensor in before.items() if not torch.equal(tensor, after[name])} == linear_weights(place)


def test_merged_weights_give_the_adapters_logits(place):
    ids = list(range(3, 40))
    model, _ = load_policy(place / "base/manifest.json")
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


def test_an_sft_adapter_with_an_unknown_target_names_the_allowed_ones(place):
    with pytest.raises(StudyError, match=r"lora.targets: the model has no query. Allowed: .*q_proj.*all-linear"):
        sft(place, "unknown", SFT | {"lora": LORA | {"targets": ["query"]}})
