"""Reward against drift: what each policy has gained, and how far from the root it went for it."""

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.analysis.ratings import seed_of, shown_judge
from hh_align.core.artifacts import read_table
from hh_align.core.axes import AXES, MEANS, PROMPT_NAMES
from hh_align.core.command import parse, run
from hh_align.report.colours import colours, markers
from hh_align.report.figures import PLAIN, legend_beside, reach, save


def distances_of(drift: pd.DataFrame, order: list[str]) -> dict[tuple[str, int], float]:
    """(policy, seed) -> the square root of the divergence from the root in nats per response; the root itself at 0."""
    root = order[0]
    from_root = drift[((drift["reference"] == root) & drift["kl_per_response"].notna()) | (drift["policy"] == root)]
    return {(row.policy, row.seed): 0.0 if row.policy == root else max(row.kl_per_response, 0.0) ** 0.5 for row in from_root.itertuples()}


def plot(drift: pd.DataFrame, metrics: pd.DataFrame, config: dict) -> plt.Figure:
    """One panel per axis: mean reward with its 95 % interval over sqrt(KL), a line from each policy to its parent."""
    order, distances = config["order"], distances_of(drift, config["order"])
    judged = [axis for axis in AXES if MEANS[axis] in set(metrics["metric"])]
    figure, (panels,) = plt.subplots(1, len(judged), figsize=(1 + 5 * len(judged), 4.2), layout="constrained", squeeze=False)
    for panel, axis in zip(panels, judged, strict=True):
        rows = metrics[metrics["metric"] == MEANS[axis]].set_index(["policy", "seed"])
        points = {checkpoint: (x, rows.loc[checkpoint]) for checkpoint, x in distances.items()}
        for (policy, seed), (x, row) in points.items():
            parent = config["policies"][policy]["parent"]
            if parent is not None and (begun := (parent, seed_of(config, parent, seed))) in points:
                start, before = points[begun]
                panel.plot([start, x], [before["value"], row["value"]], color="0.75", linewidth=1, zorder=1)
            style = {"color": colours(order)[policy], "marker": markers(order)[policy]}
            whiskers = reach(row["value"], row["ci_low"], row["ci_high"])
            panel.errorbar(x, row["value"], whiskers, markersize=7, linewidth=1.5, label=policy, **style)
        panel.set_title(f"mean reward, {PROMPT_NAMES[axis]}", fontsize=10)
        panel.set_xlabel("√KL from the root (nats per response)")
    legend_beside(figure, panels[0])
    return figure


def main() -> None:
    args = parse(__doc__, config="config", drift="path", metrics="path", figure="path")
    judge = shown_judge(args.config["judges"])
    metrics = read_table(args.metrics, ["judge", "policy", "seed", "metric", "value", "ci_low", "ci_high"]).to_pandas()
    metrics = metrics[(metrics["judge"] == judge) & metrics["seed"].notna()].astype({"seed": int})
    with plt.rc_context(PLAIN):
        save(plot(read_table(args.drift).to_pandas(), metrics, args.config), args.figure)


if __name__ == "__main__":
    run(main)
