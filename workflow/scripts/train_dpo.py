"""DPO of a policy with LoRA, with TRL's DPOTrainer on our own token view, batch plan and reference log-probabilities; the adapter is merged."""

import math
import time
from pathlib import Path

import torch

from study.artifacts import provenance, read_table, say, write_table
from study.codehash import code_hash
from study.command import StudyError, parse, run
from study.compute import use_device, write_timing
from study.dpo import pair_length, pairs
from study.models import load_policy, read_notice, save_model
from study.plan import training_order
from study.preferences import KEY, SCHEMA, row_name
from study.state import fingerprint, state_folder
from study.training import LOG_SCHEMA, fit, trl_arguments

TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


def disable_dropout(model: torch.nn.Module) -> None:
    """Turn dropout off in every module, also where it is functional (OPT keeps its probability in an attribute)."""
    for module in model.modules():
        for name in ("dropout", "attention_dropout", "activation_dropout", "layerdrop"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def check_first_rewards(logs: dict, tolerance: float) -> None:
    """Before the first update policy and reference are equal: implicit rewards are 0 and the sigmoid loss is ln 2. Raises StudyError."""
    rewards = {name: logs[f"rewards/{name}"] for name in ("chosen", "rejected", "margins")}
    say(f"first implicit rewards {rewards}, loss {logs['loss']:.6f} (ln 2 = {math.log(2):.6f})")
    if max(abs(logs["loss"] - math.log(2)), *(abs(reward) for reward in rewards.values())) > tolerance:
        raise StudyError(
            f"the first DPO loss is {logs['loss']:.6f}, not ln 2 = {math.log(2):.6f}, with implicit rewards {rewards} (tolerance {tolerance}): "
            "policy and reference differ before the first update. Is dropout on, or do the references belong to other weights?"
        )


def join_references(rows: list[dict], examples: list[dict], path: Path) -> dict[str, list[float]]:
    """The reference log-probabilities of the rows. Raises StudyError where a row has none or another token view."""
    names = ["ref_chosen_logps", "ref_rejected_logps"]
    counts = ["prompt_tokens", "chosen_tokens", "rejected_tokens"]
    found = {tuple(row[key] for key in KEY): row for row in read_table(path, [*KEY, *names, *counts]).to_pylist()}
    for row, example in zip(rows, examples, strict=True):
        reference = found.get(tuple(row[key] for key in KEY), {})
        if [reference.get(count) for count in counts] != [len(example[count.replace("tokens", "ids")]) for count in counts]:
            raise StudyError(f"{path}: no reference for {row_name(row)} in this token view. Delete the file; the next run rebuilds it.")
    return {name: [found[tuple(row[key] for key in KEY)][name] for row in rows] for name in names}


def check_targets(model: torch.nn.Module, targets: list[str]) -> None:
    """Raise StudyError where a LoRA target is the name of no linear module."""
    linear = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    if unknown := sorted(set(targets) - linear):
        raise StudyError(f"lora.targets: the model has no {', '.join(unknown)}. Allowed: {', '.join(sorted(linear - {'lm_head'}))}.")


def merge(model, example: dict, device: str) -> torch.nn.Module:
    """The policy with its adapter merged into the weights. Raises StudyError where its logits differ from the adapter's by 1e-4 or more."""
    ids = torch.tensor([example["prompt_ids"] + example["chosen_ids"]], device=device)
    model.eval()
    with torch.no_grad():
        before = model(input_ids=ids).logits
        merged = model.merge_and_unload()
        difference = (merged(input_ids=ids).logits - before).abs().max().item()
    say(f"merged adapter: logits differ by at most {difference:.1e}")
    if not difference < 1e-4 * max(1.0, before.abs().max().item()):
        raise StudyError(f"the merged policy's logits differ from the adapter's by {difference:.1e}.")
    return merged


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", seed="int", parent="path", preferences="path", references="path?", threads="int",
        checkpoint_seconds="int", state="path", manifest="path", train_log="path", timing="path",
    )  # fmt: skip
    method = args.config["method"]
    published = method["dropout"] == "as_published"
    device = use_device(args.config["device"], args.threads)
    inputs = [path for path in (args.parent, args.preferences, args.references) if path]
    made_by = provenance(args.config, inputs, seed=args.seed, device=device, threads=args.threads)

    model, tokenizer = load_policy(args.parent)
    check_targets(model, method["lora"]["targets"])
    rows, examples = pairs(read_table(args.preferences, SCHEMA.names).to_pylist(), tokenizer, method, args.config["train_split"])
    columns = {name: [example[name] for example in examples] for name in ("prompt_ids", "chosen_ids", "rejected_ids")}
    if not published:
        disable_dropout(model)
        columns |= join_references(rows, examples, args.references)
    lengths = [pair_length(example) for example in examples]
    tokens = [2 * len(e["prompt_ids"]) + len(e["chosen_ids"]) + len(e["rejected_ids"]) for e in examples]
    cuts = [example["cut_prompt"] + example["cut_reply"] for example in examples]
    say(f"{len(rows):,} pairs, {sum(tokens):,} tokens; {sum(cut > 0 for cut in cuts):,} pairs cut, {sum(cuts):,} tokens lost")
    order = training_order(lengths, method["epochs"], method["batch_size"], args.seed)

    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    class PlannedDPOTrainer(DPOTrainer):
        """DPOTrainer on rows that are ids already and carry their reference log-probabilities."""

        def _prepare_dataset(self, dataset, *args, **kwargs):
            return dataset

        def _precompute_ref_logps(self, dataset, *args, **kwargs):
            return dataset

    lora = method["lora"]
    with state_folder(args.state, fingerprint(made_by, code_hash("train_dpo"))) as folder:
        trainer = PlannedDPOTrainer(
            model=model,
            args=DPOConfig(
                **trl_arguments(method, folder, args.seed, device),
                beta=method["beta"],
                loss_type=[method["loss"]],
                precompute_ref_log_probs=not published,
                disable_dropout=False,
            ),
            train_dataset=Dataset.from_dict(columns).select(order),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=lora["r"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], target_modules=lora["targets"], task_type="CAUSAL_LM"
            ),
        )
        tolerance = math.inf if published else TOLERANCE[method["precision"]]
        names = [row_name(row) for row in rows]
        log = fit(trainer, folder, order, tokens, cuts, names, args.checkpoint_seconds, lambda logs: check_first_rewards(logs, tolerance))
        write_table(args.train_log, log, LOG_SCHEMA, made_by)
        write_timing(args.timing, started, pairs=len(order), tokens=log[-1]["tokens"])
        merged = merge(trainer.model, examples[order[0]], trainer.args.device)
        save_model(args.manifest, merged, tokenizer, made_by, read_notice(args.parent))


if __name__ == "__main__":
    run(main)
