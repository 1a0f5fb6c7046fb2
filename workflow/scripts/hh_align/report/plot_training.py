"""Training curves: loss of every policy by step, and how often a training on pairs prefers the chosen reply."""

from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.core.artifacts import read_table
from hh_align.core.command import parse, run
from hh_align.report.colours import colours
from hh_align.report.figures import PLAIN, save

TITLES = {
    "sft": "SFT: loss",
    "dpo": "DPO: loss (dashed: ln 2, where it starts)",
    "kto": "KTO: loss (dashed: 0.5, where it starts)",
    "accuracies": "% of pairs ranked as labelled",
}
STARTS = {"dpo": log(2), "kto": 0.5}
POINTS = 50


def curves(policies: list[str], logs: list[Path]) -> list[tuple[str, pd.DataFrame]]:
    """(policy, steps) of every training log, of these policies."""
    return [(policy, read_table(path, ["step", "loss", "accuracies"]).to_pandas()) for policy, path in zip(policies, logs, strict=True)]


def smooth(values: pd.Series) -> pd.Series:
    """Means over a fiftieth of the run, that the batches' noise does not hide the course."""
    window = max(1, len(values) // POINTS)
    return values.rolling(window, center=True, min_periods=1).mean()


def panels_of(logs: list[tuple[str, pd.DataFrame]], trainers: dict[str, str]) -> dict[str, list[tuple[str, pd.Series, pd.Series]]]:
    """Panel -> (policy, steps, values), for the panels that have a curve; trainers: of each policy."""
    panels: dict[str, list] = {name: [] for name in TITLES}
    for policy, table in logs:
        panels[trainers[policy]].append((policy, table["step"], table["loss"]))
        if trainers[policy] != "sft":
            panels["accuracies"].append((policy, table["step"], 100 * table["accuracies"]))
    return {name: lines for name, lines in panels.items() if lines}


def plot(logs: list[tuple[str, pd.DataFrame]], order: list[str], trainers: dict[str, str]) -> plt.Figure:
    """One panel per kind of curve, smoothed; one line per policy and seed."""
    panels = panels_of(logs, trainers)
    figure, (row,) = plt.subplots(1, len(panels), figsize=(3.7 * len(panels) + 0.5, 3.6), squeeze=False, layout="constrained")
    lines = {}
    for panel, (name, parts) in zip(row, panels.items(), strict=True):
        for policy, steps, values in parts:
            (lines[policy],) = panel.plot(steps, smooth(values), color=colours(order)[policy], linewidth=1.4)
        if name in STARTS:
            panel.axhline(STARTS[name], color="black", linestyle="--", linewidth=0.8)
        panel.set_title(TITLES[name], fontsize=9)
        panel.set_xlabel("step")
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(len(lines), 5), frameon=False)
    return figure


def main() -> None:
    args = parse(__doc__, config="config", logs="paths", curves="path")
    with plt.rc_context(PLAIN):
        save(plot(curves(args.config["trained"], args.logs), args.config["order"], args.config["trainers"]), args.curves)


if __name__ == "__main__":
    run(main)
