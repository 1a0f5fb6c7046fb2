"""HmR, HpR, CAS and mean rewards of every policy with intervals, again without empty replies, and what the replies are like."""

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.effective import (
    Mean,
    are_single,
    crossed_mean,
    effective_number,
    freedom_of,
    prompt_mean,
    score_interval,
    t_interval,
    too_few,
    variance_of_mean,
)
from hh_align.analysis.ratings import Ratings, checkpoints, judged_axes, read_ratings, seeds_of
from hh_align.analysis.statistics import NEW_SEEDS, THESE_CHECKPOINTS, bootstrap_means, mover_mean, percentiles, wilson
from hh_align.core.artifacts import provenance, write_table
from hh_align.core.axes import CAS, MEANS, PROMPT_KINDS, RATES
from hh_align.core.command import parse, run

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
        ("estimand", pa.string()),
    ]
)
COUNTS = ("empty", "run_on", "cut")


def variants(frame: pd.DataFrame, worst: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Suffix of the metric -> (labels, rewards), shape (n,): as judged; without empty replies (NaN); with them scored worst (bad, `worst`)."""
    label, reward = frame["label"].to_numpy(float), frame["reward"].to_numpy(float)
    variants_of = {"": (label, reward)}
    if "empty" in frame:
        empty = frame["empty"].to_numpy(bool)
        variants_of["_without_empty"] = np.where(empty, np.nan, label), np.where(empty, np.nan, reward)
        variants_of["_empty_worst"] = np.where(empty, 0.0, label), np.where(empty, worst, reward)
    return variants_of


def rate(labels: np.ndarray, clusters: np.ndarray) -> tuple[float, float, float]:
    """(percent, low, high) of labels 0, 1 or NaN (left out): Wilson at the effective number of prompts; no interval of fewer than five clusters."""
    known = ~np.isnan(labels)
    n, good = int(known.sum()), float(np.nansum(labels))
    if not n:
        return np.nan, np.nan, np.nan
    groups = np.unique(clusters[known], return_inverse=True)[1]
    if too_few(groups):
        return 100 * good / n, np.nan, np.nan
    effective = effective_number(labels[known], groups)
    low, high = wilson(good * (effective / n), effective)
    return 100 * good / n, 100 * low, 100 * high


def mean_interval(values: np.ndarray, clusters: np.ndarray, bootstrapped: tuple[float, float]) -> tuple[float, float, str]:
    """(low, high, method) of the mean of values (NaN left out): bootstrapped over prompts, or Student's t over clusters, if five or more."""
    known = ~np.isnan(values)
    groups = np.unique(clusters[known], return_inverse=True)[1]
    if not known.any() or are_single(groups):
        return *bootstrapped, "percentile bootstrap"
    mean = Mean(float(values[known].mean()), variance_of_mean(values[known], groups), freedom_of(groups))
    return *((np.nan, np.nan) if too_few(groups) else t_interval(mean)), "t over clusters"


def row(metric: str, estimate: tuple, n: int, method: str) -> dict:
    value, low, high = (None if part is None or np.isnan(part) else float(part) for part in estimate)
    return {"metric": metric, "value": value, "n": n, "ci_low": low, "ci_high": high, "method": method}


def of_one_seed(values: dict, intervals: dict, clusters: dict) -> list[dict]:
    """Metrics of one checkpoint from its labels and rewards: values[axis, suffix], with the intervals of its mean rewards.

    Rates in percent; CAS = (HmR + HpR) / 2 where both axes are judged, its n is that of both.
    """
    rows = []
    for suffix in dict.fromkeys(suffix for _, suffix in values):
        rates, sizes = {}, {}
        for axis in dict.fromkeys(axis for axis, _ in values):
            labels, rewards = values[axis, suffix]
            rates[axis], sizes[axis] = rate(labels, clusters[axis]), int((~np.isnan(labels)).sum())
            rows.append(row(RATES[axis] + suffix, rates[axis], sizes[axis], "Wilson"))
            mean = np.nanmean(rewards) if sizes[axis] else np.nan
            low, high, method = mean_interval(rewards, clusters[axis], intervals[axis, suffix])
            rows.append(row(MEANS[axis] + suffix, (mean, low, high), sizes[axis], method))
        if len(rates) > 1:
            rows.append(row(CAS + suffix, mover_mean(*rates.values()), sum(sizes.values()), "MOVER of Wilson"))
    return rows


def of_replies(frames: dict[str, pd.DataFrame], intervals: dict) -> list[dict]:
    """Empty, run-on, cut and (where the judge may fail) unrated replies of one checkpoint, counted (null where unknown), and their mean length in words."""
    rows = []
    for axis, frame in frames.items():
        for name in (*COUNTS, "unrated") if "unrated" in frame else COUNTS:
            known = frame[name].dropna()
            rows.append(row(f"{name}_{PROMPT_KINDS[axis]}", (float(known.sum()) if len(known) else None, None, None), len(known), "count"))
        rows.append(row(f"words_{PROMPT_KINDS[axis]}", (frame["words"].mean(), *intervals[axis]), len(frame), "percentile bootstrap"))
    return rows


def over_seeds(metric: str, blocks: list[np.ndarray], clusters: list[np.ndarray], is_rate: bool) -> list[dict]:
    """A metric over the seeds, prompts crossed with seeds: for new seeds and for these checkpoints; n counts prompts.

    blocks: (prompts x seeds), one per axis, of labels (a rate) or of rewards. Equal rewards everywhere, and fewer than five clusters,
    say nothing of the spread: no interval then, rather than one without width.
    """
    n, rows = sum(map(len, blocks)), []
    for estimand, design, estimate in ((NEW_SEEDS, "prompts x seeds", crossed_mean), (THESE_CHECKPOINTS, "prompt means", prompt_mean)):
        mean, interval, method = estimate(*blocks, clusters=clusters), (None, None), f"{design}, too few clusters, no interval"
        if not any(map(too_few, clusters)):
            interval, method = interval_over_seeds(mean, blocks, clusters, is_rate)
            method = f"{design}, {method}"
        rows.append({**row(metric, (mean.value, *interval), n, method), "estimand": estimand})
    return [{**each, **{key: percent(each[key]) for key in ("value", "ci_low", "ci_high")}} for each in rows] if is_rate else rows


def percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def interval_over_seeds(
    mean: Mean, blocks: list[np.ndarray], clusters: list[np.ndarray], is_rate: bool
) -> tuple[tuple[float | None, float | None], str]:
    """(interval, how it is made)"""
    if is_rate:
        prompts = sum(effective_number(block.mean(1), groups) for block, groups in zip(blocks, clusters, strict=True))
        return score_interval(mean, prompts, sum(block.size for block in blocks)), "Wilson at the effective number"
    return (t_interval(mean), "t") if mean.variance else ((None, None), "all values equal, no interval")


def of_several_seeds(values: list[dict], clusters: dict[str, np.ndarray]) -> list[dict]:
    """Metrics over the seeds, from each seed's values[axis, suffix] as of_one_seed takes them; without empty replies the prompts do not pair."""
    rows, axes = [], list(dict.fromkeys(axis for axis, _ in values[0]))
    for suffix in dict.fromkeys(suffix for _, suffix in values[0] if suffix != "_without_empty"):
        labels = {axis: np.column_stack([seed[axis, suffix][0] for seed in values]) for axis in axes}
        rewards = {axis: np.column_stack([seed[axis, suffix][1] for seed in values]) for axis in axes}
        for axis in axes:
            rows += over_seeds(RATES[axis] + suffix, [labels[axis]], [clusters[axis]], is_rate=True)
            rows += over_seeds(MEANS[axis] + suffix, [rewards[axis]], [clusters[axis]], is_rate=False)
        if len(axes) > 1:
            rows += over_seeds(CAS + suffix, list(labels.values()), [clusters[axis] for axis in axes], is_rate=True)
    return rows


def of_judge(ratings: Ratings, clusters: dict[str, np.ndarray], config: dict, judge: str) -> list[dict]:
    """All rows of one judge: policies in the order of the graph, each checkpoint, then over the seeds where there are several."""
    values, intervals, words = {}, {}, {}
    axes = judged_axes(config["judges"][judge])
    for axis in axes:
        frames = {key: ratings[(judge, *key, axis)] for key in checkpoints(config)}
        worst = min(frame["reward"].min() for frame in frames.values())
        columns = {(key, suffix): pair for key, frame in frames.items() for suffix, pair in variants(frame, worst).items()}
        lengths = {key: frame["words"].to_numpy(float) for key, frame in frames.items() if "words" in frame}
        stacked = np.column_stack([*(rewards for _, rewards in columns.values()), *lengths.values()])
        bounds = iter(percentiles(bootstrap_means(stacked, **config["bootstrap"])))
        for (key, suffix), pair in columns.items():
            values.setdefault(key, {})[axis, suffix] = pair
            intervals.setdefault(key, {})[axis, suffix] = next(bounds)
        for key in lengths:
            words.setdefault(key, {})[axis] = next(bounds)

    rows = []
    for policy in config["order"]:
        seeds = seeds_of(config, policy)
        for seed in seeds:
            part = of_one_seed(values[policy, seed], intervals[policy, seed], clusters)
            if (policy, seed) in words:
                part += of_replies({axis: ratings[judge, policy, seed, axis] for axis in axes}, words[policy, seed])
            rows += [{"judge": judge, "policy": policy, "seed": seed, "estimand": THESE_CHECKPOINTS, **each} for each in part]
        if len(seeds) > 1:
            part = of_several_seeds([values[policy, seed] for seed in seeds], clusters)
            rows += [{"judge": judge, "policy": policy, "seed": None, **each} for each in part]
    return rows


def measure(ratings: Ratings, clusters: dict[str, np.ndarray], config: dict) -> list[dict]:
    """The rows of metrics.parquet."""
    return [row for judge in sorted(config["judges"]) for row in of_judge(ratings, clusters, config, judge)]


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", output="path")
    rated = read_ratings(args.ratings)
    rows = measure(rated.ratings, rated.clusters, args.config)
    write_table(args.output, rows, METRICS, provenance(args.config, [args.ratings]))


if __name__ == "__main__":
    run(main)
