"""What a run shows: exact lines, on a terminal and in a file."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from snakemake.exceptions import LockException, format_exception_to_string

from hh_align.tools import console
from hh_align.tools.console import NOISE, Board, left_by_run, own_message
from hh_align.tools.expected import Step
from hh_align.tools.runs import LEFT


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def board(tmp_path, stream, steps=("prepare", "train_sft/sft", "train_dpo/dpo"), seconds=100.0):
    """The board of a run of two cores; seconds: what each of its steps took before, None where nothing is known."""
    for name in steps if seconds else ():
        path = Path(f"results/demo/benchmarks/{name}.tsv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t-\n")
    logs = {name: Step(tmp_path / f"{name}.log", needs=(("_cores", 1),)) for name in steps}
    return Board(Path("results/demo"), logs, {"_cores": 2}, stream, like_demo=True)


def log(tmp_path, name, text, at=None):
    path = tmp_path / f"{name}.log"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    if at:
        os.utime(path, (at, at))
    return path


def test_a_file_gets_few_lines_and_no_control_character(tmp_path, clock):
    stream = io.StringIO()
    shown = board(tmp_path, stream)
    log(tmp_path, "train_sft/sft", "step 119/3,750, 1.5/s, 00:02:00 left, loss 2.3100\n")
    for _ in range(60):
        clock[0] += 1
        shown.look(["train_sft/sft", "train_dpo/dpo"], ["prepare"])
    lines = stream.getvalue().splitlines()
    assert lines[0] == "demo: 3 steps, about 00:03:20 (as earlier steps here took). Each writes its log below results/demo/logs/."
    assert lines[1].startswith("demo: 8 % of the time, 1 of 3 steps, 00:00:10 gone, about 00:02:00 left; train_dpo/dpo 00:00:09; ")
    assert lines[1].endswith("; train_sft/sft step 119/3,750, 00:02:00 left, loss 2.3100")
    assert 3 <= len(lines) <= 7 and stream.getvalue().replace("\n", "").isprintable()


def test_a_terminal_shows_the_steps_in_one_place_cut_to_its_width(tmp_path, clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    steps = [f"score/{number}" for number in range(7)]
    shown = board(tmp_path, stream, steps)
    shown.look(steps, [])
    clock[0] += 1
    shown.look(steps, [])
    last = stream.getvalue().rsplit("\x1b[5A\x1b[J", 1)
    assert len(last) == 2  # the five lines of before are taken away
    assert [line[:12] for line in last[1].splitlines()] == ["demo: 0 % of", "  score/0 00", "  score/1 00", "  score/2 00", "  and 4 more"]
    assert max(map(len, last[1].splitlines())) <= 39
    shown.succeed()
    shown.look(steps, [])  # the end is the end
    assert stream.getvalue().endswith("\x1b[5A\x1b[Jdemo: 7 steps done in 00:00:01.\n")


def test_what_took_long_is_named_once_it_is_done(tmp_path, clock):
    stream = io.StringIO()
    shown = board(tmp_path, stream)
    shown.look(["train_sft/sft", "prepare"], [])
    clock[0] += 5
    shown.look(["train_sft/sft"], ["prepare"])
    clock[0] += 72
    shown.look([], ["prepare", "train_sft/sft"])
    assert stream.getvalue().count("  00:01:17  train_sft/sft\n") == 1 and "  prepare\n" not in stream.getvalue()


def test_a_warning_is_shown_once_whoever_says_it(tmp_path, clock):
    stream = io.StringIO()
    shown = board(tmp_path, stream)
    for name in ("train_sft/sft", "train_dpo/dpo"):
        log(tmp_path, name, "warning: this machine emulates bfloat16\nfit for SFT: 9 rows\n")
    for _ in range(3):
        shown.look(["train_sft/sft", "train_dpo/dpo"], [])
    assert stream.getvalue().splitlines()[1:] == ["warning: this machine emulates bfloat16"]


@pytest.mark.parametrize("name", ["check_demo", "tune_training/sft"])
def test_what_was_asked_for_is_shown_at_the_end_without_its_progress(tmp_path, clock, name):
    stream = io.StringIO()
    shown = board(tmp_path, stream, ("train_sft/sft", name))
    log(tmp_path, "train_sft/sft", "fit for SFT: 9 rows\n")
    log(tmp_path, name, "step 1/2, 1.5/s, 00:00:01 left\nok   all \x1b[2J of it: 3\nfastest: float32\n")
    shown.succeed()
    assert stream.getvalue().splitlines()[1:] == ["ok   all \\x1b[2J of it: 3", "fastest: float32", "demo: 2 steps done in 00:00:00."]


def test_the_run_is_never_said_to_end_before_a_step_says_so(tmp_path, clock):
    # a first guess of seconds, a step of twenty minutes that is silent for a while, then says what is left
    stream = io.StringIO()
    shown = board(tmp_path, stream, ("import_base", "compute_features/a", "compute_features/b"), seconds=None)
    log(tmp_path, "compute_features/a", "")
    for second in range(300):
        if second == 60:
            log(tmp_path, "compute_features/a", "reply 16/2,628, 2.1/s, 534 tokens/s, 00:20:52 left\n")
        clock[0] += 1
        shown.look(["compute_features/a"], ["import_base"])
    lines = stream.getvalue().splitlines()[1:]
    percents = [int(re.match(r"demo: (\d+) % ", line)[1]) for line in lines]
    assert lines and max(percents) <= 60, lines  # overrun by as much as it has taken is half of it, or less
    told = [line for line in lines if "00:20:52 left" in line]
    assert told and all(seconds_left(line) > 1252 + 60 for line in told), told  # of its rule another one is to come, as long from its start
    assert max(percents[-2:]) < 20


def test_what_waits_in_a_queue_overruns_nothing(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(console.time, "time", lambda: clock[0])
    shown = board(tmp_path, io.StringIO())
    for _ in range(5):
        clock[0] += 1000
        shown.look(["train_sft/sft"], [])
    assert shown.left == 200  # of 100 s each on two cores
    log(tmp_path, "train_sft/sft", "", at=clock[0])
    for _ in range(3):
        clock[0] += 10
        shown.look(["train_sft/sft"], [])
    assert shown.left == 180 and shown.words == {"train_sft/sft": "01:07:10"}
    shown.look([], ["train_sft/sft"])
    assert shown.expectation.seen == {"train_sft/sft": 20}


def seconds_left(line):
    hours, minutes, seconds = re.search(r"about (\d+):(\d\d):(\d\d) left;", line).groups()
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds)


def test_status_is_told_what_the_run_reckons(tmp_path, clock, monkeypatch):
    stream = io.StringIO()
    shown, kept = board(tmp_path, stream), Path("results/demo")
    log(tmp_path, "train_sft/sft", "step 1/250, 1.5/s, 00:10:00 left\n")
    clock[0] += 20
    shown.look(["train_sft/sft"], [])
    assert left_by_run(kept, {"pid": os.getpid()}) == pytest.approx(seconds_left(stream.getvalue()), abs=2)
    monkeypatch.setattr(console, "LONGEST", -1.0)  # of a run that was killed
    assert left_by_run(kept, {"pid": os.getpid()}) is None
    shown.end()
    assert not (kept / LEFT).exists() and left_by_run(kept, {"pid": os.getpid()}) is None
    monkeypatch.setattr(console, "LONGEST", 10.0**10)
    (kept / LEFT).write_text(f'{{"seconds": "many", "at": 5, "pid": {os.getpid()}}}')
    assert left_by_run(kept, {"pid": os.getpid()}) is None


def test_a_tuning_beside_a_run_leaves_its_estimate_alone(tmp_path, clock):
    run, kept = board(tmp_path, io.StringIO()), Path("results/demo") / LEFT
    before = kept.read_bytes()
    tuning = Board(
        Path("results/demo"), {"tune_training/sft": Step(tmp_path / "tune.log")}, {"_cores": 2}, io.StringIO(), True, leaves=False
    )
    clock[0] += 20
    tuning.look(["tune_training/sft"], [])
    tuning.succeed()
    assert kept.read_bytes() == before
    run.succeed()
    assert not kept.exists()


INTERRUPTED = """
import signal, subprocess, sys, time
from hh_align.tools.console import Interrupts

