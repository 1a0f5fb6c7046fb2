"""What a run shows of its steps: a line of overall progress, the steps at work, those that took long, and at a failure its cause."""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import psutil

from hh_align.core.artifacts import write_json
from hh_align.core.errors import StudyError
from hh_align.core.progress import clock
from hh_align.core.state import read_json
from hh_align.tools.expected import UNKNOWN, Expectation, Step, remaining, rule_of, seconds_before
from hh_align.tools.logs import answer, cause, last_lines, told, warnings
from hh_align.tools.runs import LEFT

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
MISSING = re.compile(r"MissingInputException in rule (\w+) .*affected files:\n\s*(.*)", re.DOTALL)
"""How Snakemake says that a file is missing which no step makes: the rule and the files."""
ANSWERS = ("check_demo", "tune_training")
"""Steps whose words are what the run was asked for: they are shown at its end."""
STOPPED = 130
"""Exit status of a run that Ctrl-C has ended, as shells give it: 128 and the number of the signal."""
SHOWN = 3
"""Steps at work that are shown by name."""
RECKONED = 10.0
"""Seconds between two estimates."""
SHORTEST, LONGEST, SHARE = 10.0, 300.0, 0.05
"""Of the lines in a file: seconds between two at least and at most and, between these, the share of the whole run. A step that took so long
is named when it is done."""


def own_message(text: str) -> str | None:
    """Our message in what Snakemake prints of an error that the rules raise, for its lock on the folder, and for a file of the config's that is
    missing; None for any other text."""
    if text.startswith("LockException:"):
        return "another Snakemake is at work in this folder, or one was killed. hh-align resume STUDY finds out which, and goes on after a kill."
    if missing := MISSING.match(text):
        first, *more = [line.strip() for line in missing[2].splitlines() if line.strip()]
        others = f", nor are {len(more)} more" if more else ""
        return f"{first} is not there{others}, and {missing[1]} reads it. Correct the path in the config, or bring the file."
    return next((match[1] for pattern in OF_OURS if (match := pattern.fullmatch(text))), None)


