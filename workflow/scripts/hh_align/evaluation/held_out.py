"""Held-out pairs: rows of the evaluation's own split that nothing was trained on."""

from collections.abc import Collection
from pathlib import Path

from hh_align.core.artifacts import read_table, say
from hh_align.core.errors import StudyError
from hh_align.data.preferences import KEY


def evenly(rows: list, count: int | None) -> list:
    """At most `count` rows at equal distances, in file order."""
    if count is None or len(rows) <= count:
        return rows
    return [rows[number * len(rows) // count] for number in range(count)]


def held_out(
    rows: list[dict], subsets: dict[str, dict], most: int | None, seen: Collection[tuple[str, str, int]] = ()
) -> dict[str, list[dict]]:
    """Subset -> at most `most` of its pairs of the split, fit for comparison, with their axis.

    subsets: name -> axis and split; seen: KEY of rows that something was trained on, which are left out. Raises StudyError for a
    subset without a pair, and where every pair of all subsets was seen.
    """
    pairs = {}
    for subset, source in subsets.items():
        fit = [row for row in rows if (row["split"], row["subset"]) == (source["split"], subset) and row["use_dpo"]]
        if not fit:
            raise StudyError(f"no pair of {subset}/{source['split']} is fit for comparison: check prompts and datasets.*.subsets.")
        unseen = [row for row in fit if tuple(row[key] for key in KEY) not in seen]
        if len(unseen) < len(fit):
            say(f"{subset}: {len(fit) - len(unseen):,} of {len(fit):,} pairs were trained on and are left out")
        if unseen:
            pairs[subset] = [{**row, "axis": source["axis"]} for row in evenly(unseen, most)]
    if not pairs:
        raise StudyError(
            f"every pair of {', '.join(subsets)} was trained on: nothing is held out. Train on fewer of them (datasets.*.training_half, hash_range)."
        )
    return pairs


def keys_of(paths: list[Path]) -> set[tuple[str, str, int]]:
    """KEY of every row of these preference tables."""
    return {tuple(row.values()) for path in paths for row in read_table(path, KEY).to_pylist()}
