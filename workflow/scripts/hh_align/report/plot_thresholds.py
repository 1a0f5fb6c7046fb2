"""Every policy's rate at every threshold."""

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.analysis.ratings import judged_axes, shown_judge
from hh_align.core.artifacts import read_table
from hh_align.core.axes import PROMPT_NAMES, THRESHOLD_KEYS
from hh_align.core.command import parse, run
from hh_align.report.colours import colours
from hh_align.report.figures import PLAIN, save

LINES = ["-", "--", "-.", ":"]


def plot_curves(thresholds: pd.DataFrame, flips: pd.DataFrame, config: dict, judge: str) -> plt.Figure:
    """Rates over thresholds; the plausible range shaded, the study's threshold dashed, flips of the order ticked at the bottom."""
    order, judged = config["order"], judged_axes(config["judges"][judge])
    figure, (panels,) = plt.subplots(1, len(judged), figsize=(5.5 * len(judged), 4), sharey=True, layout="constrained", squeeze=False)
    for panel, axis in zip(panels, judged, strict=True):
        table = thresholds[(thresholds["judge"] == judge) & (thresholds["axis"] == axis)]
        for number, policy in enumerate(order):
            curve = table[table["policy"] == policy]
            panel.plot(curve["threshold"], curve["rate"], LINES[number % len(LINES)], color=colours(order)[policy], label=policy)
        inside = table[table["plausible"]]["threshold"]
        if len(inside):
            panel.axvspan(inside.min(), inside.max(), color="0.94", linewidth=0, zorder=0)
        turns = flips[(flips["judge"] == judge) & (flips["axis"] == axis) & flips["plausible"]]["threshold"]
        panel.plot(turns, [1.5] * len(turns), "|", color="black", markersize=9)
        panel.axvline(config["judges"][judge][THRESHOLD_KEYS[axis]], color="black", linestyle="--", linewidth=0.8)
        panel.set_xlabel(f"threshold on the reward by {judge}")
        panel.set_title(f"{PROMPT_NAMES[axis]}; | where two policies change places", fontsize=10)
    panels[0].set_ylim(0, 100)
    panels[0].set_ylabel("% of replies that pass")
    panels[0].figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(order), 6), frameon=False)
    return figure


def main() -> None:
    args = parse(__doc__, config="config", thresholds="path", flips="path", curves="path")
    with plt.rc_context(PLAIN):
        tables = (read_table(path).to_pandas() for path in (args.thresholds, args.flips))
        save(plot_curves(*tables, args.config, shown_judge(args.config["judges"])), args.curves)


if __name__ == "__main__":
    run(main)
