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
    frames = {axis: of(ratings, judge, policy, seed, axis) for axis in AXES}
    rates = {axis: rate(int(frame["good"].sum()), len(frame)) for axis, frame in frames.items()}
    rows = [row(RATES[axis], rates[axis], len(frame), "Wilson") for axis, frame in frames.items()]
    rows.append(row("CAS", mover_mean(*rates.values()), sum(map(len, frames.values())), "MOVER of Wilson"))
    for axis, frame in frames.items():
        interval = bootstrap_mean(frame["reward"], bootstrap["samples"], bootstrap["seed"])
        rows.append(row(MEANS[axis], (frame["reward"].mean(), *interval), len(frame), "percentile bootstrap"))
    return [{"judge": judge, "policy": policy, "seed": seed, **found} for found in rows]


def rate(good: int, n: int) -> tuple[float, float, float]:
    low, high = wilson(good, n)
    return 100 * good / n, 100 * low, 100 * high


def row(metric: str, estimate: tuple, n: int, method: str) -> dict:
    value, low, high = (None if part is None else float(part) for part in estimate)
    return {"metric": metric, "value": value, "n": n, "ci_low": low, "ci_high": high, "method": method}


def over_seeds(ratings: pd.DataFrame, judge: str, policy: str, seeds: list[int]) -> list[dict]:
    """Metrics of the method over its seeds: prompts crossed with seeds, for new prompts and new seeds; n counts prompts."""

    def block(axis: str, column: str) -> np.ndarray:
        return np.column_stack([of(ratings, judge, policy, seed, axis)[column].to_numpy(float) for seed in seeds])

    labels = {axis: 100 * block(axis, "good") for axis in AXES}
    rows = [row_over_seeds(RATES[axis], values) for axis, values in labels.items()]
    rows.append(row_over_seeds("CAS", *labels.values()))
    rows += [row_over_seeds(MEANS[axis], block(axis, "reward")) for axis in AXES]
    return [{"judge": judge, "policy": policy, "seed": None, **found} for found in rows]


def row_over_seeds(metric: str, *blocks: np.ndarray) -> dict:
    """Equal labels everywhere say nothing of the spread: no interval then, rather than one without width."""
    mean, variance, freedom = crossed_mean(*blocks)
    n = sum(map(len, blocks))
    if not variance:
        return row(metric, (mean, None, None), n, "all values equal, no interval")
    low, high = t_interval(mean, variance, freedom)
    if metric not in MEANS.values():
        low, high = max(low, 0.0), min(high, 100.0)
    return row(metric, (mean, low, high), n, "prompts x seeds ANOVA, t")


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
