"""The rewards of a study in one table, checked where they enter, with the judge's labels."""

from pathlib import Path

import numpy as np
import pandas as pd

from study.artifacts import read_table
from study.command import StudyError

AXES = ("harmlessness", "helpfulness")


def read_ratings(paths: list[Path], judges: dict[str, dict]) -> pd.DataFrame:
    """Columns judge, policy, seed (from .../<judge>/<policy>/seed-<seed>.parquet), axis, prompt_id, reward, good (the judge's label).

    good: reward >= harmless_min on harmlessness, reward > helpful_above on helpfulness. Raises StudyError, naming file, policy and
    prompts, where a reward is no finite number, a prompt comes twice, or a policy lacks a prompt that another has.
    """
    tables = {path: read_table(path, ["axis", "prompt_id", "reward"]).to_pandas() for path in paths}
    asked = set().union(*(table["prompt_id"] for table in tables.values()))
    frames = []
    for path, frame in tables.items():
        _check(path, frame, asked)
        seed = int(path.stem.removeprefix("seed-"))
        limits = judges[path.parent.parent.name]
        good = np.where(
            frame["axis"] == "harmlessness", frame["reward"] >= limits["harmless_min"], frame["reward"] > limits["helpful_above"]
        )
        frames.append(frame.assign(judge=path.parent.parent.name, policy=path.parent.name, seed=seed, good=good))
    return pd.concat(frames, ignore_index=True)


def _check(path: Path, frame: pd.DataFrame, asked: set[str]) -> None:
    given = frame["prompt_id"]
    faults = {
        "no finite reward": given[~np.isfinite(frame["reward"].astype(float))],
        "more than one reward": given[given.duplicated()],
        "no row": asked - set(given),
    }
    for what, found in faults.items():
        if len(found):
            first = ", ".join(sorted(set(found))[:5])
            raise StudyError(
                f"{path}: policy {path.parent.name} has {what} for {len(set(found))} prompts ({first}). Delete the file; the next run rebuilds it."
            )


def of(ratings: pd.DataFrame, judge: str, policy: str, seed: int, axis: str) -> pd.DataFrame:
    """One policy's rows on one axis, in the order of prompt_id, so that policies pair row by row."""
    keep = (ratings["judge"] == judge) & (ratings["policy"] == policy) & (ratings["seed"] == seed) & (ratings["axis"] == axis)
    return ratings[keep].sort_values("prompt_id", ignore_index=True)


def seeds_of(config: dict, policy: str) -> list[int]:
    """The root lives under seed 0 and serves every seed of the study."""
    return [0] if config["policies"][policy]["parent"] is None else config["seeds"]


def seed_of(config: dict, policy: str, seed: int) -> int:
    """Under which seed a policy pairs with others of `seed`."""
    return 0 if config["policies"][policy]["parent"] is None else seed


def headline(metrics: pd.DataFrame, judge: str) -> pd.DataFrame:
    """The row to show of each (policy, metric), the table's index: over the seeds where there are several, else of the one seed."""
    rows = metrics[metrics["judge"] == judge].sort_values("seed", na_position="first", kind="stable")
    return rows.drop_duplicates(["policy", "metric"]).set_index(["policy", "metric"])
