"""People's labels of responses: read and checked, settled where several have spoken, and held beside a judge's."""

import hashlib
import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from statsmodels.stats.inter_rater import cohens_kappa

from hh_align.analysis.ratings import Ratings, checkpoints, judged_axes
from hh_align.analysis.statistics import table_of
from hh_align.core.artifacts import read_table, say
from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError
from hh_align.core.tabular import convert, place, read_any, require_full, to_number, to_text, to_truth, to_whole

KEY = ["policy", "seed", "axis", "prompt_id"]
LABELS = "labels"
Labels = dict[tuple[str, int, str], np.ndarray]
"""(policy, seed, axis) -> 1, 0 or, where there is none, NaN for each prompt, in the order of prompt_id."""
Items = Mapping[tuple[str, int, str], str]
"""(policy, seed, prompt_id) -> the item of the response, as `item_of` names it."""


def item_of(axis: str, prompt: str, *replies: str) -> str:
    """The name of what an annotator is asked on an axis: of a prompt and a reply, or of two replies in either order. Another text has another
    name, and the name says nothing of a policy."""
    return hashlib.sha256(json.dumps([axis, prompt, *sorted(replies)]).encode()).hexdigest()[:16]


def is_drawn(item: object) -> bool:
    """Whether an item was asked for until a contrast was decided (`tools/until.py`), not as one of a random sample."""
    return isinstance(item, str) and "-" in item


class Texts(NamedTuple):
    """The study's prompts and responses."""

    prompts: dict[str, tuple[str, str]]
    """prompt_id -> (axis, prompt)"""
    responses: dict[tuple[str, int, str], str]
    """(policy, seed, prompt_id) -> response"""

    def items(self) -> dict[tuple[str, int, str], str]:
        """(policy, seed, prompt_id) -> the item of the response."""
        return {key: item_of(*self.prompts[key[2]], response) for key, response in self.responses.items()}

    def pair(self, prompt_id: str, *checkpoints: tuple[str, int]) -> str | None:
        """The item of two responses to one prompt; None where the study has one of them no more."""
        replies = [self.responses.get((*checkpoint, prompt_id)) for checkpoint in checkpoints]
        return None if None in replies else item_of(*self.prompts[prompt_id], *replies)


def read_texts(prompts: Path, responses: list[Path], config: dict) -> Texts:
    """responses: a table per policy and seed, in the order of `checkpoints`."""
    asked = {row["prompt_id"]: (row["axis"], row["prompt"]) for row in read_table(prompts, ["axis", "prompt_id", "prompt"]).to_pylist()}
    tables = [read_table(path, ["prompt_id", "response"]).to_pylist() for path in responses]
    given = {(*key, row["prompt_id"]): row["response"] for key, rows in zip(checkpoints(config), tables, strict=True) for row in rows}
    return Texts(asked, given)


def of_these_texts(frame: pd.DataFrame, path: Path, items: list[str | None]) -> pd.DataFrame:
    """The rows whose column `item` is the one that the study's own texts have, all of them where the file has no such column.

    Labels that `make annotate` wrote stay where they are as a study changes: of those about texts that it has no more, the number is said.
    """
    if "item" not in frame:
        return frame
    known = frame[[item == known for item, known in zip(frame["item"], items, strict=True)]]
    if len(known) < len(frame):
        say(f"{path}: {len(frame) - len(known)} of {len(frame)} rows are left out: they are about texts that the study does not have now")
    return known


