"""The oracle's rates over the share of exchanged labels, a line per method."""

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.core.artifacts import read_table
from hh_align.core.axes import PROMPT_NAMES
from hh_align.core.command import parse, run
from hh_align.report.colours import COLOURS, MARKERS
from hh_align.report.figures import PLAIN, reach, save

SCOPES = {**PROMPT_NAMES, "both": "both kinds of prompts"}
SHOWN = {"rate": ("ci_low", "ci_high", "good replies, %"), "lost": ("lost_low", "lost_high", "points lost to the noise")}


def plot(noise: pd.DataFrame) -> plt.Figure:
    """A column of panels per axis, above the rates, below what is lost against no noise, 95 % intervals."""
    figure, lines = plt.subplots(len(SHOWN), len(SCOPES), figsize=(11, 6), layout="constrained", sharex=True)
    for line, (value, (low, high, title)) in zip(lines, SHOWN.items(), strict=True):
        for panel, (axis, name) in zip(line, SCOPES.items(), strict=True):
            for number, (series, rows) in enumerate(noise[noise["axis"] == axis].groupby("series", sort=False)):
                rows = rows.dropna(subset=[value]).sort_values("noise")
                whiskers = reach(rows[value], rows[low], rows[high])
                style = {"color": COLOURS[(number + 1) % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
                panel.errorbar(rows["noise"] + number, rows[value], whiskers, linewidth=1.2, capsize=2, label=series, **style)
            if value == "lost":
                panel.axhline(0, color="0.7", linewidth=0.8, zorder=0)
                panel.set_xlabel("labels exchanged, %")
            else:
                panel.set_title(name, fontsize=10)
        line[0].set_ylabel(title)
    lines[0][-1].legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    args = parse(__doc__, config="config?", noise="path", curves="path")
    with plt.rc_context(PLAIN):
        save(plot(read_table(args.noise).to_pandas()), args.curves)


if __name__ == "__main__":
    run(main)