at_work = sys.argv[1] == "working"
signal.signal(signal.SIGINT, Interrupts(lambda: at_work, lambda: print("was stopped", flush=True)))
job = subprocess.Popen(["sleep", "60"])
try:
    print(job.pid, flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("waiting", flush=True)
    job.wait()
"""


def ends(job: psutil.Process) -> bool:
    """Whether a process that was told to end does so: it may be gone from the pipe a moment before."""
    for _ in range(1000):
        with suppress(psutil.NoSuchProcess):
            if job.is_running() and job.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
                continue
        return True
    return False


@pytest.mark.parametrize(("state", "said"), [("working", ["waiting", "was stopped"]), ("planning", ["was stopped"])])
def test_ctrl_c_again_ends_run_and_jobs_with_one_message_and_status_130(state, said):
    command = [sys.executable, "-c", INTERRUPTED, state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        job = psutil.Process(int(process.stdout.readline()))
        printed = []
        for _ in said:
            process.send_signal(signal.SIGINT)
            printed.append(process.stdout.readline().strip())
        rest, _ = process.communicate(timeout=30)  # the job holds the pipe, too
    assert (printed, rest, process.returncode) == (said, "", 130)
    assert ends(job)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_stops_no_display(tmp_path, clock, monkeypatch, fault):
    def refused(*_, **__):
        raise OSError(fault, os.strerror(fault))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", refused)
        shown = board(tmp_path, io.StringIO(), seconds=None)
        patched.setattr(Path, "unlink", refused)
        clock[0] += 20
        shown.look(["train_sft/sft"], ["prepare"])
        shown.succeed()
    assert shown.stream.getvalue().endswith("demo: 3 steps done in 00:00:20.\n")


def test_an_old_log_says_nothing_of_this_run(tmp_path, clock):
    shown = board(tmp_path, io.StringIO())
    log(tmp_path, "train_sft/sft", "step 1/2, 1.0/s, 00:00:01 left\n", at=10**9)
    shown.look(["train_sft/sft"], [])
    assert shown.words == {"train_sft/sft": "00:00:00"}


def test_a_failure_ends_with_its_cause_its_log_and_what_to_do(tmp_path, clock):
    shown = board(tmp_path, io.StringIO())
    path = log(tmp_path, "train_sft/sft", "error: out of memory: set micro_batch to 2.\n")
    shown.look([], ["prepare"])
    assert shown.failure(["train_sft/sft"]).splitlines() == [
        "train_sft/sft has failed:",
        "error: out of memory: set micro_batch to 2.",
        f"Its log: {path}",
        "Done, and kept: 1 of 3 steps. The same command goes on from here.",
    ]
    assert shown.failure([]).splitlines()[0] == "demo was stopped."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'WorkflowError in file "/x/config.smk", line 14:\nconfig: no key a.\n  File "/x/config.smk", line 14, in <module>',
            "config: no key a.",
        ),
        ('WorkflowError in rule other in file "/x/tools.smk", line 3:\nno study\n  File "/x/tools.smk", line 14, in f', "no study"),
        (
            'InputFunctionException in rule other in file "/x/tools.smk", line 28:\nError:\n  WorkflowError:\n    of study b. Add c\nWildcards:\n  path=x\nTraceback:\n  File "y"',
            "of study b. Add c",
        ),
        ("WorkflowError:\nAt least one job did not complete successfully.", None),
        ('NameError in file "/x/config.smk", line 14:\nname x is not defined', None),
    ],
)
def test_a_message_of_the_rules_is_shown_alone(text, said):
    assert own_message(text) == said


def test_snakemakes_lock_is_said_in_our_words():
    assert own_message(format_exception_to_string(LockException())) == (
        "another Snakemake is at work in this folder, or one was killed. hh-align resume STUDY finds out which, and goes on after a kill."
    )


def test_what_snakemake_says_to_the_user_is_no_noise():
    kept = [
        "Nothing to be done (all requested files are present and up to date).",
        "Unlocked working directory.",
        "MissingOutputException in rule x",
    ]
    assert [text for text in kept if NOISE.match(text)] == [] and NOISE.match("Select jobs to execute...")
