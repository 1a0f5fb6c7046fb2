"""DPO of a policy with TRL's DPOTrainer on packed pairs in our own token view and batch plan: of all weights, or of an adapter, then merged."""

import math
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from hh_align.core.artifacts import provenance, read_table, say
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.plan import micro_batches, steps_of, training_order
from hh_align.core.processes import is_first, processes
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.preferences import SCHEMA, row_name
from hh_align.models.compute import use_device
from hh_align.models.folders import load_policy
from hh_align.models.packing import MULTIPLE, Tree, pack, reply_logps, tree_size, use_packing
from hh_align.training.adapters import lora_config
from hh_align.training.loop import fit, trl_arguments
from hh_align.training.pair_training import TOLERANCE, OnPairs, check_first_rewards, deliver, disable_dropout, join_references
from hh_align.training.pairs import check_pairs, pair_tree, pairs
from hh_align.training.snapshots import save_snapshots
from hh_align.training.throughput import Work


def pair_losses(ratios: torch.Tensor, tokens: torch.Tensor, method: dict) -> torch.Tensor:
    """The loss of each pair, shape (pairs,), from log(pi/ref) of its replies and their tokens, both (chosen, rejected), shape (pairs, 2).

    With margin = log(pi/ref)(chosen) - log(pi/ref)(rejected) and d = beta margin:
    sigmoid: -log sigma(d), arXiv 2305.18290, equation 7; with label_smoothing e, -(1 - e) log sigma(d) - e log sigma(-d) ("conservative
    DPO", compared in arXiv 2403.00409); robust: [-(1 - e) log sigma(d) + e log sigma(-d)] / (1 - 2 e), unbiased where a share e of the
    labels is flipped (arXiv 2403.00409); hinge: max(0, 1 - d), arXiv 2309.06657, section 3.1; ipo: (margin - 1 / (2 beta))^2,
    arXiv 2310.12036, equation 17, on summed log-probabilities; apo_zero: 1 - sigma(beta log(pi/ref)(chosen)) + sigma(beta
    log(pi/ref)(rejected)), arXiv 2408.06266, equation 7; sigmoid_norm: the sigmoid of log-ratios per token of their reply, as TRL 1.16.
    """
    beta, loss, noise = method["beta"], method["loss"], method.get("label_smoothing", 0.0)
    margins = ratios[:, 0] - ratios[:, 1]
    if loss == "sigmoid":
        return -(1 - noise) * F.logsigmoid(beta * margins) - noise * F.logsigmoid(-beta * margins)
    if loss == "robust":
        return (-(1 - noise) * F.logsigmoid(beta * margins) + noise * F.logsigmoid(-beta * margins)) / (1 - 2 * noise)
    if loss == "hinge":
        return torch.relu(1 - beta * margins)
    if loss == "ipo":
        return (margins - 1 / (2 * beta)) ** 2
    if loss == "apo_zero":
        return 1 - torch.sigmoid(beta * ratios[:, 0]) + torch.sigmoid(beta * ratios[:, 1])
    per_token = ratios / tokens
    return -F.logsigmoid(beta * (per_token[:, 0] - per_token[:, 1]))


def first_loss(method: dict, references: list[tuple[float, float]], examples: list[dict], step: Sequence[int]) -> float:
    """The loss of step 1, where policy and reference are equal: that of ratios of 0, and the SFT term by the reference's own
    log-probabilities of the step's chosen replies."""
    loss = float(pair_losses(torch.zeros(1, 2), torch.ones(1, 2), method))
    if not method.get("sft_weight"):
        return loss
    tokens = sum(len(examples[row]["chosen_ids"]) for row in step)
    return loss - method["sft_weight"] * sum(references[row][0] for row in step) / tokens


def published_trees(example: dict) -> list[Tree]:
    """Chosen and rejected with a prompt of their own each, as the author's trainer read them: under dropout they are not the same."""
    return [(example["prompt_ids"], [example[name]]) for name in ("chosen_ids", "rejected_ids")]


