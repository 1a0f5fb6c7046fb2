"""Figures are drawn once, into the bytes that matplotlib's own tight box gives."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from hh_align.report.figures import PLAIN, legend_beside, reach, save


def panels() -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4), sharey=True, layout="constrained")
    left.plot([0, 1], [2, 3], label="a rather long name")
    left.set_xticks([0, 1], ["no policy", "another policy"], rotation=30, ha="right")
    right.annotate("begun", (0.2, 0.2), (0.9, 0.9), arrowprops={"arrowstyle": "-|>"})
    right.set_title("title")
    legend_beside(figure, left)
    return figure


def sentence() -> plt.Figure:
    figure = plt.figure(figsize=(5, 1))
    figure.text(0.5, 0.5, "Nothing to show.", ha="center")
    return figure


@pytest.mark.parametrize("draw", [panels, sentence])
def test_the_box_is_matplotlibs_tight_one(draw, tmp_path):
    with plt.rc_context(PLAIN):
        save(draw(), tmp_path / "ours.svg")
        figure = draw()
        figure.savefig(tmp_path / "theirs.svg", metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)
    assert (tmp_path / "ours.svg").read_bytes() == (tmp_path / "theirs.svg").read_bytes()


def test_an_interval_reaches_no_less_than_nothing_on_either_side():
    value, low, high = (
        pd.Series(column) for column in ([100.0, 30.0, 50.0, 7.0], [75.8, 31.0, 40.0, np.nan], [100.0 - 1e-14, 42.0, 62.0, np.nan])
    )
    whiskers = reach(value, low, high)
    np.testing.assert_array_equal(whiskers, [[value[0] - 75.8, 0, 10, np.nan], [0, 12, 12, np.nan]])
    np.testing.assert_array_equal(reach(3.0, 2.0, 5.0), [[1], [2]])
    figure, panel = plt.subplots()
    panel.errorbar(range(4), value, whiskers)  # which refuses what is below 0
    plt.close(figure)
