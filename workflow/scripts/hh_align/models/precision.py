"""Whether a machine computes in a precision by hardware of its own, or emulates it: then float32 is the faster one."""

import time
from collections.abc import Callable

import torch

from hh_align.core.artifacts import say

EMULATED = 2.0
"""Times as long as in float32 from which on a precision counts as emulated: hardware takes half as long, and load alone does not double it."""
ROWS, ROUNDS = 384, 3


def seconds_of_product(precision: str, device: str) -> float:
    """Seconds of one product of two square matrices."""
    matrix = torch.ones(ROWS, ROWS, device=device, dtype=getattr(torch, precision))
    started = time.perf_counter()
    product = matrix @ matrix
    if device == "cuda":
        torch.cuda.synchronize()
    del product
    return time.perf_counter() - started


def slowdown(precision: str, device: str, seconds: Callable[[str, str], float] = seconds_of_product) -> float:
    """How many times as long a product takes as in float32: the shortest of alternating ones, the first, which makes the kernels, left out.

    Takes less than a second, and draws no random number.
    """
    rounds = [[seconds(each, device) for each in (precision, "float32")] for _ in range(1 + ROUNDS)]
    theirs, float32 = (min(times[1:]) for times in zip(*rounds, strict=True))
    return theirs / float32


def is_emulated(precision: str, device: str, seconds: Callable[[str, str], float] = seconds_of_product) -> bool:
    """Whether this machine emulates the precision, which is said with the factor. float32 is not measured."""
    factor = 1.0 if precision == "float32" else slowdown(precision, device, seconds)
    if factor >= EMULATED:
        say(
            f"warning: this machine emulates {precision}: its products take {factor:.0f} times as long as in float32. "
            "float32 is faster here; its numbers are not quite the same."
        )
    return factor >= EMULATED
