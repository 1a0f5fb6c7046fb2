"""Files of a finished study with one byte flipped in each, and what `make verify` says."""

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KINDS = {
    "preferences": "data/*/preferences.parquet", "prompts": "prompts/prompts.parquet", "raw rows": "data/*/raw/*/*.jsonl.gz", "cards": "**/README.md",
    "weights": "**/model.safetensors", "a model's provenance": "**/provenance.json", "notices": "**/NOTICE",
    "calibration": "models/judges/*/calibration.json", "training logs": "policies/*/*/train_log.parquet", "references": "references/**/*.parquet",
    "responses": "responses/*/*.parquet", "rewards": "rewards/*/*/*.parquet", "drift": "drift/**/*.parquet", "analysis": "analysis/*.parquet",
    "CSV": "report/*.csv", "SVG": "report/figures/*.svg", "summary": "report/summary.txt", "HTML": "report/*.html", "timings": "timings/**/*.json",
    "manifests": "**/manifest.json",
}  # fmt: skip


def one_of_each_kind(results: Path, stream: random.Random) -> list[Path]:
    """A file of every kind that a study keeps."""
    chosen: list[Path] = []
    for kind, pattern in KINDS.items():
        taken = {path.parent for path in chosen if kind == "manifests"}  # of whose files only the manifest speaks
        chosen.append(stream.choice([path for path in sorted(results.glob(pattern)) if path not in chosen and path.parent not in taken]))
    return chosen


@contextmanager
def flipped(chosen: list[Path], stream: random.Random, near_the_end: bool) -> Iterator[None]:
    """A bit of each file is another as long as the block lasts; near_the_end: in the last 300 bytes, where a table has its footer."""
    before = {path: path.read_bytes() for path in chosen}
    for path, content in before.items():
        at = len(content) - 1 - stream.randrange(min(300, len(content)) if near_the_end else len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << stream.randrange(8))]) + content[at + 1 :])
    yield
    for path, content in before.items():
        path.write_bytes(content)


def verify(home: Path) -> tuple[int, str]:
    """(status, what it printed) of the check of the demo below `home`, as a user calls it."""
    command = [sys.executable, "-m", "hh_align.tools.verify_study", "--folder", "results/demo"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
