"""cli.render: tables, reports, CSV and JSON lines of forecasts."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from tollama.cli import render
from tollama.cli.terminal import PLAIN, TRUECOLOR, Terminal

TTY = Terminal(80, 24, 0, True, True, True, None)
SGR = re.compile(r"\x1b\[[0-9;]*m")


def forecast(name="a", horizon=3, **more):
    mean = [100.0 + i for i in range(horizon)]
    return {
        "id": name,
        "freq": "MS",
        "start_timestamp": "2024-01-01",
        "mean": mean,
        "quantiles": {
            "0.025": [v - 20 for v in mean],
            "0.1": [v - 10 for v in mean],
            "0.5": mean,
            "0.9": [v + 10 for v in mean],
            "0.975": [v + 20 for v in mean],
        },
        **more,
    }


def response(*forecasts):
    return {"model": "auto", "forecasts": list(forecasts), "usage": None, "warnings": []}


# -- tables ---------------------------------------------------------------------------------------


def test_table_aligns_and_puts_numbers_right():
    text = render.table([["théta", 7, "x"], ["b", 1234, ""]], ["NAME", "N", "NOTE"], PLAIN)
    assert text.splitlines() == [
        "NAME        N    NOTE",
        "théta       7    x",
        "b        1234",
    ]


def test_table_cuts_the_widest_column_on_a_terminal_only():
    rows = [["a" * 70, "b" * 30, "c"]]
    lines = render.table(rows, ["NAME", "FAMILY", "ID"], TTY).splitlines()
    assert max(map(len, lines)) == 80
    assert "a…" in lines[1]
    assert render.table(rows, ["NAME", "FAMILY", "ID"], PLAIN).splitlines()[1].startswith("a" * 70)


def test_table_parts_columns_less_then_leaves_out_the_last_ones_where_it_is_narrow():
    board = [["1", "seasonal-naive", "1.048", "0.0942", "+0.0%", "1/4"]]
    titles = ["", "MODEL", "MASE", "SMAPE", "SKILL", "WINS"]
    wide, middle, narrow = (
        render.table(board, titles, TTY._replace(width=width)).splitlines()[1]
        for width in (80, 48, 18)
    )
    assert wide == "1    seasonal-naive    1.048    0.0942    +0.0%    1/4"
    assert middle == "1  seasonal-naive  1.048  0.0942  +0.0%  1/4"
    assert narrow == "1  seasona…  1.048"


def test_table_of_nothing_is_its_header():
    assert render.table([], ["NAME", "SIZE"], PLAIN) == "NAME    SIZE\n"


def test_forecast_table_shows_mean_and_bounds():
    text = render.forecast_table(response(forecast()), PLAIN)
    assert text.splitlines() == [
        "time          mean  80% low  80% high  95% low  95% high  median",
        "2024-01-01  100.00    90.00    110.00    80.00    120.00  100.00",
        "2024-02-01  101.00    91.00    111.00    81.00    121.00  101.00",
        "2024-03-01  102.00    92.00    112.00    82.00    122.00  102.00",
    ]


def test_forecast_table_of_several_series_names_them():
    lines = render.forecast_table(response(forecast("a", 1), forecast("b", 1)), PLAIN).splitlines()
    assert [line.split()[0] for line in lines] == ["id", "a", "b"]


def test_forecast_table_drops_wide_intervals_where_it_is_narrow():
    lines = render.forecast_table(response(forecast()), TTY._replace(width=40)).splitlines()
    assert lines[0] == "time          mean  80% low  80% high"


def test_forecast_table_leaves_out_the_middle_of_a_long_one():
    text = render.forecast_table(response(forecast(horizon=100)), PLAIN, limit=10)
    lines = text.splitlines()
    assert len(lines) == 1 + 7 + 1 + 3
    assert lines[8] == "…"
    assert lines[-1].startswith("2032-04-01")


def test_steps_without_dates_are_counted():
    one = {"id": "a", "freq": None, "start_timestamp": None, "mean": [1.0, 2.0], "quantiles": None}
    assert (
        render.forecast_table(response(one), PLAIN) == "step    mean\n+1    1.0000\n+2    2.0000\n"
    )


NUMBERS = [
    ([1234567.891], "1234568"),
    ([123.456], "123.46"),
    ([0.00123456], "0.001235"),
    ([1e-9], "1e-09"),
    ([1.5e20], "1.5e+20"),
    ([0.0], "0.0"),
    ([-5.0, 1000.0], "-5.0"),
]


@pytest.mark.parametrize(("values", "first"), NUMBERS)
def test_numbers_have_five_digits(values, first):
    one = {"id": "a", "mean": values, "quantiles": None}
    text = render.forecast_table(response(one), PLAIN)
    assert text.splitlines()[1].split()[1] == first


HOURS = {"freq": "h", "start_timestamp": "2024-03-31T23:00:00"}


def test_times_of_day_lose_seconds_that_are_nought():
    text = render.forecast_table(response(forecast(horizon=2, **HOURS)), PLAIN)
    assert [line[:18] for line in text.splitlines()[1:]] == [
        "2024-03-31 23:00  ",
        "2024-04-01 00:00  ",
    ]


def test_times_of_day_without_seconds_keep_their_minutes():
    one = forecast(horizon=2, timestamps=["2024-03-31T23:00", "2024-04-01T00:00"])
    lines = render.forecast_table(response(one), PLAIN).splitlines()
    assert [line[:16] for line in lines[1:]] == ["2024-03-31 23:00", "2024-04-01 00:00"]


def test_a_quantile_that_one_series_lacks_is_a_dash():
    text = render.forecast_table(
        response(forecast("a", 1), forecast("b", 1, quantiles=None)), PLAIN
    )
    assert text.splitlines()[2].split()[-5:] == ["-"] * 5


# -- reports --------------------------------------------------------------------------------------


def request(*names, n=30):
    return {
        "series": [{"id": name, "target": [float(i % 7) + 96 for i in range(n)]} for name in names]
    }


def test_report_has_title_table_and_chart():
    text = render.report(request("a"), response(forecast()), TTY)
    assert text.splitlines()[0] == "a  30 points · freq MS · model auto"
    assert "80% low" in text
    assert "── history   ── mean   ▒▒ 80%   ░░ 95%" in text
    assert "\x1b" not in text
    assert render.report(request("a"), response(forecast()), TTY, chart=False).endswith("102.00\n")


@pytest.mark.parametrize("colors", [0, 16, 256, TRUECOLOR])
@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [20, 30, 80, 120, 400])
def test_report_never_passes_the_width(colors, unicode, width):
    term = Terminal(width, 24, colors, unicode, True, True, None)
    text = render.report(
        request("a" * 100, "b"), response(forecast("a" * 100), forecast("b")), term
    )
    for line in SGR.sub("", text).splitlines():
        assert len(line) <= max(width, 24)
    assert unicode or text.isascii()
    assert ("\x1b" in text) == bool(colors)


def test_report_shows_the_first_series_and_says_how_many_more():
    names = [f"s{i}" for i in range(1200)]
    text = render.report(request(*names), response(*map(forecast, names)), TTY)
    assert text.splitlines()[-1] == (
        "and 1,197 more series; --format csv, json or jsonl gives all of them"
    )
    assert "s2  30 points" in text
    assert "s3  30 points" not in text
    everything = render.report(request(*names), response(*map(forecast, names)), PLAIN)
    assert "s1199  30 points" in everything
    assert everything.count("── history") == 3


def test_report_of_a_multivariate_forecast_shows_each_variable():
    one = {"id": "m", "freq": "D", "start_timestamp": "2024-01-01", "mean": [[1.0], [2.0]]}
    one["quantiles"] = {"0.1": [[0.5], [1.5]], "0.9": [[1.5], [2.5]]}
    series = {"series": [{"id": "m", "target": [[1.0, 2.0], [3.0, 4.0]]}]}
    text = render.report(series, response(one), TTY)
    assert "m[0]  2 points" in text
    assert "m[1]  2 points" in text


def test_an_id_cannot_write_to_the_terminal():
    name = "\x1b]0;title\x07\x1b[2J"
    text = render.report(request(name), response(forecast(name)), TTY)
    assert "\x1b" not in text
    assert "\x07" not in text


# -- files ----------------------------------------------------------------------------------------


def test_csv_is_long_and_exact():
    text = render.to_csv(response(forecast("a", 2), forecast('b, "c"', 1)))
    assert text.splitlines() == [
        "id,timestamp,mean,0.025,0.1,0.5,0.9,0.975",
        "a,2024-01-01,100.0,80.0,90.0,100.0,110.0,120.0",
        "a,2024-02-01,101.0,81.0,91.0,101.0,111.0,121.0",
        '"b, ""c""",2024-01-01,100.0,80.0,90.0,100.0,110.0,120.0',
    ]


