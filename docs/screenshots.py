"""Pictures of a report and of a response browser, on a desk and on a phone, in headless Chromium: docs/images/report.png, report-phone.png, …

The report is that of the paper's released responses, the browser the demo's: HH-RLHF is offensive by nature. Both studies must have been run.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).resolve().parent / "images"
RESULTS = IMAGES.parents[1] / "results"
PAGES = {"report": RESULTS / "published/report/index.html", "browser": RESULTS / "demo/report/browser.html"}
SIZES = {  # picture -> width and height
    "report": (1160, 880),
    "browser": (1280, 900),
    "report-phone": (390, 844),
    "browser-phone": (390, 844),
}


def take(page: Page, source: Path, target: Path) -> None:
    """The top of one page; the browser's notice is clicked away first."""
    page.goto(source.resolve().as_uri())
    if page.locator("#open").count():
        page.click("#open")
    page.screenshot(path=target)


def main() -> None:
    if missing := [str(path) for path in PAGES.values() if not path.is_file()]:
        sys.exit(f"error: no {', '.join(missing)}. Run `make demo` and `make published` first.")
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for picture, (width, height) in SIZES.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            take(page, PAGES[picture.partition("-")[0]], IMAGES / f"{picture}.png")
        browser.close()


if __name__ == "__main__":
    main()
