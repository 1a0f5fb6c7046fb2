"""The figures of a verdict on ratings."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.analysis.ratings import Ratings, headline, shown_judge
from hh_align.analysis.verdict import unranked
from hh_align.report import plot_comparisons, plot_figures, plot_retention, plot_thresholds, plot_tradeoff
from hh_align.report.figures import PLAIN, save


def draw(name: str, tables: dict[str, pd.DataFrame], ratings: Ratings, config: dict, folder: Path) -> None:
    """Draw one figure into a folder, by the first judge."""
    with plt.rc_context(PLAIN):
        save(figure(name, tables, ratings, config), folder / f"{name}.svg")


def figure(name: str, tables: dict[str, pd.DataFrame], ratings: Ratings, config: dict) -> plt.Figure:
    judge, order, first = shown_judge(config["judges"]), config["order"], config["seeds"][0]
    rows = {table: tables[table][tables[table]["judge"] == judge] for table in ("comparisons", "tradeoff")}
    match name:
        case "metrics":
            return plot_figures.plot_bars(headline(tables["metrics"], judge), order)
        case "rewards":
            return plot_figures.plot_boxes(ratings, judge, config)
        case "mean_rewards":
            return plot_figures.plot_means(headline(tables["metrics"], judge), order, judge)
        case "thresholds":
            return plot_thresholds.plot_curves(tables["thresholds"], tables["threshold_flips"], config, judge)
        case "tradeoff":
            return plot_tradeoff.plot(rows["tradeoff"], order)
        case "contrasts":
            return plot_comparisons.plot_forest(plot_comparisons.shown(rows["comparisons"], judge), order, config["equivalence_margin"])
        case "wins":
            single = rows["comparisons"][rows["comparisons"]["seed"] == first].drop_duplicates(["policy_b", "policy_a", "metric"])
            return plot_comparisons.plot_wins(single, order)
        case "retention":
            lost = unranked(tables["threshold_leads"], judge)
            return plot_retention.plot_flow(plot_retention.shown(tables["retention"], judge, lost, config), order)
    raise ValueError(name)
