"""What the trainings on pairs share: references from the artifact, checks of the first step, the log, and what a training leaves."""

from argparse import Namespace
from pathlib import Path

import torch
from accelerate.utils import gather_object
from transformers import Trainer

from hh_align.core.artifacts import read_table, say, write_table
from hh_align.core.errors import StudyError
from hh_align.core.processes import processes
from hh_align.core.state import State
from hh_align.data.preferences import KEY, row_name
from hh_align.models.compute import write_timing
from hh_align.models.folders import read_notice, save_model
from hh_align.models.packing import reply_logps
from hh_align.training.adapters import merge
from hh_align.training.loop import LOG_SCHEMA, QUARANTINE_SCHEMA
from hh_align.training.snapshots import SNAPSHOTS, read_snapshots
from hh_align.training.throughput import Work, throughput

TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}
REWARDS = ("chosen", "rejected", "margins", "distance")


def disable_dropout(model: torch.nn.Module) -> None:
    """Turn dropout off in every module, also where it is functional (OPT keeps its probability in an attribute)."""
    for module in model.modules():
        for name in ("dropout", "attention_dropout", "activation_dropout", "layerdrop"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def check_first_rewards(method: str, logs: dict, loss: float, tolerance: float, names: tuple[str, ...] = REWARDS) -> None:
    """Before the first update policy and reference are equal: implicit rewards (`names`) are 0 and the loss is `loss`. Raises StudyError."""
    rewards = {name: logs[f"rewards/{name}"] for name in names}
    say(f"first implicit rewards {rewards}, loss {logs['loss']:.6f} (expected {loss:.6f})")
    if max(abs(logs["loss"] / loss - 1), *(abs(reward) for reward in rewards.values())) > tolerance:
        raise StudyError(
            f"the first {method} loss is {logs['loss']:.6f}, not {loss:.6f}, with implicit rewards {rewards} (tolerance {tolerance}): "
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


class OnPairs:
    """Put before a TRL trainer with references: packed pairs as they are planned. `method` is the config's entry."""

    loss_is_scaled_for_ga = True

    def __init__(self, *args, method: dict, **kwargs) -> None:
        self.method = method
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset

    def _precompute_ref_logps(self, dataset, *args, **kwargs):
        return dataset

    def log_pairs(self, ratios: torch.Tensor, logps: torch.Tensor) -> None:
        """Give the log each pair's rewards and log-probabilities, of all processes, and the farther reward's distance from 0.

        ratios: log(pi/ref), shape (pairs, 2).
        """
        margins = ratios[:, 0] - ratios[:, 1]
        with torch.no_grad():
            rewards = self.method["beta"] * torch.stack([ratios[:, 0], ratios[:, 1], margins])
            farthest = rewards[:2].abs().amax(0, keepdim=True)
            found = torch.cat([rewards, (margins > 0)[None], logps.view(-1, 2).T, farthest]).T.tolist()
        if processes() > 1:
            found = gather_object(found)
        names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")
        for name, values in zip((*names, "rewards/distance"), zip(*found, strict=True), strict=False):
            self._metrics["train"][name] += values

    def check_repeatable(self, model, inputs: dict, logps: torch.Tensor) -> None:
        """After the first update, raise StudyError where a second pass in training mode gives other log-probabilities: some dropout is
        still on that the config does not ask for."""
        if self.state.global_step != 1 or self.method.get("lora", {}).get("dropout"):
            return
        with torch.no_grad():
            difference = (reply_logps(model, inputs) - logps).abs().max().item()
        if difference > 1e-3:
            raise StudyError(f"two passes over the same pairs differ by {difference:.3g} nats: dropout is on, or the device is at fault.")


def deliver(
    args: Namespace, trainer: Trainer, state: State, log: list[dict], left_out: list[dict], work: Work, ids: list[int], made_by: dict
) -> None:
    """Write what a training on pairs leaves: its log, the rows left out, its snapshots, its timing, and the policy, its adapter merged.

    ids: tokens on which merged weights and adapter are compared.
    """
    write_table(args.train_log, log, LOG_SCHEMA, made_by)
    write_table(args.quarantine, left_out, QUARANTINE_SCHEMA, made_by)
    if args.snapshots:
        write_table(args.snapshots, read_snapshots(state.folder, args.snapshot_steps or []), SNAPSHOTS, made_by)
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # merged and compared in float32
    speed = state.checkpointing() | throughput(trained.config, work, trainer.args.device.type, args.config["method"]["precision"])
    write_timing(args.timing, state.started, state.continuations, speed, pairs=work.examples, tokens=log[-1]["tokens"])
    if work.frozen:
        trained = merge(trained, ids, trainer.args.device)
    save_model(args.manifest, trained, trainer.processing_class, made_by, read_notice(args.parent))
