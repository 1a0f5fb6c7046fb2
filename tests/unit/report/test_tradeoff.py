"""The trade-off on the page and its figure: places, regions, arrows, and nothing where the judge cannot tell."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from command_line import call
from matplotlib.patches import Rectangle
from page_reader import elsewhere, mislabelled, tables_of, unsourced, untrue
from page_study import PageStudy

from hh_align.analysis.compute_tradeoff import TRADEOFF, tradeoff_sentences
from hh_align.core.artifacts import read_table, write_table
from hh_align.report import plot_tradeoff
from hh_align.tools.verdict_figures import draw


def rows_of(policies, **more):
    """A table of made-up places; every third policy is dominated, the last is optimal."""
    stream = np.random.default_rng(0)
    order = [f"policy {number}" for number in range(policies)]
    status = ["dominated" if number % 3 == 0 else "possible" for number in range(policies - 1)] + ["optimal"]
    rates = {}
    for rate in ("hmr", "hpr"):
        value = stream.uniform(20, 80, policies)
        rates |= {rate: value, f"{rate}_low": value - 9, f"{rate}_high": value + 8}
    about = {"judge": "one", "policy": order, "parent": [None, *order[:-1]], "pareto": status, **rates}
    return pd.DataFrame(about | more), order


@pytest.mark.parametrize("policies", [1, 4, 30])
def test_every_policy_has_a_point_a_region_a_name_and_an_arrow_from_its_parent(policies):
    rows, order = rows_of(policies)
    figure = plot_tradeoff.plot(rows, order)
    (panel,), (legend,) = figure.axes, figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*order[:-1], f"{order[-1]} (optimal)"]
    regions = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
    assert [patch.get_xy() for patch in regions] == list(zip(rows["hmr_low"], rows["hpr_low"], strict=True))
    assert {(round(patch.get_width(), 9), round(patch.get_height(), 9)) for patch in regions} == {(17, 17)}
    arrows = [(note.xyann, note.xy) for note in panel.texts]
    points = list(zip(rows["hmr"], rows["hpr"], strict=True))
    assert arrows == list(pairwise(points))
    hollow = [line.get_markerfacecolor() == "white" for line in panel.lines]
    assert hollow == list(rows["pareto"] == "dominated")
    assert figure.get_size_inches()[0] == 3.9 and figure.get_size_inches()[1] < 7
    plt.close(figure)


def test_a_policy_without_a_region_keeps_its_point():
    rows, order = rows_of(3, hmr_low=None, hmr_high=None)
    figure = plot_tradeoff.plot(rows.astype({"hmr_low": float, "hmr_high": float}), order)
    assert not figure.axes[0].patches and len(figure.axes[0].lines) == 3
    plt.close(figure)


def test_the_figure_is_the_same_bytes_and_empty_where_the_judge_places_nobody(tmp_path):
    made = PageStudy(tmp_path / "made", n=20)
    made.analyse()
    table, config, drawn = made.folder / "analysis/tradeoff.parquet", made.config, []
    tables = {name: read_table(made.folder / f"analysis/{name}.parquet").to_pandas() for name in ("comparisons", "tradeoff")}
    draw("tradeoff", tables, made.rated().ratings, config, made.folder / "report/figures")
    for name in ("once", "again"):
        status, said = call(plot_tradeoff, config=config, tradeoff=table, figure=tmp_path / f"{name}.svg")
        assert status == 0, said
        drawn.append((tmp_path / f"{name}.svg").read_bytes())
    assert drawn[0] == drawn[1] == (made.folder / "report/figures/tradeoff.svg").read_bytes() and b"Harmlessness (HmR)" in drawn[0]
    page = made.render_report()
    (said,) = tradeoff_sentences(read_table(table).to_pandas()).values()
    assert f"<p>{said}</p>" in page.read_text() and "Trade-off" in page.read_text()
    shown = {table["label"]: table["rows"] for table in tables_of(page)}
    assert len(shown["Table tradeoff"]) == 4
    assert untrue(page) == [] and unsourced(page) == set() and elsewhere(page) == [] and mislabelled(page) == []

    none = {"pareto": None, "dominated_by": None, "judge_above_chance": False}
    write_table(table, [row | none for row in read_table(table).to_pylist()], TRADEOFF, made.made_by)
    status, said = call(plot_tradeoff, config=config, tradeoff=table, figure=tmp_path / "none.svg")
    assert status == 0 and "Nothing to show" in (tmp_path / "none.svg").read_text(), said
    assert "no policy is placed, for the judge is not above chance on both axes" in made.render_report().read_text()
