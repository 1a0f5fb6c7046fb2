"""The paper's three figures: rates per policy, rewards per policy, mean rewards per policy."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from hh_align.analysis.ratings import Ratings, headline, judged_axes, read_ratings, seed_of, shown_judge
from hh_align.core.artifacts import read_table
from hh_align.core.axes import AXES, MEANS, PROMPT_NAMES, RATE_LABELS, THRESHOLD_KEYS
from hh_align.core.command import parse, run
from hh_align.report.colours import colours
from hh_align.report.figures import PLAIN, reach, save


def grouped(panel: plt.Axes, rows: pd.DataFrame, names: dict[str, str], order: list[str], bars: bool) -> None:
    """One group per metric that the judge tells, in it one bar or point per policy, with its 95 % interval (none where it is unknown)."""
    width = 0.8 / len(order)
    names = {metric: name for metric, name in names.items() if (order[0], metric) in rows.index}
    for number, policy in enumerate(order):
        own = rows.loc[[(policy, metric) for metric in names]]
        x = np.arange(len(names)) + (number - (len(order) - 1) / 2) * width
        value, colour = own["value"].to_numpy(), colours(order)[policy]
        whiskers = reach(value, own["ci_low"], own["ci_high"])
        if bars:
            panel.bar(x, value, width * 0.92, color=colour, label=policy)
            panel.errorbar(x, value, whiskers, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        else:
            panel.errorbar(x, value, whiskers, fmt="o", color=colour, elinewidth=1.5, capsize=3, label=policy)
    panel.set_xticks(np.arange(len(names)), list(names.values()))
    panel.figure.legend(loc="outside upper center", ncols=min(len(order), 4), frameon=False)


def framed(order: list[str], label: str) -> tuple[plt.Figure, plt.Axes]:
    figure, panel = plt.subplots(figsize=(2.5 + 0.75 * len(order), 4), layout="constrained")
    panel.set_ylabel(label)
    return figure, panel


def plot_bars(rows: pd.DataFrame, order: list[str]) -> plt.Figure:
    """Figure 1: HmR, HpR and CAS of every policy."""
    figure, panel = framed(order, "% of prompts, 95 % interval")
    grouped(panel, rows, RATE_LABELS, order, bars=True)
    panel.set_ylim(0, 100)
    return figure


def plot_boxes(ratings: Ratings, judge: str, config: dict) -> plt.Figure:
    """Figure 2: rewards of every policy, one panel per axis, the judge's threshold dashed."""
    order, judged = config["order"], judged_axes(config["judges"][judge])
    size = (3 + 1.1 * len(order) * len(judged) / 2, 4)
    figure, (panels,) = plt.subplots(1, len(judged), figsize=size, sharey=True, layout="constrained", squeeze=False)
    stream = np.random.default_rng(0)
    for panel, axis in zip(panels, judged, strict=True):
        values = [ratings[judge, policy, seed_of(config, policy, config["seeds"][0]), axis]["reward"].to_numpy() for policy in order]
        boxes = panel.boxplot(values, widths=0.6, patch_artist=True, showfliers=False, medianprops={"color": "black", "linewidth": 2})
        for number, (policy, box) in enumerate(zip(order, boxes["boxes"], strict=True)):
            box.set(facecolor=colours(order)[policy], alpha=0.7)
            x = number + 1 + stream.uniform(-0.2, 0.2, len(values[number]))
            panel.scatter(x, values[number], s=5, color="black", alpha=0.5, linewidths=0, zorder=3)
        panel.axhline(config["judges"][judge][THRESHOLD_KEYS[axis]], color="black", linestyle="--", linewidth=0.8)
        panel.set_xticks(range(1, len(order) + 1), order, rotation=30, ha="right")
        panel.set_title(PROMPT_NAMES[axis], fontsize=10)
    panels[0].set_ylabel(f"reward by {judge}")
    return figure


def plot_means(rows: pd.DataFrame, order: list[str], judge: str) -> plt.Figure:
    """Figure 3: mean rewards of every policy on both axes; points, for a reward's zero means nothing."""
    figure, panel = framed(order, f"mean reward by {judge}, 95 % interval")
    grouped(panel, rows, {MEANS[axis]: PROMPT_NAMES[axis] for axis in AXES}, order, bars=False)
    panel.set_xlim(-0.5, len(panel.get_xticks()) - 0.5)
    return figure


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", metrics="path", bars="path", boxes="path", means="path")
    config, judge = args.config, shown_judge(args.config["judges"])
    metrics = read_table(args.metrics, ["judge", "policy", "seed", "metric", "value", "ci_low", "ci_high"]).to_pandas()
    rows = headline(metrics, judge)
    with plt.rc_context(PLAIN):
        save(plot_bars(rows, config["order"]), args.bars)
        save(plot_boxes(read_ratings(args.ratings).ratings, judge, config), args.boxes)
        save(plot_means(rows, config["order"], judge), args.means)


if __name__ == "__main__":
    run(main)
