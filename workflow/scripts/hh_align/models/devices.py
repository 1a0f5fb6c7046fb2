"""Which of a machine's GPUs a job takes, where no scheduler has chosen: one lock file per device, which the kernel drops when the job dies."""

import fcntl
import os
import sys
import tempfile
import time
from pathlib import Path

DEVICES = Path("/dev")
WAIT = 5.0  # seconds between looks at devices that are all taken


def visible() -> list[str]:
    """The names of the GPUs that CUDA may use here: those of CUDA_VISIBLE_DEVICES where it is set, else 0, 1, …, one per /dev/nvidia<n>."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    return [str(number) for number, _ in enumerate(DEVICES.glob("nvidia[0-9]*"))]


def lock_folder() -> Path:
    """One for a user on a machine, whatever the clone of the repository; an allocation of a scheduler numbers its devices itself."""
    return Path(tempfile.gettempdir()) / f"hh-align-gpus-{os.getuid()}-{os.environ.get('SLURM_JOB_ID', '')}"


def take(name: str) -> int | None:
    """A descriptor that holds the device while it is open, here or in a child; None where another job has it."""
    lock_folder().mkdir(mode=0o700, exist_ok=True)
    held = os.open(lock_folder() / name.replace("/", "-"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    os.set_inheritable(held, True)
    return held


def lease(count: int) -> list[str]:
    """Take `count` devices until this process and its children end, and show CUDA no other; wait while too few are free.

    Nothing is chosen where one is visible (the machine's only one, or a scheduler's choice) or fewer than wanted.
    Must come before CUDA is first used. Returns the names of what the process may use.
    """
    names, told = visible(), False
    if len(names) < max(count, 2):
        return names
    while True:
        locks = {}
        for name in names:
            if len(locks) < count and (held := take(name)) is not None:
                locks[name] = held
        if len(locks) == count:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(locks)
            return list(locks)
        for held in locks.values():  # two jobs that each hold half would wait for ever
            os.close(held)
        if not told:
            print(f"{len(names)} GPUs, {count} wanted, too few are free: waiting", flush=True)
        told = True
        time.sleep(WAIT)


if __name__ == "__main__":  # COUNT COMMAND …: the command with that many devices
    lease(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
