"""State of a long step between kills: a folder beside its outputs with a fingerprint, a lock and sealed checkpoints."""

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hh_align.core.artifacts import say, sha256, write_json, write_manifest
from hh_align.core.errors import StudyError
from hh_align.core.processes import is_first, processes


def fingerprint(made_by: dict, code: str) -> str:
    """Hash of what a step's result depends on: its provenance (config, inputs, versions, device), its code, and how many processes share it."""
    return hashlib.sha256(json.dumps([made_by, code, processes()], sort_keys=True).encode()).hexdigest()


class State:
    """A step's folder between kills, and what the step has cost with the processes that were killed.

    earlier: seconds of the processes before this one; started: time.monotonic() when the step would have begun without interruptions;
    tokens: read and written so far; checkpoints and checkpoint_seconds: how many were sealed, and what that took.
    """

    def __init__(self, folder: Path, started: float) -> None:
        self.folder = folder
        recorded = read_json(folder / "spent.json")
        spent = {"seconds": 0.0, "tokens": 0, "continuations": -1, "checkpoints": 0, "checkpoint_seconds": 0.0} | (
            recorded if isinstance(recorded, dict) else {}
        )
        self.earlier, self.tokens = spent["seconds"], spent["tokens"]
        self.started = started - self.earlier
        self.continuations = spent["continuations"] + 1
        self.checkpoints, self.checkpoint_seconds = spent["checkpoints"], spent["checkpoint_seconds"]

    def spend(self, tokens: int = 0) -> None:
        """Note the seconds until now, and more tokens. State that this one replaces goes when this one has taken longer."""
        self.tokens += tokens
        self.note()
        kept = replaced(self.folder)
        if kept.exists() and seconds_of(self.folder) > seconds_of(kept):
            shutil.rmtree(kept)

    def note(self) -> None:
        """Write down what the step has cost until now."""
        counters = ("tokens", "continuations", "checkpoints", "checkpoint_seconds")
        seconds = time.monotonic() - self.started
        write_json(self.folder / "spent.json", {"seconds": seconds} | {name: getattr(self, name) for name in counters})

    def checkpointing(self) -> dict[str, float]:
        """Entries for a step's timing: its checkpoints, and the seconds from the end of a step until its checkpoint was sealed."""
        return {"checkpoints": self.checkpoints, "checkpoint_seconds_spent": round(self.checkpoint_seconds, 3)}


def read_json(path: Path) -> object:
    """A JSON file's value; None where there is no file or no JSON in it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def replaced(folder: Path) -> Path:
    """Where the state lies that another config, input or code has left in this folder."""
    return folder.with_name(folder.name + ".replaced")


def seconds_of(folder: Path) -> float:
    """What a step's state has cost so far."""
    spent = read_json(folder / "spent.json")
    return float(spent.get("seconds", 0.0)) if isinstance(spent, dict) else 0.0


def take_over(folder: Path, mark: str) -> None:
    """Make the folder this fingerprint's: with its own state, where that was replaced and kept, else without any.

    State of another fingerprint is kept beside it until this one is further; of three the one that has taken longest is kept. Damaged state goes.
    """
    seal, kept = folder / "fingerprint.json", replaced(folder)
    found = read_json(seal)
    if found == mark:
        return
    if read_json(kept / "fingerprint.json") == mark:
        shutil.rmtree(folder)
        kept.rename(folder)
        return say(f"state in {folder}: that of this config, input and code was kept, and goes on")
    if isinstance(found, str) and not kept.exists():
        folder.rename(kept)
        folder.mkdir()
        say(
            f"state in {folder} belongs to another config, input, code, library version or number of processes: kept as {kept.name} until this one is further"
        )
    elif any(folder.iterdir()):
        say(f"state in {folder} is damaged, or less far than what {kept.name} keeps: wiped")
        shutil.rmtree(folder)
        folder.mkdir()
    write_json(seal, mark)


@contextmanager
def state_folder(folder: Path, mark: str, started: float) -> Iterator[State]:
    """The state of a step that began at `started` (time.monotonic): a folder that survives a kill and is removed when the step is done.

    What another fingerprint has left there is kept until this one is further (take_over). Raises StudyError while another process works there. Of the processes that share
    a training the first keeps it, the others wait until it is ready.
    """
    if not is_first():
        wait_for(folder / "fingerprint.json", mark)
        yield State(folder, started)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(f"{folder}: another process is at work on this step. Wait for it or end it, then run again.") from None
        take_over(folder, mark)
        state = State(folder, started)
        state.note()
        yield state
        shutil.rmtree(folder)
        shutil.rmtree(replaced(folder), ignore_errors=True)


def wait_for(seal: Path, mark: str, seconds: float = 120.0) -> None:
    """Return when the folder holds this training's state. Raises StudyError where that takes longer than `seconds`."""
    until = time.monotonic() + seconds
    while read_json(seal) != mark:
        if time.monotonic() > until:
            raise StudyError(f"{seal.parent}: the first process has not made it ready within {seconds:.0f} s. Run the same command again.")
        time.sleep(0.1)


def seal_checkpoint(checkpoint: Path) -> None:
    """Write the checkpoint's manifest: from now on it is complete."""
    write_manifest(checkpoint, [path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if path.is_file()])


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose files are those that its manifest names; newer ones without are removed, which the log states."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1])):
        try:
            sums = json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))
            if all(sha256(checkpoint / name) == checksum for name, checksum in sums.items()):
                return checkpoint
        except (OSError, ValueError, AttributeError):
            pass
        say(f"{checkpoint.name} is incomplete or damaged: removed")
        shutil.rmtree(checkpoint)
    return None
