"""What would decide a contrast: the smallest difference that the study finds, and the prompts, or seeds, that a difference needs, with 80 % power.

At the study's own prompts, clusters and seeds, the discordance that it has seen, and the level at which Holm would test next.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import stdtrit
from scipy.stats import nct

from hh_align.analysis.effective import effective_number, freedom_of, prompt_terms, rest_variance, satterthwaite, spread_of, too_few
from hh_align.analysis.families import ALPHA
from hh_align.analysis.ratings import Rated, by_seed
from hh_align.analysis.statistics import detectable_difference, mcnemar_power, pairs_needed
from hh_align.analysis.verdict import declared
from hh_align.core.axes import METRIC_AXES

AIM = 0.8
MOST_PROMPTS, MOST_SEEDS = 100_000, 1000
"""Beyond these no number is named."""
FEWEST_CLUSTERS = 6
"""Two to the power of it sign flips: with fewer no p is below 0.05."""


class Paired(NamedTuple):
    """Two policies' labels at one seed, as McNemar's exact test sees them."""

    n: int
    pairs: float
    """Prompts without clusters that say as much."""
    discordance: float

    seeds = 1

    def power(self, difference: float, factor: float, seeds: int, alpha: float) -> float:
        pairs = math.floor(self.pairs * factor)
        return mcnemar_power(pairs, max(self.discordance, difference), difference, alpha) if pairs else 0.0

    def detectable(self, alpha: float) -> float | None:
        """Where not even all prompts on which they differ would be found, as many more as it takes, all on one side."""
        pairs = math.floor(self.pairs)
        found = detectable_difference(pairs, self.discordance, AIM, alpha)
        if found is not None or mcnemar_power(pairs, 1.0, 1.0, alpha) < AIM:
            return found
        return float(
            brentq(
                lambda difference: mcnemar_power(pairs, difference, difference, alpha) - AIM, max(self.discordance, 1e-6), 1.0, xtol=1e-6
            )
        )

    def prompts(self, difference: float, alpha: float) -> int | None:
        needed = math.ceil(pairs_needed(difference, max(self.discordance, difference), AIM, alpha) * self.n / self.pairs)
        return needed if needed <= MOST_PROMPTS else None

    def more_seeds(self, difference: float, alpha: float) -> int | None:
        """Nothing is known of other seeds from one."""
        return None


class Crossed(NamedTuple):
    """Two policies' labels over several seeds, as the t test for new prompts and new seeds sees them: the parts of its variance."""

    n: int
    discordance: float
    seeds: int
    prompt: float
    """Of the mean's variance what more prompts lower, and more seeds do not."""
    seed: float
    rest: float
    freedom: float
    """Degrees of freedom of the prompts."""

    def power(self, difference: float, factor: float, seeds: int, alpha: float) -> float:
        """Chance to find the difference in its direction with `factor` times the prompts; the rest counts with prompts and with seeds, as in the test."""
        rest = self.rest * self.seeds / seeds / factor
        prompt, seed = self.prompt / factor + rest, self.seed * self.seeds / seeds + rest
        variance = prompt + seed
        if not variance:
            return 0.0
        freedom = satterthwaite([(prompt, max(1.0, (self.freedom + 1) * factor - 1)), (seed, seeds - 1)], variance)
        return float(nct.sf(stdtrit(freedom, 1 - alpha / 2), freedom, difference / math.sqrt(variance)))

    def detectable(self, alpha: float) -> float | None:
        if self.power(1.0, 1, self.seeds, alpha) < AIM:
            return None
        return float(brentq(lambda difference: self.power(difference, 1, self.seeds, alpha) - AIM, 1e-9, 1.0, xtol=1e-6))

    def prompts(self, difference: float, alpha: float) -> int | None:
        return smallest(lambda n: self.power(difference, n / self.n, self.seeds, alpha), 2, MOST_PROMPTS)

    def more_seeds(self, difference: float, alpha: float) -> int | None:
        return smallest(lambda seeds: self.power(difference, 1, seeds, alpha), 2, MOST_SEEDS)


def smallest(power: Callable[[int], float], low: int, high: int) -> int | None:
    """The smallest number from low to high with the power that is aimed at, which grows with it; None where there is none."""
    if power(high) < AIM:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= AIM else (middle + 1, high)
    return low


