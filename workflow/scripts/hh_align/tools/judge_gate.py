"""What is known of the judges whose ratings somebody brings: their accuracy, as the settings say, and people's labels of the responses."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from hh_align.analysis import examine_judge
from hh_align.analysis.correct_by_labels import AGREEMENT, GOLD, by_labels
from hh_align.analysis.labels import LABELS, item_of, read_labels
from hh_align.analysis.ratings import Rated, judged_axes
from hh_align.analysis.statistics import wilson
from hh_align.analysis.verdict import listed
from hh_align.config.check_facts import comparing
from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError
from hh_align.core.tables import columns_of

ACCURACY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["accuracy", "n"],
    "properties": {"accuracy": {"type": "number", "minimum": 0, "maximum": 100}, "n": {"type": "integer", "minimum": 1, "maximum": 10**12}},
}
SAID = {"type": "object", "minProperties": 1, "additionalProperties": False, "properties": {axis: ACCURACY for axis in AXES}}
"""Schema of a judge's accuracy per axis: in which percent of n pairs it prefers the reply that people prefer."""
JUDGE = columns_of(examine_judge.JUDGE, "judge", "axis", "subset", "format", "part", "own_subset", "n", "accuracy", "ci_low", "ci_high")


class Gate(NamedTuple):
    """What the verdict is held against."""

    reliable: dict[tuple[str, str], bool | None]
    """(judge, axis) -> whether the judge is above chance, by its accuracy, else by its agreement with the labels"""
    tables: dict[str, tuple[list[dict], pa.Schema]]
    unknown: list[str]
    """A sentence for each judge of which nothing is known on an axis."""


OPEN = Gate({}, {}, [])


def said_rows(settings: dict, config: dict, source: str) -> list[dict]:
    """The judges' accuracy as the settings say, with Wilson's interval. Raises StudyError for an axis that is not the judge's."""
    rows = []
    for judge, entry in settings.get("judges", {}).items():
        for axis, said in entry.get("accuracy", {}).items():
            if axis not in judged_axes(config["judges"][judge]):
                raise StudyError(f"{source}: judges: {judge}: accuracy: the judge does not speak about {axis}.")
            if 0 < said["accuracy"] <= 1:
                raise StudyError(
                    f"{source}: judges: {judge}: accuracy of {axis} is {said['accuracy']:g}: it is in percent, as {100 * said['accuracy']:g}."
                )
            low, high = wilson(said["accuracy"] / 100 * said["n"], said["n"])
            about = {"judge": judge, "axis": axis, "subset": f"{axis}, as the settings say", "format": "as evaluated", "part": "all"}
            rows.append({**about, "own_subset": True, **said, "ci_low": 100 * low, "ci_high": 100 * high})
    return rows


def items_of(frame: pd.DataFrame, root: str) -> dict[tuple[str, int, str], str] | None:
    """(policy, seed, prompt_id) -> the item of the response; None where the file lacks a prompt or a response."""
    if not {"prompt", "response"} <= set(frame) or frame[["prompt", "response"]].isna().any(axis=None):
        return None
    return {
        (row.policy, 0 if row.policy == root else int(row.seed), row.prompt_id): item_of(row.axis, row.prompt, row.response)
        for row in frame.itertuples()
    }


def examine(settings: dict, labels: Path | None, frame: pd.DataFrame, rated: Rated, config: dict, source: str) -> Gate:
    """The gate of a verdict on these ratings; frame: the rows of the files that brought them; source: where the settings stand.

    A judge whose accuracy has a lower end of at most 50 %, or without accuracy a kappa with the labels of at most 0, ranks nothing.
    """
    judge, gold, agreement = said_rows(settings, config, source), [], []
    if labels:
        parts = [claim["parts"] for claim in comparing(config["claims"])]
        read = read_labels(labels, rated.ratings, items_of(frame, config["order"][0]))
        if read["good"].isna().all():
            raise StudyError(
                f"{labels}: none of its labels is about a response of these ratings, so nothing is corrected. Give theirs, or none."
            )
        gold, agreement = by_labels(read, labels, rated, config | {"seed": 1, "claim_parts": parts})
    agreed = {(row["rater_a"], row["axis"]): row for row in agreement if row["rater_b"] == LABELS and row["policy"] is None}
    reliable = {key: None if row["ci_low"] is None else row["ci_low"] > 0 for key, row in agreed.items()}
    reliable |= {(row["judge"], row["axis"]): row["ci_low"] > 50 for row in judge}
    unknown: dict[str, list[str]] = {}
    for name, thresholds in config["judges"].items():
        if axes := [axis for axis in judged_axes(thresholds) if (name, axis) not in reliable]:
            unknown.setdefault(" and ".join(axes), []).append(name)
    tables = {"judge": (judge, JUDGE), "gold": (gold, GOLD), "label_agreement": (agreement, AGREEMENT)}
    return Gate(reliable, tables, [nothing_known(judges, axes) for axes, judges in unknown.items()])


def nothing_known(judges: list[str], axes: str) -> str:
    """A sentence on judges of whom nothing says how good they are on these axes."""
    who, whose, they = (f"judge {judges[0]}", "Its", "it says") if len(judges) == 1 else (f"judges {listed(judges)}", "Their", "they say")
    return (
        f"Nothing is known about the {who} on {axes}: what {they} there may be chance. {whose} accuracy (judges: {judges[0]}: accuracy in the "
        "settings) or labels of some responses (--labels) would tell."
    )
