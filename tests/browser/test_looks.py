"""All screens in the two remaining pairs of width and theme: nothing sticks out, axe is content."""

from pathlib import Path

import pytest
from e2e.conftest import Daemon

pytestmark = pytest.mark.browser
RETAIL = (Path(__file__).resolve().parents[2] / "examples" / "retail.csv").read_text()


@pytest.mark.parametrize(
    "view", [(1280, "dark"), (360, "light"), (768, "light")], ids=lambda v: f"{v[0]}-{v[1]}"
)
def test_every_screen_fits_and_is_accessible(daemon: Daemon, visit, view):
    seen = visit(daemon, view)
    page = seen.open()
    seen.check()
    seen.load(RETAIL, "retail.csv")
    page.locator("#columns summary").click()
    page.locator("#forecast-form .more summary").click()
    page.locator("#forecast-form .picker summary").click()
    seen.check()
    page.keyboard.press("Escape")
    seen.forecast()
    page.click("#find-anomalies")
    page.locator(".anomalies").wait_for()
    seen.check()
    page.click("#tab-backtest")
    page.click("#run-backtest")
    page.locator(".leaderboard").wait_for()
    seen.check()
    page.click("#tab-models")
    page.locator(".model").first.wait_for()
    seen.check()
