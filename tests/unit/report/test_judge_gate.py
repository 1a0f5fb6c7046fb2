"""Ranks, and what is kept of the reference, are shown only on axes on which the judge is above chance: in the page's tables and in the figure."""

from command_line import call
from page_reader import elsewhere, mislabelled, tables_of, unsourced, untrue
from page_study import PageStudy

from hh_align.analysis.examine_judge import JUDGE
from hh_align.analysis.sweep_thresholds import LEADS
from hh_align.core.artifacts import read_table, write_table
from hh_align.report import plot_retention


def test_neither_ranks_nor_what_is_kept_is_shown_where_the_judge_is_not_above_chance(tmp_path):
    made = PageStudy(tmp_path / "made", n=20)
    made.analyse()
    page = made.render_report()
    whole = {table["label"]: table["rows"] for table in tables_of(page)}
    assert "what is kept" not in page.read_text()
    leads, none = made.folder / "analysis/threshold_leads.parquet", dict.fromkeys(("rank_low", "rank_high", "plausible_low", "first_share"))
    rows = [
        row | ({"judge_above_chance": True} if row["axis"] == "helpfulness" else none | {"judge_above_chance": False})
        for row in read_table(leads).to_pylist()
    ]
    write_table(leads, rows, LEADS, made.made_by)
    page = made.render_report()
    for said in ("Nothing is said of what is kept", "Nothing is ranked"):
        assert f"{said} on harmlessness, for the judge is not above chance there." in page.read_text()
    shown = {table["label"]: table["rows"] for table in tables_of(page)}
    for name in ("Table retention", "Table threshold leads"):
        assert len(shown[name]) * 2 == len(whole[name]) and not any("harmlessness" in cell["text"] for row in shown[name] for cell in row)
    assert untrue(page) == [] and unsourced(page) == set() and elsewhere(page) == [] and mislabelled(page) == []


def test_the_figure_of_what_is_kept_leaves_out_axes_on_which_the_judge_is_not_above_chance(tmp_path):
    made = PageStudy(tmp_path / "made", n=20)
    made.analyse()
    retention, flow, texts = made.folder / "analysis/retention.parquet", tmp_path / "flow.svg", []
    for low in (51.0, 49.0):
        about = {"judge": "one", "subset": "s", "format": "as evaluated", "part": "all", "own_subset": True}
        judge = [about | {"axis": axis, "ci_low": low if axis == "helpfulness" else 40.0} for axis in ("harmlessness", "helpfulness")]
        write_table(tmp_path / "judge.parquet", judge, JUDGE, {})
        status, said = call(plot_retention, config=made.config, retention=retention, judge=tmp_path / "judge.parquet", flow=flow)
        assert status == 0, said
        texts.append(flow.read_text())
    assert "helpful prompts" in texts[0] and not any("harmful prompts" in text for text in texts)
    assert "no axis on which the judge is above chance" in texts[1] and "helpful prompts" not in texts[1]
