"""The judge on held-out pairs: its ROC curves, and whether its margins mean what they promise."""

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.core.artifacts import read_table
from hh_align.core.axes import AXES
from hh_align.core.command import parse, run
from hh_align.report.colours import COLOURS
from hh_align.report.figures import PLAIN, reach, save

LINES = ["-", "--", "-.", ":"]


def groups(table: pd.DataFrame, axis: str) -> list[tuple[str, pd.DataFrame]]:
    """(name, rows) of every judge and subset on one axis."""
    curves = table[table["axis"] == axis].groupby(["judge", "subset"], sort=False)
    return [(f"{judge} on {subset}", rows) for (judge, subset), rows in curves]


def square(table: pd.DataFrame, xlabel: str, ylabel: str) -> tuple[plt.Figure, list[plt.Axes]]:
    figure, panels = plt.subplots(1, 2, figsize=(9, 4.6), sharey=True, layout="constrained")
    for panel, axis in zip(panels, AXES, strict=True):
        panel.set_title(axis, fontsize=10)
        panel.set_xlabel(xlabel)
    panels[0].set_ylabel(ylabel)
    return figure, list(panels)


def plot_roc(points: pd.DataFrame) -> plt.Figure:
    """Chosen replies as positives; the diagonal is a judge that knows nothing."""
    figure, panels = square(points, "% of rejected replies above the threshold", "% of chosen replies above it")
    for panel, axis in zip(panels, AXES, strict=True):
        panel.plot([0, 100], [0, 100], color="black", linewidth=0.8, linestyle="--")
        for number, (name, rows) in enumerate(groups(points, axis)):
            x, y = (100 * rows[f"{side}_positive_rate"] for side in ("false", "true"))
            panel.plot(x, y, LINES[number % len(LINES)], color=COLOURS[1 + number % (len(COLOURS) - 1)], label=name)
        panel.set_aspect("equal")
        panel.legend(*panel.get_legend_handles_labels(), loc="lower right", frameon=False, fontsize=8)
    return figure


def plot_calibration(bins: pd.DataFrame) -> plt.Figure:
    """On the diagonal a margin means what a Bradley-Terry model says: sigmoid(margin)."""
    figure, panels = square(bins, "% promised by the margin", "% in which the preferred reply is the chosen one")
    for panel, axis in zip(panels, AXES, strict=True):
        panel.plot([50, 100], [50, 100], color="black", linewidth=0.8, linestyle="--")
        panel.axhline(50, color="0.7", linewidth=0.8)
        for number, (name, rows) in enumerate(groups(bins, axis)):
            whiskers = reach(rows["observed"], rows["ci_low"], rows["ci_high"])
            style = {"color": COLOURS[1 + number % (len(COLOURS) - 1)], "label": name, "elinewidth": 1, "markersize": 4}
            panel.errorbar(rows["predicted"], rows["observed"], whiskers, fmt="o" + LINES[number % len(LINES)], **style)
        panel.legend(*panel.get_legend_handles_labels(), loc="upper left", frameon=False, fontsize=8)
    panels[0].set_ylim(0, 102)
    return figure


def main() -> None:
    args = parse(__doc__, config="config?", points="path", bins="path", roc="path", calibration="path")
    with plt.rc_context(PLAIN):
        save(plot_roc(read_table(args.points).to_pandas()), args.roc)
        save(plot_calibration(read_table(args.bins).to_pandas()), args.calibration)


if __name__ == "__main__":
    run(main)
