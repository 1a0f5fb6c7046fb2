"""What the model of all labels promises, measured: coverage of its interval, and how often it finds a difference of equal policies.

python tests/bench/bench_model.py [STUDIES]      # 200 studies a cell: minutes

Studies of three policies are drawn from the model: log-odds 0, 0 and 1, prompts' SD 1.5, SD of policy by prompt 1; the first policy has one seed.
"""

import math
import sys
from pathlib import Path

import numpy as np
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))

from hh_align.analysis.model_labels import Labels, contrast, model_axis

PROMPT_SD, REPLY_SD = 1.5, 1.0
CELLS = [(50, 1, 0.0, 1), (200, 1, 0.0, 1), (50, 3, 0.0, 1), (50, 3, 0.25, 1), (50, 2, 0.25, 1), (200, 3, 0.25, 1), (20, 1, 0.0, 3)]
"""(clusters, seeds, SD of policy by seed, prompts of a cluster)"""


def study(stream: np.random.Generator, clusters: int, seeds: int, seed_sd: float, size: int) -> Labels:
    """Prompts of a cluster share their effects."""
    rows, cluster = [], np.repeat(np.arange(clusters), size)
    prompts = stream.normal(0, PROMPT_SD, clusters)
    for policy, beta in enumerate((0.0, 0.0, 1.0)):
        own = prompts + stream.normal(0, REPLY_SD, clusters)
        for seed in range(seeds if policy else 1):
            good = stream.random(len(cluster)) < expit(beta + own[cluster] + stream.normal(0, seed_sd))
            rows.append(np.vstack([good, np.full(len(good), policy), np.full(len(good), seed), np.arange(len(good)), cluster]))
    good, *numbers = np.hstack(rows)
    return Labels(good, *(number.astype(int) for number in numbers))


def main() -> None:
    studies, stream = int(sys.argv[1]) if len(sys.argv) > 1 else 200, np.random.default_rng(1)
    for clusters, seeds, seed_sd, size in CELLS:
        drawn = np.random.default_rng(0).normal(0, 1, 200_000) * math.sqrt(PROMPT_SD**2 + REPLY_SD**2 + seed_sd**2)
        truth = 100 * (expit(1 + drawn) - expit(drawn)).mean()
        fits = [model_axis(study(stream, clusters, seeds, seed_sd, size)) for _ in range(studies)]
        rows = [(contrast([fit], 1, 2, 5.0), contrast([fit], 0, 1, 5.0)) for fit in fits if fit]
        covered = np.mean([different["modelled_low"] <= truth <= different["modelled_high"] for different, _ in rows])
        found = np.mean([equal["p"] < 0.05 for _, equal in rows])
        errors = [100 * math.sqrt(share * (1 - share) / len(rows)) for share in (covered, found)]
        print(
            f"{clusters} x {size} prompts, {seeds} seeds, SD {seed_sd}: {len(rows)} of {studies} fitted; coverage {100 * covered:.1f} ± {errors[0]:.1f}; "
            f"a difference of equal policies {100 * found:.1f} ± {errors[1]:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
