"""HmR against HpR: a point per policy with its joint region, arrows from parent to child, hollow where the policy is surely dominated."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.patches import Rectangle

from hh_align.analysis.compute_tradeoff import DOMINATED, OPTIMAL
from hh_align.analysis.ratings import shown_judge
from hh_align.core.artifacts import read_table
from hh_align.core.axes import RATE_TITLES, RATES
from hh_align.core.command import parse, run
from hh_align.report.colours import colours, markers
from hh_align.report.figures import PLAIN, save

HMR, HPR = (rate.lower() for rate in RATES.values())
EDGE = 3
"""Points of the rates beyond the outermost region."""
FEW = 8
"""Up to so many policies have shaded regions; of more only the outlines are drawn."""
LEGEND = 54
"""Letters of a line of the legend."""


def region(row: pd.Series, colour: str, few: bool) -> Rectangle:
    """A policy's joint region; shaded where few policies are drawn, else an outline."""
    corner, size = (row[f"{HMR}_low"], row[f"{HPR}_low"]), (row[f"{HMR}_high"] - row[f"{HMR}_low"], row[f"{HPR}_high"] - row[f"{HPR}_low"])
    style = {"facecolor": (colour, 0.12), "edgecolor": (colour, 0.7)} if few else {"facecolor": "none", "edgecolor": (colour, 0.45)}
    return Rectangle(corner, *size, linewidth=0.8, linestyle=":" if row["pareto"] == DOMINATED else "-", zorder=1, **style)


def limits(rows: pd.DataFrame, rate: str) -> tuple[float, float]:
    """What the axis of a rate shows: every region, or point where there is none, and a little more."""
    low, high = rows[f"{rate}_low"].fillna(rows[rate]).min(), rows[f"{rate}_high"].fillna(rows[rate]).max()
    return max(-EDGE, low - EDGE), min(100 + EDGE, high + EDGE)


def plot(rows: pd.DataFrame, order: list[str]) -> plt.Figure:
    """The rows of one judge; of none, or where the judge is not above chance on both axes, a sentence in their place."""
    if not rows["pareto"].notna().any():
        figure = plt.figure(figsize=(5, 1))
        figure.text(0.5, 0.5, "Nothing to show: no judge speaks about both axes above chance.", ha="center", fontsize=9)
        return figure
    few, best = len(rows) <= FEW, set(rows["policy"][rows["pareto"] == OPTIMAL])
    names = {policy: f"{policy} (optimal)" if policy in best else policy for policy in rows["policy"]}
    columns = max(1, min(3, len(rows), LEGEND // (max(map(len, names.values())) + 5)))
    figure, panel = plt.subplots(figsize=(3.9, 3.6 + 0.19 * -(-len(rows) // columns)), layout="constrained")
    places = rows.set_index("policy")
    for policy, row in places.iterrows():
        colour = colours(order)[policy]
        if pd.notna(row[f"{HMR}_low"]) and pd.notna(row[f"{HPR}_low"]):
            panel.add_patch(region(row, colour, few))
        if row["parent"] in places.index:
            begun = places.loc[row["parent"]]
            style = {"arrowstyle": "-|>", "color": "0.5" if few else "0.75", "linewidth": 0.9, "shrinkA": 5, "shrinkB": 5}
            panel.annotate("", (row[HMR], row[HPR]), (begun[HMR], begun[HPR]), arrowprops=style, zorder=2)
        face = "white" if row["pareto"] == DOMINATED else colour
        style = {"marker": markers(order)[policy], "markerfacecolor": face, "markeredgecolor": colour, "markeredgewidth": 1.3}
        panel.plot(row[HMR], row[HPR], linestyle="none", markersize=7, label=names[policy], zorder=3, **style)
    panel.set(xlim=limits(rows, HMR), ylim=limits(rows, HPR))
    panel.set_xlabel(f"{RATE_TITLES['HmR']}, %")
    panel.set_ylabel(f"{RATE_TITLES['HpR']}, %")
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=8, handletextpad=0.2, columnspacing=1)
    return figure


def main() -> None:
    args = parse(__doc__, config="config", tradeoff="path", figure="path")
    table = read_table(args.tradeoff).to_pandas()
    with plt.rc_context(PLAIN):
        save(plot(table[table["judge"] == shown_judge(args.config["judges"])], args.config["order"]), args.figure)


if __name__ == "__main__":
    run(main)
