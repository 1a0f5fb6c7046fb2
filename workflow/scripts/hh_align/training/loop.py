"""What every training step shares: TRL arguments, one log row per optimizer step, checks on the way, checkpoints that outlive a kill."""

import gc
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch
from accelerate.utils import broadcast_object_list
from transformers import PrinterCallback, Trainer, TrainerCallback

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError
from hh_align.core.processes import is_first, processes
from hh_align.core.progress import Progress
from hh_align.core.state import State, latest_checkpoint, seal_checkpoint
from hh_align.models.compute import out_of_memory
from hh_align.models.folders import writing
from hh_align.models.precision import is_emulated
from hh_align.training.plan import Plan
from hh_align.training.throughput import matmul_peak
from hh_align.training.tracking import reporters

# TRL 1.16 still reads the name that transformers 5 renamed
warnings.filterwarnings("ignore", message=".*gradient_checkpointing` is deprecated", category=FutureWarning)

LOG_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("examples", pa.int64()),
        ("tokens", pa.int64()),
        ("cut_tokens", pa.int64()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("grad_norm", pa.float64()),
        ("margins", pa.float64()),
        ("accuracies", pa.float64()),
        ("chosen_logps", pa.float64()),
        ("rejected_logps", pa.float64()),
        ("chosen_rewards", pa.float64()),
        ("rejected_rewards", pa.float64()),
    ]
)
LOGGED = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "rewards/margins": "margins",
    "rewards/accuracies": "accuracies",
    "logps/chosen": "chosen_logps",
    "logps/rejected": "rejected_logps",
    "rewards/chosen": "chosen_rewards",
    "rewards/rejected": "rejected_rewards",
}


QUARANTINE_SCHEMA = pa.schema([("split", pa.string()), ("subset", pa.string()), ("row", pa.int64()), ("reason", pa.string())])


@dataclass
class Session:
    """What every training has, whatever it learns: its seed, `cpu` or `cuda`, seconds between checkpoints, and its state between kills."""

    seed: int
    device: str
    checkpoint_seconds: float
    state: State


class Fitted(NamedTuple):
    """A training that has ended: rows of train_log, the seconds of its steps with those of killed processes, and the FLOP/s of the fastest
    matrix product on its device, measured before the first step."""

    log: list[dict]
    seconds: float
    peak: float


def counted(items: int) -> dict[str, torch.Tensor]:
    """Entries of a micro-batch by which transformers' Trainer counts it as `items`.

    Its num_items_in_batch, by which a step's losses are divided, is the number of `shift_labels` that are not -100, summed over the
    step's micro-batches and all processes; it counts nothing in a batch without `labels`. No loss here reads the two.
    """
    return dict.fromkeys(("labels", "shift_labels"), torch.zeros(items, dtype=torch.long))


def trl_arguments(settings: dict, session: Session, planned: bool = True) -> dict:
    """Arguments that SFTConfig, DPOConfig and RewardConfig share. Everything that matters is explicit: TRL's defaults move.

    The dataset comes in the order of training with its epochs joined, hence one sequential pass. planned: its entries are
    micro-batches, else rows. Raises StudyError where the micro-batches of a step cannot be shared out to the processes.
    """
    batches = settings["batch_size"] // settings["micro_batch"]
    if batches % processes():
        raise StudyError(
            f"a step has {batches} micro-batches (batch_size {settings['batch_size']}, micro_batch {settings['micro_batch']}) "
            f"for {processes()} processes. Lower micro_batch, or compute.processes."
        )
    return {
        "output_dir": str(session.state.folder),
        "seed": session.seed,
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "per_device_train_batch_size": 1 if planned else settings["micro_batch"],
        "gradient_accumulation_steps": batches // processes(),
        "remove_unused_columns": not planned,
        "ddp_find_unused_parameters": False,
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": settings["schedule"],
        "warmup_steps": settings["warmup_steps"],
        "weight_decay": settings["weight_decay"],
        "max_grad_norm": settings["max_grad_norm"],
        "optim": "adamw_torch_fused",
        "bf16": settings["precision"] == "bfloat16",
        "gradient_checkpointing": False,
        "use_cpu": session.device == "cpu",
        "dataloader_pin_memory": session.device == "cuda",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "save_total_limit": 2,
        **reporters(session.state.folder),
        "disable_tqdm": True,
        "max_length": None,
    }


