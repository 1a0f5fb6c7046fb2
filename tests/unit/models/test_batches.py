"""Batches of evaluation: planned once for distinct inputs, kept as they are done, whole lines only."""

import random

import pytest
import torch
from small_evaluation import items_of

from hh_align.core.errors import StudyError
from hh_align.core.progress import Progress
from hh_align.core.state import State
from hh_align.models.batches import Parts, by_batches, in_memory, plan


def test_the_plan_takes_distinct_inputs_once_in_batches_that_their_order_does_not_change():
    stream = random.Random(1)
    rows = [stream.choices(range(9), k=stream.randint(1, 3)) for _ in range(200)]
    batches = plan(items_of(rows), 20, 2)
    planned = [[same[0].ids for same in batch] for batch in batches]
    assert sorted(tuple(ids) for batch in planned for ids in batch) == sorted(set(map(tuple, rows)))
    assert sorted(item.number for batch in batches for same in batch for item in same) == list(range(200))
    assert all(len(batch) * (max(map(len, batch)) + 2) <= 20 for batch in planned)
    stream.shuffle(rows)
    assert [[same[0].ids for same in batch] for batch in plan(items_of(rows), 20, 2)] == planned


def test_parts_forget_a_line_that_a_kill_has_torn(tmp_path):
    parts = Parts(State(tmp_path, 0.0))
    parts.add([{"number": 3}, {"number": 0}], 1)
    parts.add([{"number": 1}, {"number": 2}], 1)
    with open(parts.path, "a") as file:
        file.write('00000000 [{"number": 4')
    again = Parts(State(tmp_path, 0.0))
    assert again.done == 2 and again.state.tokens == 2
    again.add([{"number": 4}], 1)
    assert [[row["number"] for row in window] for window in again.windows()] == [[0, 1, 2, 3, 4]]


def test_a_part_with_a_flipped_bit_is_made_again_with_what_follows(tmp_path, capsys):
    parts = Parts(State(tmp_path, 0.0))
    for number in range(4):
        parts.add([number / 3], 1)
    content = bytearray(parts.path.read_bytes())
    content[content.index(b"0.666") + 3] ^= 1
    parts.path.write_bytes(content)
    again = Parts(State(tmp_path, 0.0))
    assert list(again) == [[0.0], [1 / 3]] and "what follows batch 2" in capsys.readouterr().out
    computed = []

    def compute(batch):
        computed.extend(batch)
        return [row / 3 for row in batch]

    assert by_batches([[0], [1], [2], [3]], [1] * 4, compute, again, Progress(4, "row")) == [row / 3 for row in range(4)]
    assert computed == [2, 3]


def test_memory_that_runs_out_names_the_budget_to_lower():
    def full(batch):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(StudyError, match="out of memory in a batch of 2 inputs, 300 tokens: set batch_tokens to 150"):
        in_memory(full, [1, 2], 300)
    with pytest.raises(StudyError, match="in a batch of 1 inputs, 300 tokens: it is a batch of its own"):
        in_memory(full, [1], 300)
    with pytest.raises(RuntimeError, match="size"):
        in_memory(lambda batch: torch.zeros(2) @ torch.zeros(3) if batch else [], [1], 1)
