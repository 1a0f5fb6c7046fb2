"""State of a long step between kills: a folder beside its outputs with a fingerprint, a lock and sealed checkpoints."""

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.artifacts import say, sha256, write_json, write_manifest
from study.command import StudyError
from study.processes import is_first


def fingerprint(made_by: dict, code: str) -> str:
    """Hash of what a step's result depends on: its provenance (config, inputs, versions, device) and its code."""
    return hashlib.sha256(json.dumps([made_by, code], sort_keys=True).encode()).hexdigest()


@contextmanager
def state_folder(folder: Path, mark: str) -> Iterator[Path]:
    """A folder that survives a kill and is removed when the step is done.

    What another fingerprint left behind is wiped. Raises StudyError while another process works there. Of the processes that share
    a training the first keeps it, the others wait until it is ready.
    """
    if not is_first():
        wait_for(folder / "fingerprint.json", mark)
        yield folder
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(f"{folder}: another process is at work on this step. Wait for it or end it, then run again.") from None
        seal = folder / "fingerprint.json"
        found = json.loads(seal.read_text()) if seal.is_file() else None
        if found != mark:
            if any(folder.iterdir()):
                say(f"state in {folder} belongs to another config, input, code or library version: wiped")
            shutil.rmtree(folder)
            folder.mkdir()
            write_json(seal, mark)
        yield folder
        shutil.rmtree(folder)


def wait_for(seal: Path, mark: str, seconds: float = 120.0) -> None:
    """Return when the folder is this training's. Raises StudyError where that does not happen in time."""
    until = time.monotonic() + seconds
    while not (seal.is_file() and json.loads(seal.read_text()) == mark):
        if time.monotonic() > until:
            raise StudyError(f"{seal.parent}: the first process has not made it ready within {seconds:.0f} s.")
        time.sleep(0.1)


def seal_checkpoint(checkpoint: Path) -> None:
    """Write the checkpoint's manifest: from now on it is complete."""
    write_manifest(checkpoint, [path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if path.is_file()])


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose files are those that its manifest names; newer ones without are removed, which the log states."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1])):
        try:
            sums = json.loads((checkpoint / "manifest.json").read_text())
            if all(sha256(checkpoint / name) == found for name, found in sums.items()):
                return checkpoint
        except (OSError, ValueError):
            pass
        say(f"{checkpoint.name} is incomplete or damaged: removed")
        shutil.rmtree(checkpoint)
    return None
