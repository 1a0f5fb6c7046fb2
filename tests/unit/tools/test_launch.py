"""Snakemake as the command starts it: signals reach it, and its end is the command's."""

import os
import signal
import subprocess
import sys
import time

from study_folder import REPOSITORY

from hh_align.core.artifacts import write_text
from hh_align.tools.launch import words_for


def test_several_config_options_are_one_for_snakemake():
    # Snakemake takes the last --config only: HH=FOLDER of make smollm2 went unheard beside OPTIONS="--config seeds=[42]"
    options = ["target", "--config", "datasets={hh: {path: x}}", "-n", "-C", "seeds=[42]"]
    words = words_for(REPOSITORY, ["mine.yaml"], "2", options, [])
    assert words[words.index("--configfile") :] == [
        *("--configfile", "mine.yaml", "-n", "--config", "datasets={hh: {path: x}}", "seeds=[42]", "--", "target")
    ]


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
