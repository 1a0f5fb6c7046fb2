"""The contrasts as a forest plot, and who wins prompt by prompt."""

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.analysis.ratings import shown_judge, to_show
from hh_align.analysis.verdict import in_words
from hh_align.core.artifacts import read_table
from hh_align.core.axes import AXES, PROMPT_NAMES, RATE_LABELS, WINS
from hh_align.core.command import parse, run
from hh_align.report.colours import colours
from hh_align.report.figures import PLAIN, save


def shown(comparisons: pd.DataFrame, judge: str) -> pd.DataFrame:
    """One row per contrast and metric: over the seeds where there are several (for new seeds), else the first seed's; declared before others."""
    return to_show(comparisons[comparisons["judge"] == judge], ["policy_b", "policy_a", "metric"])


def plot_forest(rows: pd.DataFrame, order: list[str], margin: float) -> plt.Figure:
    """Differences in points of the declared contrasts: thick 95 %, thin for all contrasts at once, the margin of equivalence shaded.

    A verdict about a policy whose text has a caveat ends in an exclamation mark.
    """
    rows = rows[rows["family"].isin(["primary", "declared"])]
    contrasts = list(dict.fromkeys(zip(rows["policy_b"], rows["policy_a"], strict=True)))
    told = {metric: title for metric, title in RATE_LABELS.items() if metric in set(rows["metric"])} or RATE_LABELS
    size = (2 + 3 * len(told), 1.6 + 0.55 * max(len(contrasts), 1))
    figure, (panels,) = plt.subplots(1, len(told), figsize=size, sharex=True, sharey=True, layout="constrained", squeeze=False)
    for panel, (metric, title) in zip(panels, told.items(), strict=True):
        panel.axvspan(-margin, margin, color="0.92", linewidth=0)
        panel.axvline(0, color="black", linewidth=0.8)
        of_metric = rows[rows["metric"] == metric].set_index(["policy_b", "policy_a"])
        for line, contrast in enumerate(contrasts):
            row, colour = of_metric.loc[contrast], colours(order)[contrast[0]]
            panel.plot([row["sim_low"], row["sim_high"]], [line, line], color=colour, linewidth=1)
            panel.plot([row["ci_low"], row["ci_high"]], [line, line], color=colour, linewidth=4, solid_capstyle="butt")
            panel.plot(row["difference"], line, "o", color="white", markeredgecolor="black", markersize=6, zorder=3)
            verdict = (
                in_words(row)
                + (" (primary)" if row["family"] == "primary" else "")
                + (" !" if row[["caveat_a", "caveat_b"]].notna().any() else "")
            )
            panel.annotate(verdict, (row["difference"], line), (0, 7), textcoords="offset points", ha="center", fontsize=8)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("difference in points")
    names = [f"{b} − {a}" for b, a in contrasts]
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.4, -0.7)
    return figure


def plot_wins(rows: pd.DataFrame, order: list[str]) -> plt.Figure:
    """Prompts on which a policy's reward is above, at or below the other's, in percent; the exact test's Holm p beside it."""
    win_rates = rows[rows["metric"].isin(WINS.values()) & rows["only_b"].notna()]
    pairs = sorted(dict.fromkeys(zip(win_rates["policy_b"], win_rates["policy_a"], strict=True)), key=lambda pair: order.index(pair[0]))
    judged = [axis for axis in AXES if WINS[axis] in set(win_rates["metric"])] or AXES
    size = (5.5 * len(judged), 1.4 + 0.38 * max(len(pairs), 1))
    figure, (panels,) = plt.subplots(1, len(judged), figsize=size, sharey=True, layout="constrained", squeeze=False)
    for panel, axis in zip(panels, judged, strict=True):
        table = win_rates[win_rates["metric"] == WINS[axis]].set_index(["policy_b", "policy_a"])
        for line, pair in enumerate(pairs):
            if pair not in table.index:
                continue
            row = table.loc[pair]
            wins, losses = 100 * row["only_b"] / row["n"], 100 * row["only_a"] / row["n"]
            ties = 100 - wins - losses
            panel.barh(line, wins, color=colours(order)[pair[0]], height=0.7)
            panel.barh(line, ties, left=wins, color="0.85", height=0.7)
            panel.barh(line, losses, left=wins + ties, color="white", edgecolor="0.5", hatch="////", linewidth=0.6, height=0.7)
            panel.text(102, line, f"{wins:.0f} : {losses:.0f}   p {row['p_holm']:.2g}", va="center", fontsize=8)
        panel.axvline(50, color="black", linewidth=0.8, linestyle="--")
        panel.set_xlim(0, 100)
        panel.set_title(f"{PROMPT_NAMES[axis]}: % of prompts won | tied | lost", fontsize=10)
    panels[0].set_yticks(range(len(pairs)), [f"{b} against {a}" for b, a in pairs])
    panels[0].set_ylim(len(pairs) - 0.4, -0.6)
    return figure


def main() -> None:
    args = parse(__doc__, config="config", comparisons="path", forest="path", wins="path")
    config, judge = args.config, shown_judge(args.config["judges"])
    rows = shown(read_table(args.comparisons).to_pandas(), judge)
    single = read_table(args.comparisons).to_pandas()
    single = single[(single["judge"] == judge) & (single["seed"] == config["seeds"][0])]
    with plt.rc_context(PLAIN):
        save(plot_forest(rows, config["order"], config["equivalence_margin"]), args.forest)
        save(plot_wins(single.drop_duplicates(["policy_b", "policy_a", "metric"]), config["order"]), args.wins)


if __name__ == "__main__":
    run(main)
