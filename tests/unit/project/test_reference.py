"""The generated parts of the pages are committed, so that config keys and columns can be read where nothing is built."""

import sys

import pytest
from study_folder import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "docs"))
import reference

PAGES = [path for path in sorted((REPOSITORY / "docs").glob("*.md")) if ":::" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_committed_reference_is_the_codes(page):
    assert page.read_text(encoding="utf-8") == reference.filled(page.read_text(encoding="utf-8")), "run python docs/reference.py"


def test_config_keys_and_columns_are_on_a_page():
    assert {"artifacts.md", "configuration.md"} <= {page.name for page in PAGES}


def test_a_part_is_made_anew_and_what_stands_around_it_is_kept():
    old = "Before.\n\n<!-- ::: config -->\nof yesterday\n<!-- ::: -->\n\nAfter.\n"
    page = reference.filled(old)
    assert page == reference.filled(page) == reference.filled("Before.\n\n::: config\n\nAfter.\n")
    assert page.startswith("Before.\n\n<!-- ::: config -->\n\n## study\n") and page.endswith("\n<!-- ::: -->\n\nAfter.\n")
    assert "of yesterday" not in page and "<code>methods.&lt;name&gt;.like</code>" in page
