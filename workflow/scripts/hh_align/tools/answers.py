"""The answers that people gave to `annotate`: every one on disk before it is acknowledged, and the tables made from all of them.

`answers.jsonl` is only ever appended to, a line at a time, by however many pages are open. `labels.parquet` and `choices.parquet` say what
its answers mean for the responses that the study has.
"""

import errno
import fcntl
import hashlib
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hh_align.analysis.labels import is_drawn
from hh_align.core.artifacts import cannot_write, say, write_table
from hh_align.core.errors import StudyError
from hh_align.tools.asked import Study, pair_items, single_items

LABELS = pa.schema(
    [
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("good", pa.bool_()),
        ("skipped", pa.bool_()),
        ("annotator", pa.string()),
        ("item", pa.string()),
    ]
)
CHOICES = pa.schema(
    [
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("seed", pa.int64()),
        ("policy_a", pa.string()),
        ("policy_b", pa.string()),
        ("preferred", pa.string()),
        ("annotator", pa.string()),
        ("item", pa.string()),
    ]
)
SIDES = ("left", "right")
SINGLE, PAIR = ("good", "bad", "skip"), (*SIDES, "tie", "skip")


def entry_for(item: dict, answer: str) -> dict:
    """What is stored of an answer: of a pair the preferred text by its sum, so that it says the same whichever side that text stands on."""
    entry = {"item": item["item"], "answer": answer}
    if "sides" not in item:
        return entry
    preferred = text_sum(item["texts"][SIDES.index(answer)]) if answer in SIDES else answer
    return {**entry, "answer": preferred, "contrast": item["contrast"]}


def shown(item: dict, stored: str | None) -> str | None:
    """A stored answer as the page shows it: of a pair the side on which the preferred text stands."""
    sides = {text_sum(text): side for text, side in zip(item["texts"], SIDES, strict=False)} if "sides" in item else {}
    return sides.get(stored, stored)


def text_sum(text: str) -> str:
    """Names a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def line_of(entry: dict) -> bytes:
    """An entry as it is stored: one line of JSON that carries its own sum."""
    return (json.dumps({**entry, "sum": sum_of(entry)}) + "\n").encode()


def sum_of(entry: dict) -> int:
    """The sum that an entry's line carries."""
    return zlib.crc32(json.dumps(entry).encode())


