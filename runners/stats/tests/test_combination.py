"""What `auto` chooses, and how it says so."""

from __future__ import annotations

import math
import random

import pytest

from tollama_stats.combination import estimation_error
from tollama_stats.components import SLOTS
from tollama_stats.features import NAMES
from tollama_stats.forecast import forecast, interval_class
from tollama_stats.weight_table import TABLE


def monthly(n: int, seed: int = 6) -> list[float]:
    rng = random.Random(seed)
    return [(200 + t) * (1 + 0.2 * math.sin(math.pi * t / 6)) + rng.gauss(0, 4) for t in range(n)]


def hourly(n: int, seed: int = 7) -> list[float]:
    rng = random.Random(seed)
    return [
        100 + 30 * math.sin(2 * math.pi * t / 24) - (25 if t // 24 % 7 > 4 else 0) + rng.gauss(0, 2)
        for t in range(n)
    ]


def mean_error(found: list[float], expected: list[float]) -> float:
    return sum(map(abs, map(float.__sub__, found, expected))) / len(found)


def test_table_has_a_row_for_each_feature_and_a_column_for_each_slot() -> None:
    assert [row[0] for row in TABLE] == [*NAMES, "constant"]
    assert {len(row[3]) for row in TABLE} == {len(SLOTS)}


def test_months_are_combined_with_weights_that_sum_to_one() -> None:
    y = monthly(132)
    found = forecast("auto", y[:120], 12, season_length=12, freq_class="M")
    weights = found.usage["components"]
    assert found.usage["season_length"] == 12
    assert set(weights) == set(SLOTS)
    assert sum(weights.values()) == pytest.approx(1, abs=0.01)
    assert mean_error(found.mean, y[120:]) < 8


@pytest.mark.parametrize(
    ("freq_class", "season", "y"),
    [
        ("M", 12, monthly(100)),
        ("Q", 4, monthly(40)),
        ("Y", 1, monthly(30)),
        ("H", 24, hourly(700)),
        (None, 1, monthly(60)),
    ],
)
def test_longer_horizon_begins_with_the_shorter_ones_forecast(
    freq_class: str | None, season: int, y: list[float]
) -> None:
    short = forecast("auto", y, 3, season_length=season, freq_class=freq_class, quantiles=(0.9,))
    long = forecast("auto", y, 40, season_length=season, freq_class=freq_class, quantiles=(0.9,))
    assert long.mean[:3] == short.mean
    assert long.quantiles[0.9][:3] == short.quantiles[0.9]


def test_hours_have_a_day_and_a_week() -> None:
    y = hourly(168 * 5 + 48)
    found = forecast("auto", y[:-48], 48, season_length=24, freq_class="H")
    assert found.usage["season_length"] == [24, 168]
    assert mean_error(found.mean, y[-48:]) < 4


def test_hours_without_a_week_of_history_have_a_day() -> None:
    found = forecast("auto", hourly(120), 24, season_length=24, freq_class="H")
    assert found.usage["season_length"] == 24


def test_list_of_seasons_is_taken_as_it_is() -> None:
    y = hourly(840)
    one = forecast("auto", y, 5, freq_class="H", options={"season_length": [24]})
    two = forecast("auto", y, 5, options={"season_length": [168, 24]})
    assert one.usage["season_length"] == 24
    assert two.usage["season_length"] == [24, 168]


def test_weeks_have_a_year_and_random_walks_have_none() -> None:
    rng = random.Random(8)
    y = [500 + 60 * math.sin(2 * math.pi * t / 52) + rng.gauss(0, 5) for t in range(313)]
    found = forecast("auto", y[:300], 13, season_length=52, freq_class="W")
    assert found.usage["season_length"] == 52
    assert mean_error(found.mean, y[300:]) < 12
    walk = [100.0]
    for _ in range(300):
        walk.append(walk[-1] + rng.gauss(0, 1))
    found = forecast("auto", walk, 13, season_length=52, freq_class="W")
    assert found.usage["season_length"] == 1


def test_few_observations_widen_the_intervals_and_many_do_not() -> None:
    assert estimation_error(10, 1, 2) == pytest.approx(
        [math.sqrt(13 / 7 * 1.1), math.sqrt(13 / 7 * 1.2)]
    )
    assert estimation_error(7, 12, 1) == pytest.approx([math.sqrt(10.5 / 3.5 * 8 / 7)])
    assert estimation_error(100_000, 12, 1)[0] < 1.001


def test_cycle_that_is_not_found_takes_the_intervals_of_days() -> None:
    assert interval_class("auto", "H", []) == interval_class("auto", "W", []) == "D"
    assert interval_class("auto", "H", [24]) == "H"
    assert interval_class("naive", "W", []) == "W"
    assert interval_class("auto", None, []) == interval_class("auto", None, [7]) == "O"
    assert [interval_class("auto", None, [m]) for m in (4, 12, 24)] == ["Q", "M", "H"]


@pytest.mark.parametrize(("freq_class", "season"), [("H", 24), ("W", 52), ("D", 7), (None, 1)])
def test_intervals_hold_random_walks(freq_class: str | None, season: int) -> None:
    rng = random.Random(9)
    inside = 0
    for _ in range(100):
        y = [100.0]
        for _ in range(129):
            y.append(y[-1] + rng.gauss(0, 1))
        found = forecast(
            "auto",
            y[:120],
            10,
            quantiles=(0.025, 0.975),
            season_length=season,
            freq_class=freq_class,
        )
        low, high = found.quantiles[0.025], found.quantiles[0.975]
        inside += sum(a <= v <= b for a, v, b in zip(low, y[120:], high, strict=True))
    assert 900 <= inside <= 990


def test_season_is_detected_when_the_frequency_is_not_known() -> None:
    y = monthly(132)
    found = forecast("auto", y[:120], 12)
    assert found.usage["season_length"] == 12
    assert found.usage["season_detected"] is True
    assert mean_error(found.mean, y[120:]) < 8


def test_short_history_says_that_it_shows_no_season() -> None:
    found = forecast("auto", monthly(20), 12, season_length=12, freq_class="M")
    assert found.warnings == ["fewer than 3 seasons of 12 observations: used no seasonal pattern"]


def test_non_negative_option_overrules_the_data() -> None:
    falling = [100.0 - 3 * t for t in range(32)]
    cut = forecast("drift", falling, 12, freq_class="Y")
    free = forecast("drift", falling, 12, freq_class="Y", options={"non_negative": False})
    assert min(cut.mean) == 0
    assert min(free.mean) < 0
    signed = [v - 50 for v in falling]
    held = forecast("drift", signed, 3, freq_class="Y", options={"non_negative": True})
    assert held.mean == [0.0] * 3
