"""Is this GPU fit for a study? Small trainings, references, texts and rewards on it against the CPU's, twice for equal bytes, killed and
continued; then what it trains per second at the shape of OPT-350M, deterministic and not. About four minutes; needs no data and no network.

python tests/bench/check_gpu.py                          on a CUDA machine; a table last, results/gpu/check.json beside it
python tests/bench/check_gpu.py --device cpu --quick     the same command where there is no GPU, in seconds

Ends with status 1 where a check fails.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
import trl
from gpu_checks import CHECKS, PARTS, Trial
from gpu_speed import speed
from gpu_study import KINDS, Run, make_inputs
from rich import box
from rich.console import Console
from rich.table import Table

from hh_align.core.artifacts import write_json
from hh_align.core.cores import usable_cores

OUTPUT = Path(__file__).resolve().parents[2] / "results/gpu/check.json"
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Size:
    """How much is done. trials: (model, precision), the steps of their trainings and their prompts; speeds: (method, precision), the shape that is
    trained and its steps; none is begun after so many `seconds`."""

    trials: tuple[tuple[str, str], ...]
    steps: int
    prompts: int
    speeds: tuple[tuple[str, str], ...]
    shape: str
    speed_steps: int
    seconds: float


FULL = Size(
    tuple(product((*KINDS, "dropout", "judge"), PRECISIONS)), 20, 24, tuple(product(("sft", "dpo"), PRECISIONS[::-1])), "opt-350m", 23, 210
)
QUICK = Size((("llama", "bfloat16"), ("dropout", "float32"), ("judge", "float32")), 4, 4, (("dpo", "bfloat16"),), "tiny", 4, 210)


def machine(device: str) -> dict:
    """What the figures belong to."""
    gpu = {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda} if device == "cuda" else {}
    versions = {library.__name__: library.__version__ for library in (torch, transformers, trl)}
    return {"device": device, **gpu, "cpus": usable_cores(), "python": platform.python_version(), **versions}


def trials(folder: Path, device: str, size: Size) -> Iterator[tuple[Trial, Callable]]:
    """Every part of every model's trial in every precision."""
    inputs = make_inputs(folder / "inputs", size.steps, size.prompts)
    for kind, precision in size.trials:
        places = {"cpu": "cpu", "first": device, "second": device}
        runs = {name: Run(inputs, folder / f"{kind}-{precision}" / name, place) for name, place in places.items()}
        for part in PARTS.get(kind, PARTS["model"]):
            yield Trial(kind, precision, inputs, **runs), part


@contextmanager
def told(name: str) -> Iterator[None]:
    """Say what is at work, and what it took."""
    print(name, end=" ", flush=True)
    started = time.monotonic()
    try:
        yield
    finally:
        print(f"{time.monotonic() - started:.1f} s", flush=True)


def checked(folder: Path, device: str, size: Size) -> list[dict]:
    """The rows of all checks. A part that ends in an error is a failed check, and the others go on."""
    rows = []
    for trial, part in trials(folder, device, size):
        try:
            with told(f"{trial.kind} {trial.precision} {part.__name__}"):
                rows += part(trial)
        except Exception as error:  # whatever a library raises on this machine is what this command is there to find
            rows.append(trial.failed(part.__name__, error))
    return rows


def measured(device: str, size: Size, until: float) -> list[dict]:
    """Rows of the speed, one for each method and precision, deterministic and not, as far as the time allows."""
    rows = []
    for (trainer, precision), deterministic in product(size.speeds, (False, True)):
        name = {"method": trainer, "precision": precision, "deterministic": deterministic}
        if time.monotonic() > until:
            rows.append(name | {"failed": "no time left"})
            continue
        try:
            with told(f"{trainer} {precision}{' deterministic' if deterministic else ''}"):
                rows.append(speed(device, trainer, precision, deterministic, size.shape, size.speed_steps))
        except Exception as error:  # as above
            rows.append(name | {"failed": f"{type(error).__name__}: {error}"[:1000]})
    return rows


