"""Batch plans: which rows form which batch, a pure function of seed, lengths and config."""

import random
from collections.abc import Sequence


def training_order(lengths: Sequence[int], epochs: int, batch_size: int, seed: int, by_length: bool = False) -> list[int]:
    """Row numbers in the order of training: every epoch a new shuffle of all rows, the epochs joined.

    Step k takes entries [k * batch_size, (k + 1) * batch_size). Within a step the rows stand by length, so that the
    micro-batches that it is split into hold little padding; which rows a step holds does not depend on the lengths, unless
    by_length: then a step's rows are neighbours in length, but where two epochs meet, and an epoch's steps come in shuffled order.
    """
    stream = random.Random(seed)
    order = []
    for _ in range(epochs):
        epoch = list(range(len(lengths)))
        stream.shuffle(epoch)
        if by_length:
            ranked, begun = sorted(epoch, key=lambda row: lengths[row]), -len(order) % batch_size
            *full, last = steps_of(ranked[begun:], batch_size)
            stream.shuffle(full)
            epoch = [*ranked[:begun], *(row for step in full for row in step), *last]
        order += epoch
    return [row for step in steps_of(order, batch_size) for row in sorted(step, key=lambda row: (lengths[row], row))]


def steps_of(order: Sequence[int], batch_size: int) -> list[Sequence[int]]:
    """The rows of each optimizer step; the last one may hold fewer."""
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def micro_batches(order: Sequence[int], batch_size: int, micro_batch: int, processes: int = 1) -> list[list[int]]:
    """The steps of training_order in micro-batches of at most `micro_batch` rows; process p of n takes entries p, p + n, …

    Every full step has batch_size / micro_batch of them. A last, shorter step has fewer, filled up with empty ones to a multiple of
    `processes`.
    """
    batches = []
    for step in steps_of(order, batch_size):
        batches += [list(step[at : at + micro_batch]) for at in range(0, len(step), micro_batch)]
        batches += [[] for _ in range(-len(batches) % processes)]
    return batches


def token_batches(lengths: Sequence[int], budget: int, padding: float = 1.0) -> list[list[int]]:
    """Rows of similar length in batches of at most `budget` tokens, padding included; longest first, so that memory peaks at once.

    padding: the largest share of a batch that may be padding. A row longer than the budget forms a batch of its own.
    """
    batches: list[list[int]] = []
    tokens = 0
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        filled = (len(batches[-1]) + 1) * lengths[batches[-1][0]] if batches else 0
        if batches and filled <= budget and filled - tokens - lengths[row] <= padding * filled:
            batches[-1].append(row)
            tokens += lengths[row]
        else:
            batches.append([row])
            tokens = lengths[row]
    return batches
