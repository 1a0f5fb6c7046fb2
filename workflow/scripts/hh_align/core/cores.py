"""The cores of this machine: how many this process may use, how many nobody uses, and how OpenMP's threads are to wait for each other on them.

As a program it prints the spins of a job with OMP_NUM_THREADS threads, for GOMP_SPINCOUNT.
"""

import math
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SPINS = 10_000
"""How often a thread looks for the others at a barrier before it sleeps, where each thread has a core: well below a millisecond."""
LOOK = 0.3
"""Seconds for which the use of the cores is watched."""
BUSY = 0.5
"""Cores that may be missing while a job still counts as alone: what is at work only now and then."""


def allowed_cores() -> set[int]:
    """The numbers of the cores on which the system lets this process run, as its parent, taskset or a cpuset has set them."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """How many cores this process may use: the allowed ones or, if these are fewer, as many as its cgroups leave it the time of."""
    return max(1, math.ceil(min(len(allowed_cores()), quota())))


def quota(process: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> float:
    """The time that cgroups (version 1 or 2) leave a process, in cores, as `docker run --cpus` sets it; infinite without a limit.

    A limit of any group above it holds, too. In a container the path may be that of the host: then the root of the mount counts.
    """
    limits = [math.inf]
    for line in text_of(process).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for top in (mount,) if not controllers else (mount / controllers, mount / "cpu"):
            group = top / path.lstrip("/")
            limits += [limit_of(folder) for folder in (group, *group.parents) if folder.is_relative_to(top)]
    return min(limits)


def limit_of(group: Path) -> float:
    """The cores of one cgroup's limit on time; infinite where it has none."""
    words = text_of(group / "cpu.max").split() or [text_of(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        spent, period = (float(word) for word in words)
        return spent / period if spent > 0 and period > 0 else math.inf
    except ValueError:
        return math.inf


def text_of(path: Path) -> str:
    """A file's text; empty where there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def free_cores(seconds: float = LOOK) -> float:
    """How many of the allowed cores, added up, nobody used in the next so many seconds."""
    import psutil

    shares = psutil.cpu_times_percent(interval=seconds, percpu=True)
    return sum(shares[number].idle + getattr(shares[number], "iowait", 0.0) for number in allowed_cores() if number < len(shares)) / 100


@contextmanager
def claimed_cores(threads: int) -> Iterator[int]:
    """Within, this process claims a core for each thread, of those that no other process claims; how many it got.

    Jobs that begin at one moment all find the machine idle, and share it by their claims. A claim is a socket's abstract name in Linux: it leaves
    no file, and ends with its process. Elsewhere all are granted.
    """
    if sys.platform != "linux":
        yield threads
        return
    with ExitStack() as claims:
        granted = 0
        for number in sorted(allowed_cores()):
            if granted < threads:
                granted += bound(claims.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)), f"\0hh-align/core/{number}")
        yield granted


def bound(of: socket.socket, name: str) -> bool:
    """Give a socket a name; whether no other has it."""
    try:
        of.bind(name)
    except OSError:
        return False
    return True


def spins(threads: int, free: float) -> int:
    """How often the threads of a job that begins on so many free cores look for each other before they sleep.

    Where others need the cores, threads that look for each other take them from the one that is waited for: there they sleep at once.
    """
    return SPINS if free >= threads - BUSY else 0


if __name__ == "__main__":
    THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
    with claimed_cores(THREADS) as granted:
        print(spins(THREADS, min(free_cores(), granted)))
