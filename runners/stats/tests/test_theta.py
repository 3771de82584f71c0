"""The Theta family against its definitions, and the Box-Cox transform."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tollama_stats import boxcox
from tollama_stats.naive import drift
from tollama_stats.smoothing import best_alpha, fit_level
from tollama_stats.theta import (
    box_cox_theta,
    dynamic_lines,
    dynamic_optimised_theta,
    fit_dynamic,
    theta,
)


def trending(n: int, seed: int = 2) -> list[float]:
    rng = random.Random(seed)
    return [50 + 0.8 * t + rng.gauss(0, 3) for t in range(n)]


def test_theta_is_the_mean_of_its_two_lines() -> None:
    y = trending(40)
    times = np.arange(1, 41)
    slope, intercept = np.polyfit(times, y, 1)
    doubled = list(2 * np.array(y) - (intercept + slope * times))
    level = fit_level(doubled, best_alpha(doubled)).last
    expected = (level + intercept + slope * np.arange(41, 47)) / 2
    assert theta(y, 6).mean == pytest.approx(list(expected))


def test_dynamic_lines_are_least_squares_lines() -> None:
    y = trending(25)
    for t, line in enumerate(dynamic_lines(y), 1):
        if t >= 2:
            slope, intercept = np.polyfit(np.arange(1, t + 1), y[:t], 1)
            assert (line.intercept, line.slope) == pytest.approx((intercept, slope))


def state_space(y: list[float], alpha: float, weight: float, level: float, horizon: int):
    """The model as published: squared errors after the third step, and forecasts."""
    lines, squares = dynamic_lines(y), 0.0
    line = lines[0]

    def mu(t: int) -> float:
        decay = (1 - alpha) ** (t - 1)
        pull = decay * line.intercept + (1 - (1 - alpha) ** t) / alpha * line.slope
        return level + weight * pull

    for t, v in enumerate(y, 1):
        if t > 3:
            squares += (v - mu(t)) ** 2
        level = alpha * v + (1 - alpha) * level
        line = lines[t - 1]
    forecasts = []
    for t in range(len(y) + 1, len(y) + 1 + horizon):
        forecasts.append(mu(t))
        level = alpha * forecasts[-1] + (1 - alpha) * level
    return squares, forecasts


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_dynamic_fit_is_the_best_start_and_weight(alpha: float) -> None:
    y = trending(30)
    fit = fit_dynamic(y, dynamic_lines(y), alpha)
    initial = (fit.level - state_level(y, alpha)) / fit.decay
    squares, _ = state_space(y, alpha, fit.weight, initial, 1)
    assert fit.sse == pytest.approx(squares, rel=1e-6)
    for other in (fit.weight - 0.05, fit.weight + 0.05):
        if 0 <= other <= 0.99:
            assert squares <= state_space(y, alpha, other, initial, 1)[0] + 1e-9


def state_level(y: list[float], alpha: float) -> float:
    """The level after y from a level of zero."""
    level = 0.0
    for v in y:
        level = alpha * v + (1 - alpha) * level
    return level


def test_dynamic_theta_follows_a_trend_between_flat_and_its_line() -> None:
    y = trending(60)
    found = dynamic_optimised_theta(y, 10).mean
    assert found[0] < found[-1] < drift(y, 10).mean[-1] + 5


@pytest.mark.parametrize("power", boxcox.POWERS)
def test_box_cox_goes_there_and_back(power: float) -> None:
    y = [0.5, 1.0, 7.0, 300.0]
    assert boxcox.invert(boxcox.transform(y, power), power) == pytest.approx(y)


def test_box_cox_power_is_log_for_exponential_growth_and_one_without_positive_values() -> None:
    rng = random.Random(3)
    growth = [2.0 * 1.1**t * (1 + rng.gauss(0, 0.05)) for t in range(50)]
    assert boxcox.best_power(growth) == 0.0
    assert boxcox.best_power([0.0, 1.0, 2.0]) == 1.0
    grown = box_cox_theta(growth, 12).mean
    assert grown[-1] > 1.5 * growth[-1]
