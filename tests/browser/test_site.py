"""The documentation opened from disk: its search has hits, it fits a phone, and nothing is asked of a server."""

import shutil
import subprocess
import sys

import pytest
import yaml
from screens import DESK
from study_folder import REPOSITORY

PHONE = {"width": 390, "height": 800}
DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory, chromium_path):
    """Three of the pages, built as the whole site is."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "docs").mkdir()
    for name in ("examples.md", "configuration.md", "iframe-worker.js", "tables.css"):
        shutil.copy(DOCS / name, folder / "docs")
    (folder / "docs/index.md").write_text("# Overview\n\nSearch from here.\n")
    nav = [{"Overview": "index.md"}, {"Examples": "examples.md"}, {"Configuration": "configuration.md"}]
    own = {
        "INHERIT": str(REPOSITORY / "mkdocs.yml"),
        "docs_dir": "docs",
        "site_dir": "site",
        "hooks": [],
        "nav": nav,
        "site_name": "three pages",
    }
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(own))
    subprocess.run([sys.executable, "-m", "mkdocs", "build", "--quiet"], cwd=folder, capture_output=True, check=True)
    return folder / "site"


def test_a_search_from_disk_has_hits_that_lead_to_their_page(site, visit):
    page = visit(site / "index.html")
    page.click(".md-search__input")
    page.keyboard.type("checkpoint_seconds")
    hit = page.locator(".md-search-result__link").first
    hit.wait_for()
    assert hit.get_attribute("href").partition("#")[0].endswith("site/configuration.html")
    hit.click()
    page.wait_for_function("document.title.startsWith('Configuration')")


@pytest.mark.parametrize("name", ["examples", "configuration"])
@pytest.mark.parametrize(("viewport", "scheme"), [(DESK, "light"), (PHONE, "light"), (PHONE, "dark")])
def test_a_page_fits_its_screen(site, visit, name, viewport, scheme):
    page = visit(site / f"{name}.html", viewport=viewport, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).every(part => part < 80)")
    assert dark == (scheme == "dark")
