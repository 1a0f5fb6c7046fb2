"""LoRA adapters: what a method asks for, and the weights that they become."""

from collections.abc import Collection

import torch
from peft import LoraConfig
from transformers.pytorch_utils import Conv1D

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError

ALL_LINEAR = "all-linear"


def check_tied(model: torch.nn.Module, targets: Collection[str] | str, where: str) -> None:
    """Raise StudyError where an adapter would be on one of two layers that share their weights: merged, it would change both."""
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    if isinstance(targets, str) or outputs is None or outputs.weight is not inputs.weight:
        return
    tied = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if module in (inputs, outputs)}
    if found := sorted(tied & set(targets)):
        raise StudyError(
            f"{where} names {', '.join(found)}, but the model's embedding and output layer share their weights (tie_word_embeddings): an adapter "
            "on one of them cannot be merged. Take it out, or take a model with layers of their own."
        )


def lora_config(model: torch.nn.Module, lora: dict | None) -> LoraConfig | None:
    """The adapter of a method; None where all weights are trained. Raises StudyError where a target is the name of no linear module."""
    if lora is None:
        return None
    check_tied(model, lora["targets"], "lora.targets")
    linear = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)}
    if lora["targets"] != ALL_LINEAR and (unknown := sorted(set(lora["targets"]) - linear)):
        raise StudyError(
            f"lora.targets: the model has no {', '.join(unknown)}. Allowed: {', '.join(sorted(linear - {'lm_head'}))}, or {ALL_LINEAR}."
        )
    return LoraConfig(
        r=lora["r"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], target_modules=lora["targets"], task_type="CAUSAL_LM"
    )


def merge(model, ids: list[int], device: str) -> torch.nn.Module:
    """The policy with its adapter merged into the weights. Raises StudyError where its logits on `ids` differ from the adapter's by
    1e-4 or more."""
    read = {"input_ids": torch.tensor([ids], device=device), "position_ids": torch.arange(len(ids), device=device)[None]}
    model.eval()
    with torch.no_grad():
        before = model(**read).logits
        merged = model.merge_and_unload()
        difference = (merged(**read).logits - before).abs().max().item()
    say(f"merged adapter: logits differ by at most {difference:.1e}")
    if not difference < 1e-4 * max(1.0, before.abs().max().item()):
        raise StudyError(f"the merged policy's logits differ from the adapter's by {difference:.1e}.")
    return merged
