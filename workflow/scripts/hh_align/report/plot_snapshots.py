"""Reward against divergence along a training: from the parent over the snapshots to the policy."""

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.core.artifacts import read_table
from hh_align.core.axes import MEANS, PROMPT_NAMES
from hh_align.core.command import parse, run
from hh_align.report.colours import COLOURS, MARKERS
from hh_align.report.figures import PLAIN, legend_beside, reach, save


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Mean rewards by the judge that speaks about most axes, the first by name."""
    rewards = table[table["metric"].isin(MEANS.values())]
    told = rewards.groupby("judge")["metric"].nunique()
    return rewards[rewards["judge"] == min(told.index, key=lambda name: (-told[name], name))]


def plot(rewards: pd.DataFrame) -> plt.Figure:
    """A panel per axis, a line per policy and seed over sqrt(KL from the parent), each point with its step and 95 % interval."""
    axes = [axis for axis in MEANS if MEANS[axis] in set(rewards["metric"])]
    figure, (panels,) = plt.subplots(1, len(axes), figsize=(1 + 5 * len(axes), 4.2), layout="constrained", squeeze=False)
    policies = list(dict.fromkeys(rewards["policy"]))
    for panel, axis in zip(panels, axes, strict=True):
        for (policy, _), rows in rewards[rewards["metric"] == MEANS[axis]].groupby(["policy", "seed"], sort=False):
            rows, number = rows.sort_values("step"), policies.index(policy)
            x = rows["kl_parent"].clip(lower=0) ** 0.5
            whiskers = reach(rows["value"], rows["ci_low"], rows["ci_high"])
            style = {"color": COLOURS[(number + 1) % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            panel.errorbar(x, rows["value"], whiskers, linewidth=1.2, elinewidth=0.6, capsize=2, label=policy, **style)
            for distance, value, step in zip(x, rows["value"], rows["step"], strict=True):
                panel.annotate(str(step), (distance, value), (4, 4), textcoords="offset points", fontsize=7)
        panel.set_title(f"mean reward, {PROMPT_NAMES[axis]}", fontsize=10)
        panel.set_xlabel("√KL from the parent (nats per token)")
    legend_beside(figure, panels[0])
    return figure


def main() -> None:
    args = parse(__doc__, config="config?", snapshots="path", curves="path")
    with plt.rc_context(PLAIN):
        save(plot(shown(read_table(args.snapshots).to_pandas())), args.curves)


if __name__ == "__main__":
    run(main)
