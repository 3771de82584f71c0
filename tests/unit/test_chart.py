"""cli.chart: charts in characters, drawn for given facts of a terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tollama.cli.chart import chart
from tollama.cli.terminal import TRUECOLOR, Terminal

MONO = Terminal(60, 20, 0, True, True, True, None)
ASCII = MONO._replace(unicode=False, moves=False)
SGR = re.compile(r"\x1b\[[0-9;]*m")

HISTORY = [float(i % 12) for i in range(48)]
FORECAST = {
    "id": "a",
    "freq": "MS",
    "start_timestamp": "2024-01-01",
    "mean": [float(i) for i in range(12)],
    "quantiles": {
        "0.025": [i - 4.0 for i in range(12)],
        "0.1": [i - 2.0 for i in range(12)],
        "0.9": [i + 2.0 for i in range(12)],
        "0.975": [i + 4.0 for i in range(12)],
    },
}
STAMPS = [f"{2020 + i // 12}-{i % 12 + 1:02}-01" for i in range(48)]


def test_ascii_chart_is_drawn_exactly():
    one = {"mean": [4.0, 4.0], "quantiles": {"0.1": [3.0, 2.0], "0.9": [5.0, 6.0]}}
    drawn = chart([1.0, 2.0, 3.0, 4.0], one, ASCII._replace(width=34), height=6)
    assert drawn.splitlines() == [
        "   * history   o mean   : 80%",
        "6 +                    |     ::::",
        "  |                      ::::::::",
        "4 +               ***oooooooooo::",
        "  |          *****       ::::::::",
        "2 +     *****          |      :::",
        "  |  ***               |",
        "  +--+----+----+----+----+----+--",
        "    -4   -3   -2   -1   +1   +2",
    ]


def test_unicode_chart_has_axes_legend_and_dates():
    lines = chart(HISTORY, FORECAST, MONO, stamps=STAMPS).splitlines()
    assert lines[0].strip() == "── history   ── mean   ▒▒ 80%   ░░ 95%"
    assert re.match(r" *\d+ ┤", lines[1] + lines[2])
    assert set(lines[-2].strip()) == {"└", "─", "┴"}
    assert {"2021-01", "2024-01", "2024-12"} <= set(lines[-1].split())
    plot = "".join(lines[1:-2])
    assert "┊" in plot
    assert "▒" in plot
    assert "░" in plot
    assert any(0x2800 < ord(ch) < 0x2900 for ch in plot)


def test_future_begins_under_its_label():
    lines = chart(HISTORY, FORECAST, MONO, stamps=STAMPS).splitlines()
    border = lines[1].index("┊")
    label = lines[-1].index("2024-01")
    assert label <= border <= label + 7


@pytest.mark.parametrize(
    ("colors", "dark", "codes"),
    [
        (16, None, {"44", "46"}),
        (256, None, {"48;5;25", "48;5;110"}),
        (TRUECOLOR, None, {"48;2;37;99;176"}),
        (TRUECOLOR, True, {"48;2;41;86;148"}),
        (TRUECOLOR, False, {"48;2;140;187;235"}),
    ],
)
def test_bands_are_backgrounds_in_the_terminals_colours(colors, dark, codes):
    drawn = chart(HISTORY, FORECAST, MONO._replace(colors=colors, dark=dark))
    for wanted in codes:
        assert wanted in drawn
    for line in drawn.splitlines():
        assert line.count("\x1b[0m") == 0 or line.rstrip().endswith(("\x1b[0m", "%"))


def test_colours_change_no_place_of_a_line():
    plain = chart(HISTORY, FORECAST, MONO).splitlines()
    colored = SGR.sub("", chart(HISTORY, FORECAST, MONO._replace(colors=256))).splitlines()
    for a, b in zip(plain[1:], colored[1:], strict=True):
        for x, y in zip(a, b, strict=False):
            if 0x2800 <= ord(x) < 0x2900:
                assert x == y


def test_bands_cover_what_they_say():
    quantiles = {"0.025": [0.0], "0.1": [4.0], "0.9": [8.0], "0.975": [10.0]}
    one = {"mean": [6.0] * 12, "quantiles": {q: v * 12 for q, v in quantiles.items()}}
    lines = chart([0.0, 10.0] * 6, one, ASCII, height=10).splitlines()
    last = "".join(line.ljust(60)[55] for line in lines[1:-2])
    assert last == "..::o:...."


def test_a_chart_without_quantiles_or_history_is_drawn():
    bare = {"mean": [1.0, 2.0, 3.0], "quantiles": None}
    assert "mean" in chart([], bare, MONO)
    assert "%" not in chart(HISTORY, bare, MONO)


def test_a_gap_breaks_the_line():
    gap = chart([1.0, None, None, None, 1.0], {"mean": [1.0]}, ASCII, height=6)
    row = next(line for line in gap.splitlines() if "*" in line and "history" not in line)
    assert re.search(r"\* {10,}\*", row.replace("|", " "))


def test_nothing_to_draw_is_empty():
    assert chart([None, None], {"mean": []}, MONO) == ""
    assert chart(HISTORY, FORECAST, MONO._replace(width=20)) == ""


def test_a_wild_interval_leaves_the_lines_visible():
    wild = {**FORECAST, "quantiles": {"0.025": [-1e9] * 12, "0.975": [1e9] * 12}}
    rows = chart(HISTORY, wild, ASCII, height=16).splitlines()[1:-2]
    assert sum("*" in row for row in rows) >= 4


def test_levels_choose_the_bands():
    many = {**FORECAST, "quantiles": {f"{q / 100:g}": [q / 10.0] * 12 for q in range(5, 100, 5)}}
    assert "80%   " in chart(HISTORY, many, MONO)
    assert "▒▒ 50%   ░░ 90%" in chart(HISTORY, many, MONO, levels=(50, 90))


number = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


@settings(max_examples=120, deadline=None)
@given(
    st.lists(number, max_size=80),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30),
    st.integers(10, 200),
    st.sampled_from([0, 16, TRUECOLOR]),
    st.booleans(),
)
@example([], [2.225073858507e-311], 24, 0, False)
def test_any_numbers_make_a_chart_that_fits(history, mean, width, colors, unicode):
    term = Terminal(width, 24, colors, unicode, True, True, None)
    low = [v - abs(v) for v in mean]
    high = [v + abs(v) for v in mean]
    drawn = chart(history, {"mean": mean, "quantiles": {"0.1": low, "0.9": high}}, term)
    assert all(len(line) <= width + 8 for line in SGR.sub("", drawn).splitlines())
    assert unicode or drawn.isascii()
