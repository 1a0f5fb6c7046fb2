"""What pairwise judges prefer, and how often their answers change with the order."""

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.core.artifacts import read_table
from hh_align.core.axes import AXES, PROMPT_NAMES
from hh_align.core.command import parse, run
from hh_align.report.figures import PLAIN, save

PARTS = {
    "wins": ("prefers the first policy in both orders", {"color": "#0072B2"}),
    "ties": ("tie in both orders", {"color": "0.8"}),
    "same": ("equal responses, not asked", {"color": "0.92"}),
    "inconsistent": ("another answer in the other order", {"color": "#F0E442", "hatch": "...."}),
    "unreadable": ("unreadable", {"color": "white", "edgecolor": "0.5", "hatch": "xxxx"}),
    "losses": ("prefers the other in both orders", {"color": "white", "edgecolor": "0.5", "hatch": "////"}),
}
"""Column of counts -> its name, and how its part of a bar is drawn."""


def plot(table: pd.DataFrame) -> plt.Figure:
    """A bar for each judge and contrast, all seeds together, in % of its pairs."""
    judged = [axis for axis in AXES if axis in set(table["axis"])]
    rows = table[table["policy_b"].notna()].groupby(["judge", "policy_b", "policy_a", "axis"], sort=False)[["n", *PARTS]].sum()
    lines = list(dict.fromkeys(key[:3] for key in rows.index))
    size = (5.5 * len(judged), 1.6 + 0.4 * len(lines))
    figure, (panels,) = plt.subplots(1, len(judged), figsize=size, sharey=True, layout="constrained", squeeze=False)
    for panel, axis in zip(panels, judged, strict=True):
        for line, key in enumerate(lines):
            if (*key, axis) not in rows.index:
                continue
            row, left = rows.loc[(*key, axis)], 0.0
            for column, (name, style) in PARTS.items():
                width = 100 * row[column] / row["n"]
                panel.barh(line, width, left=left, height=0.7, linewidth=0.6, label=name, **style)
                left += width
        panel.set_xlim(0, 100)
        panel.set_title(f"{PROMPT_NAMES[axis]}: % of pairs", fontsize=10)
    panels[0].set_yticks(range(len(lines)), [f"{judge}: {b} against {a}" for judge, b, a in lines])
    panels[0].set_ylim(len(lines) - 0.4, -0.6)
    handles, names = panels[0].get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def main() -> None:
    args = parse(__doc__, config="config?", pairwise="path", bars="path")
    with plt.rc_context(PLAIN):
        save(plot(read_table(args.pairwise).to_pandas()), args.bars)


if __name__ == "__main__":
    run(main)
