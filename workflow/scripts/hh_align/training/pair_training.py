"""What the trainings on pairs share: all that stands before the training, what a micro-batch holds, and what a training leaves."""

import math
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peft import LoraConfig
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Trainer

from hh_align.core.artifacts import provenance, read_table, write_table
from hh_align.core.code_hash import code_hash
from hh_align.core.errors import StudyError
from hh_align.core.state import fingerprint, state_folder
from hh_align.data.preferences import KEY, SCHEMA, row_name
from hh_align.models.compute import use_device, write_timing
from hh_align.models.dropout import disable_dropout
from hh_align.models.folders import load_policy, save_model
from hh_align.models.packing import MULTIPLE, Tree, idle_tree, tree_size, use_packing
from hh_align.models.tokens import Pair
from hh_align.training.adapters import lora_config, merge
from hh_align.training.loop import LOG_SCHEMA, QUARANTINE_SCHEMA, Fitted, Session
from hh_align.training.pair_trainer import ROUNDING, PairCollator
from hh_align.training.pairs import check_pairs, pair_tree, published_trees, usable_pairs
from hh_align.training.plan import Plan, plan_training
from hh_align.training.snapshots import SNAPSHOTS, read_snapshots
from hh_align.training.throughput import throughput, work_done

OPTIONS = {
    "config": "config", "seed": "int", "parent": "path", "preferences": "path", "references": "path?", "threads": "int",
    "checkpoint_seconds": "int", "state": "path", "manifest": "path", "train_log": "path", "quarantine": "path", "timing": "path",
    "snapshot_steps": "config?", "snapshots": "path?",
}  # fmt: skip
"""Of the command line."""


@dataclass
class PairTraining:
    """A training on pairs before it begins: the policy, what it reads, and when.

    adapter: None where all weights are trained. Of each pair in file order: pairs, trees (those that it is packed as) and references,
    the reference's log-probabilities (chosen, rejected), none where the reference runs in the loop. left_out: rows with their `reason`.
    """

    method: dict
    device: str
    made_by: dict
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    adapter: LoraConfig | None
    pairs: list[Pair]
    trees: list[list[Tree]]
    references: list[tuple[float, float]]
    left_out: list[dict]
    plan: Plan


def join_references(rows: list[dict], pairs: list[Pair], path: Path) -> list[tuple[float, float]]:
    """Of each row log ref (chosen, rejected), sums over the tokens of its pair's replies, from the artifact of compute_references.

    Raises StudyError where a row has none, or one in another token view.
    """
    names = ["ref_chosen_logps", "ref_rejected_logps"]
    counts = ["prompt_tokens", "chosen_tokens", "rejected_tokens"]
    references = {tuple(row[key] for key in KEY): row for row in read_table(path, [*KEY, *names, *counts]).to_pylist()}
    for row, pair in zip(rows, pairs, strict=True):
        reference = references.get(tuple(row[key] for key in KEY), {})
        if [reference.get(count) for count in counts] != [len(ids) for ids in (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids)]:
            raise StudyError(f"{path}: no reference for {row_name(row)} in this token view. Delete the file; the next run rebuilds it.")
    return [tuple(references[tuple(row[key] for key in KEY)][name] for name in names) for row in rows]


def prepare_pairs(args: Namespace, method: dict) -> PairTraining:
    """Load the policy, read the pairs and their references, check them, and plan their training; without dropout, unless the method is
    `as_published`.

    Raises StudyError where an artifact is damaged, a pair is longer than the policy reads, or lacks its reference.
    """
    device = use_device(args.config, args.threads)
    inputs = [path for path in (args.parent, args.preferences, args.references) if path]
    made_by = provenance(args.config, inputs, seed=args.seed, device=device, threads=args.threads)
    model, tokenizer = load_policy(args.parent)
    adapter = lora_config(model, method.get("lora"))
    table = read_table(args.preferences, SCHEMA).to_pylist()
    rows, pairs, left_out = usable_pairs(table, tokenizer, method, args.config["train_split"])
    check_pairs(model.config, pairs)
    references = []
    if method["dropout"] == "as_published":
        trees = [published_trees(pair) for pair in pairs]
    else:
        disable_dropout(model)
        references = join_references(rows, pairs, args.references)
        trees = [[pair_tree(pair)] for pair in pairs]
    use_packing(model)
    sizes = [sum(map(tree_size, of_pair)) for of_pair in trees]
    plan = plan_training(rows, sizes, [pair.cut_prompt + pair.cut_reply for pair in pairs], method, args.seed, "pair")
    return PairTraining(method, device, made_by, model, tokenizer, adapter, pairs, trees, references, left_out, plan)


def first_tolerance(training: PairTraining) -> float:
    """How far implicit rewards may be from 0 before the first update: beta times what rounding makes of the longest reply that step 1 reads."""
    read = [training.pairs[row] for row in training.plan.steps[0]]
    longest = max(len(ids) for pair in read for ids in (pair.chosen_ids, pair.rejected_ids))
    return training.method["beta"] * ROUNDING[training.method["precision"]] * math.sqrt(longest)


def pair_collator(training: PairTraining) -> PairCollator:
    """What makes micro-batches of the training's pairs."""
    idle = idle_tree(training.tokenizer.eos_token_id)
    return PairCollator(training.trees, training.references, idle, MULTIPLE[training.method["precision"]])


@contextmanager
def continued(args: Namespace, training: PairTraining, step: str, started: float) -> Iterator[Session]:
    """The session of a training by the module `step`, which began at `started` (time.monotonic). It continues what a killed one of the same
    inputs, code and snapshots has left."""
    mark = fingerprint(training.made_by | {"snapshot_steps": args.snapshot_steps}, code_hash(step))
    with state_folder(args.state, mark, started) as state:
        yield Session(args.seed, training.device, args.checkpoint_seconds, state)


def save_training(args: Namespace, training: PairTraining, trainer: Trainer, session: Session, fitted: Fitted) -> None:
    """Write what a training leaves: its log, the rows left out, its snapshots, its timing, and the policy, its adapter merged.

    Raises StudyError where merged weights and adapter differ.
    """
    made_by, plan, state, log = training.made_by, training.plan, session.state, fitted.log
    write_table(args.train_log, log, LOG_SCHEMA, made_by)
    write_table(args.quarantine, training.left_out, QUARANTINE_SCHEMA, made_by)
    if args.snapshots:
        write_table(args.snapshots, read_snapshots(state.folder, args.snapshot_steps or []), SNAPSHOTS, made_by)
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # merged and compared in float32
    work = work_done(plan, fitted.seconds, training.adapter is not None, fitted.peak)
    speed = state.checkpointing() | throughput(trained.config, work)
    write_timing(args.timing, state.started, state.continuations, speed, pairs=work.examples, tokens=log[-1]["tokens"])
    if training.adapter:
        first = training.pairs[plan.order[0]]
        trained = merge(trained, first.prompt_ids + first.chosen_ids, trainer.args.device)
    save_model(args.manifest, trained, trainer.processing_class, made_by)