class Board:
    """The display of a run. On a terminal the lines stand in one place; in a file there are a few lines, further apart the longer the run."""

    def __init__(
        self, folder: Path, steps: Mapping[str, Step], limits: Mapping[str, int], stream: TextIO, like_demo: bool, leaves: bool = True
    ) -> None:
        """folder: the study's; steps: what is due, by name; limits: how much there is of each resource; like_demo: whether the demo's times
        are a guess for this study; leaves: whether this is the study's own run, which leaves its estimate for `status`, and no tuning."""
        self.folder, self.study, self.steps, self.limits, self.stream = folder, folder.name, steps, limits, stream
        self.expectation, self.lock = Expectation(seconds_before(folder / "benchmarks"), like_demo), threading.RLock()
        self.leaves = leaves
        self.live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.began = self.reckoned = self.shown = time.monotonic()
        self.started: dict[str, float] = {}
        self.begun: dict[str, float] = {}  # when the log was there: a job of a cluster waits in its queue before
        self.words: dict[str, str] = {}
        self.said: dict[str, float] = {}
        self.warned: set[str] = set()
        self.done: set[str] = set()
        self.drawn, self.over = 0, False
        self.reckon(self.began)
        about = f", about {clock(self.left)} ({self.expectation.basis(steps)})." if self.is_known() else f". {UNKNOWN}"
        self.say(f"{self.study}: {counted(len(steps))}{about} Each writes its log below {folder}/logs/.")

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
                self.finish(name, now - self.begun.get(name, self.started[name]))
            starts = {name: self.started.get(name, now) for name in sorted(running)}
            self.started = dict(sorted(starts.items(), key=lambda item: item[1]))
            self.begun = {name: self.begun.get(name, now) for name in running if name in self.begun or self.has_log(name, now)}
            self.warn(starts)
            told_before, shows = set(self.said), not self.live and now - self.shown >= self.interval(now)
            self.read(now)
            if ended or shows or set(self.said) != told_before or now - self.reckoned >= RECKONED:
                self.reckon(now)
            if self.live:
                self.draw(now)
            elif shows:
                self.say("; ".join(self.lines(now)))
                self.shown = now

    def has_log(self, name: str, now: float) -> bool:
        """Whether a step at work has opened its log in this run."""
        with suppress(OSError):
            return self.steps[name].log.stat().st_mtime >= time.time() - (now - self.started[name]) - 1
        return False

    def is_known(self) -> bool:
        """Whether there is something to go by for the time that is left."""
        return self.expectation.is_known(self.steps)

    def whole(self, now: float) -> float:
        """Seconds that the run is expected to take, from its start to its end; those that are gone where nothing is known of the others."""
        return now - self.began + (self.remaining(now) if self.is_known() else 0)

    def interval(self, now: float) -> float:
        return min(LONGEST, max(SHORTEST, SHARE * self.whole(now)))

    def remaining(self, now: float) -> float:
        """Seconds that are left: never less than a step at work says."""
        return max(1.0, self.left - (now - self.reckoned), *self.said.values())

    def finish(self, name: str, seconds: float) -> None:
        self.expectation.saw(name, seconds)
        if seconds >= self.interval(time.monotonic()):
            self.say(f"  {clock(seconds)}  {name}")

    def warn(self, names: Iterable[str]) -> None:
        """Show the warnings of steps at work, each text once."""
        for line in (line for name in names for line in warnings(self.steps[name].log) if line not in self.warned):
            self.warned.add(line)
            self.say(line)

    def read(self, now: float) -> None:
        """Read the logs of the steps at work: how far they are, and what is left of those that say so."""
        self.said, self.words = {}, {}
        for name, started in self.started.items():
            text, left = told(last_lines(self.steps[name].log, time.time() - (now - started) - 1))
            self.words[name] = text or clock(now - started)
            if left is not None:
                self.said[name] = left
                self.expectation.saw(name, now - self.begun.get(name, started) + left)

    def reckon(self, now: float) -> None:
        """Estimate what is left, and leave it for `status`. Of a step that waits in a queue nothing is over."""
        spent = {name: now - self.begun.get(name, now) for name in self.started}
        self.left, self.reckoned = remaining(self.steps, self.done, spent, self.said, self.expectation, self.limits), now
        if self.leaves and self.is_known():
            with suppress(OSError, StudyError):  # a full disk is the steps' matter
                write_json(self.folder / LEFT, {"seconds": self.remaining(now), "at": time.time(), "pid": os.getpid()})

    def lines(self, now: float) -> list[str]:
        """The overall line, and one for each of the first steps at work."""
        known, gone = self.is_known(), now - self.began
        percent, left = (
            (f"{100 * gone / self.whole(now):.0f} % of the time, ", f", about {clock(self.remaining(now))} left") if known else ("", "")
        )
        overall = f"{self.study}: {percent}{len(self.done):,} of {counted(len(self.steps))}, {clock(gone)} gone{left}"
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
            if self.leaves:
                with suppress(OSError):
                    (self.folder / LEFT).unlink(missing_ok=True)

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


def left_by_run(folder: Path, run: dict) -> float | None:
    """The seconds that are left of a study at work, as its run reckons; None where that has not said so lately, as where one that was
    killed has. run: its record."""
    kept = read_json(folder / LEFT)
    try:
        gone = time.time() - kept["at"]
        return max(1.0, kept["seconds"] - gone) if gone < LONGEST and kept["pid"] == run.get("pid") else None
    except (TypeError, KeyError):
        return None


class Interrupts:
    """What Ctrl-C does to a run, as a handler of SIGINT: the first lets Snakemake end the jobs at work, the second ends them and this process at once,
    for no exception leaves Snakemake without a traceback. Where no job is at work the first one does."""

    def __init__(self, at_work: Callable[[], bool], last: Callable[[], None]) -> None:
        """at_work: whether jobs are running; last: what is to be said and done before the process ends."""
        self.at_work, self.last, self.heard = at_work, last, 0

    def __call__(self, *_: object) -> None:
        self.heard += 1
        if self.heard == 1 and self.at_work():
            raise KeyboardInterrupt
        try:
            if self.heard <= 2:
                self.last()
                for process in psutil.Process().children(recursive=True):
                    with suppress(psutil.Error):
                        process.terminate()
        finally:
            os._exit(STOPPED)


def counted(steps: int) -> str:
    return f"{steps:,} step{'s' if steps != 1 else ''}"


def watch(board: Board, state: Callable[[], tuple[Iterable[str], Iterable[str]]], seconds: float = 1.0) -> None:
    """Show the run until it is over; state: the steps at work, and those that are done."""
    while not board.over:
        board.look(*state())
        time.sleep(seconds)