def read_labels(path: Path, ratings: Ratings, items: Items | None) -> pd.DataFrame:
    """Rows policy, seed, axis, prompt_id, good, annotator of a labels file (Parquet, CSV, JSON), and probability where it has any.

    good is null where the file's column skipped says that the annotator left the response out. items: None where no texts are known; labels
    are taken by prompt_id then. Raises StudyError, naming the row.
    """
    frame = read_any(path, [*KEY, "good"])
    if "item" in frame and any(map(is_drawn, frame["item"])):
        raise StudyError(
            f"{path}: these responses were asked for until one contrast was decided (make annotate UNTIL=…): what their labels say stands on that "
            "page, and of rates they are no sample. Give labels of responses that are drawn at random (make annotate SAMPLE=…)."
        )
    if "annotator" not in frame:
        frame["annotator"] = "annotator"
    convert(frame, path, to_text, ["policy", "axis", "prompt_id", "annotator"], "str")
    convert(frame, path, to_whole, ["seed"], "int64")
    convert(frame, path, to_truth, ["good", "skipped"])
    convert(frame, path, to_number, ["probability"], "float64")
    skipped = frame["skipped"].eq(True) if "skipped" in frame else pd.Series(False, frame.index)
    require_full(frame, path, [*KEY, "annotator"])
    require_full(frame[~skipped], path, ["good"])
    if both := [place(label) for label in frame.index[skipped & frame["good"].notna()]]:
        raise StudyError(f"{path}, {both[0]}: skipped, and yet good is {frame.loc[skipped, 'good'].dropna().iloc[0]}. Keep one of them.")
    if items is not None:
        frame = of_these_texts(frame, path, [items.get((row.policy, row.seed, row.prompt_id)) for row in frame.itertuples()])
    known = {key[1:]: set(part["prompt_id"]) for key, part in ratings.items()}
    if len(other := frame[~frame["axis"].isin({axis for *_, axis in known})]) and set(other["axis"]) <= set(AXES):
        say(f"{path}: {len(other)} labels are left out: no judge speaks about {', '.join(sorted(set(other['axis'])))}")
        frame = frame.drop(other.index)
    for number, row in zip(frame.index + 1, frame.to_dict("records"), strict=True):
        where = f"{path}, row {number} ({row['policy']}, seed {row['seed']}, {row['prompt_id']})"
        if row["prompt_id"] not in known.get((row["policy"], row["seed"], row["axis"]), ()):
            raise StudyError(f"{where}: the study has no such response. Check policy, seed (the root's is 0), axis and prompt_id.")
    twice = frame.duplicated([*KEY, "annotator"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise StudyError(
            f"{path}: {row['annotator']} labels {row['policy']}, seed {row['seed']}, {row['prompt_id']} twice. Keep one of the rows."
        )
    given = has_probability(frame, path)
    if frame["good"].notna().all():
        frame = frame.astype({"good": bool})
    return frame[[*KEY, "good", "annotator", *(["probability"] if given else [])]].reset_index(drop=True)


def has_probability(frame: pd.DataFrame, path: Path) -> bool:
    """Whether the rows say with which chance each response was drawn. Raises StudyError where only some do, or a chance is none."""
    if "probability" not in frame or frame["probability"].isna().all():
        return False
    require_full(frame, path, ["probability"])
    if len(wrong := frame[~frame["probability"].between(0, 1, inclusive="right")]):
        number = f"{wrong['probability'].iloc[0]:g}"
        raise StudyError(f"{path}, {place(wrong.index[0])}: probability is {number}, not the chance of a draw, above 0 and at most 1.")
    first = frame.drop_duplicates([*KEY, "probability"])
    if len(clash := first[first.duplicated(KEY)]):
        raise StudyError(f"{path}: {' '.join(map(str, clash.iloc[0][KEY]))} has two probabilities. A response is drawn with one.")
    return True


def answered(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that hold a label and no skip."""
    return frame[frame["good"].notna()].astype({"good": bool})


def sample(frame: pd.DataFrame, size: int | None, seed: int) -> pd.DataFrame:
    """The labels of at most `size` prompts per axis, drawn by the seed, from a file that holds more: the same prompts for every policy."""
    if size is None:
        return frame
    stream, drawn = np.random.default_rng(seed), set()
    for _, names in frame.groupby("axis", sort=True)["prompt_id"]:
        prompts = np.sort(names.unique())
        drawn |= set(stream.choice(prompts, min(size, len(prompts)), replace=False))
    return frame[frame["prompt_id"].isin(drawn)].reset_index(drop=True)


def settle(frame: pd.DataFrame, ratings: Ratings) -> Labels:
    """(policy, seed, axis) -> labels of all its prompts, NaN where there is none: the annotators' majority, ties left out and counted."""
    share = answered(frame).groupby(KEY)["good"].mean()
    ties = int((share == 0.5).sum())
    if ties:
        say(f"{ties} responses are left out: their annotators disagree half and half")
    return by_prompt((share > 0.5).astype(float).where(share != 0.5), ratings)


def by_prompt(values: pd.Series, ratings: Ratings) -> Labels:
    """Values by policy, seed, axis and prompt_id as arrays over all prompts, NaN where there is none."""
    names_of = {key[1:]: part["prompt_id"] for key, part in ratings.items()}
    return {key: values.reindex([(*key, name) for name in names]).to_numpy(float) for key, names in names_of.items()}


def drawn(frame: pd.DataFrame, ratings: Ratings) -> Labels:
    """1 where a response was to be labelled, whether it was labelled or skipped."""
    return by_prompt(frame.groupby(KEY).size().gt(0).astype(float), ratings)


def chances(frame: pd.DataFrame, ratings: Ratings) -> Labels | None:
    """With which chance each response was drawn; None where the rows do not say it: then all are alike."""
    return by_prompt(frame.groupby(KEY)["probability"].first(), ratings) if "probability" in frame else None


def skips(frame: pd.DataFrame, ratings: Ratings) -> Labels:
    """1 where every annotator who was asked skipped the response."""
    skipped = frame["good"].isna().groupby([frame[name] for name in KEY]).all()
    return by_prompt(skipped.astype(float).where(skipped), ratings)


def agreement(a: np.ndarray, b: np.ndarray) -> dict:
    """Share of equal labels in percent and Cohen's kappa with a 95 % interval (null where both raters always say the same)."""
    both, only_a, only_b, neither = table_of(a, b)
    n = len(a)
    row = {"n": n, "agreement": 100 * (both + neither) / n, "only_a_good": only_a, "only_b_good": only_b}
    if both == n or neither == n or n < 2:
        return {**row, "kappa": None, "ci_low": None, "ci_high": None}
    with np.errstate(invalid="ignore"):  # where one rater always says the same
        kappa = cohens_kappa(np.array([[both, only_a], [only_b, neither]]))
    return {**row, "kappa": float(kappa.kappa), "ci_low": float(kappa.kappa_low), "ci_high": float(kappa.kappa_upp)}


def agreements(frame: pd.DataFrame, labels: Labels, ratings: Ratings, config: dict) -> list[dict]:
    """Rows of label_agreement.parquet: every judge with the labels, per axis and policy (null: all), and every two annotators."""
    rows = []
    for judge in sorted(config["judges"]):
        for axis in judged_axes(config["judges"][judge]):
            pairs = {}
            for (policy, seed, labelled), truth in labels.items():
                known = ~np.isnan(truth)
                if labelled == axis and known.any():
                    opinion = ratings[judge, policy, seed, axis]["label"].to_numpy(bool)[known]
                    pairs.setdefault(policy, []).append((opinion, truth[known].astype(bool)))
            groups = {None: [pair for part in pairs.values() for pair in part], **pairs}
            for policy, part in groups.items():
                if part:
                    columns = [np.concatenate(column) for column in zip(*part, strict=True)]
                    rows.append({"rater_a": judge, "rater_b": LABELS, "axis": axis, "policy": policy, **agreement(*columns)})
    wide = answered(frame).pivot_table(index=KEY, columns="annotator", values="good", aggfunc="first")
    for a, b in combinations(sorted(wide), 2):
        for axis in AXES:
            part = wide[wide.index.get_level_values("axis") == axis][[a, b]].dropna()
            if len(part):
                columns = (part[name].to_numpy(bool) for name in (a, b))
                rows.append({"rater_a": a, "rater_b": b, "axis": axis, "policy": None, **agreement(*columns)})
    return rows
