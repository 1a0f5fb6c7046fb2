"""What a run shows of its steps: a line of overall progress, the steps at work, those that took long, and at a failure its cause."""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

from hh_align.core.errors import printable
from hh_align.core.progress import clock
from hh_align.tools.expected import Expectation, Task, rule_of, time_left

PROGRESS = re.compile(r"(.+) ([\d,]+/[\d,]+), [\d,.]+/s(?:, [\d,]+ tokens/s)?, (\d+):(\d\d):(\d\d) left(?:, (.*))?")
"""A line of core.progress: unit, done/total, what is left, note."""
DOWNLOAD = re.compile(r"    .+: [\d.]+ \w+ of [\d.]+ \w+")
"""A line of data.hub while a file comes."""
NOISE = re.compile(
    "Using shell|Config file .* is extended|Assuming unrestricted|Conda environments: ignored|Group jobs: inactive|Select jobs|Complete log"
    "|Elapsed time|Shutting down|Removing output files of failed job|Exiting because a job execution failed|RuleException:\nCalledProcessError"
)
"""How messages of Snakemake begin that say nothing to who runs a study."""
OF_OURS = [
    re.compile(r'WorkflowError in (?:rule .*?in )?file ".*?", line \d+:\n(.*?)(?:\n  File ".*", line \d+, in .*)*', re.DOTALL),
    re.compile(r"InputFunctionException in rule .*?\n  WorkflowError:\n    (.*?)\nWildcards:.*", re.DOTALL),
]
"""How Snakemake shows an error that the rules raise: our message in the middle."""
ANSWERS = ("check_demo", "tune_training")
"""Steps whose words are what the run was asked for: they are shown at its end."""
TAIL = 8192
"""Bytes of a log that are read from its end."""
SHOWN = 3
"""Steps at work that are shown by name."""
RECKONED = 10.0
"""Seconds between two estimates."""
SHORTEST, LONGEST, SHARE = 10.0, 300.0, 0.05
"""Of the lines in a file: seconds between two at least and at most and, between these, the share of the whole run. A step that took so long
is named when it is done."""


class Step(NamedTuple):
    """A step of the run: where it writes its log, the steps that it waits for, what it takes of each resource."""

    log: Path
    after: tuple[str, ...] = ()
    needs: tuple[tuple[str, int], ...] = ()


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


def told(line: str) -> tuple[str, float | None]:
    """What a step's last line says of its progress, in short, and the seconds that are left by it; a download says how much is there."""
    if not (match := PROGRESS.fullmatch(line)):
        return line.strip() if DOWNLOAD.fullmatch(line) else "", None
    unit, count, hours, minutes, seconds, note = match.groups()
    left = 3600 * int(hours) + 60 * int(minutes) + int(seconds)
    return ", ".join(part for part in (f"{unit} {count}", f"{clock(left)} left", note) if part), float(left)


def own_message(text: str) -> str | None:
    """Our message in what Snakemake prints of an error that the rules raise; None for any other text."""
    return next((match[1] for pattern in OF_OURS if (match := pattern.fullmatch(text))), None)


def cause(log: Path) -> list[str]:
    """Why a step has failed: its message, else how its log ends."""
    lines = last_lines(log)
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1:]
    return lines[-SHOWN:] or ["it left no word: it was killed, where memory ran out by the system, or did not begin"]


