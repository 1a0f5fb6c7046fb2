"""The device that a step runs on, and what it cost."""

import ctypes
import os
import resource
import time
from pathlib import Path

import pyarrow as pa
import torch

from hh_align.core.artifacts import write_json
from hh_align.core.errors import StudyError
from hh_align.core.processes import processes
from hh_align.models.devices import lease

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def use_device(config: dict, threads: int) -> str:
    """Set the thread counts and return `cpu` or `cuda`: what a step's config asks for as `device` (for `auto` a GPU where there is one).
    A GPU works deterministically unless `deterministic` is false. Raises StudyError without the GPU asked for.

    Of several GPUs the job takes one that no other job has; for the processes of one training their launcher has taken them.
    """
    use_threads(max(1, threads // processes()))
    keep_memory()
    asked = config["device"]
    if asked != "cpu" and "LOCAL_RANK" not in os.environ:
        lease(1)
    if asked == "cuda" and not torch.cuda.is_available():
        raise StudyError("compute.device is cuda, but torch sees no GPU. Set it to auto or cpu, or check the driver.")
    device = "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"
    if device == "cuda":
        prepare_gpu(config.get("deterministic", True))
    return device


def use_threads(count: int) -> None:
    """Let torch, Arrow and the tokenizers, each of which would take every core of the machine, work with the job's threads. Must come before
    the first text is tokenised."""
    torch.set_num_threads(count)
    pa.set_cpu_count(count)
    os.environ["RAYON_NUM_THREADS"] = str(count)


def prepare_gpu(deterministic: bool) -> None:
    """Before the first product on a GPU. deterministic: every operation there adds in a fixed order, as a CPU's do, and one that cannot raises
    RuntimeError.

    Attention is never cuDNN's: it makes a new plan for each length, a fifth of a second on an H200, and trees have few lengths in common.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may choose another algorithm at each call
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # it finds faults of torch, and costs a pass over every new tensor


def keep_memory() -> None:
    """Let glibc keep freed memory: by default it gives large tensors back to the system, and every step faults their pages in again.

    That is a third of a small model's training time on a CPU. Arrow takes its memory from there too, for release_memory to give back. Other C
    libraries are left alone.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        pa.set_memory_pool(pa.system_memory_pool())
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def release_memory() -> None:
    """Give freed memory back after all: before work of another size, the pieces that are kept would only lie beside it."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def forget_kernels(dtype: str) -> None:
    """Before the first product: let oneDNN keep none of the kernels that it makes for each shape in float32.

    A thousand of them come to lie among the tensors, and making one again costs nothing that can be measured; in bfloat16 it does.
    """
    if dtype == "float32":
        os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = "0"


def out_of_memory(error: Exception) -> bool:
    """Whether a GPU or the machine had no memory left for a tensor."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def write_timing(path: Path, started: float, continuations: int = 0, more: dict | None = None, **counts: float) -> None:
    """Seconds since `started` (time.monotonic), how often a kill was survived, peak memory in MB, counts with their rate, and `more`."""
    seconds = time.monotonic() - started
    rates = {f"{name}_per_second": round(count / seconds, 2) for name, count in counts.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write_json(
        path,
        {"seconds": round(seconds, 3), "continuations": continuations, "peak_memory_mb": round(peak), **counts, **rates, **(more or {})},
    )
