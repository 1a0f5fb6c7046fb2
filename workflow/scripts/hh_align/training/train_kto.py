"""KTO of a policy with TRL's KTOTrainer on packed pairs in our own token view and batch plan: of all weights, or of an adapter, then merged."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.plan import micro_batches
from hh_align.core.processes import is_first, processes
from hh_align.core.progress import Progress
from hh_align.core.state import State
from hh_align.models.batches import Parts, by_batches
from hh_align.models.packing import Tree, reply_logps, tree_size
from hh_align.models.tokens import Pair
from hh_align.training.loop import fit, trl_arguments
from hh_align.training.pair_trainer import REWARDS, OnPairs, PairCollator, check_first_rewards
from hh_align.training.pair_training import OPTIONS, PairTraining, continued, first_tolerance, pair_collator, prepare_pairs, save_training
from hh_align.training.pairs import pair_logps
from hh_align.training.plan import Plan
from hh_align.training.snapshots import save_snapshots


def pair_losses(ratios: torch.Tensor, divergence: torch.Tensor, method: dict) -> torch.Tensor:
    """The mean loss of each pair's two replies, shape (pairs,), from log(pi/ref) of the replies (chosen, rejected), shape (pairs, 2).

    L_KTO of arXiv 2402.01306: w (1 - sigma(beta (log(pi/ref) - z0))) of a desirable reply, here the chosen one, and
    w (1 - sigma(beta (z0 - log(pi/ref)))) of an undesirable one; z0 is the `divergence` in nats, at least 0.
    """
    beta, reference = method["beta"], divergence.clamp(min=0)
    desirable = 1 - torch.sigmoid(beta * (ratios[:, 0] - reference))
    undesirable = 1 - torch.sigmoid(beta * (reference - ratios[:, 1]))
    return (method["desirable_weight"] * desirable + method["undesirable_weight"] * undesirable) / 2


def mismatched(plan: Plan, pairs: Sequence[Pair], max_length: int) -> list[Tree]:
    """For each turn of the order of training its pair's prompt with the replies of the pair before it in the step, cut to max_length.

    A step's first pair takes those of its last; one that is a step alone takes those of the pair before it. The replies of a step are
    so the same set, matched and mismatched (arXiv 2402.01306, section 4), however it is cut into micro-batches.
    """
    trees: list[Tree] = []
    for step in plan.steps:
        others = [step[-1], *step[:-1]] if len(step) > 1 else [plan.order[len(trees) - 1]]
        for row, other in zip(step, others, strict=True):
            prompt = pairs[row].prompt_ids
            trees.append(
                Tree(prompt, [reply[: max_length - len(prompt)] for reply in (pairs[other].chosen_ids, pairs[other].rejected_ids)])
            )
    return trees


def shares(planned: list[list[int]], parts: int, number: int) -> list[list[list[int]] | None]:
    """For each planned micro-batch all those that its process takes of the step, where it is the process's first one there; else None.

    planned: rows of each micro-batch; parts: micro-batches of a full step; number: of processes.
    """
    steps = [planned[start : start + parts] for start in range(0, len(planned), parts)]
    return [[batch for batch in step[index::number] if batch] if index < number else None for step in steps for index in range(len(step))]


def planned_batches(training: PairTraining, turns: list[list[int]]) -> Dataset:
    """The trainer's dataset, a row for each micro-batch in the order of training: the numbers of its `pairs`, and `mismatched`, the turns of
    the micro-batches whose mismatched pairs it takes along (as shares).

    turns: of each micro-batch, numbers in the order of training.
    """
    parts = training.method["batch_size"] // training.method["micro_batch"]
    pairs = [[training.plan.order[turn] for turn in batch] for batch in turns]
    return Dataset.from_dict({"pairs": pairs, "mismatched": shares(turns, parts, processes())})


@dataclass
class MismatchedCollator:
    """Makes a micro-batch of pairs, and with it the mismatched pairs of the step that its row names, the turns of some micro-batches."""

    pairs: PairCollator
    mismatched: PairCollator

    def __call__(self, rows: list[dict]) -> dict:
        """rows: one, with `pairs`, and `mismatched`, None but for a process's first micro-batch of a step."""
        batch = self.pairs(rows)
        if batch["mismatched"] is not None:
            batch["mismatched"] = [self.mismatched.batch(turns) for turns in batch["mismatched"]]
        return batch


