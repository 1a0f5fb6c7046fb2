"""Rows in batches that are planned once for all of them, kept as they are done: what generation and scoring share."""

import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from zlib import crc32

import pyarrow as pa

from hh_align.core.artifacts import WINDOW, say, writable
from hh_align.core.errors import StudyError
from hh_align.core.plan import token_batches
from hh_align.core.progress import Progress
from hh_align.core.state import State
from hh_align.models.compute import out_of_memory, release_memory


@dataclass
class Item:
    """A row's number in the table, what the model reads of it (kept at 4 bytes a token), and what its result row says in any case."""

    number: int
    ids: Sequence[int]
    row: dict

    def __post_init__(self) -> None:
        self.ids = array("i", self.ids)


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
        """The schema of this part of a table: a shard's rows carry their number."""
        return schema if self.of == 1 else pa.schema([("number", pa.int64()), *schema])


class Parts:
    """Results of batches, one checked line each in the order of the plan: a kill loses the batch at work and no other."""

    def __init__(self, state: State, name: str = "parts.jsonl") -> None:
        self.state, self.path = state, state.folder / name
        self.path.touch()
        whole = self.done = 0
        with open(self.path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n") or line[:8] != b"%08x" % crc32(line[9:-1]):
                    say(f"{self.path.name}: what follows batch {self.done} is incomplete or damaged: made again")
                    break
                self.done, whole = self.done + 1, whole + len(line)
        os.truncate(self.path, whole)

    def add(self, results: list, tokens: int) -> None:
        """Keep a batch's results, and count what it read and wrote."""
        text = json.dumps(results, ensure_ascii=False).encode()
        with writable(self.path), open(self.path, "ab") as file:
            file.write(b"%08x %s\n" % (crc32(text), text))
            file.flush()
            os.fsync(file.fileno())
        self.state.spend(tokens)

    def __iter__(self) -> Iterator[list]:
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                yield json.loads(line[9:])

    def windows(self) -> Iterator[list[dict]]:
        """The rows of each window in the order of the table."""
        for _, batches in groupby(self, key=lambda rows: rows[0]["number"] // WINDOW):
            yield sorted((row for rows in batches for row in rows), key=lambda row: row["number"])


def in_memory(compute: Callable[[Sequence], list], batch: Sequence, tokens: int) -> list:
    """compute(batch). Raises StudyError where memory runs out, with what to lower and to which value."""
    try:
        return compute(batch)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    if len(batch) > 1:
        advice = f"set batch_tokens to {tokens // 2}"
    else:
        advice = "it is a batch of its own: cut what is longer, or take a machine with more memory"
    raise StudyError(f"out of memory in a batch of {len(batch)} inputs, {tokens:,} tokens: {advice}.")


def by_batches(
    batches: Sequence[Sequence[int]], sizes: Sequence[int], compute: Callable[[Sequence[int]], list], parts: Parts, progress: Progress
) -> list:
    """One result (of JSON) for each row, computed a batch of row numbers at a time; what `parts` holds is not computed again.

    sizes: the tokens of each row.
    """
    result_of: list = [None] * len(sizes)
    done = list(parts)
    for number, batch in enumerate(batches):
        if number < len(done):
            results = done[number]
            progress.skip(len(batch))
        else:
            tokens = sum(sizes[row] for row in batch)
            results = in_memory(compute, batch, tokens)
            parts.add(results, tokens)
            progress.add(len(batch), tokens)
        for row, result in zip(batch, results, strict=True):
            result_of[row] = result
    return result_of


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

    def batches_of(items: list[Item]) -> list[list[list[Item]]]:
        release_memory()
        return planned(items)

    mine = 0
    for number, batch in enumerate(chain.from_iterable(map(batches_of, windows)), start=1):
        rows = sum(map(len, batch))
        if number % shard.of != shard.number % shard.of:
            progress.leave(rows)
            continue
        mine += 1
        if mine <= parts.done:
            progress.skip(rows)
            continue
        results = in_memory(compute, [same[0] for same in batch], sum(len(same[0].ids) for same in batch))
        tokens = sum(len(same[0].ids) + result.get("response_tokens", 0) for same, result in zip(batch, results, strict=True))
        done = [{"number": item.number, **item.row, **result} for same, result in zip(batch, results, strict=True) for item in same]
        parts.add(done, tokens)
        progress.add(rows, tokens)
