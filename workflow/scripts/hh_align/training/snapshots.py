"""Snapshots: adapters saved at chosen steps of a training, beside its checkpoints, so that a resumed training has them too."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import torch
from peft import get_peft_model_state_dict
from transformers import Trainer, TrainerCallback

from hh_align.core.artifacts import read_table, say, write_table
from hh_align.core.errors import StudyError
from hh_align.core.processes import is_first, processes

SNAPSHOTS = pa.schema([("step", pa.int64()), ("tensor", pa.string()), ("shape", pa.list_(pa.int64())), ("values", pa.binary())])


class SnapshotWriter(TrainerCallback):
    """Writes the adapter's weights to `folder` after each of `steps`."""

    def __init__(self, steps: Sequence[int], folder: Path) -> None:
        self.steps, self.folder = steps, folder

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step in self.steps and is_first():
            rows = [
                {"step": state.global_step, "tensor": name, "shape": list(tensor.shape), "values": tensor.cpu().float().numpy().tobytes()}
                for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()
            ]
            write_table(self.folder / f"snapshot-{state.global_step}.parquet", rows, SNAPSHOTS, {})


def save_snapshots(trainer: Trainer, steps: Sequence[int], last: int, folder: Path) -> None:
    """Have `trainer` save its adapter in its state's `folder` after these steps of `last`.

    A checkpoint whose snapshots are damaged or gone is removed: the training continues from one before them. Raises StudyError for a
    step that the training does not have.
    """
    if beyond := [step for step in steps if step > last]:
        raise StudyError(f"snapshots asks for step {beyond[0]}, but this training has {last} steps. Lower it, or take it out.")
    for step in steps if is_first() else ():
        late = [path for path in folder.glob("checkpoint-*") if int(path.name.split("-")[1]) >= step]
        if late and not intact(folder / f"snapshot-{step}.parquet"):
            say(f"the snapshot of step {step} is damaged or gone: {', '.join(sorted(path.name for path in late))} removed")
            for path in late:
                shutil.rmtree(path)
    if processes() > 1:
        torch.distributed.barrier()
    trainer.add_callback(SnapshotWriter(steps, folder))


def intact(path: Path) -> bool:
    try:
        return len(read_table(path, SNAPSHOTS)) > 0
    except StudyError:
        return False


def read_snapshots(folder: Path, steps: Sequence[int]) -> pa.Table:
    """What was saved there, in the order of the steps."""
    tables = [read_table(folder / f"snapshot-{step}.parquet", SNAPSHOTS) for step in steps]
    return pa.concat_tables([SNAPSHOTS.empty_table(), *tables])


def adapter_at(path: Path, step: int) -> dict[str, torch.Tensor]:
    """The adapter's weights after a step. Raises StudyError where the artifact does not hold them."""
    rows = [row for row in read_table(path, SNAPSHOTS).to_pylist() if row["step"] == step]
    if not rows:
        raise StudyError(f"{path}: it holds no adapter of step {step}. Delete the file; the next run rebuilds it.")
    return {row["tensor"]: torch.frombuffer(bytearray(row["values"]), dtype=torch.float32).reshape(row["shape"]) for row in rows}
