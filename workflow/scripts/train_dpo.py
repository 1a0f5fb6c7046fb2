"""DPO of a policy with LoRA, with TRL's DPOTrainer on packed pairs in our own token view and batch plan; the adapter is merged."""

import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate.utils import gather_object
from datasets import Dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer

from study.artifacts import provenance, read_table, say, write_table
from study.codehash import code_hash
from study.command import StudyError, parse, run
from study.compute import use_device, write_timing
from study.dpo import pair_tree, pairs
from study.models import load_policy, read_notice, save_model
from study.packing import MULTIPLE, Tree, pack, reply_logps, tree_size, use_packing
from study.plan import micro_batches, steps_of, training_order
from study.preferences import KEY, SCHEMA, row_name
from study.processes import is_first, processes
from study.state import fingerprint, state_folder
from study.throughput import Work, throughput
from study.training import LOG_SCHEMA, QUARANTINE_SCHEMA, fit, trl_arguments

TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


def pair_losses(margins: torch.Tensor, beta: float, loss: str) -> torch.Tensor:
    """The loss of each pair from its margin log(pi/ref)(chosen) - log(pi/ref)(rejected), shape (pairs,).

    sigmoid: -log sigma(beta margin), arXiv 2305.18290, equation 7; hinge: max(0, 1 - beta margin), arXiv 2309.06657, section 3.1;
    ipo: (margin - 1 / (2 beta))^2, arXiv 2310.12036, equation 17, on summed log-probabilities.
    """
    if loss == "sigmoid":
        return -F.logsigmoid(beta * margins)
    if loss == "hinge":
        return torch.relu(1 - beta * margins)
    return (margins - 1 / (2 * beta)) ** 2