def test_csv_numbers_read_back_exactly():
    one = forecast(mean=[0.1 + 0.2, 1e-300, 123456789.123456789])
    rows = list(csv.DictReader(io.StringIO(render.to_csv(response(one)))))
    assert [float(row["mean"]) for row in rows] == one["mean"]


def test_csv_in_parts_equals_the_whole():
    forecasts = [forecast("a"), forecast("b")]
    levels = [0.025, 0.1, 0.5, 0.9, 0.975]
    parts = [render.csv_header(levels), *(render.csv_rows(f, levels) for f in forecasts)]
    assert "".join(parts) == render.to_csv(response(*forecasts))


def test_csv_of_a_multivariate_forecast_numbers_its_variables():
    one = {"id": "m", "mean": [[1.0, 2.0], [3.0, 4.0]], "quantiles": {"0.5": [[1, 2], [3, 4]]}}
    assert render.to_csv(response(one)).splitlines() == [
        "id,timestamp,mean,0.5",
        "m[0],1,1.0,1",
        "m[0],2,2.0,2",
        "m[1],1,3.0,3",
        "m[1],2,4.0,4",
    ]


def test_given_timestamps_are_kept():
    one = forecast(horizon=2, timestamps=["2024-01-05", "2024-02-05"])
    assert [row.split(",")[1] for row in render.csv_rows(one, []).splitlines()] == one["timestamps"]


def test_json_lines_are_one_forecast_each():
    forecasts = [forecast("Évora"), forecast("b")]
    text = render.to_jsonl(response(*forecasts))
    assert "Évora" in text
    assert [json.loads(line) for line in text.splitlines()] == forecasts
