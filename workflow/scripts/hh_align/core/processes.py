"""The processes that share one training (DDP), as the launcher tells each of them."""

import os
import sys


def processes() -> int:
    """How many there are; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this one writes artifacts and speaks."""
    return os.environ.get("RANK", "0") == "0"


def leave_group() -> None:
    """Leave the group that shares a training, if there is one: a process that ends with Gloo's threads still running can abort, and the
    launcher then stops the others while they write."""
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
