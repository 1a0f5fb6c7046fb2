"""What the figures share: SVG of equal bytes for equal content."""

import gc
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("svg")
import matplotlib.pyplot as plt

from hh_align.core.artifacts import atomic

gc.set_threshold(100_000)  # a figure is many small objects: they are not looked through for garbage after every 700

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
    figure.set_dpi(72)  # of SVG
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine("none")  # else, as for bbox_inches="tight", the figure is drawn twice
    box = figure.get_tightbbox().padded(plt.rcParams["savefig.pad_inches"])
    with atomic(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None}, bbox_inches=box)
    plt.close(figure)


def reach(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How far intervals reach below and above their values, shape (2, values), as errorbar takes it; NaN where there is no interval. Nothing on a
    side where the value lies outside, as by rounding at 0 and 100 %, or where a bootstrap is skewed."""
    return np.maximum(np.asarray([np.atleast_1d(value - low), np.atleast_1d(high - value)], float), 0)


def legend_beside(figure: plt.Figure, panel: plt.Axes) -> None:
    """The legend of one panel, each name once, to the right of all panels."""
    handles, labels = panel.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside right upper", frameon=False)
