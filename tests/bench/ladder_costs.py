"""What each rung of config/ladder costs, by the model of simulate_scaling.py. `python tests/bench/ladder_costs.py` prints the table of docs/scaling.md."""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.simulate_scaling import LADDER, ROWS, SFT_EPOCHS, TOKENS, Sweep, disk, gpu_seconds, jobs_by_formula, row


def flops(sweep: Sweep) -> float:
    """Operations of the trainings and references: 6 per parameter and token of a training, 2 of a reading; a pair has two transcripts."""
    counts, token = jobs_by_formula(sweep), ROWS * TOKENS * LADDER[sweep.size]
    return token * (6 * SFT_EPOCHS * counts["train_sft"] + 12 * counts["train_dpo"] + 4 * counts["compute_references"])


def ladder_rows() -> Iterator[str]:
    """What each rung of config/ladder takes: the paper's study of 100 prompts, one seed."""
    for rung, parameters in LADDER.items():
        sweep = Sweep(size=rung, prompts=100)
        stored = disk(sweep)
        sizes = (f"{stored[part] / 1e9:,.1f}" for part in ("weights", "checkpoints"))
        yield row(f"`{rung}`", f"{parameters / 1e6:,.0f}", f"{flops(sweep) / 1e18:,.2f}", f"{gpu_seconds(sweep) / 3600:,.1f}", *sizes)


if __name__ == "__main__":
    print(*ladder_rows(), sep="\n")
