"""Take docs/page.png from the real page: `python docs/screenshot.py` after `make build`.

Needs Chromium and Playwright, as the tests of the page do. Not covered: the recording of the
terminal.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main() -> None:
    """Start a daemon, drive the page as a reader would, save what is seen."""
    chromium = os.environ.get("TOLLAMA_TEST_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        daemon = subprocess.Popen(
            [sys.executable, str(ROOT / "dist" / "tollama.pyz"), "serve", "--port", "0"],
            env={**os.environ, "TOLLAMA_HOME": home},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert daemon.stdout is not None
            url = daemon.stdout.readline().split()[-1]
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            page.goto(url)
            page.click("#use-example")
            page.locator("#forecast-form .picker summary").click()
            name = page.locator("strong").get_by_text("seasonal-naive", exact=True)
            page.locator("#forecast-form .picker-row", has=name).locator("input").check()
            page.keyboard.press("Escape")
            page.locator("#forecast-form").get_by_label("Horizon").fill("24")
            page.click("#run-forecast")
            page.locator("#forecast-results table.values").wait_for()
            chart = page.locator("#forecast-results .u-over")
            box = chart.bounding_box()
            assert box is not None
            chart.hover(position={"x": box["width"] * 0.957, "y": box["height"] * 0.3})
            # The port is of the moment; the picture should not be.
            page.evaluate(
                "v => (v.textContent = v.textContent.replace(/:\\d+$/, ':11435'))",
                page.locator("#version").element_handle(),
            )
            page.screenshot(path=ROOT / "docs" / "page.png")
            browser.close()
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    main()
