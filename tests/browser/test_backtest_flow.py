"""A backtest in the page: leaderboard, windows, which series each model wins."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
RETAIL = (Path(__file__).resolve().parents[2] / "examples" / "retail.csv").read_text()


def test_models_are_compared_on_the_data(daemon, visit, view):
    seen = visit(daemon, view)
    page = seen.open("#backtest")
    assert page.get_by_text("Bring data first").is_visible()
    seen.load(RETAIL, "retail.csv")
    seen.choose_models("backtest", "theta", "naive")
    page.get_by_label("Windows").fill("2")
    page.click("#run-backtest")
    board = page.locator(".leaderboard tbody tr")
    board.first.wait_for()
    assert board.count() == 2
    assert {row.locator("th").text_content() for row in board.all()} == {"theta", "naive"}
    assert "2 windows of 7 steps" in page.locator("#backtest-results").text_content()
    wins = page.get_by_role("region", name="Wins by series").locator("tbody tr")
    assert wins.count() == 4
    counts = [int(row.locator("td").nth(2).text_content()) for row in board.all()]
    assert sum(counts) == 4
    page.locator("#window").select_option("1")
    page.locator("#backtest-results .legend").get_by_text("80 %").wait_for()
    wins.nth(2).get_by_role("button").click()
    page.get_by_role("heading", name="Windows of Cork").wait_for()
    page.get_by_label("Search series", exact=True).last.fill("bil")
    assert wins.count() == 1
    seen.check()


def test_a_horizon_that_is_too_long_is_said_at_the_field(daemon, visit):
    seen = visit(daemon)
    page = seen.open("#backtest")
    seen.load("date,y\n2024-01-01,1\n2024-01-02,2\n2024-01-03,4\n", "short.csv")
    page.locator("#backtest-form").get_by_label("Horizon").fill("9")
    page.click("#run-backtest")
    page.get_by_text("expected series longer than the horizon").wait_for()
    # A browser writes every answer of 400 to its console.
    seen.said = [line for line in seen.said if "400 (Bad Request)" not in line]
