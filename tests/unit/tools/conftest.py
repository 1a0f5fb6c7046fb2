"""What tests of the verdict on ratings do without."""

import pytest

from hh_align.core.artifacts import write_text
from hh_align.tools import verdict_figures

BLANK = '<svg width="100pt"/>'


@pytest.fixture
def blank_figures(monkeypatch):
    """A verdict's figures are blank: to draw them takes half of its time, and a test of its words looks at none."""
    monkeypatch.setattr(verdict_figures, "draw", lambda name, tables, ratings, config, folder: write_text(folder / f"{name}.svg", BLANK))
