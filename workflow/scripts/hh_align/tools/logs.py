"""What the logs of a study say of its steps: how far they are, their warnings and losses, and why one has failed."""

import re
import time
from pathlib import Path

from hh_align.core.errors import printable
from hh_align.core.progress import clock

PROGRESS = re.compile(r"(.+) ([\d,]+)/([\d,]+), [\d,.]+/s(?:, [\d,]+ tokens/s)?, (\d+):(\d\d):(\d\d) left(?:, (.*))?")
"""A line of core.progress: unit, done, total, what is left, note."""
DOWNLOAD = re.compile(r"    .+: [\d.]+ \w+ of [\d.]+ \w+")
"""A line of data.hub while a file comes."""
COUNTED = re.compile(r"\d[\d,]*/\d[\d,]*")
TAIL = 8192
"""Bytes of a log that are read from its end."""
SHOWN = 3
LOSSES = 3
QUIET = 600
"""Seconds of silence after which a step of another machine's run is not taken for one at work."""


def warnings(log: Path) -> list[str]:
    """The warnings with which a step begins."""
    try:
        with open(log, "rb") as file:
            lines = file.read(TAIL).decode(errors="replace").splitlines()
    except OSError:
        return []
    return [printable(line) for line in lines if line.startswith("warning: ")]


def last_lines(log: Path, since: float = 0.0) -> list[str]:
    """The last lines of a log without empty ones; none where it was last written before `since` (a time as of time.time())."""
    try:
        if log.stat().st_mtime < since:
            return []
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [printable(line).rstrip() for line in lines if line.strip()]


def answer(log: Path) -> list[str]:
    """What a step has said, without its progress."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return [printable(line) for line in lines if not PROGRESS.fullmatch(line)]


def told(lines: list[str]) -> tuple[str, float | None]:
    """What the last lines of a log say of the step's progress, in short, and the seconds that are left by it, None where they do not say. A
    download says how much is there. Progress that is complete, with other lines behind it, is of a part that is done: it says nothing."""
    number, line = next(
        ((n, line) for n, line in enumerate(reversed(lines)) if PROGRESS.fullmatch(line) or DOWNLOAD.fullmatch(line)), (0, "")
    )
    if not (match := PROGRESS.fullmatch(line)):
        return line.strip(), None
    unit, done, total, hours, minutes, seconds, note = match.groups()
    if done == total and number:
        return "", None
    left = 3600 * int(hours) + 60 * int(minutes) + int(seconds)
    return ", ".join(part for part in (f"{unit} {done}/{total}", f"{clock(left)} left", note) if part), float(
        left
    ) if done != total else None


def cause(log: Path) -> list[str]:
    """Why a step has failed: its message, else how its log ends."""
    lines = last_lines(log)
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1:]
    return lines[-SHOWN:] or ["it left no word: it was killed, where memory ran out by the system, or did not begin"]


def failure(log: Path) -> str:
    """Why a step has failed, by its log; empty where that holds no error."""
    return cause(log)[-1] if any(line.startswith(("error: ", "Traceback ")) for line in last_lines(log)) else ""


def last_progress(log: Path) -> str:
    """The last line that counts something, `step 119/3,750, …`, else the last line."""
    lines = last_lines(log)
    return next((line for line in reversed(lines) if COUNTED.search(line)), lines[-1] if lines else "no line yet")


def last_losses(log: Path) -> list[str]:
    """The last losses that a training has said, the latest at the end; none of what is no training."""
    return [found[1] for line in last_lines(log) if COUNTED.search(line) and (found := re.search(r"\bloss (-?[\d.]+)", line))][-LOSSES:]


def silence(log: Path) -> str:
    """How long ago a log was written to."""
    seconds = max(0, time.time() - log.stat().st_mtime)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def is_current(log: str, began: float, elsewhere: bool) -> bool:
    """Whether a step has written to its log since the run began; of a run elsewhere, of which only logs are seen, also lately."""
    try:
        written = Path(log).stat().st_mtime
    except OSError:
        return False
    return bool(log) and written >= began and (not elsewhere or time.time() - written < QUIET)
