"""Snakemake as the command starts it: signals reach it, and its end is the command's."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from snakemake.cli import get_argument_parser
from study_folder import REPOSITORY

from hh_align.core.artifacts import write_text
from hh_align.core.errors import StudyError
from hh_align.tools import launch
from hh_align.tools.launch import words_for


def test_several_config_options_are_one_for_snakemake():
    # Snakemake takes the last --config only: HH=FOLDER of make smollm2 went unheard beside OPTIONS="--config seeds=[42]"
    options = ["target", "--config", "datasets={hh: {path: x}}", "-n", "-C", "seeds=[42]"]
    words = words_for(REPOSITORY, ["mine.yaml"], "2", options, [])
    assert words[words.index("--configfile") :] == [
        *("--configfile", "mine.yaml", "-n", "--config", "datasets={hh: {path: x}}", "seeds=[42]", "--", "target")
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-n", "--forcern", "train_sft"], "--forcern: no option of Snakemake. Did you mean --forcerun? snakemake --help lists them."),
        (["--dry-runn=yes"], "--dry-runn: no option of Snakemake. Did you mean --dry-run? snakemake --help lists them."),
        (["--zzzzzzzz"], "--zzzzzzzz: no option of Snakemake. snakemake --help lists them."),
        (
            ["-n", "--profile"],
            "Snakemake does not take this: argument --profile: expected one argument. snakemake --help lists its options.",
        ),
        (["-s", "-n"], "Snakemake does not take this: argument --snakefile/-s: expected one argument. snakemake --help lists its options."),
        (
            ["--retries"],
            "Snakemake does not take this: argument --retries/--restart-times/-T: expected one argument. snakemake --help lists its options.",
        ),
    ],
)
def test_a_mistyped_option_is_one_line_before_snakemake_starts(monkeypatch, words, said):
    monkeypatch.setattr(launch.subprocess, "Popen", None)
    with pytest.raises(StudyError) as raised:
        launch.snakemake(["--cores", "2", *words])
    assert str(raised.value) == said


def test_a_value_that_snakemake_cannot_read_is_one_line():
    with pytest.raises(StudyError, match="Snakemake does not take this: "):
        launch.require_options(["--set-threads", "x"])


def test_what_snakemake_takes_goes_through_and_common_options_cost_no_look(monkeypatch):
    for words in (["--retries", "2", "--batch", "all=1/2"], ["-pn", "--keep-incomplete"], ["--retr", "1"], ["-n", "--", "--no-option"]):
        launch.require_options(["--cores", "2", *words])
    usage = get_argument_parser().format_help()
    assert [option for option in launch.COMMON if not re.search(rf"(^|\s){option}\b", usage)] == []
    monkeypatch.setitem(sys.modules, "snakemake.cli", None)
    launch.require_options(["--cores", "2", "--configfile", "mine.yaml", "-n", "--forcerun", "train_sft", "--", "policies"])
    with pytest.raises(ImportError):
        launch.require_options(["--retries", "2"])


def test_ctrl_c_waits_for_snakemake_and_its_status_is_the_commands(tmp_path):
    # a terminal tells both; a stop of the command alone is handed on
    snakemake = tmp_path / "bin/snakemake"
    ready = tmp_path / "ready"
    code = f"import pathlib, signal, sys, time\nfor s in (2, 15): signal.signal(s, lambda n, f: sys.exit(20 + n))\npathlib.Path({str(ready)!r}).touch()\ntime.sleep(30)\n"
    write_text(snakemake, f"#!{sys.executable}\n{code}")
    snakemake.chmod(0o755)
    script = f"import sys; from hh_align.tools import launch; sys.executable = {str(snakemake.with_name('python'))!r}; sys.exit(launch.snakemake(['x']))"
    for number, to in ((signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)):
        ready.unlink(missing_ok=True)
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow/scripts")}
        process = subprocess.Popen([sys.executable, "-c", script], env=environment, start_new_session=True, stderr=subprocess.PIPE)
        until = time.monotonic() + 30
        while not ready.exists() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.1)  # the command hears signals a moment after it has started Snakemake
        to(process.pid, number)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 20 + number and b"Traceback" not in errors
