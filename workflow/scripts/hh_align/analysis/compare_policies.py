"""The declared contrasts: paired tests and intervals of the differences, corrected for their number, and a verdict by one rule."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import t, wilcoxon
from statsmodels.stats.multitest import multipletests

from hh_align.analysis.ratings import AXES_OF, MEANS, Ratings, judged_axes, judged_rates, read_ratings, seed_of
from hh_align.analysis.reliability import read_reliability
from hh_align.analysis.statistics import (
    CONFIDENCE,
    bootstrap_means,
    cluster_sums,
    crossed_mean,
    design_effect,
    mover_mean,
    paired_difference,
    percentiles,
    prompt_mean,
    sign_flip,
    simultaneous_confidence,
    t_interval,
)
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run

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
        ("estimand", pa.string()),
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
        ("judge_above_chance", pa.bool_()),
        ("verdict", pa.string()),
    ]
)
WINS = {"harmlessness": "win_rate_harmful", "helpfulness": "win_rate_helpful"}
CHOSEN = "chosen"
ALPHA = 1 - CONFIDENCE
THESE, NEW = "these checkpoints", "new seeds"
Table = tuple[float, float, float, float]
Pair = tuple[str, str]


def rate_intervals(tables: list[Table], confidence: float) -> tuple[float, float, float]:
    """(difference, low, high) in points: of one axis Newcombe's, of two MOVER of both."""
    parts = [tuple(100 * bound for bound in paired_difference(*table, confidence)) for table in tables]
    return parts[0] if len(parts) == 1 else mover_mean(*parts)


