"""Asking until a contrast is decided: draws that are kept on disk before they are shown, and the labels with their chances.

`<policy>-<against>-<metric>.draws.jsonl` is only ever appended to, a draw a line; `<policy>-<against>-<metric>.parquet` is made of it and of the
answers. A restart, and another annotator, go on with the same draws.
"""

import fcntl
import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hh_align.analysis.labels import item_of
from hh_align.analysis.ratings import read_ratings
from hh_align.analysis.sequential import Draw, Labelling, Pool, Standing
from hh_align.core.artifacts import cannot_write, read_provenance, write_table
from hh_align.core.axes import RATES
from hh_align.core.errors import StudyError
from hh_align.core.numbers import digits
from hh_align.tools.answers import Answers, line_of, sum_of
from hh_align.tools.asked import Study

DRAWN = pa.schema(
    [
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("good", pa.bool_()),
        ("skipped", pa.bool_()),
        ("probability", pa.float64()),
        ("annotator", pa.string()),
        ("item", pa.string()),
    ]
)
MARGIN = 5.0
"""Points, where the study's own margin of equivalence is not known."""


class Contrast(NamedTuple):
    """A policy against another on a rate."""

    policy: str
    against: str
    metric: str

    @property
    def name(self) -> str:
        """Of its files."""
        return re.sub(r"[^\w.]+", "-", "-".join(self)).strip("-.")

    @property
    def axis(self) -> str:
        return next(axis for axis, metric in RATES.items() if metric == self.metric)

    def sum(self) -> str:
        """Marks its items: an answer given here is no label of a random sample."""
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()[:8]


def contrast_of(text: str, policies: set[str]) -> Contrast:
    """Of POLICY:AGAINST:METRIC, as sft_dpo:sft:hpr. Raises StudyError where it names none of the study."""
    metrics = {metric.lower(): metric for metric in RATES.values()}
    names, _, metric = text.rpartition(":")
    for policy in policies:
        for against in policies - {policy}:
            if names == f"{policy}:{against}" and metric.lower() in metrics:
                return Contrast(policy, against, metrics[metric.lower()])
    raise StudyError(
        f"--until {text}: give two policies and a rate, as sft_dpo:sft:hpr. The study has {', '.join(sorted(policies))}; "
        f"rates are {' and '.join(metrics)}."
    )


class Rows(NamedTuple):
    """The prompts of a contrast in the order of its pool, at each seed."""

    pool: Pool
    prompts: list[dict]
    """axis, prompt_id, prompt and, in the order against, policy, checkpoints and texts."""


def rows_of(study: Study, contrast: Contrast, folder: Path, judge: str | None) -> Rows:
    """What a judge says of the two policies' replies. Raises StudyError where there is no such judge, or the clusters are too few."""
    path = folder / "analysis/ratings.parquet"
    if not path.is_file():
        raise StudyError(f"{path} is not there: which replies to ask for is chosen by a judge's rewards. Run the study first.")
    rated, axis = read_ratings(path), contrast.axis
    names = {key[0] for key in rated.ratings if key[3] == axis}
    if judge not in names | {None}:
        raise StudyError(f"--judge {judge}: rates nothing on {axis}. Judges that do: {', '.join(sorted(names))}.")
    judge = judge or min(names)
    seeds = {name: {at for policy, at in study.replies if policy == name} for name in contrast[:2]}
    clusters = dict(zip(rated.prompts[axis]["prompt_id"], rated.clusters[axis], strict=True))
    texts, prompts, rewards = {row["prompt_id"]: row["prompt"] for row in study.prompts}, [], []
    for seed in sorted(set.union(*seeds.values()) - {0}) or [0]:
        pair = [(name, seed if seed in seeds[name] else 0) for name in (contrast.against, contrast.policy)]
        frames = [rated.ratings.get((judge, *checkpoint, axis)) for checkpoint in pair]
        if any(frame is None for frame in frames) or not set(pair) <= set(study.replies):
            continue
        both = frames[0].merge(frames[1], on="prompt_id")
        for name, *reward in zip(both["prompt_id"], both["reward_x"], both["reward_y"], strict=True):
            replies = [study.replies[checkpoint].get(name) for checkpoint in pair]
            if name in texts and None not in replies:
                prompts.append({"axis": axis, "prompt_id": name, "prompt": texts[name], "checkpoints": pair, "texts": replies})
                rewards.append(reward)
    numbers = np.unique([clusters[row["prompt_id"]] for row in prompts], return_inverse=True)[1]
    if not prompts or numbers.max() < 4:
        raise StudyError(
            f"--until: {len(prompts)} prompts that both policies answer and {judge} rates, in fewer than five clusters. Give more."
        )
    same = np.array([row["texts"][0] == row["texts"][1] for row in prompts])
    return Rows(Pool(np.array(rewards, float), numbers, same), prompts)


