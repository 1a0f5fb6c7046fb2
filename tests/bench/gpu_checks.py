"""What is checked of a device: its numbers against the CPU's, its bytes against its own of a second run, and a training that goes on after a kill."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_study import DPO, SFT, Inputs, Run, at_step_end

from hh_align.core.artifacts import read_table, sha256
from hh_align.training.pair_trainer import ROUNDING


@dataclass(frozen=True)
class Check:
    """What is measured, and the most that is allowed of it in each precision, with the reason."""

    measured: str
    float32: float
    bfloat16: float
    why: str


ORDER = "sums in another order, in float64 on a CPU, move it by {}; attention in bfloat16, as on a GPU, by {}"
"""Why a limit is what it is: some ten times what two sound ways of computing differ by, measured on these models."""
CHECKS = {
    "sft loss": Check("largest difference of a step's loss from the CPU's, in nats per token", 5e-5, 2e-2, ORDER.format("1e-6", "1e-3")),
    "reference": Check(
        "largest difference of a reply's log-probability from the CPU's, in nats, by the root of its tokens", ROUNDING["float32"], ROUNDING["bfloat16"],
        "what a training's first step allows",
    ),
    "dpo loss": Check("largest difference of a step's loss from the CPU's", 5e-5, 5e-2, ORDER.format("2e-6", "6e-3")),
    "judge loss": Check("largest difference of a step's loss from the CPU's", 5e-5, 2e-2, "without oneDNN's kernels a CPU moves it by 7e-7 and 1e-3"),
    "text": Check(
        "of the texts that differ from the CPU's the largest distance of the two best logits, where it is smallest", 1e-4, 1e-1,
        "a near tie may be decided either way; bfloat16 holds logits of 8 and more in steps of 0.06",
    ),
    "reward": Check(
        "largest difference of a reward from the CPU's", 5e-5, 2e-2, "without oneDNN's kernels a CPU moves it by 2e-7 and 1e-3",
    ),
    "bytes": Check("files that a second run on the device makes otherwise", 0, 0, "deterministic mode: nothing may differ"),
    "resume": Check("files that a training makes otherwise which was killed and went on", 0, 0, "what every training promises"),
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One model (`kind`) in one precision: the CPU's run and two runs of the device."""

    kind: str
    precision: str
    inputs: Inputs
    cpu: Run
    first: Run
    second: Run

    @property
    def runs(self) -> tuple[Run, Run, Run]:
        return self.cpu, self.first, self.second

    def row(self, check: str, measured: float) -> dict:
        """A row of the result."""
        limit = getattr(CHECKS[check], self.precision)
        return {**self.name, "check": check, "measured": measured, "limit": limit, "ok": measured <= limit}

    def failed(self, part: str, error: Exception) -> dict:
        """A row for a part that came to no end."""
        return {**self.name, "check": part, "ok": False, "failed": f"{type(error).__name__}: {error}"[:1000]}

    @property
    def name(self) -> dict:
        return {"model": self.kind, "precision": self.precision}

    def same_bytes(self, *names: str) -> dict:
        """Of files of the device's two runs."""
        return self.row("bytes", differing(self.first, self.second, *names))


def differing(one: Run, other: Run, *names: str) -> int:
    """How many of these files are not the same in both runs."""
    return sum(sha256(one.path(name)) != sha256(other.path(name)) for name in names)


def column(path: Path, name: str) -> list:
    """Of a table."""
    return read_table(path, [name])[name].to_pylist()


def farthest(one: Path, other: Path, name: str, per: Sequence[float] | None = None) -> float:
    """The largest difference of a column in two tables; `per`: what each row's is divided by."""
    ours, theirs = column(one, name), column(other, name)
    return max(abs(a - b) / by for a, b, by in zip(ours, theirs, per or [1.0] * len(ours), strict=True))


# --- parts


