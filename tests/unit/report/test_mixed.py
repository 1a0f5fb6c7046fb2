"""The section about the model of all labels: its numbers are its artifact's, its sentence counts what agrees and names what does not."""

import pandas as pd
import pytest
from page_reader import elsewhere, mislabelled, tables_of, unsourced, untrue
from page_study import PageStudy

from hh_align.report.mixed import model_sentence, models_of


def rows_of(*rows):
    names = ("policy_b", "policy_a", "metric", "verdict", "modelled_verdict", "agrees")
    return pd.DataFrame([dict(zip(names, row, strict=True)) for row in rows]).assign(judge="one", modelled=1.0)


def test_its_numbers_are_its_artifacts_and_every_declared_contrast_is_there(tmp_path):
    study = PageStudy(tmp_path / "made", n=30)
    study.config["contrasts"] = [["dpo", "base"], ["sft_dpo", "sft"]]
    study.analyse()
    page = study.render_report()
    assert untrue(page) == [] and unsourced(page) == set() and mislabelled(page) == [] and elsewhere(page) == []
    rows = {table["label"]: table["rows"] for table in tables_of(page)}["Model of all labels by judge one"]
    assert len(rows) == 2 * 3 and 'id="model"' in page.read_text() and 'href="#model"' in page.read_text()


def test_the_sentence_counts_what_agrees_and_names_the_rest():
    rows = rows_of(
        ("sft", "base", "HmR", "better", "better", True),
        ("dpo", "sft", "HpR", "undecided", "worse", False),
        ("dpo", "base", "CAS", "undecided", None, None),
    )
    start = "A hierarchical model of all labels of judge one calls"
    assert (
        model_sentence(rows, "one", {"dpo": "broken"})
        == f"{start} 1 of 2 verdicts the same; by it dpo ! against sft in HpR is worse, not undecided."
    )
    assert model_sentence(rows[:1], "one", {}) == f"{start} 1 of 1 verdicts the same."
    assert model_sentence(rows[2:], "one", {}) is None and model_sentence(rows, "two", {}) is None
    many = rows_of(*(("dpo", "sft", "HpR", "undecided", "worse", False) for _ in range(9)))
    assert model_sentence(many, "one", {}).endswith("; and 3 more.")


@pytest.mark.parametrize("rows", [None, rows_of(("sft", "base", "HmR", "better", None, None)).assign(modelled=None)])
def test_without_a_model_there_is_no_section(rows):
    assert models_of(rows, ["one"]) == []
