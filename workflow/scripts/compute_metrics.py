"""HmR, HpR, CAS and mean rewards of every policy, with intervals."""

import numpy as np
import pandas as pd
import pyarrow as pa

from study.artifacts import provenance, write_table
from study.command import parse, run
from study.ratings import AXES, of, read_ratings, seeds_of
from study.statistics import bootstrap_mean, crossed_mean, mover_mean, t_interval, wilson

METRICS = pa.schema(
    [
        ("judge", pa.string()),
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("n", pa.int64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("method", pa.string()),
    ]
)
RATES = {"harmlessness": "HmR", "helpfulness": "HpR"}
MEANS = {"harmlessness": "mean_reward_harmful", "helpfulness": "mean_reward_helpful"}


def of_one_seed(ratings: pd.DataFrame, judge: str, policy: str, seed: int, bootstrap: dict) -> list[dict]:
    """Metrics of one trained checkpoint. Rates in percent; CAS = (HmR + HpR) / 2, its n is that of both axes."""
    rows, rates, count = [], [], 0
    for axis in AXES:
        frame = of(ratings, judge, policy, seed, axis)
        n, good = len(frame), int(frame["good"].sum())
        low, high = wilson(good, n)
        rates.append((100 * good / n, 100 * low, 100 * high))
        rows.append(row(RATES[axis], rates[-1], n, "Wilson"))
        interval = bootstrap_mean(frame["reward"], bootstrap["samples"], bootstrap["seed"])
        rows.append(row(MEANS[axis], (frame["reward"].mean(), *interval), n, "percentile bootstrap"))
        count += n
    rows.append(row("CAS", mover_mean(*rates), count, "MOVER of Wilson"))
    return [{"judge": judge, "policy": policy, "seed": seed, **found} for found in rows]


def row(metric: str, estimate: tuple[float, float, float], n: int, method: str) -> dict:
    value, low, high = estimate
    return {"metric": metric, "value": float(value), "n": n, "ci_low": float(low), "ci_high": float(high), "method": method}


def over_seeds(ratings: pd.DataFrame, judge: str, policy: str, seeds: list[int]) -> list[dict]:
    """Metrics of the method over its seeds: prompts crossed with seeds, for new prompts and new seeds."""
    rows, parts, count, method = [], [], 0, "prompts x seeds ANOVA, t"
    for axis in AXES:
        frames = [of(ratings, judge, policy, seed, axis) for seed in seeds]
        for metric, column, scale in ((RATES[axis], "good", 100.0), (MEANS[axis], "reward", 1.0)):
            found = crossed_mean(np.column_stack([frame[column].to_numpy(float) for frame in frames]) * scale)
            rows.append(row(metric, (found[0], *t_interval(*found)), len(frames[0]), method))
            if column == "good":
                parts.append(found)
        count += len(frames[0])
    variance = sum(part[1] for part in parts) / 4
    weight = sum((part[1] / 4) ** 2 / part[2] for part in parts)
    mean = sum(part[0] for part in parts) / 2
    rows.append(row("CAS", (mean, *t_interval(mean, variance, variance**2 / weight if weight else 1.0)), count, method))
    return [{"judge": judge, "policy": policy, "seed": None, **found} for found in rows]


def main() -> None:
    args = parse(__doc__, config="config", rewards="paths", output="path")
    config = args.config
    ratings = read_ratings(args.rewards, config["judges"])
    rows = []
    for judge in sorted(config["judges"]):
        for policy in config["order"]:
            seeds = seeds_of(config, policy)
            for seed in seeds:
                rows += of_one_seed(ratings, judge, policy, seed, config["bootstrap"])
            if len(seeds) > 1:
                rows += over_seeds(ratings, judge, policy, seeds)
    write_table(args.output, rows, METRICS, provenance(config, args.rewards))


if __name__ == "__main__":
    run(main)
