"""KTO of a policy with TRL's KTOTrainer on packed pairs in our own token view and batch plan: of all weights, or of an adapter, then merged."""

import time
from collections.abc import Sequence

import torch
from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from hh_align.core.artifacts import provenance, read_table, say
from hh_align.core.code_hash import code_hash
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.plan import micro_batches, steps_of, training_order
from hh_align.core.processes import is_first, processes
from hh_align.core.progress import Progress
from hh_align.core.state import State, fingerprint, state_folder
from hh_align.data.preferences import SCHEMA, row_name
from hh_align.models.batches import Parts, by_batches
from hh_align.models.compute import use_device
from hh_align.models.folders import load_policy
from hh_align.models.packing import MULTIPLE, Tree, pack, reply_logps, to_device, tree_size, use_packing
from hh_align.training.adapters import lora_config
from hh_align.training.loop import fit, trl_arguments
from hh_align.training.pair_training import REWARDS, TOLERANCE, OnPairs, check_first_rewards, deliver, disable_dropout, join_references
from hh_align.training.pairs import check_pairs, pair_tree, pairs
from hh_align.training.snapshots import save_snapshots
from hh_align.training.throughput import Work


def pair_losses(ratios: torch.Tensor, divergence: torch.Tensor, method: dict) -> torch.Tensor:
    """The mean loss of each pair's two replies, shape (pairs,), from log(pi/ref) of the replies (chosen, rejected), shape (pairs, 2).

    L_KTO of arXiv 2402.01306: w (1 - sigma(beta (log(pi/ref) - z0))) of a desirable reply, here the chosen one, and
    w (1 - sigma(beta (z0 - log(pi/ref)))) of an undesirable one; z0 is the `divergence` in nats, at least 0.
    """
    beta, reference = method["beta"], divergence.clamp(min=0)
    desirable = 1 - torch.sigmoid(beta * (ratios[:, 0] - reference))
    undesirable = 1 - torch.sigmoid(beta * (reference - ratios[:, 1]))
    return (method["desirable_weight"] * desirable + method["undesirable_weight"] * undesirable) / 2


def mismatched(order: Sequence[int], examples: list[dict], batch_size: int, max_length: int) -> list[Tree]:
    """For each place in the order of training its pair's prompt with the replies of the pair before it in the step, cut to max_length.

    A step's first pair takes those of its last; one that is a step alone takes those of the pair before it. The replies of a step are
    so the same set, matched and mismatched (arXiv 2402.01306, section 4), however it is cut into micro-batches.
    """
    trees, place = [], 0
    for step in steps_of(order, batch_size):
        others = [step[-1], *step[:-1]] if len(step) > 1 else [order[place - 1]]
        for row, other in zip(step, others, strict=True):
            prompt = examples[row]["prompt_ids"]
            replies = [examples[other][name][: max_length - len(prompt)] for name in ("chosen_ids", "rejected_ids")]
            trees.append((prompt, replies))
        place += len(step)
    return trees


def shares(planned: list[list[int]], parts: int, number: int) -> list[list[list[int]] | None]:
    """For each planned micro-batch all those that its process takes of the step, where it is the process's first one there; else None.

    parts: micro-batches of a full step; number: of processes.
    """
    steps = [planned[start : start + parts] for start in range(0, len(planned), parts)]
    return [[batch for batch in step[at::number] if batch] if at < number else None for step in steps for at in range(len(step))]


class PackedKTOTrainer(OnPairs, KTOTrainer):
    """KTOTrainer on packed pairs, with the references from the artifact and z0 from the mismatched pairs of the whole optimizer step."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Mean loss over the replies of the whole optimizer step; the log gets each pair's rewards and log-probabilities."""
        if "mismatched" in inputs:
            self.divergence = self.estimate(model, inputs["mismatched"])
            self._metrics["train"]["rewards/divergence"] = [self.method["beta"] * self.divergence.item()]
        logps = reply_logps(model, inputs)
        self.check_repeatable(model, inputs, logps)
        ratios = (logps - inputs["references"]).view(-1, 2)
        self.log_pairs(ratios, logps)
        loss = pair_losses(ratios, self.divergence, self.method).sum() / num_items_in_batch
        return loss * self.accelerator.num_processes

    def estimate(self, model, batches: list[dict]) -> torch.Tensor:
        """Mean log(pi/ref) over the step's mismatched replies, of which this process has `batches`; no gradient passes."""
        policy = self.accelerator.unwrap_model(model)
        with torch.no_grad():
            ratios = [reply_logps(policy, batch) - batch["references"] for batch in batches]
        found = torch.cat([torch.zeros(0, device=self.args.device), *ratios]).double()
        total, count = self.accelerator.reduce(torch.stack([found.sum(), found.new_tensor(len(found))])).unbind()
        return (total / count).float()