def disable_dropout(model: torch.nn.Module) -> None:
    """Turn dropout off in every module, also where it is functional (OPT keeps its probability in an attribute)."""
    for module in model.modules():
        for name in ("dropout", "attention_dropout", "activation_dropout", "layerdrop"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def check_first_rewards(logs: dict, loss: float, tolerance: float) -> None:
    """Before the first update policy and reference are equal: implicit rewards are 0 and the loss is that of a margin of 0, for the
    sigmoid ln 2. Raises StudyError."""
    rewards = {name: logs[f"rewards/{name}"] for name in ("chosen", "rejected", "margins")}
    say(f"first implicit rewards {rewards}, loss {logs['loss']:.6f} (expected {loss:.6f})")
    if max(abs(logs["loss"] / loss - 1), *(abs(reward) for reward in rewards.values())) > tolerance:
        raise StudyError(
            f"the first DPO loss is {logs['loss']:.6f}, not {loss:.6f}, with implicit rewards {rewards} (tolerance {tolerance}): "
            "policy and reference differ before the first update. Is dropout on, or do the references belong to other weights?"
        )


def join_references(rows: list[dict], examples: list[dict], path: Path) -> list[tuple[float, float]]:
    """The reference log-probabilities (chosen, rejected) of the rows. Raises StudyError where a row has none or another token view."""
    names = ["ref_chosen_logps", "ref_rejected_logps"]
    counts = ["prompt_tokens", "chosen_tokens", "rejected_tokens"]
    found = {tuple(row[key] for key in KEY): row for row in read_table(path, [*KEY, *names, *counts]).to_pylist()}
    for row, example in zip(rows, examples, strict=True):
        reference = found.get(tuple(row[key] for key in KEY), {})
        if [reference.get(count) for count in counts] != [len(example[count.replace("tokens", "ids")]) for count in counts]:
            raise StudyError(f"{path}: no reference for {row_name(row)} in this token view. Delete the file; the next run rebuilds it.")
    return [tuple(found[tuple(row[key] for key in KEY)][name] for name in names) for row in rows]


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


def published_trees(example: dict) -> list[Tree]:
    """Chosen and rejected with a prompt of their own each, as the author's trainer read them: under dropout they are not the same."""
    return [(example["prompt_ids"], [example[name]]) for name in ("chosen_ids", "rejected_ids")]


class PackedDPOTrainer(DPOTrainer):
    """DPOTrainer on packed pairs, with the reference from the artifact or, as published, in the loop. `method` is the config's entry."""

    loss_is_scaled_for_ga = True

    def __init__(self, *args, method: dict, **kwargs) -> None:
        self.method, self.published = method, method["dropout"] == "as_published"
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset

    def _precompute_ref_logps(self, dataset, *args, **kwargs):
        return dataset

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Mean loss over the pairs of the whole optimizer step; the log gets each pair's rewards and log-probabilities."""
        beta = self.method["beta"]
        logps = reply_logps(model, inputs)
        if self.state.global_step == 1 and not self.published and not self.method["lora"]["dropout"]:
            self.check_repeatable(model, inputs, logps)
        ratios = (logps - self.references(model, inputs)).view(-1, 2)
        margins = ratios[:, 0] - ratios[:, 1]
        with torch.no_grad():
            rewards = beta * torch.stack([ratios[:, 0], ratios[:, 1], margins])
            found = torch.cat([rewards, (margins > 0)[None], logps.view(-1, 2).T]).T.tolist()
        if processes() > 1:
            found = gather_object(found)
        names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")
        for name, values in zip(names, zip(*found, strict=True), strict=False):
            self._metrics["train"][name] += values
        losses = pair_losses(margins, beta, self.method["loss"])
        return losses.sum() * self.accelerator.num_processes / num_items_in_batch

    def references(self, model, inputs) -> torch.Tensor:
        """The reference's log-probability of each reply, shape (replies,)."""
        if not self.published:
            return inputs["references"]
        with torch.no_grad(), self.accelerator.unwrap_model(model).disable_adapter():
            return reply_logps(model, inputs)

    def check_repeatable(self, model, inputs, logps):
        """Raise StudyError where a second pass in training mode gives other log-probabilities: some dropout is still on."""
        with torch.no_grad():
            difference = (reply_logps(model, inputs) - logps).abs().max().item()
        if difference > 1e-3:
            raise StudyError(f"two passes over the same pairs differ by {difference:.3g} nats: dropout is on, or the device is at fault.")


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", seed="int", parent="path", preferences="path", references="path?", threads="int",
        checkpoint_seconds="int", state="path", manifest="path", train_log="path", quarantine="path", timing="path",
    )  # fmt: skip
    method = args.config["method"]
    published = method["dropout"] == "as_published"
    device = use_device(args.config["device"], args.threads)
    inputs = [path for path in (args.parent, args.preferences, args.references) if path]
    made_by = provenance(args.config, inputs, seed=args.seed, device=device, threads=args.threads)

    model, tokenizer = load_policy(args.parent)
    check_targets(model, method["lora"]["targets"])
    rows, examples, left_out = pairs(read_table(args.preferences, SCHEMA.names).to_pylist(), tokenizer, method, args.config["train_split"])
    if not published:
        disable_dropout(model)
        references = join_references(rows, examples, args.references)
    trees = [published_trees(example) if published else [pair_tree(example)] for example in examples]
    sizes = [sum(map(tree_size, found)) for found in trees]
    cuts = [example["cut_prompt"] + example["cut_reply"] for example in examples]
    say(f"{len(rows):,} pairs, {sum(sizes):,} tokens; {sum(cut > 0 for cut in cuts):,} pairs cut, {sum(cuts):,} tokens lost")
    order = training_order(sizes, method["epochs"], method["batch_size"], args.seed)

    def collate(batch: list[dict]) -> dict:
        """A packed micro-batch; `shift_labels` has one entry per pair, for the trainer counts them."""
        numbers = batch[0]["rows"]
        packed = pack(
            [tree for number in numbers for tree in trees[number]] or [([tokenizer.eos_token_id], [])], MULTIPLE[method["precision"]]
        )
        packed["shift_labels"] = torch.zeros(len(numbers), dtype=torch.long)
        if not published:
            packed["references"] = torch.tensor([value for number in numbers for value in references[number]])
        return packed

    lora = method["lora"]
    with state_folder(args.state, fingerprint(made_by, code_hash("train_dpo"))) as folder:
        use_packing(model)
        trainer = PackedDPOTrainer(
            method=method,
            model=model,
            args=DPOConfig(
                **trl_arguments(method, folder, args.seed, device),
                beta=method["beta"],
                precompute_ref_log_probs=not published,
                disable_dropout=False,
            ),
            train_dataset=Dataset.from_dict({"rows": micro_batches(order, method["batch_size"], method["micro_batch"], processes())}),
            data_collator=collate,
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=lora["r"], lora_alpha=lora["alpha"], lora_dropout=lora["dropout"], target_modules=lora["targets"], task_type="CAUSAL_LM"
            ),
        )
        tolerance = math.inf if published else TOLERANCE[method["precision"]]
        expected = float(pair_losses(torch.zeros(1), method["beta"], method["loss"]))
        steps = steps_of(order, method["batch_size"])
        names = [row_name(row) for row in rows]
        log, seconds = fit(
            trainer, folder, steps, sizes, cuts, names, args.checkpoint_seconds, lambda logs: check_first_rewards(logs, expected, tolerance)
        )
        if not is_first():
            return
        write_table(args.train_log, log, LOG_SCHEMA, made_by)
        write_table(args.quarantine, left_out, QUARANTINE_SCHEMA, made_by)
        work = Work([sizes[row] for row in order], len(order), seconds, frozen=True)
        write_timing(
            args.timing, started, throughput(model.config, work, device, method["precision"]), pairs=len(order), tokens=log[-1]["tokens"]
        )
        trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # merged and compared in float32
        merged = merge(trained, examples[order[0]], trainer.args.device)
        save_model(args.manifest, merged, tokenizer, made_by, read_notice(args.parent))


if __name__ == "__main__":
    run(main)