class Asking:
    """The draws of a contrast, its items and what is known of it. One at a time: a second one of the same contrast is refused."""

    def __init__(self, study: Study, contrast: Contrast, folder: Path, answers: Answers, seed: int | None, judge: str | None) -> None:
        self.contrast, self.answers = contrast, answers
        self.rows = rows_of(study, contrast, folder, judge)
        self.path = folder / "labels" / f"{contrast.name}.draws.jsonl"
        self.table = folder / "labels" / f"{contrast.name}.parquet"
        self.margin = margin_of(folder) / 100
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(f"{self.path}: another page asks about this contrast. Stop it first.") from None
        try:
            self.begin(seed)
        except StudyError:
            self.close()
            raise

    def begin(self, seed: int | None) -> None:
        """Take up the draws of the file, or make the first. Raises StudyError where they were made for something else."""
        head, self.draws = self.read()
        about = {"contrast": list(self.contrast), "seed": seed if seed is not None else head.get("seed", 0), "of": self.fingerprint()}
        if not head:
            self.append(about)
        elif head != about:
            what = "another seed" if head.get("of") == about["of"] else "other replies or rewards than the study has"
            raise StudyError(
                f"{self.path}: its draws were made for {what}. Go on with --seed {head.get('seed')} (make: SEED={head.get('seed')}), or move the file away to begin anew."
            )
        self.seed = about["seed"]
        self.replay()

    def close(self) -> None:
        """Let another page ask."""
        os.close(self.file)

    def fingerprint(self) -> str:
        """Of all that a draw depends on but the labels."""
        rows = self.rows
        asked = [[row["prompt_id"], row["checkpoints"], item_of(row["axis"], row["prompt"], *row["texts"])] for row in rows.prompts]
        return hashlib.sha256(json.dumps([asked, rows.pool.rewards.tolist(), self.margin]).encode()).hexdigest()[:16]

    def read(self) -> tuple[dict, list[Draw]]:
        """(the head, the draws) of the file. A last line that a kill cut short is taken off. Raises StudyError for any other damage."""
        data = os.pread(self.file, os.fstat(self.file).st_size, 0)
        whole = data[: data.rfind(b"\n") + 1]
        os.ftruncate(self.file, len(whole))
        lines = []
        for number, line in enumerate(whole.splitlines(), 1):
            entry = {}
            with suppress(ValueError, AttributeError):
                entry = json.loads(line)
                said = entry.pop("sum", None)
                entry = entry if said == sum_of(entry) else {}
            if not entry:
                raise StudyError(
                    f"{self.path}, line {number}: damaged. Move the file away to begin anew; the answers stay in {self.answers.path}."
                )
            lines.append(entry)
        return (lines[0] if lines else {}), [Draw(**entry) for entry in lines[1:]]

    def append(self, entry: dict) -> None:
        """Keep a line: on return it is on disk. Raises StudyError, and leaves the file as it was, where the disk takes it not."""
        line, end = line_of(entry), os.fstat(self.file).st_size
        try:
            written = os.write(self.file, line)
            os.fsync(self.file)
        except OSError as error:
            os.ftruncate(self.file, end)
            raise cannot_write(self.path, os.strerror(error.errno)) from None
        if written < len(line):
            os.ftruncate(self.file, end)
            raise cannot_write(self.path, "No space left on device")

    def replay(self) -> None:
        """Take up all draws anew with the answers that stand now, and draw on."""
        self.labelling, self.standing = Labelling(self.rows.pool, self.margin, self.seed), None
        self.told = 0
        self.advance()

    def advance(self) -> None:
        """Take up the draws that are answered; while nothing is decided and none is open, draw the next one."""
        while True:
            while self.told < len(self.draws) and all(self.label(item) is not None for item in self.items_of(self.told)):
                self.standing = self.labelling.tell(self.draws[self.told], self.labels_of(self.told))
                self.told += 1
            if self.told < len(self.draws) or self.verdict() != "undecided" or (draw := self.labelling.ask()) is None:
                return
            self.append(draw._asdict())
            self.draws.append(draw)

    def verdict(self) -> str:
        return self.standing.verdict if self.standing else "undecided"

    def items_of(self, number: int) -> list[dict]:
        """The items of a draw: the replies that it asks for, in an order that says nothing of the policies."""
        draw = self.draws[number]
        row = self.rows.prompts[draw.prompt]
        about = {key: row[key] for key in ("axis", "prompt_id", "prompt")}
        items = [
            {
                **{**about, "item": f"{self.contrast.sum()}-{item_of(row['axis'], row['prompt'], text)}", "texts": [text]},
                **{"checkpoints": [row["checkpoints"][side]], "probability": draw.chances[side], "side": side},
            }
            for side, text in enumerate(row["texts"])
            if draw.chances[side]
        ]
        return sorted(items, key=lambda item: item["item"])

    def items(self) -> list[dict]:
        return [item for number in range(len(self.draws)) for item in self.items_of(number)]

    def label(self, item: dict) -> dict | None:
        """The last answer to an item, whoever gave it."""
        return next((entry for (_, name), entry in reversed(self.answers.everyone.items()) if name == item["item"]), None)

    def labels_of(self, number: int) -> tuple[float, float]:
        labels = [np.nan, np.nan]
        for item in self.items_of(number):
            labels[item["side"]] = {"good": 1.0, "bad": 0.0}.get(self.label(item)["answer"], np.nan)
        return tuple(labels)

    def after(self, name: str) -> None:
        """An item was answered, for the first time or anew."""
        if any(item["item"] == name for number in range(self.told) for item in self.items_of(number)):
            self.replay()
        else:
            self.advance()

    def write(self) -> None:
        """The table of the labels so far, each with the chance of its draw."""
        rows = []
        for item in self.items():
            if (entry := self.label(item)) is not None:
                (policy, seed), skipped = item["checkpoints"][0], entry["answer"] == "skip"
                about = {key: item[key] for key in ("axis", "prompt_id", "probability", "item")}
                good = None if skipped else entry["answer"] == "good"
                rows.append({**about, "policy": policy, "seed": seed, "good": good, "skipped": skipped, "annotator": entry["annotator"]})
        write_table(self.table, rows, DRAWN, {"answers": len(rows), "inputs": {}})

    def sentence(self) -> str:
        """What the labels say so far, in one sentence."""
        return sentence(
            self.contrast, self.standing or self.labelling.standing(), len(self.draws) == self.told and self.labelling.known.all()
        )