def cost(rows: list[dict]) -> dict[str, float]:
    """`<method> <precision>` -> by how much of its examples per second deterministic mode slows a training."""
    rates = {(row["method"], row["precision"], row["deterministic"]): row["examples"] for row in rows if "failed" not in row}
    pairs = ((key[:2], rate, rates.get((*key[:2], True))) for key, rate in rates.items() if not key[2])
    return {" ".join(name): round(1 - slower / rate, 3) for name, rate, slower in pairs if slower}


# --- the tables


def check_table(rows: list[dict]) -> Table:
    """A line for each model and precision, a column for each check: what was measured; a star where it is more than allowed."""
    table = Table(box=box.SIMPLE, title="largest measured (* is more than allowed)")
    for heading in ("model", "precision", *CHECKS):
        table.add_column(heading, justify="right" if heading in CHECKS else "left")
    lines: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        line = lines.setdefault((row["model"], row["precision"]), {})
        if "failed" not in row and row["measured"] >= line.get(row["check"], row)["measured"]:
            line[row["check"]] = row
    for name, line in lines.items():
        table.add_row(
            *name, *(f"{line[check]['measured']:.2g}{'' if line[check]['ok'] else ' *'}" if check in line else "" for check in CHECKS)
        )
    return table


def speed_table(rows: list[dict], shape: str) -> Table:
    """A line for each method and precision."""
    table = Table(box=box.SIMPLE, title=f"training at the shape {shape}")
    for heading in ("method", "precision", "deterministic", "examples/s", "tokens/s", "of peak", "GB"):
        table.add_column(heading, justify="left" if heading in ("method", "precision", "deterministic") else "right")
    for row in rows:
        name = row["method"], row["precision"], "yes" if row["deterministic"] else "no"
        if "failed" in row:
            table.add_row(*name, "none")
        else:
            memory = "" if row["memory_gb"] is None else f"{row['memory_gb']:.1f}"
            table.add_row(*name, f"{row['examples']:,.1f}", f"{row['tokens']:,.0f}", f"{row['share_of_peak']:.0%}", memory)
    return table


def show(result: dict, shape: str, console: Console) -> None:
    """Both tables, what failed, and what was allowed."""
    for row in (*result["checks"], *result["speed"]):
        if "failed" in row:
            console.print(
                f"{' '.join(str(value) for key, value in row.items() if key not in ('ok', 'failed'))}: {row['failed']}", markup=False
            )
    for name, check in CHECKS.items():
        console.print(f"{name}: {check.measured}; at most {check.float32:g}, in bfloat16 {check.bfloat16:g} ({check.why})", markup=False)
    console.print(check_table(result["checks"]), speed_table(result["speed"], shape))
    slower = ", ".join(f"{name} {share:.1%}" for name, share in result["deterministic_cost"].items())
    console.print(f"deterministic mode is slower by: {slower or 'not measured'}; {result['seconds']:.0f} s", markup=False)
    console.print("every check holds" if result["ok"] else "CHECKS FAILED", markup=False)


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--quick", action="store_true", help="few models, a few steps")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: torch sees no GPU. Take a machine with one, or try the command with --device cpu --quick.")
    size = QUICK if args.quick else FULL
    with TemporaryDirectory() as folder:
        checks = checked(Path(folder), args.device, size)
    rates = measured(args.device, size, started + size.seconds)
    failed = [row for row in checks if not row["ok"]] + [row for row in rates if row.get("failed", "no time left") != "no time left"]
    result = {"machine": machine(args.device), "checks": checks, "speed": rates, "deterministic_cost": cost(rates), "ok": not failed}
    result |= {"limits": {name: vars(check) for name, check in CHECKS.items()}, "seconds": round(time.monotonic() - started, 1)}
    write_json(args.output, result)
    show(result, size.shape, Console(width=150))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
