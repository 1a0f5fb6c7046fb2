"""Where the prompts go: good replies of the reference that stay good or are lost, bad ones that become good."""

from collections.abc import Collection

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from hh_align.analysis.ratings import shown_judge
from hh_align.analysis.reliability import read_reliability
from hh_align.core.artifacts import read_table
from hh_align.core.axes import AXES, PROMPT_NAMES
from hh_align.core.command import parse, run
from hh_align.report.colours import colours
from hh_align.report.figures import PLAIN, save

WIDTH = 0.18


def ribbon(panel: plt.Axes, left: tuple[float, float], right: tuple[float, float], **style: object) -> None:
    """A band from the interval `left` at x = 0 to the interval `right` at x = 1."""
    x = np.linspace(0, 1, 40)
    course = 3 * x**2 - 2 * x**3
    low, high = (start + (end - start) * course for start, end in zip(left, right, strict=True))
    panel.fill_between(x, low, high, linewidth=0, **style)


def flow(panel: plt.Axes, row: pd.Series, before: str, after: str) -> None:
    """Good prompts at the bottom, bad ones above; counts on the bands that change sides."""
    retained, lost, gained = row["retained"], row["denominator"] - row["retained"], row["gained"]
    n = row["denominator"] + row["gain_denominator"]
    bad = n - retained - lost - gained
    ribbon(panel, (0, retained), (0, retained), color=after, alpha=0.75)
    ribbon(panel, (retained, retained + lost), (retained + gained, retained + gained + lost), color="0.35", alpha=0.75)
    ribbon(panel, (retained + lost, retained + lost + gained), (retained, retained + gained), color=after, alpha=0.4)
    ribbon(panel, (n - bad, n), (n - bad, n), color="0.9")
    for x, good, colour in ((-WIDTH, retained + lost, before), (1, retained + gained, after)):
        panel.bar(x + WIDTH / 2, good, WIDTH, color=colour)
        panel.bar(x + WIDTH / 2, n - good, WIDTH, bottom=good, color="white", edgecolor="0.6", linewidth=0.6)
    chance = "" if pd.isna(row["rate"]) else f"kept {row['rate']:.0f} % (chance {row['chance']:.0f} %)"
    panel.set_title(f"{row['reference']} → {row['policy']}\n{chance}", fontsize=9)
    panel.text(0.5, -0.02, f"kept {retained}, lost {lost}, gained {gained}", ha="center", va="top", fontsize=8, transform=panel.transAxes)
    panel.set_xlim(-WIDTH, 1 + WIDTH)
    panel.set_ylim(0, n)
    panel.axis("off")


def plot_flow(retention: pd.DataFrame, order: list[str]) -> plt.Figure:
    """One panel per (policy, reference) and axis at one seed; of no row a sentence in their place."""
    if not len(retention):
        figure = plt.figure(figsize=(5, 1))
        figure.text(0.5, 0.5, "Nothing to show: no other policy, or no axis on which the judge is above chance.", ha="center", fontsize=9)
        return figure
    pairs = list(dict.fromkeys(zip(retention["policy"], retention["reference"], strict=True)))
    judged = [axis for axis in AXES if axis in set(retention["axis"])]
    size = (1 + 2.1 * len(pairs), 3 * len(judged))
    figure, panels = plt.subplots(len(judged), len(pairs), figsize=size, layout="constrained", squeeze=False)
    tint = colours(order)
    for line, axis in zip(panels, judged, strict=True):
        table = retention[retention["axis"] == axis].set_index(["policy", "reference"], drop=False)
        for panel, pair in zip(line, pairs, strict=True):
            flow(panel, table.loc[pair], tint[pair[1]], tint[pair[0]])
        line[0].text(
            -0.35, 0.5, f"{PROMPT_NAMES[axis]}\ngood below, bad above", rotation=90, va="center", ha="center", transform=line[0].transAxes
        )
    return figure


def shown(retention: pd.DataFrame, judge: str, lost: Collection[str], config: dict) -> pd.DataFrame:
    """The judge's rows of the first seed: of each policy against the root and its parent, without the axes `lost`, where nothing is ranked."""
    rows = retention[(retention["judge"] == judge) & (retention["seed"] == config["seeds"][0]) & ~retention["axis"].isin(lost)]
    parents = rows["policy"].map(lambda policy: config["policies"][policy]["parent"])
    return rows[(rows["reference"] == config["order"][0]) | (rows["reference"] == parents)]


def main() -> None:
    args = parse(__doc__, config="config", retention="path", judge="path?", flow="path")
    config, judge = args.config, shown_judge(args.config["judges"])
    table, reliable = read_table(args.retention).to_pandas(), read_reliability(args.judge)
    lost = [axis for axis in AXES if reliable.get((judge, axis)) is False]
    with plt.rc_context(PLAIN):
        save(plot_flow(shown(table, judge, lost, config), config["order"]), args.flow)


if __name__ == "__main__":
    run(main)
