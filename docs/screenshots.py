"""Pictures of a report and of a response browser, on a desk and on a phone, and of a figure, in headless Chromium: docs/images/report.png, …

The report is that of the paper's released responses, the browser the demo's: HH-RLHF is offensive by nature. The figure is SmolLM2's. The pictures
of a study that has not been run stay as they are.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).resolve().parent / "images"
RESULTS = IMAGES.parents[1] / "results"
PAGES = {
    "report": RESULTS / "published/report/index.html",
    "browser": RESULTS / "demo/report/browser.html",
    "smollm2": RESULTS / "smollm2/report/figures/mean_rewards.svg",
}
SIZES = {  # picture -> width and height
    "report": (1160, 880),
    "browser": (1280, 900),
    "report-phone": (390, 844),
    "browser-phone": (390, 844),
    "smollm2": (918, 593),
}


def take(page: Page, source: Path, target: Path) -> None:
    """The top of one page; the browser's notice is clicked away first. A figure fills the picture."""
    page.goto(source.resolve().as_uri())
    if source.suffix == ".svg":
        page.evaluate("['width', 'height'].forEach(side => document.documentElement.setAttribute(side, '100%'))")
    if page.locator("#open").count():
        page.click("#open")
    page.screenshot(path=target)


def main() -> None:
    if missing := [str(path) for path in PAGES.values() if not path.is_file()]:
        print(
            f"no {', '.join(missing)}: their pictures stay as they are. `make demo`, `make published` and `make smollm2` make them.",
            file=sys.stderr,
        )
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for picture, (width, height) in SIZES.items():
            if (source := PAGES[picture.partition("-")[0]]).is_file():
                page = browser.new_page(viewport={"width": width, "height": height})
                take(page, source, IMAGES / f"{picture}.png")
        browser.close()


if __name__ == "__main__":
    main()
