"""What the figures share: SVG of equal bytes for equal content."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from hh_align.core.artifacts import atomic

PLAIN = {
    "svg.hashsalt": "hh-align",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,
}


def save(figure: plt.Figure, path: Path) -> None:
    """Write an SVG of equal bytes for equal content: no date, fixed ids."""
    with atomic(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def legend_beside(figure: plt.Figure, panel: plt.Axes) -> None:
    """The legend of one panel, each name once, to the right of all panels."""
    handles, labels = panel.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside right upper", frameon=False)