class Board:
    """The display of a run. On a terminal the lines stand in one place; in a file there are a few lines, further apart the longer the run."""

    def __init__(
        self, study: str, steps: Mapping[str, Step], limits: Mapping[str, int], before: Mapping[str, float], stream: TextIO
    ) -> None:
        """steps: what is due, by name; limits: how much there is of each resource; before: name -> seconds that steps took before."""
        self.study, self.steps, self.limits, self.stream = study, steps, limits, stream
        self.expectation, self.lock = Expectation(before), threading.RLock()
        self.live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.began = self.reckoned = self.shown = time.monotonic()
        self.started: dict[str, float] = {}
        self.words: dict[str, str] = {}
        self.warned: set[str] = set()
        self.done: set[str] = set()
        self.drawn, self.over = 0, False
        self.left = self.reckon(set(), {})
        known = sum(
            seconds for name, seconds in self.expectation.of(steps).items() if name in before or rule_of(name) in self.expectation.of_rule
        )
        basis = (
            "as earlier steps here took" if known > sum(self.expectation.of(steps).values()) / 2 else "a first guess, by the demo's times"
        )
        self.say(f"{study}: {counted(len(steps))}, about {clock(self.left)} ({basis}). Each writes its log below results/{study}/logs/.")

    def say(self, line: str) -> None:
        """A line that stays."""
        with self.lock:
            self.erase()
            self.stream.write(line + "\n")
            self.stream.flush()

    def erase(self) -> None:
        """Take away the lines that stand in one place."""
        if self.drawn:
            self.stream.write(f"\x1b[{self.drawn}A\x1b[J")
            self.drawn = 0

    def look(self, running: Iterable[str], done: Iterable[str]) -> None:
        """Show where the steps are: those at work and those that are done."""
        with self.lock:
            if self.over:
                return
            now, running, done = time.monotonic(), set(running) & set(self.steps), set(done) & set(self.steps)
            ended = done - self.done
            self.done = done
            for name in sorted(ended & self.started.keys(), key=self.started.__getitem__):
                self.finish(name, now - self.started[name])
            starts = {name: self.started.get(name, now) for name in sorted(running)}
            self.started = dict(sorted(starts.items(), key=lambda item: item[1]))
            self.warn(starts)
            lefts = self.read(now)
            if ended or now - self.reckoned >= RECKONED:
                self.left, self.reckoned = self.reckon(done, lefts), now
            if self.live:
                self.draw(now)
            elif now - self.shown >= self.interval(now):
                self.say("; ".join(self.lines(now)))
                self.shown = now

    def whole(self, now: float) -> float:
        """Seconds that the run is expected to take, from its start to its end."""
        return now - self.began + self.remaining(now)

    def interval(self, now: float) -> float:
        return min(LONGEST, max(SHORTEST, SHARE * self.whole(now)))

    def remaining(self, now: float) -> float:
        return max(1.0, self.left - (now - self.reckoned))

    def finish(self, name: str, seconds: float) -> None:
        self.expectation.saw(name, seconds)
        if seconds >= self.interval(time.monotonic()):
            self.say(f"  {clock(seconds)}  {name}")

    def warn(self, names: Iterable[str]) -> None:
        """Show the warnings of steps at work, each text once."""
        for line in (line for name in names for line in warnings(self.steps[name].log) if line not in self.warned):
            self.warned.add(line)
            self.say(line)

    def read(self, now: float) -> dict[str, float]:
        """Read the logs of the steps at work; name -> seconds that are left of those that say so."""
        lefts, self.words = {}, {}
        for name, started in self.started.items():
            lines = last_lines(self.steps[name].log, time.time() - (now - started) - 1)
            text, left = told(lines[-1]) if lines else ("", None)
            self.words[name] = text or clock(now - started)
            if left is not None:
                lefts[name] = left
                self.expectation.saw(name, now - started + left)
        return lefts

    def reckon(self, done: set[str], lefts: Mapping[str, float]) -> float:
        """Seconds until all steps are done."""
        now, expected = time.monotonic(), self.expectation.of(self.steps)
        spent = {name: now - started for name, started in self.started.items()}
        tasks = {}
        for name, step in self.steps.items():
            if name not in done:
                seconds = lefts.get(name, max(expected[name] - spent.get(name, 0.0), 0.0))
                tasks[name] = Task(seconds, step.after, step.needs, name in spent)
        return time_left(tasks, self.limits)

    def lines(self, now: float) -> list[str]:
        """The overall line, and one for each of the first steps at work."""
        percent = 100 * (now - self.began) / self.whole(now)
        overall = f"{self.study}: {percent:.0f} % of the time, {len(self.done):,} of {counted(len(self.steps))}, "
        overall += f"{clock(now - self.began)} gone, about {clock(self.remaining(now))} left"
        names = list(self.started)
        more = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
        return [overall, *(f"{name} {self.words[name]}" for name in names[:SHOWN]), *more]

    def draw(self, now: float) -> None:
        width = shutil.get_terminal_size().columns - 1
        first, *rest = self.lines(now)
        self.erase()
        lines = [first, *("  " + line for line in rest)]
        self.stream.write("".join(line[:width] + "\n" for line in lines))
        self.stream.flush()
        self.drawn = len(lines)

    def end(self) -> None:
        """Nothing is shown any more but what is said."""
        with self.lock:
            self.erase()
            self.over = True

    def succeed(self) -> None:
        self.end()
        for line in (line for name, step in self.steps.items() if rule_of(name) in ANSWERS for line in answer(step.log)):
            self.say(line)
        self.say(f"{self.study}: {counted(len(self.steps))} done in {clock(time.monotonic() - self.began)}.")

    def failure(self, failed: Iterable[str]) -> str:
        """What is to be said last where steps have failed, or the run was stopped: why, where that is written, and what to do."""
        texts = []
        for name in sorted(failed):
            log = self.steps[name].log
            texts += [f"{name} has failed:", *cause(log), f"Its log: {log}"]
        head = [] if texts else [f"{self.study} was stopped."]
        stay = f"Done, and kept: {len(self.done):,} of {counted(len(self.steps))}. The same command goes on from here."
        return "\n".join([*head, *texts, stay])


def counted(steps: int) -> str:
    return f"{steps:,} step{'s' if steps != 1 else ''}"


def watch(board: Board, state: Callable[[], tuple[Iterable[str], Iterable[str]]], seconds: float = 1.0) -> None:
    """Show the run until it is over; state: the steps at work, and those that are done."""
    while not board.over:
        board.look(*state())
        time.sleep(seconds)
