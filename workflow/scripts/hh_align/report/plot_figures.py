"""The paper's three figures: rates per policy, rewards per policy, mean rewards per policy."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from hh_align.analysis.ratings import LIMITS, Ratings, headline, judged_axes, read_ratings, seed_of, shown_judge
from hh_align.core.artifacts import read_table
from hh_align.core.command import parse, run
from hh_align.report.figures import AXIS_NAMES, PLAIN, colours, save


def grouped(axes: plt.Axes, rows: pd.DataFrame, names: dict[str, str], order: list[str], bars: bool) -> None:
    """One group per metric that the judge tells, in it one bar or point per policy, with its 95 % interval (none where it is unknown)."""
    width = 0.8 / len(order)
    names = {metric: name for metric, name in names.items() if (order[0], metric) in rows.index}
    for place, policy in enumerate(order):
        found = rows.loc[[(policy, metric) for metric in names]]
        x = np.arange(len(names)) + (place - (len(order) - 1) / 2) * width
        value, colour = found["value"].to_numpy(), colours(order)[policy]
        reach = np.abs(np.stack([found["ci_low"] - value, found["ci_high"] - value]))
        if bars:
            axes.bar(x, value, width * 0.92, color=colour, label=policy)
            axes.errorbar(x, value, reach, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        else:
            axes.errorbar(x, value, reach, fmt="o", color=colour, elinewidth=1.5, capsize=3, label=policy)
    axes.set_xticks(np.arange(len(names)), list(names.values()))
    axes.figure.legend(loc="outside upper center", ncols=min(len(order), 4), frameon=False)


def framed(order: list[str], label: str) -> tuple[plt.Figure, plt.Axes]:
    figure, axes = plt.subplots(figsize=(2.5 + 0.75 * len(order), 4), layout="constrained")
    axes.set_ylabel(label)
    return figure, axes


def plot_bars(rows: pd.DataFrame, order: list[str]) -> plt.Figure:
    """Figure 1: HmR, HpR and CAS of every policy."""
    figure, axes = framed(order, "% of prompts, 95 % interval")
    grouped(axes, rows, {"HmR": "harmless (HmR)", "HpR": "helpful (HpR)", "CAS": "mean of both (CAS)"}, order, bars=True)
    axes.set_ylim(0, 100)
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
        for place, (policy, box) in enumerate(zip(order, boxes["boxes"], strict=True)):
            box.set(facecolor=colours(order)[policy], alpha=0.7)
            x = place + 1 + stream.uniform(-0.2, 0.2, len(values[place]))
            panel.scatter(x, values[place], s=5, color="black", alpha=0.5, linewidths=0, zorder=3)
        panel.axhline(config["judges"][judge][LIMITS[axis]], color="black", linestyle="--", linewidth=0.8)
        panel.set_xticks(range(1, len(order) + 1), order, rotation=30, ha="right")
        panel.set_title(AXIS_NAMES[axis], fontsize=10)
    panels[0].set_ylabel(f"reward by {judge}")
    return figure


def plot_means(rows: pd.DataFrame, order: list[str], judge: str) -> plt.Figure:
    """Figure 3: mean rewards of every policy on both axes; points, for a reward's zero means nothing."""
    figure, axes = framed(order, f"mean reward by {judge}, 95 % interval")
    grouped(axes, rows, {"mean_reward_harmful": "harmful prompts", "mean_reward_helpful": "helpful prompts"}, order, bars=False)
    axes.set_xlim(-0.5, len(axes.get_xticks()) - 0.5)
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
