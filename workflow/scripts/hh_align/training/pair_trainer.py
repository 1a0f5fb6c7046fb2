"""What the trainers on pairs share: a micro-batch of packed pairs, the log of their rewards, and the checks of the first steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate.utils import gather_object

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError
from hh_align.core.processes import processes
from hh_align.models.packing import Batch, Tree, pack, reply_logps
from hh_align.training.loop import counted

ROUNDING = {"float32": 1e-4, "bfloat16": 0.2}
"""Nats that rounding may move the log-probability of a reply of one token; of n tokens, its square root of n times as much. Measured on
replies of 8 to 190 tokens by OPT and Llama: at most 1.5e-5 in float32, 0.18 in bfloat16, whatever n."""
STEEPEST = 8
"""A loss may be off by this many times as much, as a share of itself, as the implicit rewards are from 0: at equal policies ipo's falls by 4
of itself per unit of margin, which is the difference of two rewards. Of the others only robust, with label_smoothing above 0.41, is steeper."""
LEAST = 0.1
"""The share by which a loss may be off where STEEPEST allows more, unless the rewards themselves may be off by more."""
REWARDS = ("chosen", "rejected", "margins", "distance")


@dataclass
class PairCollator:
    """Makes of a row of the trainer's dataset, a micro-batch of pairs by number, what the losses read; an empty one reads `idle`.

    trees: those that each pair is packed as; references: of each pair log ref of (chosen, rejected), none where it runs in the loop.
    """

    trees: Sequence[list[Tree]]
    references: Sequence[Sequence[float] | None]
    idle: Tree
    multiple: int

    def __call__(self, rows: list[dict]) -> dict:
        """rows: one, with `pairs`, the numbers of pairs -> their batch, counted by the pairs, and what else the row says as it is."""
        (row,) = rows
        return {**row, **self.batch(row["pairs"]), **counted(len(row["pairs"]))}

    def batch(self, pairs: Sequence[int]) -> dict:
        """`packed`, the replies in the order (chosen, rejected) of each pair, and `references`, shape (replies,), where there are some."""
        trees = [tree for pair in pairs for tree in self.trees[pair]]
        batch = {"packed": pack(trees or [self.idle], self.multiple)}
        if self.references:
            batch["references"] = torch.tensor([logp for pair in pairs for logp in self.references[pair]])
        return batch


def check_first_rewards(method: str, logs: dict, loss: float, tolerance: float, names: tuple[str, ...] = REWARDS) -> None:
    """Before the first update policy and reference are equal: implicit rewards (`names`) are 0 within `tolerance`, and the loss is `loss`.
    Raises StudyError."""
    rewards = {name: logs[f"rewards/{name}"] for name in names}
    say(f"first implicit rewards {rewards}, loss {logs['loss']:.6f} (expected {loss:.6f})")
    off = min(STEEPEST * tolerance, max(LEAST, tolerance)) + 1e-6
    if abs(logs["loss"] / loss - 1) > off or max(map(abs, rewards.values())) > tolerance:
        raise StudyError(
            f"the first {method} loss is {logs['loss']:.6f}, not {loss:.6f}, with implicit rewards {rewards} (tolerance {tolerance:.2g}): "
            "policy and reference differ before the first update. Is dropout on, or do the references belong to other weights?"
        )


class OnPairs:
    """Put before a TRL trainer with references: packed pairs, as PairCollator makes them, in the planned order. `method` is the config's
    entry."""

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

        ratios: log(pi/ref), shape (pairs, 2); logps: log pi, shape (replies,); both of (chosen, rejected) of each pair in turn.
        """
        margins = ratios[:, 0] - ratios[:, 1]
        with torch.no_grad():
            rewards = self.method["beta"] * torch.stack([ratios[:, 0], ratios[:, 1], margins])
            farthest = rewards[:2].abs().amax(0, keepdim=True)
            logged = torch.cat([rewards, (margins > 0)[None], logps.view(-1, 2).T, farthest]).T.tolist()
        if processes() > 1:
            logged = gather_object(logged)
        names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")
        for name, values in zip((*names, "rewards/distance"), zip(*logged, strict=True), strict=False):
            self._metrics["train"][name] += values

    def check_repeatable(self, model, packed: Batch, logps: torch.Tensor) -> None:
        """After the first update, raise StudyError where a second pass in training mode gives other log-probabilities than `logps`, shape
        (replies,): some dropout is still on that the config does not ask for. The passes share their batch and so, in either precision, all
        rounding but that of sums in another order."""
        if self.state.global_step != 1 or self.method.get("lora", {}).get("dropout"):
            return
        with torch.no_grad():
            difference = (reply_logps(model, packed) - logps).abs()
        if (difference > ROUNDING["float32"] * packed.reply_tokens.clamp(min=1).sqrt()).any():
            raise StudyError(
                f"two passes over the same pairs differ by {difference.max():.3g} nats: dropout is on, or the device is at fault."
            )
