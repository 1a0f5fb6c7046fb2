"""Capability beside alignment: how much of each task a policy has right, against chance."""

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.analysis.ratings import to_show
from hh_align.core.artifacts import read_table
from hh_align.core.command import parse, run
from hh_align.report.colours import colours, markers
from hh_align.report.figures import PLAIN, legend_beside, reach, save

SPREAD = 0.7
"""Of a task's place, what its policies take."""


def plot(rows: pd.DataFrame, order: list[str]) -> plt.Figure:
    """A place per task: accuracy of each policy with its 95 % interval, and a line at what guessing has right. rows: of capability.parquet."""
    own = to_show(rows[(rows["measure"] == "acc") & rows["against"].isna()], ["task", "policy"])
    tasks = list(dict.fromkeys(rows["task"]))
    figure, panel = plt.subplots(figsize=(2 + 1.3 * len(tasks), 4.2), layout="constrained")
    for number, policy in enumerate(order):
        mine = own[own["policy"] == policy].set_index("task").loc[tasks]
        places = [at + SPREAD * ((number + 0.5) / len(order) - 0.5) for at in range(len(tasks))]
        whiskers = reach(mine["value"], mine["ci_low"], mine["ci_high"])
        style = {"color": colours(order)[policy], "marker": markers(order)[policy]}
        panel.errorbar(places, mine["value"], whiskers, linestyle="none", markersize=6, linewidth=1.5, label=policy, **style)
    chance = own.drop_duplicates("task").set_index("task")["chance"].loc[tasks]
    ends = [[at + side * SPREAD / 2 for at in range(len(tasks))] for side in (-1, 1)]
    panel.hlines(chance, *ends, colors="0.5", linestyles="dotted", label="chance")
    panel.set_xticks(range(len(tasks)), tasks)
    panel.set_ylabel("right, %")
    panel.set_ylim(0, 102)
    legend_beside(figure, panel)
    return figure


def main() -> None:
    args = parse(__doc__, config="config", capability="path", bars="path")
    with plt.rc_context(PLAIN):
        save(plot(read_table(args.capability).to_pandas(), args.config["order"]), args.bars)


if __name__ == "__main__":
    run(main)
