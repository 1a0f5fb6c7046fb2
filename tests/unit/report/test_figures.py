"""Figures are drawn once, into the bytes that matplotlib's own tight box gives."""

import matplotlib.pyplot as plt
import pytest

from hh_align.report.figures import PLAIN, legend_beside, save


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
