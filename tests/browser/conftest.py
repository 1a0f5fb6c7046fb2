"""A headless Chromium, and a made-up study with its two pages."""

import shutil

import pytest
from page_study import PageStudy
from playwright.sync_api import sync_playwright
from screens import DESK


@pytest.fixture(scope="session")
def chromium_path():
    return shutil.which("chromium") or pytest.skip("needs Debian's package chromium")


@pytest.fixture(scope="module")
def chromium(chromium_path):
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def study(tmp_path_factory, chromium_path):
    """Analysed, with the paths of its report and its browser of responses; to read only."""
    study = PageStudy(tmp_path_factory.mktemp("results") / "made")
    study.analyse(drawn=True)
    study.report, study.browser = study.render_report(), study.render_browser()
    return study


@pytest.fixture
def visit(chromium):
    """Open a page; at the end no request may have left the file, none failed, and nothing may stand in the console."""
    contexts, said = [], []

    def opened(path, fragment="", viewport=DESK, shown=True, **options):
        context = chromium.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
        page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
        page.goto(path.as_uri() + fragment)
        if shown and page.locator("#open").count():
            page.click("#open")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
