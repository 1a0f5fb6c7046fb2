"""A number has a sign only where it is not zero as written, and every signed number of tables, sentences and pages is written by `digits`."""

import ast
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_folder import REPOSITORY

from hh_align.core.numbers import bound, digits
from hh_align.report.export_csv import cell

PACKAGE = REPOSITORY / "workflow/scripts/hh_align"
SHOWN = ("analysis", "report", "tools")
"""The wings that write for people."""
SIGNED = re.compile(r"\+[,.0-9]*[0-9fgd]")


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [(-0.04, "+.1f", "0.0"), (-0.04, ".1f", "0.0"), (0.04, "+.1f", "0.0"), (-0.0, "+.0f", "0"), (-0.05001, "+.1f", "-0.1"), (-1e-9, ".4g", "-1e-09"), (1234.5, "+,.1f", "+1,234.5"), (-0.0, ".4g", "0"), (-0.3, "+.0f", "0"), (float("-inf"), "+.1f", "-inf")],
)  # fmt: skip
def test_what_rounds_to_zero_has_no_sign(value, form, text):
    assert digits(value, form) == text


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.sampled_from(["+.0f", "+.1f", "+.2f", ".1f", ".3f", ".4g", ",.0f", "+,.1f"]))
def test_a_number_is_never_a_negative_zero_and_else_as_python_writes_it(value, form):
    text = digits(value, form)
    assert float(text.replace(",", "")) == float(format(value, form).replace(",", ""))
    assert float(text.replace(",", "")) != 0 or text[0] not in "+-"


@settings(deadline=None)
@given(st.floats(-100, 100))
def test_an_end_of_an_interval_says_on_which_side_of_zero_it_lies(value):
    text = bound(value)
    side = (value > 0) - (value < 0)
    assert (text == "0") == (side == 0) and (text[0] in "+>") == (side > 0) and (text[0] in "-<") == (side < 0)
    assert text in ("<0", ">0", "0") or abs(float(text) - value) <= 0.5


def test_csv_has_no_negative_zero():
    assert str(cell(-0.0)) == "0.0" and cell(-0.25) == -0.25 and cell(0) == 0


@pytest.mark.parametrize("wing", SHOWN)
def test_no_signed_format_stands_beside_digits(wing):
    found = [
        f"{path.name}:{node.lineno}"
        for path in (PACKAGE / wing).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FormattedValue) and node.format_spec and SIGNED.search(ast.unparse(node.format_spec))
    ]
    assert found == []


def test_templates_write_numbers_by_the_same_function():
    texts = {path.name: path.read_text(encoding="utf-8") for path in (REPOSITORY / "workflow/report").iterdir() if path.suffix == ".html"}
    assert [name for name, text in texts.items() if re.search(r"%[+.0-9]*f|\"\{:[^}]*f\}", text)] == []
