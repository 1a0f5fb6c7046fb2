"""What tests of the verdict on ratings do without."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from page_study import BLANK

from hh_align.analysis import model_labels
from hh_align.core.artifacts import write_text
from hh_align.tools import verdict, verdict_figures


@pytest.fixture
def blank_figures(monkeypatch):
    """A verdict's figures are blank, and no process of its own draws them: they take half of its time, and a test of its words looks at none."""
    monkeypatch.setattr(verdict, "drawers", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(verdict_figures, "draw", lambda name, tables, ratings, config, folder: write_text(folder / f"{name}.svg", BLANK))


@pytest.fixture
def without_model(monkeypatch):
    """No model of all labels is fitted: it takes a third of the time of a verdict, and a test of other tables does without."""
    monkeypatch.setattr(model_labels, "model_labels", lambda *_: [])
