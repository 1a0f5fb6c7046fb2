"""The section about equal length: its numbers are its artifact's, its sentence says what changes and nothing else."""

import pandas as pd
import pytest
from page_reader import elsewhere, mislabelled, tables_of, unsourced, untrue
from page_study import PageStudy

from hh_align.core.artifacts import read_table
from hh_align.report.lengths import length_sentence, shown


def rows_of(*rows):
    names = ("policy_b", "policy_a", "metric", "verdict", "controlled_verdict", "change", "outside", "family", "seed")
    frame = pd.DataFrame([dict(zip(names, row, strict=True)) for row in rows])
    return frame.assign(judge="one", difference=1.0, controlled=1.0)


@pytest.fixture(scope="module", params=[(42,), (42, 43)], ids=["one seed", "two seeds"])
def study(request, tmp_path_factory):
    made = PageStudy(tmp_path_factory.mktemp("results") / "made", n=30, seeds=request.param)
    made.config["contrasts"] = [["dpo", "base"], ["sft_dpo", "sft"]]
    made.analyse()
    return made


def test_its_numbers_are_its_artifacts_and_every_win_rate_is_there(study):
    page = study.render_report()
    assert untrue(page) == [] and unsourced(page) == set() and mislabelled(page) == [] and elsewhere(page) == []
    rows = {table["label"]: table["rows"] for table in tables_of(page)}["Differences at equal length by judge one"]
    ancestors = {("sft", "base"), ("sft_dpo", "base")}  # beside the declared ones
    assert len(rows) == 2 * 5 + 2 * len(ancestors)
    assert 'id="length"' in page.read_text() and 'href="#length"' in page.read_text()


def test_its_plain_verdict_is_that_of_the_contrasts(study):
    key = ["judge", "seed", "policy_b", "policy_a", "metric", "family", "estimand"]
    compared, length = (read_table(study.folder / f"analysis/{name}.parquet").to_pandas() for name in ("comparisons", "length"))
    both = length.merge(compared, on=key, suffixes=("", "_there"))
    assert len(both) == len(length) and (both["verdict"] == both["verdict_there"]).all()
    assert (both["within_margin"] == both["within_margin_there"]).all()


def test_the_sentence_names_each_change_once():
    rows = rows_of(
        ("sft_dpo", "sft", "HmR", "better", "undecided", "lost", False, "primary", 1),
        ("sft_dpo", "sft", "win_rate_harmful", "better", "undecided", "lost", False, "primary", 1),
        ("dpo", "base", "HpR", "undecided", "worse", "found", False, "declared", 1),
        ("dpo", "sft", "HpR", "worse", "better", "reversed", False, "declared", 1),
        ("dpo", "sft", "HmR", "undecided", "undecided", "order", False, "declared", 1),
        ("coin", "sft", "HmR", "worse", "undecided", "lost", True, "declared", 1),
        ("coin", "sft", "HpR", "worse", "worse", None, False, "declared", 1),
    )
    assert length_sentence(rows, "one", {"dpo": "its text is broken"}) == (
        "At equal length, by judge one: dpo ! is above sft in HpR, not below; "
        "sft_dpo is no longer above sft in HmR and win rate on harmful prompts; "
        "coin is no longer below sft in HmR (of the two, one always writes more: equal length was not seen); "
        "dpo ! is below base in HpR; the undecided order of dpo ! and sft in HmR turns round."
    )
    assert length_sentence(rows[rows["change"].isna()], "one", {}) is None


def test_the_rows_are_those_over_all_seeds_and_not_of_all_pairs():
    about = ("sft", "base", "HmR", "better", "better", None, False)
    rows = rows_of((*about, "declared", 1), (*about, "declared", None), (*about, "all pairs", None))
    assert shown(rows, "one")[["family", "seed"]].isna().to_numpy().tolist() == [[False, True]]
    assert shown(rows.assign(controlled=None), "one").empty and shown(rows, "two").empty


def test_displacement_has_its_sentence_and_a_row_per_policy_seed_and_kind_of_pairs(study):
    page = study.render_report()
    rows = {table["label"]: table["rows"] for table in tables_of(page)}["Table displacement"]
    assert len(rows) == 3 * len(study.seeds) * 2
    assert (
        "lose probability in training (likelihood displacement): on training pairs under sft, dpo and sft_dpo; on held-out"
        in page.read_text()
    )
