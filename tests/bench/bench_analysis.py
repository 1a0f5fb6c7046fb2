"""Seconds and memory of the analysis on a large study: 10 policies x 3 seeds x 2,354 prompts per axis, all 45 pairs.

python tests/bench/bench_analysis.py           # or with another number of prompts per axis
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow" / "scripts"))

from hh_align.analysis import check_claims, compare_policies, compute_metrics, compute_retention, sweep_thresholds
from hh_align.core.axes import AXES

PROMPTS, POLICIES, SEEDS = int(sys.argv[1]) if sys.argv[1:] else 2354, 10, [1, 2, 3]
ORDER = ["base", *(f"policy_{number}" for number in range(1, POLICIES))]
CONFIG = {
    "judges": {"judge": {"harmless_min": 0.0, "helpful_above": 0.0}},
    "policies": {policy: {"parent": None if policy == "base" else "base"} for policy in ORDER},
    "order": ORDER,
    "seeds": SEEDS,
    "bootstrap": {"samples": 10_000, "seed": 1},
    "contrasts": [[policy, "base"] for policy in ORDER[1:]],
    "primary": ["policy_1", "base"],
    "equivalence_margin": 5.0,
    "all_pairs": True,
    "claims": [
        {"claim": "policy_1 leads", "source": "made up", "parts": [{"higher": "policy_1", "than": ORDER[:1], "metrics": ["HmR", "CAS"]}]}
    ],
}


def made_up() -> tuple[dict, dict]:
    """(ratings, clusters): rewards that prompts and policies share, a few prompts with one first turn."""
    stream = np.random.default_rng(0)
    shared = {axis: stream.normal(size=PROMPTS) for axis in AXES}
    clusters = {axis: np.unique(stream.integers(0, 10 * PROMPTS, PROMPTS), return_inverse=True)[1] for axis in AXES}
    ratings = {}
    for number, policy in enumerate(ORDER):
        for seed in [0] if policy == "base" else SEEDS:
            for axis in AXES:
                reward = shared[axis] + 0.1 * number + stream.normal(size=PROMPTS)
                ratings["judge", policy, seed, axis] = pd.DataFrame(
                    {
                        "prompt_id": [f"{axis}-{number:04}" for number in range(PROMPTS)],
                        "reward": reward,
                        "label": reward > 0,
                        "empty": stream.random(PROMPTS) < 0.01,
                        "run_on": False,
                        "cut": pd.array([True] * PROMPTS, "boolean"),
                        "words": stream.integers(0, 40, PROMPTS),
                    }
                )
    return ratings, clusters


def main() -> None:
    ratings, clusters = made_up()
    steps = {
        "metrics": lambda: compute_metrics.measure(ratings, clusters, CONFIG),
        "comparisons": lambda: compare_policies.compare_policies(ratings, clusters, CONFIG),
        "retention": lambda: compute_retention.compare_with_references(ratings, CONFIG),
        "thresholds": lambda: sweep_thresholds.sweep(ratings, clusters, CONFIG),
        "claims": lambda: check_claims.check(ratings, clusters, CONFIG, {}),
    }
    started = time.monotonic()
    for name, step in steps.items():
        before, computed = time.monotonic(), time.process_time()
        step()
        print(f"{name}: {time.monotonic() - before:.1f} s, {time.process_time() - computed:.1f} s of CPU", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{POLICIES} policies x {len(SEEDS)} seeds x {PROMPTS:,} prompts: {time.monotonic() - started:.1f} s, {peak:,.0f} MB")


if __name__ == "__main__":
    main()
