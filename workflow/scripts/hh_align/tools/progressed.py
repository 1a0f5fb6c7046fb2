"""What logs and benchmarks of a study say of its jobs: the last line of progress, the last losses, the seconds."""

import re
import time
from pathlib import Path

from hh_align.tools.planned import Job

LOSSES = 3
TAIL = 20_000
"""Bytes of a log's end that are read."""
QUIET = 600
"""Seconds of silence after which a job of another machine's run is not taken for one at work."""
PROGRESS = re.compile(r"\d[\d,]*/\d[\d,]*")


def tail(log: Path) -> list[str]:
    """The last lines of a log that say something; a carriage return ends a line as well."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def last_progress(log: Path) -> str:
    """The last line that counts something, `step 119/3,750, …`, else the last line."""
    lines = tail(log)
    return next((line for line in reversed(lines) if PROGRESS.search(line)), lines[-1] if lines else "no line yet")


def last_losses(log: Path) -> list[str]:
    """The last losses that a training has said, the latest at the end; none of what is no training."""
    return [found[1] for line in tail(log) if PROGRESS.search(line) and (found := re.search(r"\bloss (-?[\d.]+)", line))][-LOSSES:]


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


def seconds_in(benchmark: Path) -> float | None:
    """The wall-clock seconds of the last row of a benchmark of Snakemake's; None where there is none."""
    try:
        head, *rows = benchmark.read_text(encoding="utf-8").splitlines()
        return float(dict(zip(head.split("\t"), rows[-1].split("\t"), strict=True))["s"])
    except (OSError, ValueError, LookupError):
        return None