class Watch(TrainerCallback):
    """Stops at a loss that is no number, prints progress, and seals a checkpoint every `checkpoint_seconds` of the session."""

    def __init__(self, session: Session, plan: Plan, done: int, check_first: Callable[[dict], None]) -> None:
        """done: steps of the processes before this one."""
        self.session, self.names, self.steps, self.check_first = session, plan.names, plan.steps, check_first
        self.tokens = [sum(plan.sizes[row] for row in step) for step in plan.steps]
        self.progress = Progress(len(self.steps), "step", done=done)
        self.saved, self.stepped = time.monotonic(), 0.0

    def on_step_end(self, args, state, control, **kwargs):
        self.stepped = time.monotonic()
        due = [self.stepped - self.saved > self.session.checkpoint_seconds and state.global_step < state.max_steps]
        if processes() > 1:
            broadcast_object_list(due)
        control.should_save = control.should_save or due[0]

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" not in logs:
            return
        loss, norm = logs["loss"], logs.get("grad_norm", 0.0)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise StudyError(
                f"the loss is {loss} and the gradient's norm {norm} at step {state.global_step} (learning rate {logs['learning_rate']:g}, "
                f"rows {', '.join(self.names[row] for row in self.steps[state.global_step - 1])}). Lower learning_rate, or look at these rows."
            )
        if state.global_step == 1:
            self.check_first(logs)
        self.progress.add(1, self.tokens[state.global_step - 1], note=f"loss {logs['loss']:.4f}")

    def on_save(self, args, state, control, **kwargs):
        if processes() > 1:
            torch.distributed.barrier()
        if is_first():
            seal_checkpoint(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            self.session.state.checkpoints += 1
            self.session.state.checkpoint_seconds += time.monotonic() - self.stepped
            self.session.state.spend()
        self.saved = time.monotonic()


def tensor_sums(model: torch.nn.Module) -> dict[str, tuple[float, float]]:
    """Name -> (sum, sum of magnitudes) of each parameter: equal while it stays as it is."""
    return {
        name: (float(tensor.detach().sum(dtype=torch.double)), float(tensor.detach().abs().sum(dtype=torch.double)))
        for name, tensor in model.named_parameters()
    }


def check_moved(before: dict[str, tuple[float, float]], model: torch.nn.Module, may_stay: tuple[str, ...]) -> None:
    """Raise StudyError where a trainable parameter has not changed, or a frozen one has; may_stay: ends of names without a gradient."""
    after = tensor_sums(model)
    trainable = {name: tensor.requires_grad for name, tensor in model.named_parameters()}
    stayed = [name for name, moves in trainable.items() if moves and after[name] == before[name] and not name.endswith(may_stay)]
    if stayed:
        raise StudyError(f"training has not changed {', '.join(stayed[:5])} ({len(stayed)} parameters): the optimizer does not see them.")
    moved = [name for name, moves in trainable.items() if not moves and after[name] != before[name]]
    if moved:
        raise StudyError(f"training has changed {', '.join(moved[:5])} ({len(moved)} parameters), which are frozen.")


def fit(
    trainer: Trainer,
    session: Session,
    plan: Plan,
    check_first: Callable[[dict], None] = lambda logs: None,
    may_stay: tuple[str, ...] = ("k_proj.bias",),
) -> Fitted:
    """Train to the end, continuing from the newest valid checkpoint of the session's state.

    `check_first` sees the log of step 1; `may_stay` names parameters that the loss does not depend on (softmax takes no notice of a
    key's bias). Raises StudyError where a loss is no number, memory runs out, the disk takes no checkpoint, or a parameter has not
    moved as it should.
    """
    checkpoint = latest_checkpoint(session.state.folder)
    done = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    if checkpoint:
        say(f"continuing from step {done} of {len(plan.steps)}")
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Watch(session, plan, done, check_first))
    before = tensor_sums(trainer.model)
    gc.freeze()  # what is imported by now lives to the end: not looked at again
    try:
        precision = "bfloat16" if trainer.args.bf16 else "float32"
        is_emulated(precision, session.device)
        peak = matmul_peak(session.device, precision)
        started = time.monotonic()
        with writing(session.state.folder):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise StudyError(memory_advice(trainer, max(map(len, plan.steps)), max(plan.sizes))) from None
    seconds = time.monotonic() - started + session.state.earlier
    if len(plan.steps) > 2:  # before, an adapter's first factor has no gradient
        check_moved(before, trainer.model, may_stay)
    return Fitted(log_rows(trainer.state.log_history, plan), seconds, peak)


def memory_advice(trainer: Trainer, batch_size: int, longest: int) -> str:
    """What to lower, and to which value; longest: tokens of the longest example."""
    micro = math.ceil(batch_size / trainer.args.gradient_accumulation_steps / processes())
    where = f"out of memory at step {trainer.state.global_step + 1} with micro_batch {micro}: "
    if micro > 1:
        return where + f"set it to {micro // 2} (the same batch_size, so the same method, in half the memory)."
    return (
        where
        + f"lower max_length to {longest // 2} (the longest example has {longest} tokens), set precision to bfloat16, or take a machine with more memory."
    )


def log_rows(history: Sequence[dict], plan: Plan) -> list[dict]:
    """One row per optimizer step; examples, tokens and cut tokens are cumulative, an epoch is one pass over the rows."""
    logged = {entry["step"]: entry for entry in history if "loss" in entry}
    rows, examples, seen, cut = [], 0, 0, 0
    for number, step in enumerate(plan.steps, start=1):
        examples += len(step)
        seen += sum(plan.sizes[row] for row in step)
        cut += sum(plan.cuts[row] for row in step)
        counts = {"step": number, "epoch": examples / len(plan.sizes), "examples": examples, "tokens": seen, "cut_tokens": cut}
        rows.append(counts | {column: logged[number].get(name) for name, column in LOGGED.items()})
    return rows
