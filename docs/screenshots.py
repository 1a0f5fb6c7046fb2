"""Pictures of the demo's report and response browser, on a desk and on a phone, in headless Chromium: docs/images/report.png, report-phone.png, …

python docs/screenshots.py [FOLDER]     FOLDER: results/demo/report
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).resolve().parent / "images"
PAGES = {"report": "index.html", "browser": "browser.html"}
VIEWPORTS = {"": {"width": 1280, "height": 900}, "-phone": {"width": 390, "height": 844}}


def take(page: Page, source: Path, target: Path) -> None:
    """The top of one page; the browser's notice is clicked away first."""
    page.goto(source.resolve().as_uri())
    if page.locator("#open").count():
        page.click("#open")
    page.screenshot(path=target)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/demo/report")
    if missing := [name for name in PAGES.values() if not (folder / name).is_file()]:
        sys.exit(f"error: {folder}: no {', '.join(missing)}. Run `make demo` first.")
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for suffix, viewport in VIEWPORTS.items():
            page = browser.new_page(viewport=viewport)
            for name, source in PAGES.items():
                take(page, folder / source, IMAGES / f"{name}{suffix}.png")
        browser.close()


if __name__ == "__main__":
    main()
