"""Remove what ended jobs of a study have left behind: state to continue from, temporary files. Files that were taken away are no longer missed. What is at work keeps its own."""

import fcntl
import re
import shutil
import socket
from pathlib import Path

import psutil

from hh_align.core.artifacts import say, write_json
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.receipts import receipts_of
from hh_align.core.state import replaced


def clean(folder: Path) -> tuple[int, int]:
    """(state folders, temporary files and folders) removed below `folder`, a study's."""
    states = files = 0
    for lock in sorted((folder / "state").rglob("*.lock")):
        with open(lock) as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{lock.with_suffix('')}: at work, kept")
                continue
            for state in (lock.with_suffix(""), replaced(lock.with_suffix(""))):
                if state.is_dir():
                    shutil.rmtree(state)
                    states += 1
            lock.unlink()
    for path in sorted(folder.rglob(".*.tmp")):
        if not (writer := re.search(r"\.(\d+)@(.+)\.tmp$", path.name)):
            continue
        if writer[2] != socket.gethostname():
            say(f"{path}: written on {writer[2]}, kept")
        elif not psutil.pid_exists(int(writer[1])):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            files += 1
    return states, files


def forget_missing(folder: Path) -> int:
    """Note in their receipts which files of a study are gone, so that `make verify` does not miss them; how many were noted. One that comes
    back is compared again."""
    noted = set()
    for receipt in receipts_of(folder):
        gone = {name for name in receipt.made() if not (folder / name).is_file()} - receipt.forgotten()
        if gone:
            write_json(receipt.path, receipt.content | {"forgotten": sorted(gone | receipt.forgotten())})
        noted |= gone
    return len(noted)


def clean_study(folder: Path) -> None:
    """Remove what is left over of a study, note what is gone, and say how much it was. Raises StudyError where there is no such folder."""
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such study.")
    states, files = clean(folder)
    gone = forget_missing(folder)
    say(f"{folder}: removed: state folders {states}, temporary files {files}; noted as gone: files {gone}")


def main() -> None:
    clean_study(parse(__doc__, folder="path").folder)


if __name__ == "__main__":
    run(main)
