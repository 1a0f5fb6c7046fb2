"""What logs and benchmarks of a study say of its jobs: the last line of progress, the last losses, the seconds."""

import re
import time
from pathlib import Path

from hh_align.tools.console import cause, last_lines
from hh_align.tools.expected import seconds_in
from hh_align.tools.planned import Job

LOSSES = 3
QUIET = 600
"""Seconds of silence after which a job of another machine's run is not taken for one at work."""
PROGRESS = re.compile(r"\d[\d,]*/\d[\d,]*")


def last_progress(log: Path) -> str:
    """The last line that counts something, `step 119/3,750, …`, else the last line."""
    lines = last_lines(log)
    return next((line for line in reversed(lines) if PROGRESS.search(line)), lines[-1] if lines else "no line yet")


def last_losses(log: Path) -> list[str]:
    """The last losses that a training has said, the latest at the end; none of what is no training."""
    return [found[1] for line in last_lines(log) if PROGRESS.search(line) and (found := re.search(r"\bloss (-?[\d.]+)", line))][-LOSSES:]


def failure(log: Path) -> str:
    """Why a step has failed, by its log; empty where that holds no error."""
    return cause(log)[-1] if any(line.startswith(("error: ", "Traceback ")) for line in last_lines(log)) else ""


def silence(log: Path) -> str:
    """How long ago a log was written to."""
    seconds = max(0, time.time() - log.stat().st_mtime)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def is_current(job: Job, began: float, elsewhere: bool) -> bool:
    """Whether a job has written to its log since the run began; of a run elsewhere, of which only logs are seen, also lately."""
    try:
        written = Path(job.log).stat().st_mtime
    except OSError:
        return False
    return bool(job.log) and written >= began and (not elsewhere or time.time() - written < QUIET)


def seconds_of(folder: Path, job: Job) -> float | None:
    """What a job took by its benchmark, else what jobs of its rule take here on average, else in other studies; None where nothing is known."""
    own = seconds_in(Path(job.benchmark)) if job.benchmark else None
    if own is not None:
        return own
    for home in (folder, *sorted(path for path in folder.parent.glob("*") if path != folder)):
        base = home / "benchmarks" / job.rule
        times = [value for path in (base.with_suffix(".tsv"), *base.rglob("*.tsv")) if (value := seconds_in(path)) is not None]
        if times:
            return sum(times) / len(times)
    return None
