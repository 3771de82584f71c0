"""All screens in each width and theme: nothing sticks out, axe finds nothing serious."""

from pathlib import Path

import pytest
from e2e.conftest import Daemon

pytestmark = pytest.mark.browser
RETAIL = (Path(__file__).resolve().parents[2] / "examples" / "retail.csv").read_text()


@pytest.mark.parametrize(
    "view",
    [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark"), (768, "light")],
    ids=lambda v: f"{v[0]}-{v[1]}",
)
def test_every_screen_fits_and_is_accessible(daemon: Daemon, visit, axe, view):
    if axe is None:
        pytest.skip("axe-core is not here (npm, or pip install axe-playwright-python)")
    seen = visit(daemon, view)
    page = seen.open()
    seen.check()
    page.locator(".paste-box summary").click()
    page.fill("#paste", "no,rows\n")
    page.click("#use-paste")
    page.locator("#load-error .notice").wait_for()
    seen.check()
    seen.load(RETAIL, "retail.csv")
    page.locator("#columns summary").click()
    page.locator("#forecast-form .more summary").click()
    page.locator("#forecast-form .picker summary").click()
    seen.check()
    page.keyboard.press("Escape")
    seen.choose_models("forecast", "auto", "theta", "drift")
    seen.forecast()
    page.click("#find-anomalies")
    page.locator(".anomalies").wait_for()
    page.locator("#forecast-results .chart-frame").focus()
    page.keyboard.press("ArrowLeft")
    seen.check()
    page.get_by_role("button", name="Copy as Python").click()
    seen.check()
    page.keyboard.press("Escape")
    page.click("#tab-backtest")
    page.click("#run-backtest")
    page.locator(".leaderboard").wait_for()
    seen.check()
    page.click("#tab-models")
    page.locator(".model").first.wait_for()
    page.locator("#loaded tbody tr").first.wait_for()
    page.locator("#runtimes strong").first.wait_for()
    page.locator("#pull-form button[type=submit]").click()
    seen.check()
    page.get_by_role("button", name="Details auto").click()
    page.locator("dialog").get_by_text("Digest").wait_for()
    seen.check()
