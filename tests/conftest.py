"""What holds for every test: steps in processes of their own find the package, which is compiled once, and threads that wait leave the
processor to others."""

import gc
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


FIRST = (
    "tests/workflow",
    "tests/cluster",
    "tests/storage",
    "tests/browser",
    "tests/unit/training",
    "tests/unit/tools",
    "tests/unit/report",
)
"""The folders whose files take longest: begun last, one of them would keep one core at work when the other has nothing left."""


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Load the libraries: they work on one core, for each core has its tests, and are not looked through for garbage, for they stay to the end."""
    gc.disable()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # of this process alone: what a test starts is as a user has it
        try:
            return (yield)
        finally:
            gc.freeze()
            gc.enable()


def pytest_collection_modifyitems(items):
    """The longest files first, the others in their order."""
    items.sort(key=lambda item: next((number for number, folder in enumerate(FIRST) if item.nodeid.startswith(f"{folder}/")), len(FIRST)))


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
