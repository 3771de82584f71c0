"""Tests, shapes and detection of seasons."""

from __future__ import annotations

import math
import random

import pytest

from tollama_stats.seasonality import (
    adjust,
    centred_moving_average,
    detect_season,
    is_cycle,
    is_seasonal,
    seasonal_indices,
    seasonal_means_differ,
    shows_season,
)


def wave(season: int, n: int, *, trend: float = 0.0) -> list[float]:
    return [100 + trend * t + 10 * math.sin(2 * math.pi * t / season) for t in range(n)]


def walk(n: int, seed: int) -> list[float]:
    rng, y = random.Random(seed), [0.0]
    for _ in range(n - 1):
        y.append(y[-1] + rng.gauss(0, 1))
    return y


@pytest.mark.parametrize("season", [2, 3, 4, 7, 12, 24])
def test_moving_average_equals_its_definition(season: int) -> None:
    rng = random.Random(season)
    y = [rng.random() for _ in range(5 * season + 1)]
    half = season // 2
    weights = [1.0] * season if season % 2 else [0.5, *[1.0] * (season - 1), 0.5]
    expected = [
        sum(w * v for w, v in zip(weights, y[t - half :], strict=False)) / season
        for t in range(half, len(y) - half)
    ]
    assert centred_moving_average(y, season) == pytest.approx(expected)


def test_indices_of_a_linear_trend_times_a_season_are_the_season() -> None:
    season = [0.8, 1.1, 1.3, 0.8]
    y = [season[t % 4] * 50 for t in range(24)]
    assert seasonal_indices(y, 4, multiplicative=True) == pytest.approx(season)
    y = [season[t % 4] + 3 * t for t in range(24)]
    assert seasonal_indices(y, 4, multiplicative=False) == pytest.approx([v - 1 for v in season])


def test_adjustment_puts_back_what_it_took() -> None:
    y = wave(12, 60)
    adjusted = adjust(y, 12, 12)
    assert adjusted.kind == "multiplicative"
    again, _ = adjusted.restore([100.0] * 12, [1.0] * 12)
    assert again == pytest.approx(wave(12, 72)[60:], rel=0.02)


def test_adjustment_of_negative_values_is_additive() -> None:
    assert adjust([v - 100 for v in wave(12, 60)], 12, 12).kind == "additive"


def test_season_needs_three_cycles() -> None:
    month = [9, 8, 9, 9, 10, 9, 8, 9, 9, 10, 9, 30]
    assert is_seasonal(month * 3, 12)
    assert not is_seasonal((month * 3)[1:], 12)
    assert not is_seasonal([5.0] * 40, 4)


def test_long_season_is_seldom_seen_in_random_walks() -> None:
    walks = [walk(600, seed) for seed in range(60)]
    assert sum(is_seasonal(y, 52) for y in walks) > 10
    assert sum(is_cycle(y, 52) for y in walks) <= 4
    assert is_cycle(wave(52, 300), 52)


@pytest.mark.parametrize("season", [4, 7, 12, 24, 52])
def test_detection_finds_the_season_of_a_noisy_wave(season: int) -> None:
    rng = random.Random(season)
    y = [v + rng.gauss(0, 3) for v in wave(season, 6 * season + 40, trend=0.2)]
    assert detect_season(y) == season


def test_detection_finds_nothing_in_random_walks_and_noise() -> None:
    found = [detect_season(walk(n, seed)) for seed in range(40) for n in (20, 60, 200)]
    rng = random.Random(1)
    found += [detect_season([rng.gauss(0, 1) for _ in range(100)]) for _ in range(40)]
    assert sum(season > 1 for season in found) <= 3


def test_analysis_of_variance_equals_scipys() -> None:
    # scipy.stats.f_oneway of the detrended values, then norm.isf of its p-value: 0.7869
    y = [3.0, 5.0, 2.0, 9.0, 4.0, 4.0, 3.0, 8.0, 6.0, 5.0, 7.0, 6.0, 5.0, 9.0, 4.0, 8.0]
    assert seasonal_means_differ(y, 4) == pytest.approx(0.7869, abs=0.02)


def test_three_years_with_a_plain_season_show_it() -> None:
    rng = random.Random(4)
    y = [v + rng.gauss(0, 2) for v in wave(12, 36, trend=0.5)]
    assert not is_seasonal(y, 12)
    assert shows_season(y, 12)
    assert detect_season(y) == 12


def test_means_seldom_differ_without_a_season() -> None:
    assert sum(seasonal_means_differ(walk(60, seed), 12) > 2.326 for seed in range(200)) <= 20
    noise = [[random.Random(seed).gauss(0, 1) for _ in range(60)] for seed in range(200)]
    assert sum(seasonal_means_differ(y, 4) > 2.326 for y in noise) <= 10


def test_means_of_flat_or_short_data_do_not_differ() -> None:
    assert seasonal_means_differ([1.0] * 40, 12) == 0
    assert seasonal_means_differ([1.0, 2.0] * 3, 12) == 0
    assert seasonal_means_differ([1.0, 2.0, 5.0] * 12, 3) > 5
