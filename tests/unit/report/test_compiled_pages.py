"""Compiled templates are kept for the next process, and a page needs no place for them."""

import tempfile
from pathlib import Path

import pytest

from hh_align.report import pages


@pytest.fixture
def template(tmp_path, monkeypatch) -> Path:
    """page.html of a folder; the system's temporary folder is tmp_path/temporary."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "page.html").write_text("<p>{{ word }}</p>")
    return tmp_path / "page.html"


def rendered(template: Path) -> str:
    pages._pages_of.cache_clear()  # as another process
    return pages.render(template.parent, template.name, word="<base>")


def kept(template: Path) -> list[Path]:
    return list(template.parent.glob("temporary/*/*"))


def test_a_template_is_compiled_once_and_again_when_it_changes(template, monkeypatch):
    assert rendered(template) == "<p>&lt;base&gt;</p>" and len(kept(template)) == 1
    with monkeypatch.context() as patched:
        patched.setattr(pages.Environment, "compile", None)  # not called
        assert rendered(template) == "<p>&lt;base&gt;</p>"
    template.write_text("<b>{{ word }}</b>")
    assert rendered(template) == "<b>&lt;base&gt;</b>"


def test_a_page_needs_no_place_for_its_compiled_template(template, monkeypatch):
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "NamedTemporaryFile", full)
        assert rendered(template) == "<p>&lt;base&gt;</p>" and not kept(template)
    monkeypatch.setattr(tempfile, "tempdir", str(template))  # a file
    assert rendered(template) == "<p>&lt;base&gt;</p>"
