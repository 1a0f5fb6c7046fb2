"""Say whether something is at work in this folder: a Snakemake, or a job that outlived its own."""

import os
from pathlib import Path

import psutil

from hh_align.core.artifacts import say
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError


def at_work(folder: Path) -> list[tuple[int, str]]:
    """(pid, what it runs) of every other process with this working directory that is a Snakemake or runs a step of the workflow."""
    mine = {process.pid for process in psutil.Process().parents()} | {os.getpid()}
    busy = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        names = [Path(word).name for word in words[:4] if word.endswith("snakemake") or word.startswith("hh_align.")]
        try:
            if names and process.pid not in mine and Path(process.cwd()) == folder:
                busy.append((process.pid, names[0]))
        except psutil.Error:
            continue
    return sorted(busy)


def main() -> None:
    parse(__doc__)
    if busy := at_work(Path.cwd()):
        names = ", ".join(f"{name} (process {pid})" for pid, name in busy)
        raise StudyError(f"still at work in this folder: {names}. Wait for it, or end it (kill {' '.join(str(pid) for pid, _ in busy)}).")
    say("nothing is at work in this folder")


if __name__ == "__main__":
    run(main)
