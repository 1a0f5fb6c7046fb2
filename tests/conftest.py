"""What holds for every test: steps in processes of their own find the package, which is compiled once, and threads that wait leave the
processor to others."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from fork_server import home, note

os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent / "workflow/scripts")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ["OMP_WAIT_POLICY"] = "passive"  # read when torch is loaded
home()  # before xdist starts its workers: they share the servers


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Note what a test, its fixtures and the processes that they started take of the processor."""
    before = sum(os.times()[:4])
    result = yield
    note(sum(os.times()[:4]) - before, item.nodeid)
    return result


def pytest_terminal_summary(terminalreporter, config):
    """With --durations=N, the N files that took most of the processor: what others do on the machine does not change it."""
    if not config.option.durations or not (home() / "seconds").exists():
        return
    taken: Counter[str] = Counter()
    for line in (home() / "seconds").read_text().splitlines():
        seconds, _, file = line.partition(" ")
        taken[file] += float(seconds)
    terminalreporter.section(f"{taken.total():.0f} CPU s, by file")
    for file, seconds in taken.most_common(config.option.durations):
        terminalreporter.line(f"{seconds:7.1f} {file}")
