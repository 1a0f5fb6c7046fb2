"""What a training cost, against what the machine can do."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM

from hh_align.training.plan import Plan

ENOUGH = 2.0  # seconds of measuring, where a product is slow


@dataclass
class Work:
    """A training as it was computed: tokens of each packed sequence, examples, seconds, whether the model's own weights were frozen, and the
    FLOP/s of the fastest matrix product on its device."""

    sizes: Sequence[int]
    examples: int
    seconds: float
    frozen: bool
    peak: float


def work_done(plan: Plan, seconds: float, frozen: bool, peak: float) -> Work:
    """The work of a training that has read its whole plan."""
    return Work([plan.sizes[row] for row in plan.order], len(plan.order), seconds, frozen, peak)


def training_flops(config, work: Work) -> float:
    """Floating-point operations of the matrix products of a training, without recomputation.

    Two per weight and token forward, two for the gradient of the inputs, two for that of the weights unless they are frozen
    (arXiv 2001.08361, section 2.1); attention over half the square of a sequence, forward once and backward twice.
    """
    with torch.device("meta"):
        modules = list(AutoModelForCausalLM.from_config(config).modules())
    matrices = [module.weight for module in modules if not isinstance(module, torch.nn.Embedding) and hasattr(module, "weight")]
    weights = sum(matrix.numel() for matrix in matrices if matrix.dim() == 2)
    attention = config.num_hidden_layers * 2 * config.hidden_size * sum(size**2 for size in work.sizes)
    return (4 if work.frozen else 6) * weights * sum(work.sizes) + 3.0 * attention


def matmul_peak(device: str, precision: str, size: int | None = None) -> float:
    """FLOP/s of the fastest of some large matrix products on this device, with the threads that torch has. Draws no random number that anything
    else would have drawn."""
    size = size or (8192 if device == "cuda" else 1536)
    stream = torch.Generator(device).manual_seed(0)
    a = torch.randn(size, size, generator=stream, device=device, dtype=getattr(torch, precision))
    times: list[float] = []
    while len(times) < 4 and sum(times) < ENOUGH:
        started = time.perf_counter()
        a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times)


def throughput(config, work: Work) -> dict[str, float]:
    """Entries for a step's timing: of the training alone, without loading, tokenising and saving."""
    flops = training_flops(config, work) / work.seconds
    return {
        "training_seconds": round(work.seconds, 3),
        "training_tokens_per_second": round(sum(work.sizes) / work.seconds, 1),
        "training_examples_per_second": round(work.examples / work.seconds, 2),
        "gflops_per_second": round(flops / 1e9, 1),
        "matmul_peak_gflops_per_second": round(work.peak / 1e9, 1),
        "share_of_peak": round(flops / work.peak, 4),
    }
