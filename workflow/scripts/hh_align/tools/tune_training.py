"""Which precision and micro-batch train fastest on this machine: a few steps of a method with each, and a suggestion. Changes nothing."""

import json
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import torch

from hh_align.core.artifacts import say, write_json
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.models.precision import is_emulated

STEPS = 8
PRECISIONS = ("float32", "bfloat16")
MEASURES = {"training_examples_per_second": "examples_per_second", "share_of_peak": "share_of_peak", "peak_memory_mb": "peak_memory_mb"}


def precisions_here(config: dict, threads: int) -> list[str]:
    """Those that this machine does not emulate; with a GPU all of them: what a look took there would be missing in the trainings."""
    torch.set_num_threads(threads)
    on_gpu = config["device"] != "cpu" and torch.cuda.is_available()
    return [precision for precision in PRECISIONS if on_gpu or not is_emulated(precision, "cpu")]


def settings(method: dict, precisions: Sequence[str]) -> list[dict]:
    """The method with each of these precisions and every micro-batch that divides the batch, largest first, on the rows of STEPS steps."""
    size = method["batch_size"]
    micro = [number for number in range(size, 0, -1) if size % number == 0]
    rows = {"max_rows": STEPS * size, "epochs": 1}
    return [method | rows | {"precision": precision, "micro_batch": number} for precision in precisions for number in micro]


def call(step: str, config: dict, **options: object) -> None:
    """Run a step of the training. Raises StudyError with its own message."""
    words = [part for name, value in options.items() for part in ("--" + name.replace("_", "-"), str(value))]
    command = [sys.executable, "-m", f"hh_align.training.{step}", "--config", json.dumps(config), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"{step} ended with status {done.returncode}"]
        raise StudyError(lines[-1].removeprefix("error: "))


def measure(method: dict, config: dict, parent: Path, preferences: Path, threads: int, folder: Path) -> dict:
    """Examples per second and peak memory of a few steps. Raises StudyError where they do not fit."""
    common = {"preferences": preferences, "threads": threads, "timing": folder / "timing.json", "state": folder / "state"}
    shared = {key: config[key] for key in ("train_split", "device", "deterministic") if key in config}
    if method["trainer"] == "kto" or method.get("dropout") == "disabled":
        as_dpo = method | {"trainer": "dpo", "dropout": "disabled"}
        view = {key: as_dpo[key] for key in config["view_keys"] if key in as_dpo}
        reference = folder / "references.parquet"
        batch = {"batch_tokens": config["batch_tokens"]}
        call("compute_references", {"view": view, **shared, **batch}, policy=parent, output=reference, **common)
        common["references"] = reference
    outputs = {name: folder / name for name in ("train_log", "quarantine")} | {"manifest": folder / "out/manifest.json"}
    call(
        f"train_{method['trainer']}",
        {"method": method, **shared},
        seed=1,
        parent=parent,
        checkpoint_seconds=10**6,
        **common,
        **outputs,
    )
    timing = json.loads((folder / "timing.json").read_text())
    return {short: timing[name] for name, short in MEASURES.items()}


def side_by_side(best: dict, args: Namespace) -> str:
    """How many examples per second as many jobs of one thread do together, at once, as the one of `best` had threads; empty where that is no
    question: one thread, or a GPU. Raises StudyError where they do not fit."""
    jobs, needed, free = args.threads, args.threads * best["peak_memory_mb"] * 2**20, psutil.virtual_memory().available
    if jobs == 1 or (args.config["device"] != "cpu" and torch.cuda.is_available()):
        return ""
    if needed > free:
        raise StudyError(f"they take {needed / 2**30:.1f} GB together, and {free / 2**30:.1f} GB are free.")
    tried = next(each for each in settings(args.config["method"], [best["precision"]]) if each["micro_batch"] == best["micro_batch"])
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        folders = [Path(tempfile.mkdtemp(dir=folder)) for _ in range(jobs)]
        running = [pool.submit(measure, tried, args.config, args.parent, args.preferences, 1, each) for each in folders]
        together = sum(each.result()["examples_per_second"] for each in running)
    return f"{together:,.1f} examples/s together, {together / best['examples_per_second']:.2f} times as many as one job on {jobs} threads"


def main() -> None:
    args = parse(__doc__, config="config", parent="path", preferences="path", threads="int", output="path")
    precisions, rows = precisions_here(args.config, args.threads), []
    for left_out in sorted(set(PRECISIONS) - set(precisions)):
        say(f"{left_out} is left out.")
    for tried in settings(args.config["method"], precisions):
        row = {key: tried[key] for key in ("precision", "micro_batch")}
        name = f"{row['precision']}, micro_batch {row['micro_batch']}"
        with tempfile.TemporaryDirectory() as folder:
            try:
                row |= measure(tried, args.config, args.parent, args.preferences, args.threads, Path(folder))
                speed = f"{row['examples_per_second']:,.1f} examples/s, {row['share_of_peak']:.0%} of the matrix-product peak"
                say(f"{name}: {speed}, {row['peak_memory_mb']:,} MB")
            except StudyError as error:
                row["failed"] = str(error)
                say(f"{name}: {error}")
        rows.append(row)
    fit = [row for row in rows if "failed" not in row]
    if not fit:
        raise StudyError("nothing fits: lower max_length, or take a machine with more memory.")
    for precision in dict.fromkeys(row["precision"] for row in fit):
        best = max((row for row in fit if row["precision"] == precision), key=lambda row: row["examples_per_second"])
        say(f"fastest: {{precision: {precision}, micro_batch: {best['micro_batch']}}}, {best['examples_per_second']:,.1f} examples/s")
    best = max(fit, key=lambda row: row["examples_per_second"])
    try:
        if together := side_by_side(best, args):
            say(f"{args.threads} jobs side by side (compute.threads: 1): {together}")
    except StudyError as error:
        say(f"{args.threads} jobs side by side (compute.threads: 1): not measured: {error}")
    say("micro_batch changes the last bits of the result, precision more: both are part of the method.")
    write_json(args.output, rows)


if __name__ == "__main__":
    run(main)
