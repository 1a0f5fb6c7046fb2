"""Whether a judge knows more than a coin: what a ranking by its labels rests on."""

from collections.abc import Collection
from pathlib import Path

from hh_align.core.artifacts import read_table

COLUMNS = ["judge", "axis", "subset", "format", "part", "own_subset", "ci_low"]


def read_reliability(path: Path | None) -> dict[tuple[str, str], bool]:
    """(judge, axis) -> whether the judge's accuracy on the axis's own subset is above 50 % with 95 % confidence, from judge.parquet."""
    if path is None:
        return {}
    rows = read_table(path, COLUMNS).to_pylist()
    examined = [row for row in rows if row["own_subset"] and row["format"] == "as evaluated" and row["part"] == "all"]
    return {(row["judge"], row["axis"]): row["ci_low"] > 50 for row in examined}


def on_all(flags: Collection[bool | None]) -> bool | None:
    """Whether a judge is above chance on all of several axes; False of one is enough, None: of one it is not known."""
    return False if False in flags else None if None in flags else True
