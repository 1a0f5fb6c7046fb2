"""One fact and the artifact that it is held against: what is found there, and whether it is as stated."""

import json
import operator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hh_align.core.artifacts import logical_name, read_provenance, read_table, readable
from hh_align.core.errors import StudyError
from hh_align.core.numbers import digits

MISSING = "not measured here"
SOME_UNKNOWN = ", and some unknown"
SHOWN = 8  # values named of a column of texts
LETTERS = 40  # characters shown of a value
LOWER = {"above": operator.gt, "at_least": operator.ge}
UPPER = {"below": operator.lt, "at_most": operator.le}
Values = list[object]


class Found(NamedTuple):
    """What was found, in words, and the fact's verdict."""

    words: str
    verdict: str


def files_of(artifact: str, files: list[Path]) -> list[Path]:
    """The files that an artifact's name (a path below the study's folder, * for any name) stands for."""
    return [path for path in files if PurePosixPath(logical_name(path)).match(artifact)]


def look(fact: dict, files: list[Path]) -> Found:
    """The fact against these files. Raises StudyError for a column that is not there, and for a bound on what is no number."""
    if not files:
        return Found(f"this study has no {fact['artifact']}", MISSING)
    if "made_of" in fact:
        return made_of(fact, files)
    if fact.get("interval"):
        return by_interval(fact, read_rows(fact, files, "ci_low", "ci_high"))
    groups = {"setting": settings, "count": counts, "column": values}[next(key for key in ("setting", "count", "column") if key in fact)]
    return holds(fact, groups(fact, files))


def read_rows(fact: dict, files: list[Path], *more: str) -> pd.DataFrame:
    """The columns that a fact speaks of, of its rows, of all files: `file` numbers these, `unsure` marks a row of which
    `where` asks what is unknown. Raises StudyError for a column that is not there."""
    counted = [fact["count"]] if fact.get("count", "rows") != "rows" else []
    columns = list(
        dict.fromkeys([name for name in (fact.get("column"), fact.get("each")) if name] + [*counted, *fact.get("where", {}), *more])
    )
    rows = pd.concat(
        [read_file(path, columns, fact.get("column")).assign(file=number) for number, path in enumerate(files)], ignore_index=True
    )
    rows = rows.assign(unsure=False)
    for column, wanted in fact.get("where", {}).items():
        unknown = rows[column].isna()
        rows = rows[rows[column].isin(as_list(wanted)) | unknown].assign(unsure=rows["unsure"] | unknown)
    return rows


def read_file(path: Path, columns: list[str], looked_at: str | None) -> pd.DataFrame:
    """These columns of one table, perhaps none. Raises StudyError where another than the one that is looked at holds lists."""
    if not columns:
        with readable(path, None):
            return pd.DataFrame(index=pd.RangeIndex(pq.read_metadata(path).num_rows))
    table = read_table(path, columns)
    if lists := [name for name in columns if name != looked_at and pa.types.is_list(table.schema.field(name).type)]:
        raise StudyError(f"{path}: column {lists[0]} holds lists: name it as column, not in count, each or where.")
    return table.to_pandas()


def as_list(value: object) -> list:
    return value if isinstance(value, list) else [value]


def plain(value: object) -> Values:
    """The single values that a cell or a setting holds: of a list its entries, null for none."""
    if isinstance(value, list | np.ndarray):
        return [each for entry in value for each in plain(entry)]
    if isinstance(value, np.generic):
        value = value.item()
    return [None] if value is None or value != value else [value]


def values(fact: dict, files: list[Path]) -> list[Values]:
    """One group: every value of the column."""
    rows = read_rows(fact, files)
    return [[each for value in rows[fact["column"]].mask(rows["unsure"], None) for each in plain(value)]]


def counts(fact: dict, files: list[Path]) -> list[Values]:
    """A group per file and value of `each`: its number of rows, or of a column's different values; null where some of these are unknown."""
    rows = read_rows(fact, files)
    counted = [] if fact["count"] == "rows" else [fact["count"]]
    rows = rows.assign(unsure=rows["unsure"] | rows[[*counted, *([fact["each"]] if "each" in fact else [])]].isna().any(axis=1))
    groups = rows.groupby(["file", *([fact["each"]] if "each" in fact else [])], dropna=False)
    numbers = groups[counted[0]].nunique() if counted else groups.size()
    if "each" not in fact:
        numbers = numbers.reindex(range(len(files)), fill_value=0)
    return [[None if rows["unsure"].any() else int(number)] for number in numbers]


def settings(fact: dict, files: list[Path]) -> list[Values]:
    """A group per file: what it was made with, by the path of keys; null where the artifact does not say."""
    groups = []
    for path in files:
        value = made(path).get("config")
        for key in fact["setting"].split("."):
            value = value.get(key) if isinstance(value, dict) else None
        groups.append(plain(sorted(value) if isinstance(value, dict) else value) if value not in ([], {}) else ["none"])
    return groups


