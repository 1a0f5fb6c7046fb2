"""What a machine that others use costs a training: seconds on an idle machine and beside busy programs, by how OpenMP's threads wait.

python tests/bench/bench_load.py                      SFT and DPO of the demo's OPT beside 0, 2, 4 and 8 busy programs, 3 rounds
python tests/bench/bench_load.py --loads 0 4 --rounds 5
python tests/bench/bench_load.py --loads 0 --together 2      two such trainings at once, as runs in two checkouts are: the slower one's seconds

Each run is a process of its own with a thread a core; the settings take turns within a round. `own` is OpenMP's own setting, `short` that
of a step which begins on free cores (GOMP_SPINCOUNT=10000), `never` that of one beside others (OMP_WAIT_POLICY=passive), `step` the one of
both that a step takes by itself. A run that takes longer than --limit seconds is stopped and counts as that long, with its start. The machine
must be idle but for this: the table says the load at the start.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

SETTINGS = {"own": {}, "short": {"GOMP_SPINCOUNT": "10000"}, "never": {"OMP_WAIT_POLICY": "passive"}, "step": {}}
KNOWN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
TRAINING = Path(__file__).with_name("bench_training.py")
CORES = Path(__file__).parents[2] / "workflow/scripts/hh_align/core/cores.py"
BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**5))"
"""A program that is busy for as long as this one lives."""


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """Within, so many programs take what they can get of the cores."""
    programs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def slowest(kind: str, setting: str, limit: float, together: int) -> float:
    """Seconds of the slowest of so many equal trainings at once."""
    with ThreadPoolExecutor(together) as pool:
        return max(pool.map(lambda _: seconds_of(kind, setting, limit), range(together)))


def seconds_of(kind: str, setting: str, limit: float) -> float:
    """Seconds of the optimizer steps of a training of the demo's shape in float32; `limit` where the run takes longer."""
    plain = {name: value for name, value in os.environ.items() if name not in KNOWN}
    command = [sys.executable, str(TRAINING), "--case", "demo", "--kind", kind, "--peer", "ours float32"]
    environment = plain | (chosen() if setting == "step" else SETTINGS[setting])
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return limit
    if done.returncode:
        sys.exit(f"{kind} {setting}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])["seconds"]


def chosen() -> dict[str, str]:
    """How the threads of a step that begins now would wait, with one on each core."""
    threads = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    asked = subprocess.run([sys.executable, "-P", str(CORES)], env=os.environ | threads, capture_output=True, text=True, check=True)
    return {"GOMP_SPINCOUNT": asked.stdout.strip()}


def table(seconds: dict[tuple[int, str, str], list[float]], limit: float) -> str:
    """Rows of Markdown: a load, a training, the median of each setting with its range."""
    settings = list(dict.fromkeys(setting for _, _, setting in seconds))
    lines = ["| busy programs | training | " + " | ".join(settings) + " |", "|---" * (2 + len(settings)) + "|"]
    for load, kind in dict.fromkeys(key[:2] for key in seconds):
        cells = [shown(seconds[load, kind, setting], limit) for setting in settings]
        lines.append(f"| {load} | {kind.upper()} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(runs: list[float], limit: float) -> str:
    """`2.1 s (2.0 to 2.4)`; `over 300 s` where half of the runs were stopped."""
    middle = statistics.median(runs)
    return f"over {limit:.0f} s" if middle >= limit else f"{middle:.1f} s ({min(runs):.1f} to {max(runs):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loads", type=int, nargs="+", default=[0, 2, 4, 8])
    parser.add_argument("--kinds", nargs="+", default=["sft", "dpo"], choices=("sft", "dpo"))
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=300.0)
    parser.add_argument("--together", type=int, default=1, help="as many equal trainings at once")
    args = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, load at the start {os.getloadavg()[0]:.1f}", flush=True)
    seconds = defaultdict(list)
    for load in args.loads:
        with busy_programs(load):
            for number in range(args.rounds):
                for kind in args.kinds:
                    for setting in args.settings:
                        seconds[load, kind, setting].append(slowest(kind, setting, args.limit, args.together))
                        last = seconds[load, kind, setting][-1]
                        print(f"load {load}, round {number + 1}: {kind} {setting} {last:.2f} s", flush=True)
    print(table(seconds, args.limit))


if __name__ == "__main__":
    main()
