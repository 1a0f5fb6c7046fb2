"""The faults: what each does to a job, a run or a study, and how often it must have struck."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil
from small_study import Study

QUIET = 120.0  # seconds after a fault in which a run should end
TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)*?[ \t].*workflow/scripts/.*\n(?:[ \t].*\n)*(.*)")

Pair = tuple[str, str]  # rule, kind of fault


class Lost(Exception):
    """The study cannot be brought to its end, or something is not as promised."""


@dataclass
class Pass:
    """One making of the study under faults."""

    study: Study
    stream: random.Random
    harmed: set[str] = field(default_factory=set)
    tried: list[Pair] = field(default_factory=list)
    hung: list[Pair] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def harm(self, path: Path, *ways: str) -> None:
        """Cut a file short, flip one of its bits, or remove it."""
        content, way = bytearray(path.read_bytes()), self.stream.choice(ways)
        if way == "deleted" or not content:
            path.unlink()
        elif way == "truncated":
            path.write_bytes(content[: self.stream.randrange(len(content))])
        else:
            content[self.stream.randrange(len(content))] ^= 1 << self.stream.randrange(8)
            path.write_bytes(content)


class Target(NamedTuple):
    """Where a fault strikes: a job of a rule, in a run."""

    run: subprocess.Popen
    job: psutil.Process
    pair: Pair


def ended(at: Pass, hit: Target, run: subprocess.Popen | None = None) -> int:
    """The exit status of a run once it has ended; a hung one (an interrupted Snakemake can wait forever) is counted and killed, as its user would."""
    run = run or hit.run
    try:
        return run.wait(QUIET)
    except subprocess.TimeoutExpired:
        at.hung.append(hit.pair)
        os.killpg(run.pid, signal.SIGKILL)
        return run.wait()


# --- each fault says whether it did harm


def kill_job(at: Pass, hit: Target) -> bool:
    """kill -9 of a job."""
    try:
        hit.job.kill()
    except psutil.NoSuchProcess:
        return False
    return ended(at, hit) != 0


def kill_all(at: Pass, hit: Target) -> bool:
    """kill -9 of Snakemake with its jobs."""
    with suppress(psutil.NoSuchProcess):
        at_work = hit.job.is_running() and hit.job.status() != psutil.STATUS_ZOMBIE and hit.run.poll() is None
        if at_work:
            os.killpg(hit.run.pid, signal.SIGKILL)
            hit.run.wait()
        return at_work
    return False


def terminate(at: Pass, hit: Target) -> bool:
    """SIGTERM to Snakemake."""
    for process in at.study.snakemake():
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    return ended(at, hit) != 0


def interrupt_twice(at: Pass, hit: Target) -> bool:
    """Ctrl-C twice."""
    for _ in range(2):
        if hit.run.poll() is None:
            os.killpg(hit.run.pid, signal.SIGINT)
            time.sleep(0.5)
    return ended(at, hit) != 0


def damage_state(at: Pass, hit: Target) -> bool:
    """kill -9 once the step keeps state, and a file of it truncated, flipped or deleted."""
    state = at.study.results / "state" / hit.pair[0]
    while hit.run.poll() is None and hit.job.is_running() and not list(state.rglob("fingerprint.json")):
        time.sleep(0.01)
    if not kill_all(at, hit):
        return False
    files = sorted(path for path in state.rglob("*") if path.is_file() and path.suffix != ".lock")
    if files:
        at.harm(at.stream.choice(files), "truncated", "flipped", "deleted")
    return bool(files)


def damage_artifact(at: Pass, hit: Target) -> bool:
    """kill -9, and an artifact truncated or deleted; of weights, which have a checksum, also a bit flipped."""
    if not kill_all(at, hit):
        return False
    files = [name for name in at.study.artifacts() if name.endswith((".parquet", ".safetensors"))]
    if files:
        path, weights = at.study.results / (name := at.stream.choice(files)), name.endswith(".safetensors")
        at.harm(path, "truncated", "deleted", *["flipped"] * weights)
        at.harmed |= {name, *[(path.parent / "manifest.json").relative_to(at.study.results).as_posix()] * weights}
    return bool(files)


def set_clock_back(at: Pass, hit: Target) -> bool:
    """kill -9, and the dates of half of all files a day back."""
    if not kill_all(at, hit):
        return False
    for path in sorted(at.study.results.rglob("*")):
        if path.is_file() and at.stream.random() < 0.5:
            os.utime(path, (time.time() - 86_400,) * 2)
    return True


def second_snakemake(at: Pass, hit: Target) -> bool:
    """A second `make resume` and a second Snakemake on the same study: both must refuse, and leave the first at work."""
    for command in ((), (".venv/bin/snakemake", "--cores", "2", "--configfile", "config/small.yaml")):
        second = at.study.start(*command)
        while second.poll() is None and hit.run.poll() is None:
            time.sleep(0.05)
        if hit.run.poll() is not None:  # nothing keeps the second from work any more
            with suppress(ProcessLookupError):
                os.killpg(second.pid, signal.SIGKILL)
            second.wait()
            return False
        if second.returncode == 0:
            raise Lost(f"{' '.join(command) or 'make resume'} ran beside the first")
    return True


def fill_disk(at: Pass, hit: Target) -> bool:
    """No space left while the step writes: on the results' own disk, else none of the job's files may grow."""
    since = at.study.log.stat().st_size
    if at.study.mounted:
        until = time.monotonic() + QUIET
        while hit.run.poll() is None and time.monotonic() < until:
            at.study.fill()
            time.sleep(0.05)
    else:
        with suppress(psutil.NoSuchProcess):
            hit.job.rlimit(psutil.RLIMIT_FSIZE, (0, 0))  # Python ignores SIGXFSZ: a write fails
    ended(at, hit)
    (at.study.folder / "results/ballast").unlink(missing_ok=True)
    at.lost += bare_tracebacks(at.study.said(since))
    return hit.pair[0] in re.findall(r"^Error in rule (\w+):", at.study.said(since), re.MULTILINE)


def make_read_only(at: Pass, hit: Target) -> bool:
    """kill -9, and a run on a read-only results folder."""
    if not kill_all(at, hit):
        return False
    since = at.study.log.stat().st_size
    at.study.protect(True)
    status = ended(at, hit, at.study.start())
    at.study.protect(False)
    said = at.study.said(since)
    if "Traceback" in said or not re.search("results/ is read-only|Write-protected output files", said):
        at.lost.append("a read-only folder without one message")
    return status != 0


def bare_tracebacks(said: str) -> list[str]:
    """What ended in one of the project's scripts as a traceback, where a message is due."""
    return [f"a traceback instead of a message: {last.strip()}" for last in TRACEBACK.findall(said)]


class Fault(NamedTuple):
    """A kind of fault: what it does, how often it is planned, how often it must have struck (None: once in each step that it concerns)."""

    strike: Callable[[Pass, Target], bool]
    planned: int | None
    needed: int | None


FAULTS = {
    "kill -9 of a job": Fault(kill_job, 24, 20),
    "kill -9 of Snakemake with its jobs": Fault(kill_all, 24, 20),
    "SIGTERM": Fault(terminate, 6, 4),
    "SIGINT twice": Fault(interrupt_twice, 6, 4),
    "state damaged": Fault(damage_state, None, None),
    "artifact damaged": Fault(damage_artifact, 9, 6),
    "dates set back": Fault(set_clock_back, 6, 4),
    "two Snakemakes": Fault(second_snakemake, 6, 4),
    "disk full": Fault(fill_disk, None, None),
    "read-only results": Fault(make_read_only, 6, 4),
}