def sft(trial: Trial) -> Iterator[dict]:
    for run in trial.runs:
        run.train("sft", SFT | {"precision": trial.precision}, trial.inputs.model(trial.kind))
    logs = [run.path("sft/log.parquet") for run in (trial.cpu, trial.first)]
    yield trial.row("sft loss", farthest(*logs, "loss"))
    yield trial.same_bytes("sft/log.parquet", "sft/manifest.json")


def dpo(trial: Trial) -> Iterator[dict]:
    """The references of the base model, and DPO from it; then DPO again, killed half-way."""
    method, parent = DPO | {"precision": trial.precision}, trial.inputs.model(trial.kind)
    for run in trial.runs:
        run.train("dpo", method, parent, references=run.refer("references", trial.precision, parent))
    tables, logs = ([run.path(name) for run in (trial.cpu, trial.first)] for name in ("references.parquet", "dpo/log.parquet"))
    roots = {side: [math.sqrt(tokens) for tokens in column(tables[0], f"{side}_tokens")] for side in SIDES}
    yield trial.row("reference", max(farthest(*tables, f"ref_{side}_logps", roots[side]) for side in SIDES))
    yield trial.row("dpo loss", farthest(*logs, "loss"))
    yield trial.same_bytes("references.parquet", "dpo/log.parquet", "dpo/manifest.json")
    again = {"references": trial.first.path("references.parquet"), "checkpoint_seconds": 0}
    yield resumed(trial, "dpo", lambda run: run.train("dpo", method, parent, **again))


def responses(trial: Trial) -> Iterator[dict]:
    """Of the policy that the CPU has trained, and the judge's rewards of the texts that the CPU has written."""
    policy = trial.cpu.path("sft/manifest.json")
    texts = [run.respond("responses", trial.precision, policy) for run in trial.runs]
    rewards = [run.score("rewards", trial.precision, texts[0]) for run in trial.runs]
    gaps = zip(column(texts[0], "response"), column(texts[1], "response"), column(texts[0], "top2_gap_min"), strict=True)
    yield trial.row("text", max((gap for ours, theirs, gap in gaps if ours != theirs), default=0.0))
    yield trial.row("reward", farthest(*rewards[:2], "reward"))
    yield trial.same_bytes("responses.parquet", "rewards.parquet")


def dropout(trial: Trial) -> Iterator[dict]:
    """SFT with dropout, whose masks no CPU draws as a GPU does: twice, and killed half-way."""
    method, parent = SFT | {"precision": trial.precision}, trial.inputs.model("dropout")
    for run in trial.runs[1:]:
        run.train("sft", method, parent)
    yield trial.same_bytes("sft/log.parquet", "sft/manifest.json")
    yield resumed(trial, "sft", lambda run: run.train("sft", method, parent, checkpoint_seconds=0))


def judge(trial: Trial) -> Iterator[dict]:
    """A judge from nothing."""
    for run in trial.runs:
        run.train_judge("judge", trial.precision)
    yield trial.row("judge loss", farthest(trial.cpu.path("judge/log.parquet"), trial.first.path("judge/log.parquet"), "loss"))
    yield trial.same_bytes("judge/log.parquet", "judge/manifest.json")


SIDES = ("chosen", "rejected")
PARTS = {"model": (sft, dpo, responses), "dropout": (dropout,), "judge": (judge,)}


class Killed(BaseException):
    """What ends a training in the middle."""


def resumed(trial: Trial, name: str, train: Callable[[Run], None]) -> dict:
    """Of a training that is killed when it has made half its steps, and called again: its log and its weights, against the undisturbed one's."""
    half = len(column(trial.first.path(f"{name}/log.parquet"), "step")) // 2
    again = Run(trial.inputs, trial.first.folder.with_name("killed"), trial.first.device)

    def die(step: int) -> None:
        if step == half:
            raise Killed

    try:
        with at_step_end(die):
            train(again)
    except Killed:
        if not list((again.folder / "state").glob(f"{name}/checkpoint-*/manifest.json")):
            raise RuntimeError(f"the training that was killed at step {half} has left no checkpoint") from None
    train(again)
    return trial.row("resume", differing(trial.first, again, f"{name}/log.parquet", f"{name}/manifest.json"))
