"""TRL's own trainers on the rows and weights of a training study: what ours are held to."""

from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset
from peft import LoraConfig
from training_study import WEIGHTS
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

from hh_align.core.plan import steps_of, training_order
from hh_align.data.preferences import training_rows
from hh_align.models.folders import load_policy
from hh_align.models.tokens import Pair, encoder, transcript_view
from hh_align.training.pairs import usable_pairs


def preferences(study: Path) -> list[dict]:
    return pq.read_table(study / "preferences.parquet").to_pylist()


def pairs_of(study: Path, method: dict) -> tuple[list[Pair], list[int]]:
    """(pairs of a method's token view, their order in training)."""
    _, tokenizer = load_policy(study / "base/manifest.json")
    _, pairs, _ = usable_pairs(preferences(study), tokenizer, {"dropout": "disabled", **method}, "train")
    sizes = [len(pair.prompt_ids) + len(pair.chosen_ids) + len(pair.rejected_ids) for pair in pairs]
    return pairs, training_order(sizes, method["epochs"], method["batch_size"], 1)


def stock_arguments(folder: Path, method: dict) -> dict:
    """What is left explicit for a stock trainer: the paper's method, and the rows in our order."""
    return {
        "output_dir": str(folder), "per_device_train_batch_size": method["batch_size"], "learning_rate": method["learning_rate"], "num_train_epochs": 1,
        "train_sampling_strategy": "sequential", "bf16": False, "use_cpu": True, "logging_steps": 1, "report_to": "none", "save_strategy": "no",
        "max_length": method["max_length"], "disable_tqdm": True, "seed": 1,
    }  # fmt: skip


def stock_lora(method: dict) -> LoraConfig | None:
    lora = method.get("lora")
    return lora and LoraConfig(
        r=lora["r"], lora_alpha=lora["alpha"], lora_dropout=0.0, target_modules=lora["targets"], task_type="CAUSAL_LM"
    )


def losses(trainer) -> list[float]:
    """Of each step, after training."""
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def stock_sft(study: Path, method: dict) -> tuple[SFTTrainer, list[float]]:
    """SFTTrainer, trained on the same rows in the same steps, and its losses; padding, checkpointing and metrics are its own."""
    model, tokenizer = load_policy(study / "base/manifest.json")
    rows = training_rows(preferences(study), "train", None, None)
    views = transcript_view(rows, encoder(tokenizer), 2, 2, method["max_length"], method["loss_on"])
    order = training_order([len(view.input_ids) for view in views], method["epochs"], method["batch_size"], 1)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**stock_arguments(study / "out", method), dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=Dataset.from_list([{"input_ids": views[row].input_ids, "labels": views[row].labels} for row in order]),
        processing_class=tokenizer,
        peft_config=stock_lora(method),
    )
    return trainer, losses(trainer)


class StockDPO(DPOTrainer):
    """DPOTrainer on ids that are here already."""

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset


def stock_dpo(study: Path, method: dict, **settings: object) -> tuple[DPOTrainer, list[float]]:
    """DPOTrainer, trained on the same pairs in the same steps, its own reference pass in the loop, and its losses."""
    model, tokenizer = load_policy(study / "base/manifest.json")
    pairs, order = pairs_of(study, method)
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    trainer = StockDPO(
        model=model,
        args=DPOConfig(**stock_arguments(study / "out", method), beta=method["beta"], **settings),
        train_dataset=Dataset.from_list([{name: getattr(pairs[row], name) for name in names} for row in order]),
        processing_class=tokenizer,
        peft_config=stock_lora(method),
    )
    return trainer, losses(trainer)


class StockKTO(KTOTrainer):
    """KTOTrainer on ids that are here already; the replies of a batch turn by one, as in its own preparation."""

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset


def stock_kto(study: Path, method: dict) -> tuple[KTOTrainer, list[float]]:
    """KTOTrainer, trained on the same replies in the same steps, each one batch: its chosen replies and then its rejected ones. And its losses."""
    model, tokenizer = load_policy(study / "base/manifest.json")
    pairs, order = pairs_of(study, method)
    rows = []
    for step in steps_of(order, method["batch_size"]):
        replies = [
            {"prompt_ids": pairs[row].prompt_ids, "completion_ids": getattr(pairs[row], name), "label": name == "chosen_ids"}
            for name in ("chosen_ids", "rejected_ids")
            for row in step
        ]
        turned = [replies[-1], *replies[:-1]]
        rows += [row | {"KL_completion_ids": other["completion_ids"]} for row, other in zip(replies, turned, strict=True)]
    arguments = stock_arguments(study / "out", method) | {"per_device_train_batch_size": 2 * method["batch_size"]}
    trainer = StockKTO(
        model=model,
        args=KTOConfig(**arguments, **{name: method[name] for name in WEIGHTS}),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=stock_lora(method),
    )
    return trainer, losses(trainer)
