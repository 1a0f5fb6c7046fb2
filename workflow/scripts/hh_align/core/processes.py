"""The processes that share one training (DDP), as the launcher tells each of them."""

import os


def processes() -> int:
    """How many there are; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this one writes artifacts and speaks."""
    return os.environ.get("RANK", "0") == "0"
