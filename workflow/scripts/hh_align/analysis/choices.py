"""What pairwise judges say of the declared contrasts: their choices prompt by prompt, and the win rates that follow."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hh_align.analysis.contrasts import win_contrasts
from hh_align.analysis.ratings import by_axis, seed_of
from hh_align.core.artifacts import REBUILD, read_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import CHOICES

Choices = dict[tuple[str, str, str, int, str], pd.DataFrame]
"""(judge, policy, against, seed, axis) -> rows of CHOICES, one per prompt, sorted by prompt_id."""
SIGNS = {"policy": 1, "against": -1}
"""Outcome -> who wins; every other outcome is a tie: the judge's own, answers that change with the order, unreadable ones, equal responses."""


def seed_of_pair(config: dict, policy: str, against: str, seed: int) -> int:
    """Under which seed a pair lies: 0 where it is the same for every seed of the study."""
    return max(seed_of(config, policy, seed), seed_of(config, against, seed))


def pairs_asked(config: dict) -> list[tuple[str, str, str, int]]:
    """(judge, policy, against, seed) in the order of the steps' input files."""
    return [
        (judge, policy, against, seed)
        for judge in sorted(config.get("pairwise", {}))
        for policy, against in config["contrasts"]
        for seed in sorted({seed_of_pair(config, policy, against, seed) for seed in config["seeds"]})
    ]


def read_choices(paths: Sequence[Path], config: dict, prompts: dict[str, pd.DataFrame]) -> Choices:
    """The choices of every pairwise judge; config: `pairwise` (judge -> axes), contrasts, policies and seeds; prompts: axis -> prompt_id.

    Raises StudyError, naming the file, where it holds other prompts, or an outcome that there is not.
    """
    choices = {}
    for pair, path in zip(pairs_asked(config), paths, strict=True):
        frame = read_table(path, CHOICES).to_pandas()
        if unknown := set(frame["outcome"]) - {*SIGNS, "tie", "inconsistent", "unreadable", "same"}:
            raise StudyError(f"{path}: unknown outcome {', '.join(map(str, unknown))}. {REBUILD}")
        for axis, part in by_axis(frame, tuple(config["pairwise"][pair[0]])).items():
            if not part["prompt_id"].equals(prompts[axis]["prompt_id"]):
                raise StudyError(f"{path}: other prompts of {axis} than the study's. {REBUILD}")
            choices[*pair, axis] = part
    return choices


def preferred(choices: Choices, clusters: dict[str, np.ndarray], config: dict, judge: str, seeds: list[int]) -> list[dict]:
    """Win rates of the declared contrasts by a pairwise judge, at one seed or over several, axis by axis."""
    pairs, rows = [tuple(contrast) for contrast in config["contrasts"]], []
    for axis in config["pairwise"][judge]:
        told = {
            pair: [choices[judge, *pair, seed_of_pair(config, *pair, seed), axis]["outcome"].map(SIGNS).fillna(0.0) for seed in seeds]
            for pair in pairs
        }
        rows += win_contrasts(
            {(pair, axis): 100.0 * np.column_stack(signs) for pair, signs in told.items()}, clusters, axis, pairs, config["primary"]
        )
    return rows