def compare_labels(
    labels: list[tuple[np.ndarray, np.ndarray]], clusters: list[np.ndarray], margin: float, simultaneous: float = CONFIDENCE
) -> dict:
    """Two policies' labels (a, b), shape (n,), of one axis (a rate) or of both (CAS), prompt by prompt.

    Exact test by sign flips, which for one axis of unrelated prompts is McNemar's; prompts of one cluster flip together. Intervals
    at the effective number of prompts (n / design effect): 95 %, and at the confidence with which all contrasts hold together.
    """
    tables, flips, discordant = [], [], np.zeros(2, int)
    for (a, b), groups in zip(labels, clusters, strict=True):
        change = b.astype(int) - a.astype(int)
        cells = np.array([(a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum()])
        tables.append(tuple(cells / design_effect(change, groups)))
        flips.append((cluster_sums(change, groups), len(change)))
        discordant += cells[1:3]
    single = all(groups.max() + 1 == len(groups) for groups in clusters)
    difference, low, high = rate_intervals(tables, CONFIDENCE)
    _, sim_low, sim_high = rate_intervals(tables, simultaneous)
    _, inner_low, inner_high = rate_intervals(tables, 1 - 2 * ALPHA)
    return {
        "test": ("McNemar exact" if len(labels) == 1 else "sign-flip exact") if single else "sign-flip exact by cluster",
        "n": sum(n for _, n in flips),
        "difference": difference,
        "ci_low": low,
        "ci_high": high,
        "sim_low": sim_low,
        "sim_high": sim_high,
        "only_a": int(discordant[0]),
        "only_b": int(discordant[1]),
        "p": sign_flip(*flips),
        "inside": -margin < inner_low and inner_high < margin,
    }


def compare_wins(signs: np.ndarray, clusters: np.ndarray, simultaneous: float = CONFIDENCE) -> dict:
    """Share of prompts where b's reward is the higher one minus the share where a's is, from signs (-1, 0, 1), shape (n,).

    Exact sign test (ties say nothing); prompts of one cluster flip together. only_a and only_b are a's and b's wins.
    """
    found = compare_labels([(signs < 0, signs > 0)], [clusters], np.inf, simultaneous)
    single = clusters.max() + 1 == len(clusters)
    return {**found, "test": "sign test" if single else "sign-flip exact by cluster", "inside": False}


def compare_rewards(differences: np.ndarray, interval: tuple[float, float], simultaneous: tuple[float, float]) -> dict:
    """Mean difference of rewards on the same prompts, shape (n,): Wilcoxon's signed-rank test; no margin of equivalence."""
    bounds = {"ci_low": interval[0], "ci_high": interval[1], "sim_low": simultaneous[0], "sim_high": simultaneous[1]}
    p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    found = {"test": "Wilcoxon signed-rank", "n": len(differences), "difference": float(differences.mean())}
    return {**found, **bounds, "p": p, "inside": False}


def over_seeds(blocks: list[np.ndarray], clusters: list[np.ndarray], margin: float | None, simultaneous: float) -> list[dict]:
    """Mean difference over the seeds, for new seeds and for these checkpoints. Blocks (prompts x seeds), one per axis; prompts crossed with seeds."""
    effects = [design_effect(block.mean(1), groups) for block, groups in zip(blocks, clusters, strict=True)]
    rows = []
    for estimand, test, estimate in ((NEW, "prompts x seeds ANOVA, t", crossed_mean), (THESE, "prompt means, t", prompt_mean)):
        mean, variance, freedom = estimate(*blocks, effects=effects)
        found = {"test": test, "estimand": estimand, "n": sum(map(len, blocks)), "difference": mean, "p": 1.0, "inside": False}
        if variance:
            bounds = {name: t_interval(mean, variance, freedom, level) for name, level in (("ci", CONFIDENCE), ("sim", simultaneous))}
            found |= {f"{name}_{side}": bound for name, pair in bounds.items() for side, bound in zip(("low", "high"), pair, strict=True)}
            inner = t_interval(mean, variance, freedom, 1 - 2 * ALPHA)
            found["inside"] = margin is not None and -margin < inner[0] and inner[1] < margin
            found["p"] = float(2 * t.sf(abs(mean) / np.sqrt(variance), max(freedom, 1.0)))
        rows.append(found)
    return rows


def verdict(row: dict) -> str:
    """`better` or `worse` where Holm's p is below 0.05, `equivalent` where the 90 % interval lies inside the margin, else `undecided`.

    Where the judge is not above chance on an axis of the metric nothing is ranked: `undecided`.
    """
    if row["judge_above_chance"] is False:
        return "undecided"
    if row["p_holm"] < ALPHA:
        return "better" if row["difference"] > 0 else "worse"
    return "equivalent" if row["inside"] else "undecided"


def adjust(rows: list[dict], primary: list[str]) -> list[dict]:
    """Add Holm's p over the contrasts of a family within (judge, seed, metric, estimand), and the verdict; the primary contrast is unadjusted."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        if row["family"] == "declared" and [row["policy_b"], row["policy_a"]] == list(primary):
            row |= {"family": "primary", "p_holm": row["p"]}
        else:
            place = tuple(row[key] for key in ("judge", "seed", "metric", "family", "estimand"))
            groups.setdefault(place, []).append(row)
    for group in groups.values():
        for row, p in zip(group, multipletests([row["p"] for row in group], method="holm")[1], strict=True):
            row["p_holm"] = float(p)
    return [{**row, "verdict": verdict(row)} for row in rows]


def families(config: dict) -> dict[str, list[Pair]]:
    """Family -> contrasts (policy, against): the declared ones, all pairs on request, and for win rates each policy against root and parent."""
    declared = [tuple(contrast) for contrast in config["contrasts"]]
    root, parents = config["order"][0], {policy: entry["parent"] for policy, entry in config["policies"].items()}
    trained = config["order"][1:]
    natural = [(policy, against) for policy in trained for against in dict.fromkeys([root, parents[policy]])]
    return {
        "declared": declared,
        "all pairs": [(b, a) for a, b in combinations(config["order"], 2)] if config["all_pairs"] else [],
        "ancestors": [pair for pair in natural if pair not in declared],
    }


def compare(
    ratings: Ratings,
    clusters: dict[str, np.ndarray],
    config: dict,
    chosen: dict[tuple[str, str], np.ndarray] | None = None,
    reliable: dict[tuple[str, str], bool | None] | None = None,
) -> list[dict]:
    """The rows of comparisons.parquet.

    clusters: axis -> cluster numbers; chosen: (judge, axis) -> rewards of the dataset's own chosen replies, NaN where there is none;
    reliable: (judge, axis) -> whether the judge is above chance there.
    """
    rows = []
    for judge in sorted(config["judges"]):
        for family, pairs in families(config).items():
            if not pairs:
                continue
            for seeds in [[seed] for seed in config["seeds"]] + ([config["seeds"]] if len(config["seeds"]) > 1 else []):
                place = {"judge": judge, "seed": seeds[0] if len(seeds) == 1 else None, "n_seeds": len(seeds), "family": family}
                found = of_pairs(ratings, clusters, config, judge, pairs, seeds, wins_only=family == "ancestors")
                rows += [{"estimand": THESE, **place, **row} for row in found]
        if chosen is not None:
            for seed in config["seeds"]:
                place = {"judge": judge, "seed": seed, "n_seeds": 1, "family": "dataset", "estimand": THESE}
                rows += [{**place, **row} for row in against_chosen(ratings, clusters, config, judge, seed, chosen)]
    known = reliable or {}
    for row in rows:
        flags = [known.get((row["judge"], axis)) for axis in AXES_OF[row["metric"]]]
        row["judge_above_chance"] = False if False in flags else None if None in flags else True
    return adjust(rows, config["primary"]) if rows else []


def of_pairs(
    ratings: Ratings, clusters: dict[str, np.ndarray], config: dict, judge: str, pairs: list[Pair], seeds: list[int], wins_only: bool
) -> list[dict]:
    """Every metric of every pair at one seed, or over several: differences of labels, of rewards, and who wins prompt by prompt."""

    def values(policy: str, axis: str, column: str) -> np.ndarray:
        return np.column_stack([ratings[judge, policy, seed_of(config, policy, seed), axis][column].to_numpy() for seed in seeds])

    margin, rows = config["equivalence_margin"], []
    judged, rates = judged_axes(config["judges"][judge]), judged_rates(config["judges"][judge])
    labels = {(pair, axis): tuple(values(name, axis, "label").astype(bool) for name in pair[::-1]) for pair in pairs for axis in judged}
    # nine decimals: what is equal stays so under a common shift of rewards
    rewards = {
        (pair, axis): np.round(values(pair[0], axis, "reward") - values(pair[1], axis, "reward"), 9) for pair in pairs for axis in judged
    }
    changes = {key: 100.0 * b - 100.0 * a for key, (a, b) in labels.items()}
    signs = {key: 100.0 * np.sign(found) for key, found in rewards.items()}

    def together(blocks: dict, axes: tuple[str, ...]) -> float:
        """The confidence with which the intervals of all pairs hold at once."""
        sums = ([np.bincount(clusters[axis], weights=blocks[pair, axis].mean(1)) for pair in pairs] for axis in axes)
        return simultaneous_confidence(*(np.column_stack(columns) for columns in sums))

    def add(metric: str, pair: Pair, found: list[dict]) -> None:
        rows.extend({"policy_b": pair[0], "policy_a": pair[1], "metric": metric, **row} for row in found)

    single = len(seeds) == 1
    for metric, axes in () if wins_only else rates.items():
        level, groups = together(changes, axes), [clusters[axis] for axis in axes]
        for pair in pairs:
            if single:
                flat = [tuple(part[:, 0] for part in labels[pair, axis]) for axis in axes]
                add(metric, pair, [compare_labels(flat, groups, margin, level)])
            else:
                add(metric, pair, over_seeds([changes[pair, axis] for axis in axes], groups, margin, level))
    for axis in judged:
        groups = clusters[axis]
        if not wins_only:
            columns = np.column_stack([rewards[pair, axis].mean(1) for pair in pairs])
            level = together(rewards, (axis,))
            means = bootstrap_means(columns, **config["bootstrap"]) if single else None
            for place, pair in enumerate(pairs):
                if single:
                    bounds = (percentiles(means[:, [place]], confidence)[0] for confidence in (CONFIDENCE, level))
                    add(MEANS[axis], pair, [compare_rewards(columns[:, place], *bounds)])
                else:
                    add(MEANS[axis], pair, over_seeds([rewards[pair, axis]], [groups], None, level))
        level = together(signs, (axis,))
        for pair in pairs:
            if single:
                add(WINS[axis], pair, [compare_wins(np.sign(rewards[pair, axis][:, 0]), groups, level)])
            else:
                add(WINS[axis], pair, over_seeds([signs[pair, axis]], [groups], None, level))
    return rows


def against_chosen(
    ratings: Ratings, clusters: dict[str, np.ndarray], config: dict, judge: str, seed: int, chosen: dict[tuple[str, str], np.ndarray]
) -> list[dict]:
    """Win rates of every policy against the reply that people chose, on the prompts that have one and where the judge has scored it."""
    rows = []
    for axis in (axis for axis in judged_axes(config["judges"][judge]) if (judge, axis) in chosen):
        known = ~np.isnan(chosen[judge, axis])
        if not known.any():
            continue
        groups = np.unique(clusters[axis][known], return_inverse=True)[1]
        for policy in config["order"]:
            reward = ratings[judge, policy, seed_of(config, policy, seed), axis]["reward"].to_numpy()
            signs = np.sign(reward[known] - chosen[judge, axis][known])
            rows.append({"policy_b": policy, "policy_a": CHOSEN, "metric": WINS[axis], **compare_wins(signs, groups)})
    return rows


def read_chosen(prompts: dict[str, pd.DataFrame], pairs: dict[str, Path], judges: dict[str, dict]) -> dict[tuple[str, str], np.ndarray]:
    """(judge, axis) -> the judge's reward of the dataset's chosen reply to each prompt, NaN where the pair is not among the scored ones."""
    found = {}
    for judge, path in pairs.items():
        table = read_table(path, ["axis", "subset", "row", "format", "chosen_reward"]).to_pandas()
        scored = table[table["format"] == "as evaluated"].set_index(["axis", "subset", "row"])["chosen_reward"]
        for axis in judged_axes(judges[judge]):
            frame = prompts[axis]
            keys = [(axis, subset, line) for subset, line in zip(frame["subset"], frame["row"], strict=True)]
            found[judge, axis] = scored.reindex(keys).to_numpy(float)
            missing = int(np.isnan(found[judge, axis]).sum())
            if missing:
                say(f"{axis}: {missing} of {len(frame)} prompts have no scored chosen reply ({judge})")
    return found


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", pairs="paths?", judge="path?", output="path")
    rated, pairs = read_ratings(args.ratings), dict(zip(args.config["examined"], args.pairs, strict=True))
    chosen = read_chosen(rated.prompts, pairs, args.config["judges"]) if pairs else None
    rows = compare(rated.ratings, rated.clusters, args.config, chosen, read_reliability(args.judge))
    inputs = [args.ratings, *args.pairs, *([args.judge] if args.judge else [])]
    write_table(args.output, rows, COMPARISONS, provenance(args.config, inputs))


if __name__ == "__main__":
    run(main)