class PackedDPOTrainer(OnPairs, DPOTrainer):
    """DPOTrainer on packed pairs, with the reference from the artifact or, as published, in the loop."""

    def __init__(self, *args, method: dict, **kwargs) -> None:
        self.published = method["dropout"] == "as_published"
        super().__init__(*args, method=method, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Mean loss over the pairs of the whole optimizer step, and sft_weight times the mean negative log-likelihood over the tokens of all
        chosen replies of the step (TRL's loss_type "sft", whose mean is over a micro-batch); the log gets each pair's rewards and
        log-probabilities."""
        logps = reply_logps(model, inputs)
        if not self.published:
            self.check_repeatable(model, inputs, logps)
        ratios = (logps - self.references(model, inputs)).view(-1, 2)
        self.log_pairs(ratios, logps)
        loss = pair_losses(ratios, inputs["reply_tokens"].view(-1, 2), self.method).sum() / num_items_in_batch
        if weight := self.method.get("sft_weight"):
            loss = loss - weight * logps.view(-1, 2)[:, 0].sum() / inputs["chosen_tokens"]
        return loss * self.accelerator.num_processes

    def references(self, model, inputs) -> torch.Tensor:
        """The reference's log-probability of each reply, shape (replies,)."""
        if not self.published:
            return inputs["references"]
        with torch.no_grad(), self.accelerator.unwrap_model(model).disable_adapter():
            return reply_logps(model, inputs)


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", seed="int", parent="path", preferences="path", references="path?", threads="int",
        checkpoint_seconds="int", state="path", manifest="path", train_log="path", quarantine="path", timing="path",
        snapshot_steps="config?", snapshots="path?",
    )  # fmt: skip
    method = args.config["method"]
    published = method["dropout"] == "as_published"
    device = use_device(args.config["device"], args.threads)
    inputs = [path for path in (args.parent, args.preferences, args.references) if path]
    made_by = provenance(args.config, inputs, seed=args.seed, device=device, threads=args.threads)

    model, tokenizer = load_policy(args.parent)
    adapter = lora_config(model, method.get("lora"))
    rows, examples, left_out = pairs(read_table(args.preferences, SCHEMA).to_pylist(), tokenizer, method, args.config["train_split"])
    check_pairs(model.config, examples)
    references = []
    if not published:
        disable_dropout(model)
        references = join_references(rows, examples, args.references)
    trees = [published_trees(example) if published else [pair_tree(example)] for example in examples]
    sizes = [sum(map(tree_size, found)) for found in trees]
    cuts = [example["cut_prompt"] + example["cut_reply"] for example in examples]
    say(f"{len(rows):,} pairs, {sum(sizes):,} tokens; {sum(cut > 0 for cut in cuts):,} pairs cut, {sum(cuts):,} tokens lost")
    order = training_order(sizes, method["epochs"], method["batch_size"], args.seed, method.get("batching") == "by_length")
    steps = steps_of(order, method["batch_size"])
    planned = micro_batches(order, method["batch_size"], method["micro_batch"], processes())
    chosen_tokens = [sum(len(examples[row]["chosen_ids"]) for row in step) for step in steps]
    parts = method["batch_size"] // method["micro_batch"]  # micro-batches of a step

    def collate(batch: list[dict]) -> dict:
        """A packed micro-batch; `shift_labels` has one entry per pair, for the trainer counts them. reply_tokens: shape (replies,);
        chosen_tokens: of the whole step."""
        numbers = batch[0]["rows"]
        read = [tree for number in numbers for tree in trees[number]]
        packed = pack(read or [([tokenizer.eos_token_id], [])], MULTIPLE[method["precision"]])
        packed["reply_tokens"] = torch.tensor([len(reply) for _, replies in read for reply in replies])
        packed["chosen_tokens"] = batch[0]["chosen_tokens"]
        packed["shift_labels"] = torch.zeros(len(numbers), dtype=torch.long)
        if not published:
            packed["references"] = torch.tensor([value for number in numbers for value in references[number]])
        return packed

    with state_folder(
        args.state, fingerprint(made_by | {"snapshot_steps": args.snapshot_steps}, code_hash("hh_align.training.train_dpo")), started
    ) as state:
        use_packing(model)
        trainer = PackedDPOTrainer(
            method=method,
            model=model,
            args=DPOConfig(
                **trl_arguments(method, state.folder, args.seed, device),
                beta=method["beta"],
                precompute_ref_log_probs=not published,
                disable_dropout=False,
            ),
            train_dataset=Dataset.from_dict(
                {"rows": planned, "chosen_tokens": [chosen_tokens[number // parts] for number in range(len(planned))]}
            ),
            data_collator=collate,
            processing_class=tokenizer,
            peft_config=adapter,
        )
        if args.snapshot_steps:
            save_snapshots(trainer, args.snapshot_steps, len(steps), state.folder)
        tolerance = math.inf if published else TOLERANCE[method["precision"]]
        expected = first_loss(method, references, examples, steps[0])
        names = [row_name(row) for row in rows]
        log, seconds = fit(
            trainer,
            state,
            steps,
            sizes,
            cuts,
            names,
            args.checkpoint_seconds,
            lambda logs: check_first_rewards("DPO", logs, expected, tolerance),
        )
        if not is_first():
            return
        work = Work([sizes[row] for row in order], len(order), seconds, frozen=adapter is not None)
        example = examples[order[0]]
        deliver(args, trainer, state, log, left_out, work, example["prompt_ids"] + example["chosen_ids"], made_by)


if __name__ == "__main__":
    run(main)