def made(path: Path) -> dict:
    """An artifact's provenance. Raises StudyError where it has none."""
    if path.suffix != ".json":
        return read_provenance(path)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError):
        raise StudyError(f"{path}: not a readable provenance. Delete the file; the next run rebuilds it.") from None


def made_of(fact: dict, files: list[Path]) -> Found:
    """Whether each file was made of exactly these others; not measured where it was made of no file of this study and no model of the hub."""
    wanted, verdicts, names = fact["made_of"], [], []
    for path in files:
        inputs = list(made(path).get("inputs", {}))
        study = logical_name(path).split("/")[0]
        names += [name.removeprefix(f"{study}/") for name in inputs]
        matched = [[pattern for pattern in wanted if PurePosixPath(name).match(pattern)] for name in inputs]
        if not any(name.startswith((f"{study}/", "hub/models/")) for name in inputs):
            verdicts.append(MISSING)
        else:
            exact = all(matched) and {pattern for own in matched for pattern in own} == set(wanted)
            verdicts.append("supported" if exact else "contradicted")
    if "contradicted" not in verdicts and MISSING in verdicts:
        return Found(f"{fact['artifact']} was made elsewhere and does not say of what", MISSING)
    return Found(few(names), "contradicted" if "contradicted" in verdicts else "supported")


def holds(fact: dict, groups: list[Values]) -> Found:
    """Whether every group of values is as stated, or `some` value is; an unknown value leaves open what no known one decides."""
    known = [[value for value in group if value is not None] for group in groups]
    if not any(known):
        return Found(nothing(fact), MISSING)
    unknown = any(None in group or not group for group in groups)
    if fact.get("some"):
        right = any(is_so(fact, [value]) for group in known for value in group)
        verdict = "supported" if right else MISSING if unknown else "contradicted"
    else:
        wrong = any(group and not is_so(fact, group) for group in known)
        verdict = "contradicted" if wrong else MISSING if unknown else "supported"
    shown = [value[:LETTERS] if isinstance(value, str) else value for group in known for value in group]
    return Found(few(shown, counted="column" in fact) + SOME_UNKNOWN * unknown, verdict)


def nothing(fact: dict) -> str:
    """Why nothing was found."""
    if "setting" in fact:
        return f"{fact['artifact']} does not say with which {fact['setting']} it was made"
    where = " and ".join(fact.get("where", {}))
    return f"{fact['artifact']} has no known {fact.get('column') or fact['count']}" + (f" with this {where}" if where else "")


def is_so(fact: dict, group: Values) -> bool:
    """Whether known values are as stated: all of them the one, together exactly those of a list, each within the bounds. Raises StudyError."""
    if "is" in fact:
        return {(isinstance(value, bool), value) for value in group} == {(isinstance(value, bool), value) for value in as_list(fact["is"])}
    if texts := [str(value) for value in group if isinstance(value, bool | str)]:
        what = fact.get("column") or fact["setting"]
        raise StudyError(f"{fact['artifact']}: {what} holds {texts[0][:LETTERS]!r}, which is no number: no bound can be put on it. Use is.")
    return all(test(value, fact[name]) for value in group for name, test in (LOWER | UPPER).items() if name in fact)


def by_interval(fact: dict, rows: pd.DataFrame) -> Found:
    """Supported where the whole interval of every row is within the bounds, contradicted where that of one is beyond a bound, else undecided."""
    known = rows[~rows["unsure"]].dropna(subset=[fact["column"], "ci_low", "ci_high"])
    if known.empty:
        return Found(nothing(fact), MISSING)
    open_ones = len(known) < len(rows)
    within, beyond = True, False
    for low, high in known[["ci_low", "ci_high"]].itertuples(index=False):
        within &= is_so(fact, [low]) and is_so(fact, [high])
        beyond |= any(not test(high, fact[name]) for name, test in LOWER.items() if name in fact)
        beyond |= any(not test(low, fact[name]) for name, test in UPPER.items() if name in fact)
    told = [
        f"{value:.4g} [{low:.4g}, {high:.4g}]" for value, low, high in known[[fact["column"], "ci_low", "ci_high"]].itertuples(index=False)
    ]
    verdict = "contradicted" if beyond else MISSING if open_ones else "supported" if within else "undecided"
    return Found(few(told) + SOME_UNKNOWN * open_ones, verdict)


def numeral(value: float) -> str:
    """A whole number with all its digits, another with six."""
    return digits(value, ".0f") if float(value).is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def few(found: Values, counted: bool = False) -> str:
    """Values in short: one, the lowest and the highest number, or the first texts; counted: with how many there are."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in found):
        low, high = min(found), max(found)
        words = numeral(low) if low == high else f"{numeral(low)} to {numeral(high)}"
        return words + (f" in {len(found):,} rows" if counted and len(found) > 1 else "")
    texts = list(dict.fromkeys(map(str, found)))
    return ", ".join(texts[:SHOWN]) + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")
