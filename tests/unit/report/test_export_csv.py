"""Tables as CSV: every number as it is, and no text that a spreadsheet would run."""

import csv
import io

import pytest

from hh_align.report.export_csv import as_csv


def cells(*values):
    """What a reader of CSV finds in the row."""
    names = [f"column_{number}" for number in range(len(values))]
    return list(csv.reader(io.StringIO(as_csv([dict(zip(names, values, strict=True))], names))))[1]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "＝1", '=cmd|"/c calc"!A1', "-0.5 (p 0.2)"])
def test_a_text_that_begins_as_a_formula_is_one_no_longer(text):
    assert cells(text, [text, "x"]) == [f"'{text}", f"'{text} x"]


@pytest.mark.parametrize("value", [-1, -0.5, 1e-300, -1e300, 0.1, 3])
def test_a_number_stays_the_number(value):
    assert cells(value) == [str(value)]


def test_other_texts_stay_as_they_are():
    assert cells("a\rb", "\r=1") == ["a\\rb", "\\r=1"]
    assert cells("a=b", "'quoted'", "", None, True, "sft_dpo", "1,2") == ["a=b", "'quoted'", "", "", "True", "sft_dpo", "1,2"]