def entry_of(line: bytes) -> dict:
    """The entry of a stored line. Raises ValueError where it is none, or not as it was written."""
    try:
        entry = json.loads(line)
        said = entry.pop("sum")
        words = (entry[key] for key in ("annotator", *(() if "discarded" in entry else ("item", "answer"))))
        if said != sum_of(entry) or not all(isinstance(word, str) for word in words):
            raise ValueError
    except (KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError from None
    return entry


class Answers:
    """The record of all annotators, as one of them sees it; the last answer to an item counts. Several pages may share it."""

    def __init__(self, path: Path, annotator: str) -> None:
        self.path, self.annotator = path, annotator
        self.everyone: dict[tuple[str, str], dict] = {}
        """(annotator, item) -> entry"""
        self.read_to, self.lines = 0, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.held():
            pass

    def of(self, item: dict) -> str | None:
        """This annotator's answer to an item, as the page shows it."""
        entry = self.everyone.get((self.annotator, item["item"]))
        return entry and shown(item, entry["answer"])

    def save(self, item: dict, answer: str) -> None:
        """Keep an answer: on return it is on disk. Raises StudyError, and leaves the record as it was, where the disk takes it not."""
        self._append({"annotator": self.annotator, **entry_for(item, answer)})

    def discard(self, annotator: str) -> int:
        """Let the answers that an annotator has given so far count no longer; how many those are. Their lines stay."""
        count = sum(name == annotator for name, _ in self.everyone)
        if count:
            self._append({"annotator": annotator, "discarded": count})
        return count

    def _append(self, entry: dict) -> None:
        with self.held() as (file, end):
            begun = b"\n" if end > self.read_to else b""  # ends a line of which a kill left the beginning
            line = begun + line_of(entry)
            try:
                if os.write(file, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file)
            except OSError as error:
                os.ftruncate(file, end)
                raise cannot_write(self.path, os.strerror(error.errno)) from None
            self._read(file)

    @contextmanager
    def held(self) -> Iterator[tuple[int, int]]:
        """(the record, its length): open, locked against other processes and threads, and read to its end."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._read(file)
            yield file, os.fstat(file).st_size
        finally:
            os.close(file)

    def _read(self, file: int) -> None:
        """Take up the whole lines that have come since the last reading; those that are no answers are named."""
        *lines, _ = os.pread(file, os.fstat(file).st_size - self.read_to, self.read_to).split(b"\n")
        for line in lines:
            self.lines += 1
            self.read_to += len(line) + 1
            try:
                entry = entry_of(line)
            except ValueError:
                say(f"{self.path}, line {self.lines}: not an answer, passed over")
                continue
            if "discarded" in entry:
                self.everyone = {key: kept for key, kept in self.everyone.items() if key[0] != entry["annotator"]}
            else:
                self.everyone[entry["annotator"], entry["item"]] = entry


def tables(answers: Answers, study: Study) -> tuple[list[dict], list[dict], int]:
    """(rows of labels, rows of choices, answers about texts that the study has no more), of all annotators and of all prompts, however few
    are asked at a time. A skip is a row without a label; of a pair it makes none. Answers to drawn items (with a "-" in their name, `tools/until.py`)
    stand in a table of their own."""
    labels, choices = [], []
    contrasts: dict[frozenset, tuple] = {}
    singles = defaultdict(list)
    for item in single_items(study, study.prompts, 0):
        singles[item["item"]].append(item)
    for (annotator, name), entry in sorted(answers.everyone.items()):
        if "contrast" in entry:
            contrasts.setdefault(frozenset(entry["contrast"]), tuple(entry["contrast"]))
        elif entry["answer"] in SINGLE:
            skipped = entry["answer"] == "skip"
            about = {"item": name, "annotator": annotator, "good": None if skipped else entry["answer"] == "good", "skipped": skipped}
            for item in singles.get(name, ()):  # two, where a prompt stands twice
                where = {**about, "axis": item["axis"], "prompt_id": item["prompt_id"]}
                labels += [{**where, "policy": policy, "seed": seed} for policy, seed in item["checkpoints"]]
    known = set(singles)
    policies = {policy for policy, _ in study.replies}
    for contrast in sorted(there for names, there in contrasts.items() if names <= policies):
        for item in pair_items(study, study.prompts, contrast, 0):
            known.add(item["item"])
            choices += [row for annotator in sorted({name for name, _ in answers.everyone}) if (row := choice(answers, annotator, item))]
    return labels, choices, sum(name not in known and not is_drawn(name) for _, name in answers.everyone)


def choice(answers: Answers, annotator: str, item: dict) -> dict | None:
    """The row of choices that an annotator's answer to a pair makes; None without one, and for a skip."""
    entry = answers.everyone.get((annotator, item["item"]))
    if entry is None or (answer := shown(item, entry["answer"])) not in PAIR[:3]:
        return None
    b, a = item["contrast"]
    preferred = "tie" if answer == "tie" else "a" if item["sides"][SIDES.index(answer)] == a else "b"
    about = {key: item[key] for key in ("item", "axis", "prompt_id", "seed")}
    return {**about, "policy_a": a, "policy_b": b, "preferred": preferred, "annotator": annotator}


def columns_in(path: Path) -> list[str]:
    """The columns of a table; of a damaged one, which holds nothing to lose, those that it should have."""
    try:
        return pq.read_schema(path).names
    except pa.ArrowInvalid:
        return LABELS.names


def write_tables(answers: Answers, study: Study, folder: Path) -> int:
    """Write labels.parquet and choices.parquet where there are any; how many answers are about texts that the study has no more.

    Raises StudyError where one of them was made otherwise: its rows are in no answer, and would be lost.
    """
    for path in (folder / "labels.parquet", folder / "choices.parquet"):
        if path.exists() and "item" not in columns_in(path):
            raise StudyError(
                f"{path}: not made of {answers.path.name} but elsewhere, or by an earlier version. Move it to another place, where "
                "analysis.labels can name it, and run again."
            )
    with answers.held():
        labels, choices, gone = tables(answers, study)
        for path, rows, schema in ((folder / "labels.parquet", labels, LABELS), (folder / "choices.parquet", choices, CHOICES)):
            if rows or path.exists():
                write_table(path, rows, schema, {"answers": len(rows), "inputs": {}})
    return gone