def mismatched_references(
    trainer: PackedKTOTrainer, trees: list[Tree], batches: list[list[int]], multiple: int, state: State
) -> list[list[float] | None]:
    """log ref of both replies of each mismatched pair that this process has; kept in `state`, for they need the untrained policy.

    Each process keeps its own.
    """
    if not is_first():
        state = State(state.folder / f"process-{trainer.args.process_index}", state.started)
        state.folder.mkdir(exist_ok=True)
    device = trainer.args.device.type

    def compute(batch: Sequence[int]) -> list[list[float]]:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=trainer.args.bf16):
            return reply_logps(trainer.model, to_device(pack([trees[place] for place in batch], multiple), device)).view(-1, 2).tolist()

    progress = Progress(sum(map(len, batches)), "mismatched pair")
    return by_batches(batches, [tree_size(tree) for tree in trees], compute, Parts(state, "mismatched.jsonl"), progress)


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", seed="int", parent="path", preferences="path", references="path", threads="int",
        checkpoint_seconds="int", state="path", manifest="path", train_log="path", quarantine="path", timing="path",
        snapshot_steps="config?", snapshots="path?",
    )  # fmt: skip
    method = args.config["method"]
    device = use_device(args.config["device"], args.threads)
    inputs = [args.parent, args.preferences, args.references]
    made_by = provenance(args.config, inputs, seed=args.seed, device=device, threads=args.threads)

    model, tokenizer = load_policy(args.parent)
    adapter = lora_config(model, method.get("lora"))
    view = {**method, "dropout": "disabled"}
    rows, examples, left_out = pairs(read_table(args.preferences, SCHEMA).to_pylist(), tokenizer, view, args.config["train_split"])
    check_pairs(model.config, examples)
    if len(rows) < 2:
        raise StudyError(f"{args.preferences}: KTO needs two pairs or more for its KL term, here are {len(rows)}. Raise max_rows.")
    disable_dropout(model)
    references = join_references(rows, examples, args.references)
    trees = [pair_tree(example) for example in examples]
    sizes = [tree_size(tree) for tree in trees]
    cuts = [example["cut_prompt"] + example["cut_reply"] for example in examples]
    say(f"{len(rows):,} pairs, {sum(sizes):,} tokens; {sum(cut > 0 for cut in cuts):,} pairs cut, {sum(cuts):,} tokens lost")
    order = training_order(sizes, method["epochs"], method["batch_size"], args.seed, method.get("batching") == "by_length")
    steps = steps_of(order, method["batch_size"])
    planned = micro_batches(range(len(order)), method["batch_size"], method["micro_batch"], processes())
    others = mismatched(order, examples, method["batch_size"], method["max_length"])
    other_references: list[list[float] | None] = []
    multiple = MULTIPLE[method["precision"]]

    def collate(batch: list[dict]) -> dict:
        """A packed micro-batch of the pairs at these places; `shift_labels` has one entry per pair, for the trainer counts them. With a
        process's first one of a step come its mismatched pairs of the step."""
        places, share = batch[0]["places"], batch[0]["share"]
        read = [order[place] for place in places]
        packed = pack([trees[row] for row in read] or [([tokenizer.eos_token_id], [])], multiple)
        packed["shift_labels"] = torch.zeros(len(read), dtype=torch.long)
        packed["references"] = torch.tensor([value for row in read for value in references[row]])
        if share is not None:
            packed["mismatched"] = [
                pack([others[place] for place in part], multiple)
                | {"references": torch.tensor([value for place in part for value in other_references[place]])}
                for part in share
            ]
        return packed

    with state_folder(
        args.state, fingerprint(made_by | {"snapshot_steps": args.snapshot_steps}, code_hash("hh_align.training.train_kto")), started
    ) as state:
        use_packing(model)
        trainer = PackedKTOTrainer(
            method=method,
            model=model,
            args=KTOConfig(
                **trl_arguments(method, state.folder, args.seed, device),
                loss_type="apo_zero_unpaired",  # TRL's own KL term, which wants two rows in a micro-batch, is off
                precompute_ref_log_probs=True,
                disable_dropout=False,
            ),
            train_dataset=Dataset.from_dict(
                {"places": planned, "share": shares(planned, method["batch_size"] // method["micro_batch"], processes())}
            ),
            data_collator=collate,
            processing_class=tokenizer,
            peft_config=adapter,
        )
        if args.snapshot_steps:
            save_snapshots(trainer, args.snapshot_steps, len(steps), state.folder)
        mine = [batch for batch in planned[trainer.args.process_index :: processes()] if batch]
        other_references += mismatched_references(trainer, others, mine, multiple, state)
        expected = (method["desirable_weight"] + method["undesirable_weight"]) / 4
        tolerance, names = TOLERANCE[method["precision"]], [row_name(row) for row in rows]

        def check(logs: dict) -> None:
            check_first_rewards("KTO", logs, expected, tolerance, (*REWARDS, "divergence"))

        log, seconds = fit(trainer, state, steps, sizes, cuts, names, args.checkpoint_seconds, check)
        if not is_first():
            return
        work = Work([sizes[row] for row in order], len(order), seconds, frozen=adapter is not None)
        example = examples[order[0]]
        deliver(args, trainer, state, log, left_out, work, example["prompt_ids"] + example["chosen_ids"], made_by)


if __name__ == "__main__":
    run(main)
