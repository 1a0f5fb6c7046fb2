"""Where a study's models are not the demo's and nothing of it was measured, no time is said: in no line of a run, and by no `status`."""

import io
import os
import re
from pathlib import Path

import pytest
from command_line import call

from hh_align.core.artifacts import write_json
from hh_align.tools import console, status
from hh_align.tools.console import Board
from hh_align.tools.expected import Expectation, Step, is_like_demo
from hh_align.tools.planned import Job, Plan
from hh_align.tools.runs import LEFT

HUB, SCRATCH = ({"models": {"base": {"source": source}}} for source in ("hub", "scratch"))
STEPS = ("fetch_hub/base", "import_base", "train_sft/sft", "train_dpo/dpo")
FIRST = "paper: 4 steps. How long they take is known once the first long one has begun. Each writes its log below results/paper/logs/."


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def begun(stream, like_demo=False):
    """The board of a run of STEPS, one after the other."""
    steps = {name: Step(Path("logs", f"{name}.log"), STEPS[number - 1 : number] if number else ()) for number, name in enumerate(STEPS)}
    return Board(Path("results/paper"), steps, {"_cores": 2}, stream, like_demo)


def says(name, text):
    path = Path("logs", f"{name}.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def benchmark(name, seconds):
    path = Path("results/paper/benchmarks", f"{name}.tsv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\n{seconds}\t-\n")


@pytest.mark.parametrize(
    ("settings", "like"),
    [(SCRATCH, True), (HUB, False), ({"models": {"base": {"source": "local"}}}, False), ({}, False), ({"models": ["scratch"]}, False)],
)
def test_the_demos_times_are_for_a_base_that_is_trained_from_nothing(settings, like):
    assert is_like_demo(settings) is like


def test_no_time_is_said_until_a_long_step_says_its_own(clock):
    stream = io.StringIO()
    shown, kept = begun(stream), Path("results/paper", LEFT)
    assert stream.getvalue() == f"{FIRST}\n"
    for running, done, seconds in (("fetch_hub/base", [], 15), ("import_base", ["fetch_hub/base"], 15)):
        says(running, "file 1/9, 0.5/s, 00:09:00 left\n" if running == "fetch_hub/base" else "")
        for _ in range(seconds):
            clock[0] += 1
            shown.look([running], done)
    lines = stream.getvalue().splitlines()[1:]
    assert lines and not kept.exists() and not any("%" in line or "about" in line for line in lines), lines
    assert lines[0] == "paper: 0 of 4 steps, 00:00:10 gone; fetch_hub/base file 1/9, 00:09:00 left"
    says("train_sft/sft", "step 1/3,750, 0.5/s, 02:00:00 left\n")
    clock[0] += 400
    shown.look(["train_sft/sft"], STEPS[:2])
    last = stream.getvalue().splitlines()[-1]
    assert re.fullmatch(r"paper: \d % of the time, 2 of 4 steps, 00:07:10 gone, about 05:\d\d:\d\d left; train_sft/sft step .*", last), last
    assert kept.exists()


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ([], FIRST),
        (["fetch_hub/base", "import_base"], FIRST),  # they say nothing of a training
        (["train_sft/sft"], r"paper: 4 steps, about 05:41:44 \(a first guess, by other steps here\)\. Each .*"),
    ],
)
def test_a_study_of_which_a_long_step_was_measured_has_a_time(clock, measured, said):
    for name in measured:
        benchmark(name, 7200.0)
    stream = io.StringIO()
    begun(stream)
    assert re.fullmatch(said, stream.getvalue().strip())


def test_the_demo_keeps_its_guess(clock):
    stream = io.StringIO()
    begun(stream, like_demo=True)
    assert "paper: 4 steps, about 00:00:49 (a first guess, by the demo's times). Each writes" in stream.getvalue()


def test_where_no_step_is_long_the_time_is_known():
    assert Expectation({}, like_demo=False).is_known(["compute_metrics", "plot_figures"])
    assert not Expectation({}, like_demo=False).is_known(["compute_metrics", "train_sft/sft"])


def job(rule, wing):
    paths = (f"results/paper/{kind}/{rule}.{kind}" for kind in ("parquet", "logs", "benchmarks"))
    return Job(rule, f"hh_align.{wing}.{rule}", {}, *paths, "", True, [], [], {"_cores": 1})


@pytest.mark.parametrize(
    ("settings", "measured", "training", "left"),
    [
        (HUB, False, "not known", r"left: 2 jobs\. How long they take is known once the first long one has begun\."),
        (HUB, True, r"02:00:00", r"left: 2 jobs, about 02:00:00 \(as earlier steps here took\)"),
        (SCRATCH, False, r"00:00:13", r"left: 2 jobs, about 00:00:13 \(a first guess, by the demo's times\)"),
    ],
)
def test_status_says_that_a_time_is_not_known(monkeypatch, settings, measured, training, left):
    write_json(Path("results/paper/run.json"), {"pid": os.getpid(), "host": "another", "started": 1.0, "settings": settings})
    if measured:
        benchmark("train_sft/other", 7200.0)
    monkeypatch.setattr(
        status, "dry_run", lambda _: Plan([job("train_sft", "training"), job("compute_metrics", "analysis")], {"_cores": 2})
    )
    monkeypatch.setenv("COLUMNS", "100")
    code, text = call(status, study="paper")
    assert code == 0 and re.search(rf"^train_sft +0 +1 +- +{training}$", text, re.MULTILINE), text
    assert re.search(r"^analysis +0 +1 +- +00:00:02$", text, re.MULTILINE) and re.search(f"^{left}$", text, re.MULTILINE), text
