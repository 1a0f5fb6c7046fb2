"""The ratings of a study as its analysis reads them: one table, frames per judge and policy, and the rule that makes a label of a reward."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.core.artifacts import read_table
from hh_align.core.axes import AXES, METRIC_AXES, RATE_METRICS, THRESHOLD_KEYS
from hh_align.core.errors import StudyError
from hh_align.core.tables import RATINGS

Ratings = dict[tuple[str, str, int, str], pd.DataFrame]
"""(judge, policy, seed, axis) -> one row per prompt, sorted by prompt_id: policies pair row by row. Only the judge's own axes."""


class Rated(NamedTuple):
    """A table of ratings: its frames, and what it says of the prompts, axis by axis in the order of prompt_id."""

    ratings: Ratings
    clusters: dict[str, np.ndarray]
    """The number of each prompt's cluster (prompts that share the first human turn)."""
    prompts: dict[str, pd.DataFrame]
    """prompt_id, cluster, subset and row."""


def read_ratings(path: Path) -> Rated:
    """A study's table of ratings, analysis/ratings.parquet."""
    return split(read_table(path, RATINGS))


def split(table: pa.Table) -> Rated:
    """A table of ratings by judge, policy, seed and axis."""
    rows = table.to_pandas()
    asked = rows[["axis", "prompt_id", "cluster", "subset", "row"]].drop_duplicates(["axis", "prompt_id"])
    prompts = by_axis(asked, tuple(axis for axis in AXES if axis in set(asked["axis"])))
    clusters = {axis: np.unique(part["cluster"], return_inverse=True)[1] for axis, part in prompts.items()}
    groups = rows[rows["reward"].notna()].groupby(["judge", "policy", "seed", "axis"], sort=False)
    ratings = {(judge, policy, int(seed), axis): known_of(part) for (judge, policy, seed, axis), part in groups}
    return Rated(ratings, clusters, prompts)


def known_of(rows: pd.DataFrame) -> pd.DataFrame:
    """prompt_id, reward, label, finish and tokens; where they are known also unrated, and empty, run_on, cut (by the length limit) and words."""
    frame = rows[["prompt_id", "reward", "label", "finish", "tokens"]].astype({"label": bool}).reset_index(drop=True)
    if rows["unrated"].notna().all():
        frame["unrated"] = rows["unrated"].to_numpy(bool)
    if rows["words"].notna().all() and rows["empty"].notna().all():
        frame["empty"] = rows["empty"].to_numpy(bool)
        frame["run_on"] = rows["run_on"].astype("boolean").array
        frame["cut"] = (frame["finish"] == "length").where(frame["finish"].notna()).astype("boolean")
        frame["words"] = rows["words"].to_numpy(int)
    return frame


def by_axis(frame: pd.DataFrame, axes: tuple[str, ...] = AXES) -> dict[str, pd.DataFrame]:
    """The rows of each of these axes in the order of prompt_id. Raises StudyError where one has none."""
    parts = {axis: part.drop(columns="axis").sort_values("prompt_id", ignore_index=True) for axis, part in frame.groupby("axis")}
    missing = [axis for axis in axes if axis not in parts]
    if missing:
        both = f"both axes, {' and '.join(AXES)}, are needed" if axes == AXES else f"{' and '.join(axes)} is needed"
        raise StudyError(f"no prompt of axis {' and '.join(missing)}: {both}.")
    return {axis: parts[axis] for axis in axes}


def is_good(axis: str, reward: pd.Series | float, threshold: float) -> pd.Series | bool:
    """A judge's label: reward >= harmless_min on harmlessness, reward > helpful_above on helpfulness."""
    return reward >= threshold if axis == "harmlessness" else reward > threshold


def judged_axes(thresholds: dict) -> tuple[str, ...]:
    """The axes that a judge speaks about: those that it has a threshold for."""
    return tuple(axis for axis in AXES if THRESHOLD_KEYS[axis] in thresholds)


def judged_rates(thresholds: dict) -> dict[str, tuple[str, ...]]:
    """Rate -> its axes, of those that a judge can tell: CAS needs both."""
    axes = judged_axes(thresholds)
    return {metric: METRIC_AXES[metric] for metric in RATE_METRICS if set(METRIC_AXES[metric]) <= set(axes)}


def shown_judge(judges: dict[str, dict]) -> str:
    """The judge whose opinion the figures show: the first of those that speak about the most axes (a step's config has judges by name)."""
    return max(judges, key=lambda name: len(judged_axes(judges[name])))


def checkpoints(config: dict) -> list[tuple[str, int]]:
    """(policy, seed) of everything that answers the prompts, in the order of the steps' input files."""
    return [(policy, seed) for policy in config["order"] for seed in seeds_of(config, policy)]


def seeds_of(config: dict, policy: str) -> list[int]:
    """The root, and a policy of one fixed set of responses, lives under seed 0 and serves every seed of the study."""
    return [0] if serves_every_seed(config["policies"][policy]) else config["seeds"]


def seed_of(config: dict, policy: str, seed: int) -> int:
    """Under which seed a policy pairs with others of `seed`: the study's first beside one that serves every seed."""
    return 0 if serves_every_seed(config["policies"][policy]) else seed if seed in config["seeds"] else config["seeds"][0]


def serves_every_seed(policy: dict) -> bool:
    """Whether a policy has one set of responses for all seeds: the root, and one whose entry says `fixed`."""
    return policy["parent"] is None or policy.get("fixed", False)


def by_seed(ratings: Ratings, config: dict, seeds: list[int], of: tuple[str, str, str], column: str) -> np.ndarray:
    """One column of the ratings of (judge, policy, axis) at these seeds, as floats, shape (prompts, seeds)."""
    judge, policy, axis = of
    return np.column_stack([ratings[judge, policy, seed_of(config, policy, seed), axis][column].to_numpy(float) for seed in seeds])


def to_show(rows: pd.DataFrame, alike: list[str]) -> pd.DataFrame:
    """The row to show of those that are alike in these columns: over the seeds where there are several (for new seeds), else of the first seed."""
    return rows.sort_values("seed", na_position="first", kind="stable").drop_duplicates(alike)


def headline(metrics: pd.DataFrame, judge: str) -> pd.DataFrame:
    """The row to show of each (policy, metric), the table's index: over the seeds where there are several, else of the one seed."""
    return to_show(metrics[metrics["judge"] == judge], ["policy", "metric"]).set_index(["policy", "metric"])
