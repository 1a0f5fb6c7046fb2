"""What the figures share: one colour per policy, safe for the colour-blind, and SVG of equal bytes for equal content."""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

from hh_align.core.artifacts import atomic

# Okabe and Ito's colours, one per policy in the order of the graph
COLOURS = ["#7f7f7f", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442"]
MARKERS = "osD^vP*X"
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


def colours(order: list[str]) -> dict[str, str]:
    """Policy -> colour, the same in every figure."""
    return {policy: COLOURS[number % len(COLOURS)] for number, policy in enumerate(order)}


def markers(order: list[str]) -> dict[str, str]:
    """Policy -> marker, so that no figure needs its colours to be told apart; colour and marker together are one policy's among 64."""
    return {policy: MARKERS[(number + number // len(MARKERS)) % len(MARKERS)] for number, policy in enumerate(order)}


def legend_beside(figure: plt.Figure, panel: plt.Axes) -> None:
    """The legend of one panel, each name once, to the right of all panels."""
    handles, labels = panel.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside right upper", frameon=False)
