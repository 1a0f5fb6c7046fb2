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
    prompts, where a reward is no number, a prompt comes twice, or a policy has other prompts than the first.
    """
    frames = []
    for path in paths:
        frame = read_table(path, ["axis", "prompt_id", "reward"]).to_pandas()
        seed = int(path.stem.removeprefix("seed-"))
        _check(path, frame, frames[0] if frames else frame)
        limits = judges[path.parent.parent.name]
        good = np.where(
            frame["axis"] == "harmlessness", frame["reward"] >= limits["harmless_min"], frame["reward"] > limits["helpful_above"]
        )
        frames.append(frame.assign(judge=path.parent.parent.name, policy=path.parent.name, seed=seed, good=good))
    return pd.concat(frames, ignore_index=True)


def _check(path: Path, frame: pd.DataFrame, first: pd.DataFrame) -> None:
    policy = path.parent.name
    checks = {
        "no finite reward": frame.loc[~np.isfinite(frame["reward"].astype(float)), "prompt_id"],
        "more than one reward": frame.loc[frame["prompt_id"].duplicated(), "prompt_id"],
        "no row": first.loc[~first["prompt_id"].isin(frame["prompt_id"]), "prompt_id"],
        "a row that the first policy lacks": frame.loc[~frame["prompt_id"].isin(first["prompt_id"]), "prompt_id"],
    }
    for what, found in checks.items():
        if len(found):
            named = ", ".join(sorted(set(found))[:5])
            raise StudyError(
                f"{path}: policy {policy} has {what} for {len(found)} prompts ({named}). Delete the file; the next run rebuilds it."
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
