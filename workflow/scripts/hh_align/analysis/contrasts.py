"""One contrast, or all of a family at once: tests and intervals of the difference of two policies' labels and rewards."""

import numpy as np
from scipy.special import stdtr
from scipy.stats import wilcoxon

from hh_align.analysis.effective import (
    Mean,
    are_single,
    crossed_mean,
    effective_number,
    freedom_of,
    prompt_mean,
    t_interval,
    too_few,
    variance_of_mean,
)
from hh_align.analysis.equivalence import mean_p, pooled_p
from hh_align.analysis.families import ALPHA, is_primary
from hh_align.analysis.ratings import Ratings, by_seed, judged_axes, judged_rates
from hh_align.analysis.statistics import (
    CONFIDENCE,
    NEW_SEEDS,
    THESE_CHECKPOINTS,
    bootstrap_means,
    cluster_sums,
    mover_mean,
    paired_difference,
    percentiles,
    sign_flip,
    simultaneous_confidence,
)
from hh_align.core.axes import MEANS, METRIC_AXES, WINS

Table = tuple[float, float, float, float]
Pair = tuple[str, str]
"""(policy, against)"""


def rate_intervals(tables: list[Table], confidence: float) -> tuple[float, float, float]:
    """(difference, low, high) in points: of one axis Newcombe's, of two MOVER of both."""
    parts = [tuple(100 * bound for bound in paired_difference(*table, confidence)) for table in tables]
    return parts[0] if len(parts) == 1 else mover_mean(*parts)


def bounds_of(intervals: dict[str, tuple[float, float] | None]) -> dict[str, float | None]:
    """ci and sim -> ci_low, ci_high, sim_low and sim_high; null where there is no interval."""
    return {
        f"{name}_{side}": bound
        for name, pair in intervals.items()
        for side, bound in zip(("low", "high"), pair or (None, None), strict=True)
    }


