"""Made-up rewards as a study's table of ratings, for tests of the analysis that need no responses."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from hh_align.analysis.gather_ratings import as_table, labelled
from hh_align.analysis.ratings import Rated, split
from hh_align.core.artifacts import write_table
from hh_align.core.tables import RATINGS

Rewards = dict[tuple[str, str, int], dict[tuple[str, str], float]]
"""(judge, policy, seed) -> (axis, prompt_id) -> reward"""


def table_of(rewards: Rewards, judges: dict[str, dict]) -> pa.Table:
    """The table of ratings; judges: name -> thresholds. Every prompt is a cluster of its own."""
    parts = []
    for (judge, policy, seed), values in rewards.items():
        rows = [(axis, name, name, reward) for (axis, name), reward in values.items()]
        frame = pd.DataFrame(rows, columns=["axis", "prompt_id", "cluster", "reward"]).assign(judge=judge, policy=policy, seed=seed)
        parts += [part.assign(**labelled(axis, part, judges[judge])) for axis, part in frame.groupby("axis")]
    keys = list(rewards)
    rows = pd.concat(parts, ignore_index=True).sort_values(["axis", "prompt_id"])
    position = [keys.index(key) for key in zip(rows["judge"], rows["policy"], rows["seed"], strict=True)]
    return as_table(rows.assign(position=position).sort_values("position", kind="stable"))


def rated_of(rewards: Rewards, judges: dict[str, dict]) -> Rated:
    return split(table_of(rewards, judges))


def write_ratings(path: Path, rewards: Rewards, judges: dict[str, dict]) -> Path:
    """The same as a file."""
    write_table(path, table_of(rewards, judges), RATINGS, {})
    return path