def margin_of(folder: Path) -> float:
    """The study's margin of equivalence in points."""
    path = folder / "analysis/comparisons.parquet"
    return read_provenance(path)["config"].get("equivalence_margin", MARGIN) if path.is_file() else MARGIN


def sentence(contrast: Contrast, standing: Standing, finished: bool) -> str:
    """decided, or how far it is. finished: no reply is without a label."""
    policy, against, metric = contrast
    if np.isnan(standing.value):
        return f"{standing.needed} more labels before anything is said of {policy} and {against} on {metric}."
    span = f"{digits(100 * standing.value, '+.1f')} points [{digits(100 * standing.low)}, {digits(100 * standing.high)}]"
    if standing.verdict in ("better", "worse"):
        return f"Decided after {standing.labels:,} labels: {policy} is {standing.verdict} than {against} on {metric}, {span}."
    if standing.verdict == "equivalent":
        return f"Decided after {standing.labels:,} labels: {policy} and {against} are equivalent on {metric}, {span}."
    if finished:
        more = "Every reply has its label: these prompts do not decide it."
    elif standing.needed is None:
        more = "If that is the difference, these prompts are too few to decide it."
    else:
        more = f"If that is the difference, about {standing.needed:,} more decide."
    return f"Undecided after {standing.labels:,} labels: {policy} less {against} on {metric} is {span}. {more}"
