"""The figures of a verdict on ratings."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.analysis.ratings import Ratings, headline, shown_judge
from hh_align.report import plot_comparisons, plot_figures, plot_retention, plot_thresholds, plot_tradeoff
from hh_align.report.figures import PLAIN, save


def draw(tables: dict[str, pd.DataFrame], ratings: Ratings, config: dict, folder: Path) -> None:
    """The figures, by the first judge."""
    judge, order, first = shown_judge(config["judges"]), config["order"], config["seeds"][0]
    rows = headline(tables["metrics"], judge)
    compared = tables["comparisons"][tables["comparisons"]["judge"] == judge]
    single = compared[compared["seed"] == first].drop_duplicates(["policy_b", "policy_a", "metric"])
    retained = tables["retention"]
    for drawn_before in folder.glob("*.svg"):
        drawn_before.unlink()
    with plt.rc_context(PLAIN):
        save(plot_figures.plot_bars(rows, order), folder / "metrics.svg")
        save(plot_figures.plot_boxes(ratings, judge, config), folder / "rewards.svg")
        save(plot_figures.plot_means(rows, order, judge), folder / "mean_rewards.svg")
        save(plot_thresholds.plot_curves(tables["thresholds"], tables["threshold_flips"], config, judge), folder / "thresholds.svg")
        if len(order) > 1:
            both = tables["tradeoff"][tables["tradeoff"]["judge"] == judge]
            save(plot_tradeoff.plot(both, order), folder / "tradeoff.svg")
            shown = plot_comparisons.shown(compared, judge)
            save(plot_comparisons.plot_forest(shown, order, config["equivalence_margin"]), folder / "contrasts.svg")
            save(plot_comparisons.plot_wins(single, order), folder / "wins.svg")
            rows = retained[(retained["judge"] == judge) & (retained["seed"] == first)]
            save(plot_retention.plot_flow(rows, order), folder / "retention.svg")
