"""Studies along an axis: rates, retention and capability of every policy against the size of the model, or any number given per study."""

import math
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pyarrow as pa
from matplotlib.ticker import EngFormatter, NullLocator

from hh_align.analysis.ratings import headline, to_show
from hh_align.core.artifacts import provenance, read_provenance, read_table, write_table, write_text
from hh_align.core.axes import RATE_METRICS
from hh_align.core.errors import StudyError
from hh_align.report.colours import colours, markers
from hh_align.report.export_csv import as_csv
from hh_align.report.figures import PLAIN, legend_beside, reach, save
from hh_align.report.pages import TEMPLATES, inline_svg, number, plain, records, render

ALONG = pa.schema(
    [
        ("study", pa.string()),
        ("at", pa.float64()),
        ("judge", pa.string()),
        ("policy", pa.string()),
        ("measure", pa.string()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
    ]
)
SIZE = "size"


def places(axis: str, folders: list[Path]) -> tuple[str, list[float]]:
    """The axis's name, and where each study stands on it: `size` counts the base's parameters, `NAME:1,2,3` gives a number per study.

    Raises StudyError for another form, or other than a finite number per study.
    """
    if axis == SIZE:
        return "parameters", [float(parameters(folder)) for folder in folders]
    name, _, given = axis.partition(":")
    try:
        numbers = [float(value) for value in given.split(",")]
    except ValueError:
        numbers = []
    if not name or len(numbers) != len(folders) or not all(map(math.isfinite, numbers)):
        raise StudyError(f"--axis is {axis}: write size, or a name and a number for each of the {len(folders)} studies, as NAME:1,2.")
    return name, numbers


def parameters(folder: Path) -> int:
    """How many numbers the weights of a study's base are, by their file's header; shared ones count once. Raises StudyError where there are none."""
    try:
        from safetensors import SafetensorError, safe_open  # not in the light install
    except ImportError:
        raise StudyError("--axis size needs safetensors: pip install .[study], or give a number for each study: --axis NAME:1,2.") from None
    path = folder / "models/base/model.safetensors"
    try:
        with safe_open(path, "numpy") as weights:
            return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118 - it is no dict
    except (OSError, SafetensorError):
        raise StudyError(f"{path}: no weights to count. Give a number for each study: --axis NAME:1,2.") from None


def measured(folder: Path) -> list[dict]:
    """What a study says of each policy, as ALONG but for study and at: rates by each judge, retention against the root, accuracy over all tasks."""
    metrics, rows = read_table(folder / "analysis/metrics.parquet").to_pandas(), []
    for judge in sorted(set(metrics["judge"])):
        shown = headline(metrics, judge).reset_index()
        shown = shown[shown["metric"].isin(RATE_METRICS)].rename(columns={"metric": "measure"})
        rows += plain(shown.assign(judge=judge))
    root = read_provenance(folder / "analysis/metrics.parquet")["config"]["order"][0]
    if (path := folder / "analysis/retention.parquet").is_file():
        kept = read_table(path).to_pandas()
        kept = to_show(kept[(kept["reference"] == root) & kept["rate"].notna()], ["judge", "policy", "axis"])
        rows += plain(kept.assign(measure="kept of the root's, " + kept["axis"], value=kept["rate"]))
    if (path := folder / "analysis/capability.parquet").is_file():
        right = read_table(path).to_pandas()
        right = right[(right["measure"] == "acc") & (right["task"] == right["task"].iloc[-1]) & right["against"].isna()]
        rows += plain(to_show(right, ["policy"]).assign(measure="capability (acc)", judge=None))
    wanted = [name for name in ALONG.names if name not in ("study", "at")]
    return [{name: row[name] for name in wanted} for row in rows]


def along(folders: list[Path], numbers: list[float]) -> list[dict]:
    """Rows of ALONG, by measure, judge, policy and then along the axis."""
    rows = [{"study": folder.name, "at": at, **row} for folder, at in zip(folders, numbers, strict=True) for row in measured(folder)]
    first = {key: place for place, key in enumerate(dict.fromkeys((row["measure"], row["judge"], row["policy"]) for row in rows))}
    return sorted(rows, key=lambda row: (first[row["measure"], row["judge"], row["policy"]], row["at"], row["study"]))


def plot(rows: list[dict], name: str) -> plt.Figure:
    """A panel for each measure and judge: a line per policy along the axis, logarithmic for parameters, with 95 % intervals."""
    frame = pd.DataFrame(rows)
    order = list(dict.fromkeys(frame["policy"]))
    panels = list(frame.groupby(["measure", "judge"], sort=False, dropna=False))
    figure, cells = plt.subplots(1, len(panels), figsize=(1.5 + 3 * len(panels), 3.8), layout="constrained", squeeze=False)
    for cell, ((measure, judge), part) in zip(cells[0], panels, strict=True):
        for policy, mine in part.groupby("policy", sort=False):
            whiskers = reach(mine["value"], mine["ci_low"], mine["ci_high"])
            style = {"color": colours(order)[policy], "marker": markers(order)[policy]}
            cell.errorbar(mine["at"], mine["value"], whiskers, markersize=6, linewidth=1.5, label=policy, **style)
        cell.set_title(measure + (f"\njudge {judge}" if isinstance(judge, str) else ""), fontsize=9)
        cell.set_xlabel(name)
        if name == "parameters":
            cell.set_xscale("log")
            cell.xaxis.set_minor_locator(NullLocator())
            cell.set_xticks(sorted(set(part["at"])), map(EngFormatter(sep="").format_data, sorted(set(part["at"]))), rotation=90)
    cells[0][0].set_ylabel("%")
    legend_beside(figure, cells[0][0])
    return figure


def write_along(folders: list[Path], axis: str, output: Path) -> list[dict]:
    """along.parquet, along.csv, along.svg and along.html in the folder `output`; returns the rows. Raises StudyError as places does."""
    name, numbers = places(axis, folders)
    rows = along(folders, numbers)
    inputs = [folder / "analysis/metrics.parquet" for folder in folders]
    write_table(output / "along.parquet", rows, ALONG, provenance({"axis": name, "at": numbers}, inputs))
    write_text(output / "along.csv", as_csv(rows, ALONG.names))
    with plt.rc_context(PLAIN):
        save(plot(rows, name), output / "along.svg")
    drawn = inline_svg((output / "along.svg").read_text(encoding="utf-8"), "along", f"Every measure of the studies along {name}")
    shown = plain(records(pd.DataFrame(rows), "along.parquet"))
    write_text(
        output / "along.html",
        render(TEMPLATES, "along_axis.html", axis=name, rows=shown, figure=drawn, number=number, folders=folders, config={"order": []}),
    )
    return rows


def sentences(rows: list[dict], name: str) -> list[str]:
    """One line per measure, judge and policy: its values along the axis."""
    lines: dict[tuple, list[str]] = {}
    for row in rows:
        by = f" by {row['judge']}" if row["judge"] else ""
        lines.setdefault((f"{row['measure']}{by}", row["policy"]), []).append(f"{row['value']:.1f} at {row['at']:,.6g}")
    return [f"{measure}, {policy}, along {name}: {', '.join(values)}" for (measure, policy), values in lines.items()]
