"""Rows in batches that are planned once for all of them, kept as they are done: what generation and scoring share."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from study.artifacts import ROW_GROUP
from study.plan import token_batches
from study.progress import Progress

WINDOW = ROW_GROUP // 10
"""Rows that are read, planned and written together: memory does not grow with their number."""


@dataclass
class Item:
    """A row's place in the table, what the model reads of it, and what its result row says in any case."""

    number: int
    ids: list[int]
    row: dict


@dataclass
class Shard:
    """Every `of`-th batch of the plan, beginning with the `number`-th (from 1)."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str | None) -> "Shard":
        """From Snakemake's `2-of-5`; None is the whole."""
        return cls(*map(int, text.split("-of-"))) if text else cls()

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema of this part of a table: a shard's rows carry their place."""
        return schema if self.of == 1 else pa.schema([("number", pa.int64()), *schema])


class Parts:
    """Results of batches, one line each in the order of the plan: a kill loses the batch at work and no other."""

    def __init__(self, path: Path) -> None:
        self.path, self.done = path, 0
        whole = 0
        if path.is_file():
            with open(path, "rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        self.done, whole = self.done + 1, whole + len(line)
            os.truncate(path, whole)

    def add(self, rows: list[dict]) -> None:
        """Keep a batch's result rows."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(rows, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def windows(self) -> Iterator[list[dict]]:
        """The rows of each window in the order of the table."""
        if not self.path.is_file():
            return
        with open(self.path, encoding="utf-8") as file:
            for _, batches in groupby(map(json.loads, file), key=lambda rows: rows[0]["number"] // WINDOW):
                yield sorted((row for rows in batches for row in rows), key=lambda row: row["number"])


def plan(items: list[Item], budget: int, new: int = 0, padding: float = 1.0) -> list[list[list[Item]]]:
    """Batches of distinct inputs of at most `budget` tokens, with `new` more of each; every input with all items that share it.

    padding: as for token_batches. The order of the items is of no account.
    """
    alike: dict[tuple, list[Item]] = {}
    for item in items:
        alike.setdefault(tuple(item.ids), []).append(item)
    distinct = [alike[ids] for ids in sorted(alike)]
    batches = token_batches([len(same[0].ids) + new for same in distinct], budget, padding)
    return [[distinct[number] for number in batch] for batch in batches]


def work_through(
    windows: Iterable[list[Item]],
    planned: Callable[[list[Item]], list[list[list[Item]]]],
    compute: Callable[[list[Item]], list[dict]],
    parts: Parts,
    shard: Shard,
    progress: Progress,
) -> None:
    """Compute what `parts` does not hold yet of the shard's batches as `planned`; `compute` sees one item of each input."""
    batches = mine = 0
    for items in windows:
        for batch in planned(items):
            batches += 1
            rows = sum(map(len, batch))
            if batches % shard.of != shard.number % shard.of:
                progress.leave(rows)
                continue
            mine += 1
            if mine <= parts.done:
                progress.skip(rows)
                continue
            results = compute([same[0] for same in batch])
            parts.add([{"number": item.number, **item.row, **found} for same, found in zip(batch, results, strict=True) for item in same])
            progress.add(rows, sum(len(same[0].ids) + found.get("response_tokens", 0) for same, found in zip(batch, results, strict=True)))
