"""Do the judges agree? Their labels and rewards of the same responses, and the order of the policies that follows from each."""

from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import kendalltau, spearmanr

from hh_align.analysis.ratings import Ratings, read_ratings, seeds_of
from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.axes import AXES
from hh_align.core.command import parse, run

AGREEMENT = pa.schema(
    [
        ("judge_a", pa.string()),
        ("judge_b", pa.string()),
        ("axis", pa.string()),
        ("statistic", pa.string()),
        ("n", pa.int64()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
    ]
)
SAMPLES = 1000


def kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's kappa of two boolean vectors, shape (n,) (Educational and Psychological Measurement 20:37, 1960); NaN where both are constant and equal."""
    same, chance = (a == b).mean(), a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    return float((same - chance) / (1 - chance)) if chance < 1 else np.nan


def order(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau-b of two vectors, shape (n,); NaN where one is constant."""
    return float(kendalltau(a, b).statistic) if np.ptp(a) and np.ptp(b) else np.nan


def ranks(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of two vectors, shape (n,); NaN where one is constant."""
    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else np.nan


def statistics(labels: np.ndarray, rewards: np.ndarray) -> dict[str, float]:
    """Name -> value of everything that two judges can agree in; labels and rewards: shape (2, policies, responses of each)."""
    flat, scores = labels.reshape(2, -1), rewards.reshape(2, -1)
    return {
        "same labels, %": 100 * float((flat[0] == flat[1]).mean()),
        "same rewards, %": 100 * float((scores[0] == scores[1]).mean()),
        "kappa of labels": kappa(*flat),
        "Spearman of rewards": ranks(*scores),
        "Kendall of rewards": order(*scores),
        "Kendall of policies by rate": order(*np.round(labels.mean(2), 9)),
        "Kendall of policies by mean reward": order(*np.round(rewards.mean(2), 9)),
    }


def agreement(labels: np.ndarray, rewards: np.ndarray, clusters: np.ndarray, seed: int) -> list[dict]:
    """One row per statistic with a 95 % percentile bootstrap interval: clusters of prompts are drawn, all policies' responses with them.

    labels (boolean), rewards: shape (2 judges, policies, prompts, seeds). Undefined values are null, and left out among the resamples;
    an interval of fewer than half the resamples is null.
    """
    members = [np.flatnonzero(clusters == number) for number in range(clusters.max() + 1)]
    stream = np.random.default_rng(seed)

    def at(rows: np.ndarray) -> dict[str, float]:
        return statistics(*(values[:, :, rows].reshape(*values.shape[:2], -1) for values in (labels, rewards)))

    statistic = at(np.arange(len(clusters)))
    resampled = pd.DataFrame(
        at(np.concatenate([members[number] for number in stream.integers(len(members), size=len(members))])) for _ in range(SAMPLES)
    )
    rows = []
    for name, value in statistic.items():
        known = resampled[name].dropna()
        low, high = known.quantile([0.025, 0.975]) if len(known) >= SAMPLES / 2 and not np.isnan(value) else (None, None)
        rows.append({"statistic": name, "value": None if np.isnan(value) else value, "ci_low": low, "ci_high": high})
    return rows


def compare_judges(ratings: Ratings, clusters: dict[str, np.ndarray], config: dict) -> list[dict]:
    """The rows of judge_agreement.parquet: every two judges on every axis that both speak about; n counts responses.

    The root's one set of responses stands beside every seed of the others.
    """
    rows = []
    for axis in AXES:
        judges = sorted({judge for judge, *_, judged in ratings if judged == axis})
        values = {}
        for judge in judges:
            for column in ("label", "reward"):
                values[judge, column] = np.stack(
                    [stacked(ratings, config, judge, policy, axis)[column] for policy in config["order"]]
                )  # (policies, prompts, seeds)
        n = sum(len(seeds_of(config, policy)) for policy in config["order"]) * len(clusters[axis])
        for a, b in combinations(judges, 2):
            pair = (np.stack([values[judge, column] for judge in (a, b)]) for column in ("label", "reward"))
            about = {"judge_a": a, "judge_b": b, "axis": axis, "n": n}
            rows += [{**about, **row} for row in agreement(*pair, clusters[axis], config["seed"])]
    return rows


def stacked(ratings: Ratings, config: dict, judge: str, policy: str, axis: str) -> dict[str, np.ndarray]:
    """label and reward of a policy's responses, shape (prompts, seeds)."""
    seeds = seeds_of(config, policy)
    frames = [ratings[judge, policy, seed, axis] for seed in (seeds * len(config["seeds"]) if len(seeds) == 1 else seeds)]
    return {
        "label": np.column_stack([frame["label"].to_numpy(bool) for frame in frames]),
        "reward": np.column_stack([frame["reward"].to_numpy(float) for frame in frames]),
    }


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", output="path")
    rated = read_ratings(args.ratings)
    rows = compare_judges(rated.ratings, rated.clusters, args.config)
    for row in rows:
        value = "undefined" if row["value"] is None else f"{row['value']:.2f}"
        say(f"{row['judge_a']} and {row['judge_b']}, {row['axis']}: {row['statistic']} {value}")
    write_table(args.output, rows, AGREEMENT, provenance(args.config, [args.ratings]))


if __name__ == "__main__":
    run(main)
