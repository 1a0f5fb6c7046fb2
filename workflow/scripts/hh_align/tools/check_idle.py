"""Whether something of a study is at work in a folder: its Snakemake, or a job that outlived it."""

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil

from hh_align.core.errors import StudyError
from hh_align.tools.runs import RECORD, is_alive, read_run

WRITTEN = ("--output", "--manifest", "--state", "--timing", "--train-log")
"""Options of a step that name what it writes."""


def at_work(folder: Path) -> list[tuple[int, str, str | None]]:
    """(pid, what it runs, study) of every other process with this working directory that is a Snakemake or runs a step of the workflow; the
    study is None where a Snakemake has not yet said whose run it is."""
    mine = {process.pid for process in psutil.Process().parents()} | {os.getpid()}
    runs = {run["pid"]: path.parent.name for path in folder.glob(f"results/*/{RECORD}") if is_alive(run := read_run(path.parent))}
    found = []
    for process, words in processes_in(folder):
        names = [Path(word).name for word in words[:4] if word.endswith("snakemake") or is_step(word)]
        if names and process.pid not in mine:
            found.append((process.pid, names[0], study_of(process, words, runs)))
    return sorted(found)


def is_step(word: str) -> bool:
    """Whether a word of a command line names a step: `python -m hh_align.cli`, the command, waits for Snakemake or reads."""
    return word.startswith("hh_align.") and word != "hh_align.cli"


def processes_in(folder: Path) -> Iterator[tuple[psutil.Process, list[str]]]:
    """(process, its command line) of all with this working directory."""
    for process in psutil.process_iter(["pid", "cmdline"]):
        try:
            if process.info["cmdline"] and Path(process.cwd()) == folder:
                yield process, process.info["cmdline"]
        except psutil.Error:
            continue


def study_of(process: psutil.Process, words: list[str], runs: dict[int, str]) -> str | None:
    """The study of a process: that of its run, or else of what it writes, or is asked for."""
    try:
        line = [process.pid, *(parent.pid for parent in process.parents())]
    except psutil.Error:
        line = [process.pid]
    if known := next((runs[pid] for pid in line if pid in runs), None):
        return known
    written = [value for option, value in pairwise(words) if option in WRITTEN] or words
    named = [found[1] for word in written if (found := re.search(r"(?:^|/)results/(?!hub/)([^/]+)/", word))]
    return named[0] if named else None


def require_idle(study: str, folder: Path) -> list[int]:
    """Snakemakes here that have not yet said whose run they are. Raises StudyError while something of the study is at work in `folder`."""
    busy = at_work(folder)
    if own := [(pid, name) for pid, name, of in busy if of == study]:
        names = ", ".join(f"{name} (process {pid})" for pid, name in own)
        raise StudyError(f"still at work on {study}: {names}. Wait for it, or end it (kill {' '.join(str(pid) for pid, _ in own)}).")
    return [pid for pid, _, of in busy if of is None]