def design(blocks: Sequence[np.ndarray], clusters: Sequence[np.ndarray]) -> Paired | Crossed | None:
    """How a contrast varies: blocks of differences of labels (-1, 0, 1; prompts x seeds), one per axis. None of too few clusters to find anything."""
    seeds, axes = blocks[0].shape[1], len(blocks)
    n, discordance = sum(map(len, blocks)), float(np.mean([np.abs(block).mean() for block in blocks]))
    if seeds == 1:
        if any(too_few(each) or len(np.unique(each)) < FEWEST_CLUSTERS for each in clusters):
            return None
        return Paired(n, axes * min(effective_number(block[:, 0], each) for block, each in zip(blocks, clusters, strict=True)), discordance)
    if any(map(too_few, clusters)):
        return None
    prompt = sum(variance for variance, _ in prompt_terms(blocks, clusters))
    seed = spread_of(np.mean([block.mean(0) for block in blocks], axis=0)) / seeds
    rest = sum(rest_variance(block) / block.size for block in blocks) / axes**2
    freedom = sum(map(freedom_of, clusters))
    return Crossed(n, discordance, seeds, max(prompt - rest, 0.0), max(seed - rest, 0.0), rest, freedom)


def designs_of(rated: Rated, rows: pd.DataFrame, config: dict, judge: str) -> list[Paired | Crossed | None]:
    """The design of every contrast of these rows of comparisons."""

    def labels(policy: str, axis: str) -> np.ndarray:
        return by_seed(rated.ratings, config, config["seeds"], (judge, policy, axis), "label")

    return [
        design(
            [labels(row.policy_b, axis) - labels(row.policy_a, axis) for axis in METRIC_AXES[row.metric]],
            [rated.clusters[axis] for axis in METRIC_AXES[row.metric]],
        )
        for row in rows.itertuples()
    ]


def power_of_contrasts(rated: Rated, comparisons: pd.DataFrame, config: dict) -> list[dict]:
    """Rows of power.parquet about the declared contrasts: what the study finds of a metric, and what would decide each undecided one.

    Of those on which the judge is not above chance no number of prompts would.
    """
    rows = []
    for judge in sorted(config["judges"]):
        contrasts = declared(comparisons, judge)
        contrasts = contrasts.assign(design=pd.Series(designs_of(rated, contrasts, config, judge), contrasts.index, dtype=object))
        contrasts = contrasts[contrasts["design"].notna() & contrasts["judge_above_chance"].ne(False)]
        rows += [detected(judge, metric, group) for metric, group in contrasts.groupby("metric", sort=False)]
        for _, family in contrasts.groupby(["metric", "family"], sort=False):
            open_ = family[family["p_holm"] >= ALPHA]
            for row in open_[open_["verdict"] == "undecided"].itertuples():
                rows += needed(judge, row, ALPHA / len(open_), config["equivalence_margin"])
    return rows


def detected(judge: str, metric: str, group: pd.DataFrame) -> dict:
    """The difference that the study finds of a metric, at the level of Holm's first step: the mean over the contrasts, in points."""
    alpha = ALPHA / group["family_size"].max()
    found = [each.detectable(alpha) for each in group["design"]]
    first = group["design"].iloc[0]
    return {
        "question": "detectable by this study",
        "judge": judge,
        "metric": metric,
        "n": first.n,
        "seeds": first.seeds,
        "alpha": 100 * alpha,
        "discordance": 100 * float(np.mean([each.discordance for each in group["design"]])),
        "difference": None if None in found else 100 * float(np.mean(found)),
        "power": 100 * AIM,
    }


def needed(judge: str, row: NamedTuple, alpha: float, margin: float) -> list[dict]:
    """The prompts at the study's seeds, and the seeds at its prompts, that the observed difference needs, and one of the margin."""
    rows, plan = [], row.design
    for named, points in (("the observed difference", row.difference), ("the margin", margin)):
        share = abs(points) / 100
        prompts = plan.prompts(share, alpha) if share > 0 else None
        seeds = plan.more_seeds(share, alpha) if share > 0 else None
        about = {"judge": judge, "policy_b": row.policy_b, "policy_a": row.policy_a, "metric": row.metric, "alpha": 100 * alpha}
        about |= {"discordance": 100 * plan.discordance, "difference": float(points)}
        power = None if prompts is None else 100 * plan.power(share, prompts / plan.n, plan.seeds, alpha)
        rows.append({"question": f"prompts that find {named}", **about, "n": prompts, "seeds": plan.seeds, "power": power})
        if plan.seeds > 1:
            power = None if seeds is None else 100 * plan.power(share, 1, seeds, alpha)
            rows.append({"question": f"seeds that find {named}", **about, "n": plan.n, "seeds": seeds, "power": power})
    return rows