class PackedKTOTrainer(OnPairs, KTOTrainer):
    """KTOTrainer on packed pairs, with the references from the artifact and z0 from the mismatched pairs of the whole optimizer step."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The micro-batch's part, shape (), of the mean loss over the replies of the whole optimizer step.

        inputs: what MismatchedCollator makes of a row of planned_batches. Times the processes, over which DDP takes the mean. The log gets
        each pair's rewards and log-probabilities.
        """
        if inputs["mismatched"] is not None:
            self.divergence = self.estimate(model, inputs["mismatched"])
            self._metrics["train"]["rewards/divergence"] = [self.method["beta"] * self.divergence.item()]
        packed = inputs["packed"]
        logps = reply_logps(model, packed)
        self.check_repeatable(model, packed, logps)
        ratios = (logps - inputs["references"]).view(-1, 2)
        self.log_pairs(ratios, logps)
        loss = pair_losses(ratios, self.divergence, self.method).sum() / num_items_in_batch
        return loss * self.accelerator.num_processes

    def estimate(self, model, batches: list[dict]) -> torch.Tensor:
        """Mean log(pi/ref) over the step's mismatched replies, of which this process has `batches`; shape (), no gradient passes."""
        policy = self.accelerator.unwrap_model(model)
        with torch.no_grad():
            ratios = [reply_logps(policy, batch["packed"]) - batch["references"] for batch in batches]
        own = torch.cat([torch.zeros(0, device=self.args.device), *ratios]).double()
        total, count = self.accelerator.reduce(torch.stack([own.sum(), own.new_tensor(len(own))])).unbind()
        return (total / count).float()


def mismatched_references(trainer: PackedKTOTrainer, trees: list[Tree], batches: list[list[int]], state: State) -> list[list[float] | None]:
    """log ref of both replies of each mismatched pair that this process has; `state` keeps them, for they need the untrained policy.

    trees: of all turns; batches: the turns of this process's. Each process keeps its own.
    """
    if not is_first():
        state = State(state.folder / f"process-{trainer.args.process_index}", state.started)
        state.folder.mkdir(exist_ok=True)

    def compute(batch: Sequence[int]) -> list[list[float]]:
        return pair_logps(trainer.model, [trees[turn] for turn in batch], trainer.method["precision"])

    progress = Progress(sum(map(len, batches)), "mismatched pair")
    return by_batches(batches, [tree_size(tree) for tree in trees], compute, Parts(state, "mismatched.jsonl"), progress)


def first_check(training: PairTraining) -> Callable[[dict], None]:
    """What looks at the first step's log: equal policies lose half the mean weight, and there is no divergence."""
    method = training.method
    expected = (method["desirable_weight"] + method["undesirable_weight"]) / 4
    return partial(check_first_rewards, "KTO", loss=expected, tolerance=first_tolerance(training), names=(*REWARDS, "divergence"))


def main() -> None:
    started = time.monotonic()
    args = parse(__doc__, **OPTIONS | {"references": "path"})
    method = args.config["method"]
    training = prepare_pairs(args, method | {"dropout": "disabled"})
    plan = training.plan
    if len(training.pairs) < 2:
        raise StudyError(
            f"{args.preferences}: KTO needs two pairs or more for its KL term, here are {len(training.pairs)}. Raise max_rows."
        )
    others = mismatched(plan, training.pairs, method["max_length"])
    turns = micro_batches(range(len(plan.order)), method["batch_size"], method["micro_batch"], processes())
    of_pairs = pair_collator(training)
    of_others = replace(of_pairs, trees=[[tree] for tree in others], references=())
    with continued(args, training, "hh_align.training.train_kto", started) as session:
        trainer = PackedKTOTrainer(
            method=method,
            model=training.model,
            args=KTOConfig(
                **trl_arguments(method, session),
                loss_type="apo_zero_unpaired",  # TRL's own KL term, which wants two rows in a micro-batch, is off
                precompute_ref_log_probs=True,
                disable_dropout=False,
            ),
            train_dataset=planned_batches(training, turns),
            data_collator=MismatchedCollator(of_pairs, of_others),
            processing_class=training.tokenizer,
            peft_config=training.adapter,
        )
        save_snapshots(trainer, args.snapshot_steps or [], len(plan.steps), session.state.folder)
        own = [batch for batch in turns[trainer.args.process_index :: processes()] if batch]
        of_others.references = mismatched_references(trainer, others, own, session.state)
        fitted = fit(trainer, session, plan, first_check(training))
        if is_first():
            save_training(args, training, trainer, session, fitted)


if __name__ == "__main__":
    run(main)
