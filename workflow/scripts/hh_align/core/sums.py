"""Sums of files' content, remembered for as long as size, times and inode say that a file is the same, as git does."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from hh_align.core.artifacts import sha256, write_text
from hh_align.core.errors import StudyError

MARGIN = 2 * 10**9
"""Nanoseconds in which a second change could leave a file with the same times: file systems count in up to two seconds."""


class Sums:
    """sha256 of files by their paths; `cache` keeps them from one process to the next."""

    def __init__(self, cache: Path) -> None:
        self.cache, self.changed = Path(cache), False
        try:
            kept = json.loads(self.cache.read_text(encoding="utf-8"))
            self.known = {name: (seen, total) for name, (seen, total) in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.known: dict[str, tuple[list[int], str]] = {}

    def of(self, path: str | Path) -> str | None:
        """Hexadecimal sha256 of a file's bytes, None where there is no file. What has just changed is summed anew at the next question."""
        name = os.path.abspath(path)
        try:
            seen = signature(name)
            if (kept := self.known.get(name)) and kept[0] == seen:
                return kept[1]
            total = sha256(Path(name))
            if signature(name) == seen and seen[2] < time.time_ns() - MARGIN:
                self.known[name] = seen, total
            else:
                self.known.pop(name, None)
        except OSError:
            return None
        self.changed = True
        return total

    def save(self) -> None:
        """Write the cache. A disk that does not take it costs the next process the time to sum anew, nothing else."""
        if self.changed:
            with suppress(OSError, StudyError):
                write_text(self.cache, json.dumps(self.known))


def signature(path: str) -> list[int]:
    """What changes with a file's content: size, times and inode. The time of the last change of these (ctime) is not for a user to set."""
    state = os.stat(path)
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
