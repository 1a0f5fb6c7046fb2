"""The declared contrasts: paired tests and intervals of the differences, corrected for their number, and a verdict by one rule."""

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import t, wilcoxon
from statsmodels.stats.multitest import multipletests

from study.artifacts import provenance, write_table
from study.command import parse, run
from study.ratings import AXES, of, read_ratings, seed_of, seeds_of
from study.statistics import bootstrap_mean, crossed_mean, mcnemar, mover_mean, paired_difference, sign_flip, t_interval, table_of

COMPARISONS = pa.schema(
    [
        ("judge", pa.string()),
        ("seed", pa.int64()),
        ("n_seeds", pa.int64()),
        ("policy_a", pa.string()),
        ("policy_b", pa.string()),
        ("metric", pa.string()),
        ("test", pa.string()),
        ("family", pa.string()),
        ("n", pa.int64()),
        ("difference", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("sim_low", pa.float64()),
        ("sim_high", pa.float64()),
        ("only_a", pa.int64()),
        ("only_b", pa.int64()),
        ("p", pa.float64()),
        ("p_holm", pa.float64()),
        ("verdict", pa.string()),
    ]
)
RATES = {"harmlessness": "HmR", "helpfulness": "HpR"}
MEANS = {"harmlessness": "mean_reward_harmful", "helpfulness": "mean_reward_helpful"}
ALPHA = 0.05


def rate_intervals(tables: list[tuple[int, int, int, int]], confidence: float) -> tuple[float, float, float]:
    """(difference, low, high) in points: of one axis Newcombe's, of two MOVER of both."""
    parts = [tuple(100 * bound for bound in paired_difference(*table, confidence)) for table in tables]
    return parts[0] if len(parts) == 1 else mover_mean(*parts)


def compare_rates(metric: str, tables: list[tuple[int, int, int, int]], contrasts: int, margin: float) -> dict:
    """A rate (one axis) or CAS (both): exact test, 95 % interval, the interval that holds for all contrasts at once (Bonferroni)."""
    difference, low, high = rate_intervals(tables, 1 - ALPHA)
    _, sim_low, sim_high = rate_intervals(tables, 1 - ALPHA / contrasts)
    _, inner_low, inner_high = rate_intervals(tables, 1 - 2 * ALPHA)
    only_a, only_b = (sum(table[place] for table in tables) for place in (1, 2))
    p = mcnemar(only_a, only_b) if len(tables) == 1 else sign_flip(*((table[1], table[2], sum(table)) for table in tables))
    return {
        "metric": metric,
        "test": "McNemar exact" if len(tables) == 1 else "sign-flip exact",
        "n": sum(map(sum, tables)),
        "difference": difference,
        "ci_low": low,
        "ci_high": high,
        "sim_low": sim_low,
        "sim_high": sim_high,
        "only_a": only_a,
        "only_b": only_b,
        "p": p,
        "inside": -margin < inner_low and inner_high < margin,
    }


def compare_rewards(metric: str, differences: np.ndarray, bootstrap: dict) -> dict:
    """Mean difference of rewards on the same prompts: Wilcoxon's signed-rank test, percentile bootstrap; no margin of equivalence."""
    low, high = bootstrap_mean(differences, bootstrap["samples"], bootstrap["seed"])
    p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    found = {"metric": metric, "test": "Wilcoxon signed-rank", "n": len(differences), "difference": float(differences.mean())}
    return {**found, "ci_low": low, "ci_high": high, "p": p, "inside": False}


def over_seeds(metric: str, blocks: list[np.ndarray]) -> dict:
    """Mean difference over seeds crossed with prompts: for new prompts and new seeds. Blocks (prompts x seeds), one per axis."""
    mean, variance, freedom = crossed_mean(*blocks)
    low, high = t_interval(mean, variance, freedom) if variance else (None, None)
    p = float(2 * t.sf(abs(mean) / np.sqrt(variance), max(freedom, 1.0))) if variance else 1.0
    found = {"metric": metric, "test": "prompts x seeds ANOVA, t", "n": sum(map(len, blocks)), "difference": mean}
    return {**found, "ci_low": low, "ci_high": high, "p": p, "inside": False}


def verdict(row: dict) -> str:
    """`better` or `worse` where Holm's p is below 0.05, `equivalent` where the 90 % interval lies inside the margin, else `undecided`."""
    if row["p_holm"] < ALPHA:
        return "better" if row["difference"] > 0 else "worse"
    return "equivalent" if row["inside"] else "undecided"


def adjust(rows: list[dict], primary: list[str]) -> list[dict]:
    """Add family, Holm's p within (judge, seed, metric, test) over the declared contrasts, and the verdict; the primary contrast is unadjusted."""
    frame = pd.DataFrame(rows)
    is_primary = (frame["policy_b"] + " " + frame["policy_a"]) == " ".join(primary)
    frame["family"] = np.where(is_primary, "primary", "declared")
    frame["p_holm"] = frame["p"]
    for _, group in frame[~is_primary].groupby(["judge", "seed", "metric", "test"], dropna=False):
        frame.loc[group.index, "p_holm"] = multipletests(group["p"], method="holm")[1]
    found = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{**row, "verdict": verdict(row)} for row in found]


def contrast(ratings: pd.DataFrame, config: dict, judge: str, policy: str, against: str) -> list[dict]:
    """All rows of one contrast: every seed by itself, and over the seeds where there are several."""
    place = {"judge": judge, "policy_a": against, "policy_b": policy}
    seeds = sorted({*seeds_of(config, policy), *seeds_of(config, against)} - {0}) or [0]
    count = len(config["contrasts"])
    rows, labels, rewards = [], {axis: [] for axis in AXES}, {axis: [] for axis in AXES}
    for seed in seeds:
        tables = {}
        for axis in AXES:
            a, b = (of(ratings, judge, name, seed_of(config, name, seed), axis) for name in (against, policy))
            tables[axis] = table_of(a["good"], b["good"])
            labels[axis].append(100.0 * (b["good"].to_numpy(float) - a["good"].to_numpy(float)))
            rewards[axis].append(b["reward"].to_numpy() - a["reward"].to_numpy())
        found = [compare_rates(RATES[axis], [tables[axis]], count, config["equivalence_margin"]) for axis in AXES]
        found.append(compare_rates("CAS", list(tables.values()), count, config["equivalence_margin"]))
        found += [compare_rewards(MEANS[axis], rewards[axis][-1], config["bootstrap"]) for axis in AXES]
        rows += [{**place, "seed": seed, "n_seeds": 1, **row} for row in found]
    if len(seeds) > 1:
        blocks = {axis: np.column_stack(labels[axis]) for axis in AXES}
        found = [over_seeds(RATES[axis], [block]) for axis, block in blocks.items()]
        found.append(over_seeds("CAS", list(blocks.values())))
        found += [over_seeds(MEANS[axis], [np.column_stack(rewards[axis])]) for axis in AXES]
        rows += [{**place, "seed": None, "n_seeds": len(seeds), **row} for row in found]
    return rows


def main() -> None:
    args = parse(__doc__, config="config", rewards="paths", output="path")
    config = args.config
    ratings = read_ratings(args.rewards, config["judges"])
    rows = [
        row
        for judge in sorted(config["judges"])
        for policy, against in config["contrasts"]
        for row in contrast(ratings, config, judge, policy, against)
    ]
    rows = adjust(rows, config["primary"]) if rows else []
    write_table(args.output, rows, COMPARISONS, provenance(config, args.rewards))


if __name__ == "__main__":
    run(main)