def compare_labels(
    labels: list[tuple[np.ndarray, np.ndarray]], clusters: list[np.ndarray], margin: float | None, simultaneous: float = CONFIDENCE
) -> dict:
    """Two policies' labels (a, b), shape (n,), of one axis (a rate) or of both (CAS), prompt by prompt.

    Exact test by sign flips, which for one axis of unrelated prompts is McNemar's; prompts of one cluster flip together. Intervals
    at the effective number of prompts: 95 %, and at the confidence with which all contrasts hold together; none of fewer than five
    clusters. Equivalence within the margin (points) at the effective number as well; 1 where there is no margin.
    """
    cells = [np.array([(a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum()]) for a, b in labels]
    changes = [b.astype(int) - a.astype(int) for a, b in labels]

    def tables(confidence: float) -> list[Table]:
        sizes = (effective_number(change, groups, confidence) for change, groups in zip(changes, clusters, strict=True))
        return [tuple(part * size / part.sum()) for part, size in zip(cells, sizes, strict=True)]

    single, unknown = all(map(are_single, clusters)), any(map(too_few, clusters))
    levels = {"ci": CONFIDENCE, "sim": simultaneous}
    intervals = {name: None if unknown else rate_intervals(tables(level), level)[1:] for name, level in levels.items()}
    discordant = sum(part[1:3] for part in cells)
    inner = [(only_a, only_b, both + only_a + only_b + neither) for both, only_a, only_b, neither in tables(1 - 2 * ALPHA)]
    return {
        "test": ("McNemar exact" if len(labels) == 1 else "sign-flip exact") if single else "sign-flip exact by cluster",
        "n": sum(map(len, changes)),
        "difference": rate_intervals([tuple(part) for part in cells], CONFIDENCE)[0],
        **bounds_of(intervals),
        "only_a": int(discordant[0]),
        "only_b": int(discordant[1]),
        "p": sign_flip(*((cluster_sums(change, groups), len(change)) for change, groups in zip(changes, clusters, strict=True))),
        "p_equivalence": 1.0 if margin is None or unknown else pooled_p(inner, margin / 100),
    }


def compare_wins(signs: np.ndarray, clusters: np.ndarray, simultaneous: float = CONFIDENCE) -> dict:
    """Share of prompts where b's reward is the higher one minus the share where a's is, from signs (-1, 0, 1), shape (n,).

    Exact sign test (ties say nothing); prompts of one cluster flip together. only_a and only_b are a's and b's wins.
    """
    row = compare_labels([(signs < 0, signs > 0)], [clusters], None, simultaneous)
    return {**row, "test": "sign test" if are_single(clusters) else "sign-flip exact by cluster"}


def compare_rewards(differences: np.ndarray, means: np.ndarray, clusters: np.ndarray, simultaneous: float = CONFIDENCE) -> dict:
    """Mean difference of rewards on the same prompts, shape (n,), with bootstrapped means, shape (samples, 1); no margin of equivalence.

    Wilcoxon's signed-rank test and percentile intervals; of prompts in clusters Student's t over them, and none of fewer than five.
    """
    levels = {"ci": CONFIDENCE, "sim": simultaneous}
    row = {"test": "Wilcoxon signed-rank", "n": len(differences), "difference": float(differences.mean()), "p": 1.0, "p_equivalence": 1.0}
    if are_single(clusters):
        row["p"] = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
        return row | bounds_of({name: percentiles(means, level)[0] for name, level in levels.items()})
    mean = Mean(row["difference"], variance_of_mean(differences, clusters), freedom_of(clusters))
    known = mean.variance > 0 and not too_few(clusters)
    intervals = {name: t_interval(mean, level) if known else None for name, level in levels.items()}
    return {**row, "test": "t over clusters", "p": t_test(mean) if known else 1.0, **bounds_of(intervals)}


def t_test(mean: Mean) -> float:
    """Two-sided p that a mean with a variance above 0 is 0."""
    return float(2 * stdtr(mean.freedom, -abs(mean.value) / np.sqrt(mean.variance)))


def over_seeds(
    blocks: list[np.ndarray], clusters: list[np.ndarray], margin: float | None, simultaneous: float, in_points: bool = True
) -> list[dict]:
    """Mean difference over the seeds, for new seeds and for these checkpoints. Blocks (prompts x seeds), one per axis; prompts crossed with seeds.

    in_points: whether they are differences of labels, or wins, times 100, and no rewards. Of fewer than five clusters there is no interval, and
    nothing is found.
    """
    unknown, rows = any(map(too_few, clusters)), []
    levels = {"ci": CONFIDENCE, "sim": simultaneous}
    sizes = [effective_number(block.mean(1), groups) for block, groups in zip(blocks, clusters, strict=True)]
    for estimand, test, estimate in (
        (NEW_SEEDS, "prompts x seeds, t", crossed_mean),
        (THESE_CHECKPOINTS, "prompt means, t", prompt_mean),
    ):
        mean = estimate(*blocks, clusters=clusters)
        row = {"test": test, "estimand": estimand, "n": sum(map(len, blocks)), "difference": mean.value, "p": 1.0, "p_equivalence": 1.0}
        row |= bounds_of({name: None if unknown else interval(mean, sizes, level, in_points) for name, level in levels.items()})
        if not unknown:
            row["p"] = t_test(mean) if mean.variance else flips_alike(mean.value, clusters)
            points = Mean(mean.value / 100, mean.variance / 100**2, mean.freedom)
            row["p_equivalence"] = 1.0 if margin is None else mean_p(points, margin / 100, sizes)
        rows.append(row)
    return rows


def interval(mean: Mean, sizes: list[float], confidence: float, in_points: bool) -> tuple[float, float] | None:
    """Student's t. Without any spread that of equal answers by each of `sizes` prompts per axis; none of rewards, nor where only some differ."""
    if mean.variance:
        return t_interval(mean, confidence)
    if not in_points or abs(mean.value) not in (0, 100):
        return None
    cells = (0, mean.value < 0, mean.value > 0, 0) if mean.value else (1, 0, 0, 0)
    return rate_intervals([tuple(size * cell for cell in cells) for size in sizes], confidence)[1:]


def flips_alike(difference: float, clusters: list[np.ndarray]) -> float:
    """Two-sided p of prompts that all differ by the same: whole clusters of them flip their sign."""
    return sign_flip(*((cluster_sums(np.full(len(groups), np.sign(difference)), groups), len(groups)) for groups in clusters))


def contrasts_of(
    ratings: Ratings, clusters: dict[str, np.ndarray], config: dict, judge: str, pairs: list[Pair], seeds: list[int], wins_only: bool
) -> list[dict]:
    """Every metric of every pair at one seed, or over several: differences of labels, of rewards, and who wins prompt by prompt."""

    def values(policy: str, axis: str, column: str) -> np.ndarray:
        return by_seed(ratings, config, seeds, (judge, policy, axis), column)

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
    primary = config["primary"]
    for metric, axes in () if wins_only else rates.items():
        levels, groups = levels_of(changes, clusters, pairs, metric, primary), [clusters[axis] for axis in axes]
        for pair, level in levels.items():
            if single:
                flat = [tuple(part[:, 0] for part in labels[pair, axis]) for axis in axes]
                add(metric, pair, [compare_labels(flat, groups, margin, level)])
            else:
                add(metric, pair, over_seeds([changes[pair, axis] for axis in axes], groups, margin, level))
    for axis in judged:
        groups = clusters[axis]
        if not wins_only:
            columns = np.column_stack([rewards[pair, axis].mean(1) for pair in pairs])
            levels = levels_of(rewards, clusters, pairs, MEANS[axis], primary)
            means = bootstrap_means(columns, **config["bootstrap"]) if single else None
            for column, (pair, level) in enumerate(levels.items()):
                if single:
                    add(MEANS[axis], pair, [compare_rewards(columns[:, column], means[:, [column]], groups, level)])
                else:
                    add(MEANS[axis], pair, over_seeds([rewards[pair, axis]], [groups], None, level, in_points=False))
        rows += win_contrasts(signs, clusters, axis, pairs, primary)
    return rows


def levels_of(blocks: dict, clusters: dict[str, np.ndarray], pairs: list[Pair], metric: str, primary: list[str]) -> dict[Pair, float]:
    """Per pair the confidence with which the intervals of its family hold at once; of the primary its own.

    blocks: (pair, axis) -> values, shape (prompts, seeds).
    """
    family = [pair for pair in pairs if not is_primary(pair, metric, primary)]
    sums = [[np.bincount(clusters[axis], weights=blocks[pair, axis].mean(1)) for pair in family] for axis in METRIC_AXES[metric]]
    together = simultaneous_confidence(*map(np.column_stack, sums)) if family else CONFIDENCE
    return {pair: together if pair in family else CONFIDENCE for pair in pairs}


def win_contrasts(
    signs: dict[tuple[Pair, str], np.ndarray], clusters: dict[str, np.ndarray], axis: str, pairs: list[Pair], primary: list[str]
) -> list[dict]:
    """Who wins prompt by prompt, of every pair on one axis; signs: (pair, axis) -> 100 where the policy wins, -100 where the other does, else
    0, shape (prompts, seeds)."""
    groups, rows = clusters[axis], []
    for pair, level in levels_of(signs, clusters, pairs, WINS[axis], primary).items():
        values = signs[pair, axis]
        single = values.shape[1] == 1
        estimates = [compare_wins(np.sign(values[:, 0]), groups, level)] if single else over_seeds([values], [groups], None, level)
        rows += [{"policy_b": pair[0], "policy_a": pair[1], "metric": WINS[axis], **row} for row in estimates]
    return rows
