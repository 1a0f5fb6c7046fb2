"""Processes that draw a verdict's figures while the verdict is counted and written: matplotlib takes much of the time."""

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from hh_align.analysis.ratings import Ratings

ALONE = ("rewards", "thresholds", "metrics")
COMPARED = ("retention", "contrasts")
DRAWERS = 2


@contextmanager
def drawers() -> Iterator[ProcessPoolExecutor]:
    """The processes, forked at once, before a library has threads of its own; what waits when an error leaves is dropped."""
    pool = ProcessPoolExecutor(DRAWERS, get_context("fork"))
    pool.submit(bool)  # the first job forks them all
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def load(pool: ProcessPoolExecutor) -> None:
    """Let each process load matplotlib."""
    for _ in range(DRAWERS):
        pool.submit(load_figures)


def load_figures() -> None:
    import hh_align.tools.verdict_figures  # noqa: F401 (not in the process that counts)


def draw(name: str, *what: object) -> None:
    from hh_align.tools import verdict_figures

    verdict_figures.draw(name, *what)


def start(pool: ProcessPoolExecutor, tables: dict[str, pd.DataFrame], ratings: Ratings, config: dict, folder: Path) -> list[Future]:
    """Begin the figures that these tables have something for."""
    names = [*ALONE, *(COMPARED if len(config["order"]) > 1 else ()), *(["tradeoff"] if len(tables["tradeoff"]) else [])]
    return [pool.submit(draw, name, tables, ratings, config, folder) for name in names]
