"""verify says which artifacts were made from other files from outside than those of now."""

import json

import pytest
from command_line import call

from hh_align.core.artifacts import sha256
from hh_align.core.receipts import write_receipt
from hh_align.tools import verify_study
from hh_align.tools.verify_study import outside_faults

ARTIFACT = "results/mine/rewards/people/base/seed-0.parquet"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study with one receipt, of a file from outside, one of another study and one of its own."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/mine"
    for path in (
        tmp_path / "ratings.csv",
        tmp_path / "results/other/prompts/prompts.parquet",
        folder / "prompts/prompts.parquet",
        tmp_path / ARTIFACT,
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    inputs = {
        "ratings.csv": sha256(tmp_path / "ratings.csv"),
        "other/prompts/prompts.parquet": sha256(tmp_path / "results/other/prompts/prompts.parquet"),
    }
    inputs |= {"mine/prompts/prompts.parquet": "not looked at", "away/from/here.csv": "0" * 64}
    write_receipt(
        folder / "receipts/rewards/people/base/seed-0.parquet.json", {}, inputs, {"mine/rewards/people/base/seed-0.parquet": "0" * 64}
    )
    return folder


def test_what_was_made_from_other_files_is_named(study):
    assert outside_faults(study) == ([], ["away/from/here.csv"])
    assert "1 files of another place were not looked at (away/from/here.csv)" in call(verify_study, folder=study)[1]
    (study.parents[1] / "ratings.csv").write_text("other")
    (study.parent / "other/prompts/prompts.parquet").write_text("other")
    said = sorted(outside_faults(study)[0], key=len)
    assert [line.split("results/mine")[1] for line in said] == [
        f"{ARTIFACT.removeprefix('results/mine')}: was made from another ratings.csv",
        f"{ARTIFACT.removeprefix('results/mine')}: was made from another other/prompts/prompts.parquet",
    ]


def test_what_has_been_taken_away_is_not_wrong(study):
    (study.parents[1] / "ratings.csv").write_text("other")
    assert outside_faults(study)[0]
    (study.parents[1] / ARTIFACT).unlink()
    assert outside_faults(study)[0] == []


def test_an_input_that_changed_while_it_was_read_and_a_damaged_receipt_are_named(study):
    path = study / "receipts/rewards/people/base/seed-0.parquet.json"
    receipt = json.loads(path.read_text())
    path.write_text(json.dumps(receipt | {"inputs": {"ratings.csv": None}}))
    assert outside_faults(study)[0][0].endswith("seed-0.parquet: ratings.csv changed while it was read")
    path.write_text("{")
    assert outside_faults(study)[0][0].endswith("seed-0.parquet: its receipt is damaged")
