"""What a run shows: exact lines, on a terminal and in a file."""

import io
import os

import pytest

from hh_align.core.progress import Progress
from hh_align.tools import console
from hh_align.tools.console import NOISE, Board, Step, cause, own_message, told


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def board(tmp_path, stream, steps=("prepare", "train_sft/sft", "train_dpo/dpo"), before=None):
    logs = {name: Step(tmp_path / f"{name}.log", needs=(("_cores", 1),)) for name in steps}
    return Board("demo", logs, {"_cores": 2}, before or dict.fromkeys(steps, 100.0), stream)


def log(tmp_path, name, text, at=None):
    path = tmp_path / f"{name}.log"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    if at:
        os.utime(path, (at, at))
    return path


def test_a_progress_line_of_a_step_is_read(capsys):
    Progress(3750, "step", done=118).add(1, 900, note="loss 2.3100")
    Progress(1, "prompt").add(1)
    printed = capsys.readouterr().out.splitlines()
    assert told("step 119/3,750, 1.5/s, 900 tokens/s, 00:40:21 left, loss 2.3100") == ("step 119/3,750, 00:40:21 left, loss 2.3100", 2421.0)
    assert told(printed[-1]) == ("prompt 1/1, 00:00:00 left", 0.0)
    assert told("reading 40 of 200 pairs") == ("", None)
    assert told("    model.safetensors: 1.2 MB of 1.7 GB") == ("model.safetensors: 1.2 MB of 1.7 GB", None)


def test_a_file_gets_few_lines_and_no_control_character(tmp_path, clock):
    stream = io.StringIO()
    shown = board(tmp_path, stream)
    log(tmp_path, "train_sft/sft", "step 119/3,750, 1.5/s, 00:02:00 left, loss 2.3100\n")
    for _ in range(60):
        clock[0] += 1
        shown.look(["train_sft/sft", "train_dpo/dpo"], ["prepare"])
    lines = stream.getvalue().splitlines()
    assert lines[0] == "demo: 3 steps, about 00:03:20 (as earlier steps here took). Each writes its log below results/demo/logs/."
    assert lines[1].startswith("demo: 8 % of the time, 1 of 3 steps, 00:00:10 gone, about 00:01:51 left; train_dpo/dpo 00:00:09; ")
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


def test_an_old_log_says_nothing_of_this_run(tmp_path, clock):
    shown = board(tmp_path, io.StringIO())
    log(tmp_path, "train_sft/sft", "step 1/2, 1.0/s, 00:00:01 left\n", at=10**9)
    shown.look(["train_sft/sft"], [])
    assert shown.words == {"train_sft/sft": "00:00:00"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step 1/2\nerror: the loss is nan. Lower learning_rate.\nends\n", ["error: the loss is nan. Lower learning_rate."]),
        ("Traceback:\n  File x\n    raise\n\nKeyError: 'x'\n", ["  File x", "    raise", "KeyError: 'x'"]),
        ("error: \x1b[31mred\n", ["error: \\x1b[31mred"]),
        ("", ["it left no word: it was killed, where memory ran out by the system, or did not begin"]),
    ],
)
def test_the_cause_of_a_failure(tmp_path, text, said):
    assert cause(log(tmp_path, "step", text)) == said
    assert cause(tmp_path / "none.log") == ["it left no word: it was killed, where memory ran out by the system, or did not begin"]


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


def test_what_snakemake_says_to_the_user_is_no_noise():
    kept = [
        "Nothing to be done (all requested files are present and up to date).",
        "Unlocked working directory.",
        "MissingOutputException in rule x",
    ]
    assert [text for text in kept if NOISE.match(text)] == [] and NOISE.match("Select jobs to execute...")
