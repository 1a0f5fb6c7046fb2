"""One contrast, or all of a family at once: tests and intervals of the difference of two policies' labels and rewards, and the verdict by one rule."""

import numpy as np
from scipy.stats import t, wilcoxon

from hh_align.analysis.ratings import Ratings, judged_axes, judged_rates, seed_of
from hh_align.analysis.statistics import (
    CONFIDENCE,
    NEW_SEEDS,
    THESE_CHECKPOINTS,
    bootstrap_means,
    cluster_sums,
    crossed_mean,
    design_effect,
    holm,
    mover_mean,
    paired_difference,
    percentiles,
    prompt_mean,
    sign_flip,
    simultaneous_confidence,
    t_interval,
)
from hh_align.core.axes import MEANS, WINS

ALPHA = 1 - CONFIDENCE
Table = tuple[float, float, float, float]
Pair = tuple[str, str]
"""(policy, against)"""


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
    row = compare_labels([(signs < 0, signs > 0)], [clusters], np.inf, simultaneous)
    single = clusters.max() + 1 == len(clusters)
    return {**row, "test": "sign test" if single else "sign-flip exact by cluster", "inside": False}


def compare_rewards(differences: np.ndarray, interval: tuple[float, float], simultaneous: tuple[float, float]) -> dict:
    """Mean difference of rewards on the same prompts, shape (n,): Wilcoxon's signed-rank test; no margin of equivalence."""
    bounds = {"ci_low": interval[0], "ci_high": interval[1], "sim_low": simultaneous[0], "sim_high": simultaneous[1]}
    p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    row = {"test": "Wilcoxon signed-rank", "n": len(differences), "difference": float(differences.mean())}
    return {**row, **bounds, "p": p, "inside": False}


def over_seeds(blocks: list[np.ndarray], clusters: list[np.ndarray], margin: float | None, simultaneous: float) -> list[dict]:
    """Mean difference over the seeds, for new seeds and for these checkpoints. Blocks (prompts x seeds), one per axis; prompts crossed with seeds."""
    effects = [design_effect(block.mean(1), groups) for block, groups in zip(blocks, clusters, strict=True)]
    rows = []
    for estimand, test, estimate in (
        (NEW_SEEDS, "prompts x seeds ANOVA, t", crossed_mean),
        (THESE_CHECKPOINTS, "prompt means, t", prompt_mean),
    ):
        mean, variance, freedom = estimate(*blocks, effects=effects)
        row = {"test": test, "estimand": estimand, "n": sum(map(len, blocks)), "difference": mean, "p": 1.0, "inside": False}
        if variance:
            bounds = {name: t_interval(mean, variance, freedom, level) for name, level in (("ci", CONFIDENCE), ("sim", simultaneous))}
            row |= {f"{name}_{side}": bound for name, pair in bounds.items() for side, bound in zip(("low", "high"), pair, strict=True)}
            inner = t_interval(mean, variance, freedom, 1 - 2 * ALPHA)
            row["inside"] = margin is not None and -margin < inner[0] and inner[1] < margin
            row["p"] = float(2 * t.sf(abs(mean) / np.sqrt(variance), max(freedom, 1.0)))
        rows.append(row)
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


def add_holm(rows: list[dict]) -> None:
    """Add Holm's p over these rows."""
    if rows:
        for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
            row["p_holm"] = p


def contrasts_of(
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
    signs = {key: 100.0 * np.sign(difference) for key, difference in rewards.items()}

    def add(metric: str, pair: Pair, estimates: list[dict]) -> None:
        rows.extend({"policy_b": pair[0], "policy_a": pair[1], "metric": metric, **row} for row in estimates)

    single = len(seeds) == 1
    for metric, axes in () if wins_only else rates.items():
        level, groups = confidence_of_all(changes, clusters, pairs, axes), [clusters[axis] for axis in axes]
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
            level = confidence_of_all(rewards, clusters, pairs, (axis,))
            means = bootstrap_means(columns, **config["bootstrap"]) if single else None
            for column, pair in enumerate(pairs):
                if single:
                    bounds = (percentiles(means[:, [column]], confidence)[0] for confidence in (CONFIDENCE, level))
                    add(MEANS[axis], pair, [compare_rewards(columns[:, column], *bounds)])
                else:
                    add(MEANS[axis], pair, over_seeds([rewards[pair, axis]], [groups], None, level))
        rows += win_contrasts(signs, clusters, axis, pairs)
    return rows


def confidence_of_all(blocks: dict, clusters: dict[str, np.ndarray], pairs: list[Pair], axes: tuple[str, ...]) -> float:
    """The confidence with which the intervals of all pairs hold at once; blocks: (pair, axis) -> values, shape (prompts, seeds)."""
    sums = ([np.bincount(clusters[axis], weights=blocks[pair, axis].mean(1)) for pair in pairs] for axis in axes)
    return simultaneous_confidence(*(np.column_stack(columns) for columns in sums))


def win_contrasts(signs: dict[tuple[Pair, str], np.ndarray], clusters: dict[str, np.ndarray], axis: str, pairs: list[Pair]) -> list[dict]:
    """Who wins prompt by prompt, of every pair on one axis; signs: (pair, axis) -> 100 where the policy wins, -100 where the other does, else
    0, shape (prompts, seeds)."""
    level, groups, rows = confidence_of_all(signs, clusters, pairs, (axis,)), clusters[axis], []
    for pair in pairs:
        values = signs[pair, axis]
        single = values.shape[1] == 1
        estimates = [compare_wins(np.sign(values[:, 0]), groups, level)] if single else over_seeds([values], [groups], None, level)
        rows += [{"policy_b": pair[0], "policy_a": pair[1], "metric": WINS[axis], **row} for row in estimates]
    return rows
