"""Studies that differ in protocol side by side: the rates of every policy that they share, and which settings differ.

Each study's intervals are its own; there is no test between studies, for their prompts or responses are not the same.
"""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table

from hh_align.analysis.ratings import headline
from hh_align.analysis.text_gate import caveat_over_seeds, read_text
from hh_align.core.artifacts import provenance, read_provenance, read_table, say, write_table, write_text
from hh_align.core.axes import RATE_METRICS
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.report.export_csv import as_csv
from hh_align.tools.along_axis import places, sentences, write_along

SCHEMA = pa.schema(
    [
        ("study", pa.string()),
        ("judge", pa.string()),
        ("policy", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("n", pa.int64()),
        ("estimand", pa.string()),
    ]
)
STAGES = {"prompts": "prompts/prompts.parquet", "generation": "responses/{root}/*.parquet", "scoring": "rewards/*/{root}/seed-*.parquet"}
"""What a protocol is made of, and the artifacts whose provenance says how."""


def read_metrics(folders: list[Path]) -> dict[str, pd.DataFrame]:
    """Study -> its metrics. Raises StudyError where a folder holds no analysed study, or a name comes twice."""
    if missing := [folder for folder in folders if not (folder / "analysis/metrics.parquet").is_file()]:
        analysed = sorted(path.parents[1].name for path in Path("results").glob("*/analysis/metrics.parquet"))
        raise StudyError(f"{missing[0]}: no analysed study. Analysed: {', '.join(analysed) or 'none'}.")
    if len({folder.name for folder in folders}) < max(2, len(folders)):
        raise StudyError("two or more studies of different names are needed.")
    return {folder.name: read_table(folder / "analysis/metrics.parquet").to_pandas() for folder in folders}


def side_by_side(metrics: dict[str, pd.DataFrame]) -> list[dict]:
    """Rows of SCHEMA: the rates and CAS of the judges and policies that all studies have, the studies of a rate one after another.

    Raises StudyError where they share no judge or no policy.
    """
    judged = [set(zip(frame["judge"], frame["policy"], strict=True)) for frame in metrics.values()]
    shared = set.intersection(*judged)
    if not shared:
        raise StudyError(f"{', '.join(metrics)} share no policy that the same judge has scored.")
    rows = []
    for judge, policy in sorted(shared):
        for metric in RATE_METRICS:
            for study, frame in metrics.items():
                shown = headline(frame, judge)
                if (policy, metric) in shown.index:
                    rows.append({"study": study, "policy": policy, "metric": metric, **shown.loc[(policy, metric)].to_dict()})
    return rows


def caveats(folder: Path) -> dict[str, str]:
    """Policy -> what stands against its text in this study, of those with any."""
    path, by_policy = folder / "analysis/text.parquet", {}
    for (policy, _), row in read_text(path if path.is_file() else None).items():
        by_policy.setdefault(policy, []).append(row)
    return {policy: said for policy, rows in by_policy.items() if (said := caveat_over_seeds(rows))}


def settings(folder: Path) -> dict[str, object]:
    """stage.key -> value of a study's prompts, generation and scoring, as the provenance of the root's artifacts has it: other policies may be
    asked otherwise."""
    root = read_provenance(folder / "analysis/metrics.parquet")["config"]["order"][0]
    values = {}
    for stage, pattern in STAGES.items():
        for path in sorted(folder.glob(pattern.format(root=root)))[:1]:
            values |= flat(read_provenance(path)["config"], stage)
    return values


def flat(value: object, key: str) -> dict[str, object]:
    """Nested settings under dotted keys."""
    if not isinstance(value, dict):
        return {key: value}
    return {name: entry for part, inner in value.items() for name, entry in flat(inner, f"{key}.{part}").items()}


def differing(folders: list[Path]) -> dict[str, list]:
    """Setting -> its value in each study, of those that differ (None: absent)."""
    studies = [settings(folder) for folder in folders]
    values = {key: [study.get(key) for study in studies] for key in dict.fromkeys(key for study in studies for key in study)}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def table(rows: list[dict], judge: str, told: dict[str, dict[str, str]]) -> Table:
    """Policies and metrics down, studies across; told: study -> caveats, whose cells end in an exclamation mark."""
    studies = list(told)
    shown = Table(title=f"rates in %, 95 % intervals (judge {judge})", title_justify="left", title_style="", box=box.SIMPLE_HEAD)
    for number, name in enumerate(("policy", "metric", *studies)):
        shown.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
    cells = {(row["policy"], row["metric"], row["study"]): row for row in rows if row["judge"] == judge}
    for policy, metric in dict.fromkeys((policy, metric) for policy, metric, _ in cells):
        row = [cells.get((policy, metric, study)) for study in studies]
        marks = [" !" if policy in told[study] else "" for study in studies]
        shown.add_row(policy, metric, *(cell(part) + mark for part, mark in zip(row, marks, strict=True)))
    return shown


def cell(row: dict | None) -> str:
    if row is None:
        return "-"
    return f"{row['value']:.1f}" + ("" if pd.isna(row["ci_low"]) else f" [{row['ci_low']:.1f}, {row['ci_high']:.1f}]")


def compare(folders: list[Path], output: Path, axis: str | None = None) -> None:
    """Print the studies side by side, or along an axis, and write the tables into `output`. Raises StudyError where they are none, or share nothing."""
    metrics = read_metrics(folders)
    if axis:
        for line in sentences(write_along(folders, axis, output), places(axis, folders)[0]):
            say(line)
        say(f"\nwritten: {output}/along.html, along.svg, along.csv and along.parquet")
        return
    rows = side_by_side(metrics)
    changed, told = differing(folders), {folder.name: caveats(folder) for folder in folders}
    console = Console(width=max(110, 30 + 24 * len(metrics)), highlight=False)
    for judge in dict.fromkeys(row["judge"] for row in rows):
        console.print(table(rows, judge, told))
    for study, policy, said in ((study, *entry) for study, entries in told.items() for entry in entries.items()):
        console.print(f"! {study}, {policy}: {said}.", markup=False)
    console.print("What differs in " + ", ".join(metrics) + ":" if changed else "Prompts, generation and scoring are set alike.")
    for key, values in changed.items():
        console.print(f"  {key}: " + " | ".join(json.dumps(value) for value in values), markup=False)
    inputs = [folder / "analysis/metrics.parquet" for folder in folders]
    plain = [{name: None if pd.isna(row[name]) else row[name] for name in SCHEMA.names} for row in rows]
    write_table(output / "metrics.parquet", plain, SCHEMA, provenance({"differs": changed}, inputs))
    write_text(output / "metrics.csv", as_csv(plain, SCHEMA.names))
    say(f"\nwritten: {output}/metrics.parquet and metrics.csv")


def main() -> None:
    args = parse(__doc__, folders="paths", output="path", axis="text?")
    compare(args.folders, args.output, args.axis)


if __name__ == "__main__":
    run(main)
