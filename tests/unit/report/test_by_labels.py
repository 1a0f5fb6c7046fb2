"""Where people's labels correct the judge, page and terminal tell one story: whose a verdict is, with which interval, and how often it may be false."""

import re

import pandas as pd
import pytest
from page_reader import elsewhere, mislabelled, tables_of, unsourced, untrue
from page_study import PageStudy

from hh_align.analysis.correct_by_labels import GOLD
from hh_align.analysis.verdict import corrected_by_labels, error_rates, verdict_sentences
from hh_align.core.artifacts import read_table, write_table
from hh_align.report.lines import judge_lines, label_lines

ABOUT = {"judge": "one", "seed": 42, "family": "declared", "policy_a": "base", "policy_b": "sft", "within_margin": False}
LABELS = {"judge_value": 1.0, "corrected": 12.5, "ci_low": 3.0, "ci_high": 22.0, "sim_low": -0.2, "sim_high": 25.2}


def corrected(judge, labels, metrics=("HpR",), **more):
    """The rows of HmR and HpR, decided by the judge, of which labels correct these metrics."""
    contrasts = [{**ABOUT, "metric": metric, "verdict": judge, "judge_above_chance": True} for metric in ("HmR", "HpR")]
    gold = pd.DataFrame([{**ABOUT, **LABELS, "metric": metric, "verdict": labels, **more} for metric in metrics])
    return corrected_by_labels(pd.DataFrame(contrasts), gold, "one")


@pytest.mark.parametrize(
    ("judge", "labels", "ends", "said"),
    [
        ("better", "undecided", (-0.2, 25.2), "decide no declared contrast. The judge alone says otherwise: sft above base (+1.0; labels +12.5 [-0.2, +25], undecided)."),
        ("equivalent", "better", (1e-6, 25.2), "sft is above base. The judge alone says otherwise: sft equivalent to base (+1.0; labels +12.5 [>0, +25], better)."),
        ("undecided", "better", (1e-6, 25.2), "sft is above base."),
        ("better", "better", (1e-6, 25.2), "sft is above base."),
    ],
)  # fmt: skip
def test_what_labels_do_not_bear_out_is_told_with_the_interval_of_the_verdict(judge, labels, ends, said):
    rows = corrected(judge, labels, sim_low=ends[0], sim_high=ends[1])
    told = [str(sentence) for sentence in verdict_sentences(rows)]
    assert told[1].startswith("Helpfulness (HpR), by labels: ") and told[1].endswith(said)


def test_error_rates_count_the_families_of_the_labels_and_of_the_judge():
    assert error_rates(corrected("better", "better", ("HmR", "HpR"))) == [
        "Error rates: a difference that is not there is found in at most 5 % of studies per metric (Holm over its 1 contrast), over 2 metrics "
        "together in at most 10 %. Equivalence likewise."
    ]
    rows = corrected("better", "better")
    other = rows[rows["metric"] == "HpR"].assign(policy_b="dpo", gold=None)
    assert error_rates(pd.concat([rows, other], ignore_index=True)) == [
        "Error rates: a difference that is not there is found in at most 5 % of studies per metric, by labels and by the judge alone each (Holm "
        "over its 1 or 2 contrasts), over 2 metrics together in at most 15 %. Equivalence likewise."
    ]
    assert error_rates(corrected_by_labels(pd.DataFrame(), None, "one")) == []


def test_a_judge_that_is_not_above_chance_ranks_nothing_by_itself():
    row = {"judge": "one", "format": "as evaluated", "part": "all", "own_subset": True, "axis": "helpfulness", "subset": "s", "n": 9}
    (line,) = judge_lines(pd.DataFrame([{**row, "accuracy": 50.0, "ci_low": 40.0, "ci_high": 60.0}]), "one")
    assert line.endswith(": not above chance, so by itself it ranks nothing on helpfulness.")


def test_an_agreement_without_a_kappa_is_said_to_have_none():
    row = {"rater_a": "one", "rater_b": "labels", "policy": None, "n": 5, "agreement": 100.0, "axis": "helpfulness", "kappa": None}
    assert label_lines(pd.DataFrame([row]), "one") == [
        "The labels by judge one of 5 responses are the true ones in 100 % on helpfulness (kappa undefined)."
    ]


def test_labels_of_one_axis_and_skips_stand_on_the_page(tmp_path):
    made = PageStudy(tmp_path / "made", n=20)
    made.analyse()
    path = made.folder / "analysis/gold.parquet"
    rows = [row for row in read_table(path).to_pylist() if row["metric"] == "HpR"]
    rows[-1] |= {"verdict": None, "skip_low": None, "skip_high": None}  # of a pair of which only a claim speaks
    write_table(path, rows, GOLD, made.made_by)
    page = made.render_report()
    text = page.read_text()
    shown = {table["label"]: table["rows"] for table in tables_of(page)}["Corrected rates and contrasts"]
    assert len(shown) == len(rows) - 1 == 6
    assert len(re.findall(r"</span> labels; from|labels; from", text)) == len(rows) - 1
    assert "All of it is by the judge alone" in text and "True labels have no part in it" in text and "by labels and by the judge" in text
    assert untrue(page) == [] and unsourced(page) == set() and elsewhere(page) == [] and mislabelled(page) == []
    path.unlink()
    text = made.render_report().read_text()
    assert "by the judge alone" not in text and "True labels" not in text
