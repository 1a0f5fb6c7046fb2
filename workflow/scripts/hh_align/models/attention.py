"""Keys and values that several heads share."""

import torch


def repeated(states: torch.Tensor, heads: int) -> torch.Tensor:
    """Keys or values, shape (n, groups, tokens, head size), of every head: those of its group, shape (n, heads, tokens, head size).

    torch's own way of sharing, enable_gqa, falls back to plain products beside a mask, and in float32 on a GPU.
    """
    groups = states.shape[1]
    return states if groups == heads else states.repeat_interleave(heads // groups, dim=1)
