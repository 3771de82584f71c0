"""From a file to a forecast, as a person does it: data, models, chart, table, files, code."""

import csv
import io
import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
RETAIL = (ROOT / "examples" / "retail.csv").read_text()


def wave(n=96, spike=None):
    """A monthly CSV with a season, and a value that does not fit."""
    rows = ["month,sales"]
    for i in range(n):
        value = 100 + i + 30 * math.sin(i * math.pi / 6) + random.Random(i).random()
        if i == spike:
            value += 200
        rows.append(f"{2015 + i // 12}-{i % 12 + 1:02},{value:.2f}")
    return "\n".join(rows) + "\n"


def saved(page, button):
    """What a button downloads: (name, bytes)."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button, exact=True).click()
    download = waiting.value
    return download.suggested_filename, Path(download.path()).read_bytes()


def test_the_example_becomes_a_chart_with_two_models(daemon, visit, view):
    seen = visit(daemon, view)
    page = seen.open()
    seen.check()
    page.get_by_role("button", name="Try the example").click()
    facts = page.locator("#facts")
    facts.get_by_text("monthly (MS)").wait_for()
    assert facts.get_by_text("144", exact=True).is_visible()
    page.locator("#forecast-results canvas").wait_for()
    seen.choose_models("forecast", "auto", "seasonal-naive")
    seen.forecast()
    rows = page.locator("#forecast-results .table-box tbody tr")
    assert rows.count() == 12
    assert rows.first.locator("th").text_content() == "1961-01"
    heads = page.locator("#forecast-results .table-box thead th").all_text_contents()
    assert heads[:3] == ["Time", "auto", "seasonal-naive"]
    assert heads[3:8] == ["Forecast", "80 % from", "80 % to", "95 % from", "95 % to"]
    legend = page.locator("#forecast-results button.legend-item")
    assert legend.all_text_contents() == ["auto", "seasonal-naive"]
    legend.first.click()
    assert legend.first.get_attribute("aria-pressed") == "false"
    seen.check()


def test_hover_and_keys_read_values_and_zoom(daemon, visit, view):
    seen = visit(daemon, view)
    page = seen.open()
    page.click("#use-example")
    seen.forecast()
    frame = page.locator("#forecast-results .chart-frame")
    frame.focus()
    page.keyboard.press("ArrowLeft")
    tip = page.locator(".tip")
    assert "1961-12" in tip.text_content() and "80 %" in tip.text_content()
    page.keyboard.press("ArrowLeft")
    assert "1961-11" in page.locator("#announcer").text_content()
    over = page.locator("#forecast-results .u-over")
    box = over.bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 40)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    assert "observed" in tip.text_content()
    before = frame.locator("canvas").evaluate("(c) => c.toDataURL()")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 40, steps=4)
    page.mouse.up()
    page.keyboard.press("Escape")
    zoomed = frame.locator("canvas").evaluate("(c) => c.toDataURL()")
    assert zoomed != before
    page.get_by_role("button", name="All: show everything").click()
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom out").click()
    hint = page.locator(".chart-tools .hint")
    page.keyboard.press("Tab")
    frame.focus()
    for key in ("0", "+", "+"):
        page.keyboard.press(key)
    seen_of = hint.text_content()
    assert " of 156 steps in view" in seen_of
    end = frame.locator("canvas").evaluate("(c) => c.toDataURL()")
    page.keyboard.press(",")
    assert frame.locator("canvas").evaluate("(c) => c.toDataURL()") != end
    page.keyboard.press("0")
    assert "in view" not in hint.text_content()


def test_a_table_of_several_series_is_recognised_and_corrected(daemon, visit, view):
    seen = visit(daemon, view)
    page = seen.open()
    seen.load(RETAIL, "retail.csv")
    assert page.locator("#data-size").text_content().endswith("4 series")
    assert (
        page.locator("#columns-summary").text_content() == "time: date · id: store · target: sales"
    )
    page.locator("#series-search").fill("cor")
    assert page.locator(".series-row").count() == 1
    page.locator(".series-row").click()
    page.locator("#forecast-results h2", has_text="Cork").wait_for()
    page.locator("#columns summary").click()
    page.get_by_label("price", exact=True).select_option("covariate")
    assert "price" in page.locator("#facts").text_content()
    page.get_by_label("store", exact=True).select_option("ignore")
    page.locator("#data-problems summary").click()
    assert "rows repeat a time" in page.locator("#data-problems").text_content()
    page.get_by_label("store", exact=True).select_option("id")
    page.get_by_label("sales", exact=True).select_option("ignore")
    assert "choose the column to forecast" in page.locator("#data-problems").text_content()
    assert not page.locator("#forecast-form").is_visible()
    seen.check()


def test_gaps_are_reported_and_pasted_text_is_read(daemon, visit, view):
    seen = visit(daemon, view)
    page = seen.open()
    page.locator(".paste-box summary").click()
    page.fill("#paste", "day;value\n01.02.2024;1,5\n02.02.2024;\n05.02.2024;2,5\n06.02.2024;3\n")
    page.click("#use-paste")
    page.locator("#facts .warn").wait_for()
    text = page.locator("#facts").text_content()
    assert "daily (D)" in text and "2 steps are absent, 1 value is empty" in text
    page.click("#change-data")
    page.locator(".paste-box").get_by_text("Paste a table").wait_for()
    page.fill("#paste", "nothing,here\n")
    page.click("#use-paste")
    assert "expected rows below the header" in page.locator("#load-error").text_content()


def test_files_of_sheets_are_read_and_others_are_refused_in_words(daemon, visit, tmp_path):
    seen = visit(daemon)
    page = seen.open()
    table = "Datum\tUmsatz\n" + "".join(f"{d:02}.01.2024\t1.{d:03},5\n" for d in range(1, 29))
    for name, raw in {
        "umlaute.csv": table.replace("Umsatz", "Ertr\u00e4ge").encode("cp1252"),
        "unicode.txt": table.encode("utf-16"),
    }.items():
        path = tmp_path / name
        path.write_bytes(raw)
        seen.load_path(path)
        page.locator("#data-title", has_text=name).wait_for()
        assert "daily (D)" in page.locator("#facts").text_content()
        page.click("#change-data")
    for name, raw, said in (
        ("book.xlsx", b"PK\x03\x04\0\0", "is no text: save the sheet as CSV first"),
        ("huge.csv", b"2024-01-01,1\n" * 3_200_000, "a browser reads up to 40 MB"),
        ("words.csv", b"a,b\nx,y\nz,w\n", "no column holds numbers to forecast"),
    ):
        path = tmp_path / name
        path.write_bytes(raw)
        seen.load_path(path)
        page.get_by_text(said).wait_for()


def test_a_long_series_is_copied_as_a_command_that_runs(daemon, visit):
    if not shutil.which("curl"):
        pytest.skip("curl is not here")
    seen = visit(daemon)
    page = seen.open()
    rows = "".join(f"{1000 + math.sin(i / 4) + i % 7:.6f}\n" for i in range(20_000))
    seen.load("y\n" + rows, "long.csv")
    seen.choose_models("forecast", "naive")
    seen.forecast()
    assert page.locator(".chart-tools .hint").text_content().endswith("double-click for all")
    page.get_by_role("button", name="Copy as curl").click()
    command = page.locator("dialog textarea").input_value()
    assert len(command) > 200_000
    done = subprocess.run(["sh"], input=command.encode(), capture_output=True, check=True)
    assert len(json.loads(done.stdout)["forecasts"][0]["mean"]) == 12


def test_a_file_is_dropped_anywhere(daemon, visit):
    seen = visit(daemon)
    page = seen.open()
    data = page.evaluate_handle(
        "(text) => { const d = new DataTransfer();"
        " d.items.add(new File([text], 'dropped.csv', {type: 'text/csv'})); return d; }",
        wave(),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    page.locator("#data-title", has_text="dropped.csv").wait_for()


def test_what_was_forecast_can_be_taken_along(daemon, visit, tmp_path):
    seen = visit(daemon)
    page = seen.open()
    seen.load(RETAIL, "retail.csv")
    seen.choose_models("forecast", "theta")
    page.locator("#forecast-form").get_by_label("Horizon").fill("5")
    seen.forecast()
    name, data = saved(page, "CSV")
    assert name == "retail-forecast.csv"
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert len(rows) == 4 * 5
    assert set(rows[0]) == {"id", "timestamp", "model", "mean", "0.025", "0.1", "0.9", "0.975"}
    assert {row["id"] for row in rows} == {"Aarhus", "Bilbao", "Cork", "Évora"}
    name, data = saved(page, "JSON")
    answer = json.loads(data)
    assert name == "retail-forecast.json" and answer["model"] == "theta"
    assert [len(one["mean"]) for one in answer["forecasts"]] == [5] * 4
    assert float(rows[0]["mean"]) == answer["forecasts"][0]["mean"][0]
    name, data = saved(page, "PNG")
    assert data.startswith(b"\x89PNG") and len(data) > 5000

    page.get_by_role("button", name="Copy as curl").click()
    command = page.locator("dialog textarea").input_value()
    page.get_by_role("button", name="Close").click()
    if shutil.which("curl"):
        done = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
        assert json.loads(done.stdout)["forecasts"][0]["mean"] == answer["forecasts"][0]["mean"]
    page.get_by_role("button", name="Copy as Python").click()
    code = page.locator("dialog textarea").input_value()
    assert page.evaluate("navigator.clipboard.readText()").strip() == code.strip()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-800:]
    assert done.stdout.startswith(f"theta {answer['forecasts'][0]['mean']}")


def test_anomalies_are_marked_and_listed(daemon, visit, view):
    seen = visit(daemon, view)
    page = seen.open()
    seen.load(wave(spike=70), "wave.csv")
    page.click("#find-anomalies")
    rows = page.locator(".anomalies tbody tr")
    rows.first.wait_for()
    assert rows.first.locator("th").text_content() == "2020-11"
    assert page.locator(".legend").get_by_text("anomaly").is_visible()
    page.get_by_role("button", name="Zoom in").click()
    rows.first.get_by_role("button", name="2020-11").click()
    assert page.evaluate("document.activeElement.className") == "chart-frame"
    seen.check()
    page.get_by_role("button", name="Clear").click()
    assert page.locator(".anomalies").count() == 0


def test_errors_stand_where_they_belong(daemon, visit, view):
    seen = visit(daemon, view)
    page = seen.open()
    seen.load(wave(), "wave.csv")
    page.locator("#forecast-form").get_by_label("Horizon").fill("0")
    page.click("#run-forecast")
    page.get_by_text("a whole number from 1 to 100,000").wait_for()
    assert (
        page.locator("#forecast-form").get_by_label("Horizon").get_attribute("aria-invalid")
        == "true"
    )
    page.locator("#forecast-form").get_by_label("Horizon").fill("3")
    seen.choose_models("forecast")
    page.click("#run-forecast")
    page.get_by_text("choose at least one model").wait_for()
    seen.check()


def test_colours_can_be_switched_and_stay(daemon, visit):
    seen = visit(daemon)
    page = seen.open()
    page.get_by_role("button", name="Switch to dark colours").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page = seen.open()
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_everything_is_reached_by_keyboard(daemon, visit):
    seen = visit(daemon)
    page = seen.open()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(3):
        page.keyboard.press("Tab")
    page.locator("#use-example").focus()
    page.keyboard.press("Enter")
    page.locator("#run-forecast").wait_for()
    page.locator("#forecast-form summary.picker-summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "picker-summary"
    page.locator("#forecast-form").get_by_label("Horizon").focus()
    page.keyboard.press("Enter")
    page.locator("#forecast-form .field-error", has_text="choose at least one model").wait_for()
    page.locator("#tab-forecast").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tab-backtest").get_attribute("aria-selected") == "true"
    page.keyboard.press("End")
    assert page.locator("#panel-models").is_visible()
