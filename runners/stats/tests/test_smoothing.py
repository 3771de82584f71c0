"""Exponential smoothing against recursions written out plainly."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tollama_stats.holt_winters import initial_state, smooth
from tollama_stats.smoothing import best_alpha, damped, fit_level, fit_trend, holt, ses


def noisy(n: int, seed: int = 1) -> list[float]:
    rng, level, y = random.Random(seed), 10.0, []
    for _ in range(n):
        level += 0.3 + rng.gauss(0, 0.5)
        y.append(level + rng.gauss(0, 1))
    return y


def errors(y: list[float], alpha: float, beta: float, phi: float, level: float, slope: float):
    """The one-step errors of Holt's recursion and its last state."""
    found = []
    for v in y:
        forecast = level + phi * slope
        error = v - forecast
        found.append(error)
        level, slope = forecast + alpha * error, phi * slope + alpha * beta * error
    return np.array(found), level, slope


@pytest.mark.parametrize("alpha", [0.05, 0.4, 0.95])
def test_level_has_the_least_squares_start(alpha: float) -> None:
    y = noisy(40)

    def sse(start: float) -> float:
        return float((errors(y, alpha, 0, 0, start, 0)[0] ** 2).sum())

    fit = fit_level(y, alpha)
    assert fit.sse == pytest.approx(sse(fit.initial))
    assert fit.sse <= min(sse(fit.initial + d) for d in (-0.5, 0.5))
    assert fit.last == pytest.approx(errors(y, alpha, 0, 0, fit.initial, 0)[1])


@pytest.mark.parametrize("phi", [1.0, 0.9])
@pytest.mark.parametrize("alpha", [0.2, 0.8])
def test_trend_has_the_least_squares_start(alpha: float, phi: float) -> None:
    y, beta = noisy(50), 0.3
    base = errors(y, alpha, beta, phi, 0, 0)[0]
    design = np.column_stack(
        [errors(y, alpha, beta, phi, *start)[0] - base for start in ((1, 0), (0, 1))]
    )
    start, *_ = np.linalg.lstsq(design, -base, rcond=None)
    expected, level, slope = errors(y, alpha, beta, phi, *start)
    fit = fit_trend(y, alpha, beta, phi)
    assert fit.sse == pytest.approx(float((expected**2).sum()))
    assert (fit.level, fit.slope) == pytest.approx((level, slope))


def test_alpha_is_the_best_of_a_fine_grid() -> None:
    y = noisy(80)
    grid = [k / 200 for k in range(1, 200)]
    best = min(fit_level(y, alpha).sse for alpha in grid)
    assert fit_level(y, best_alpha(y)).sse <= best * 1.001


def test_ses_is_flat_and_its_errors_grow() -> None:
    found = ses(noisy(30), 5)
    assert len(set(found.mean)) == 1
    assert found.spread == sorted(found.spread)


def test_holt_follows_a_line_and_damped_bends_below_it() -> None:
    y = [3.0 + 2 * t for t in range(30)]
    expected = [3.0 + 2 * t for t in range(30, 36)]
    assert holt(y, 6).mean == pytest.approx(expected, rel=1e-6)
    assert all(d < e for d, e in zip(damped(y, 6).mean, expected, strict=True))


def test_holt_winters_recursion_is_its_definition() -> None:
    y = [v + (5, -3, 1, -3)[t % 4] for t, v in enumerate(noisy(40))]
    start = initial_state(y, 4)
    alpha, beta, gamma, phi = 0.3, 0.2, 0.4, 0.9
    level, slope, seasons = start.level, start.slope, list(start.indices)
    squares = 0.0
    for t, v in enumerate(y):
        error = v - (level + phi * slope + seasons[t])
        squares += error**2
        level, slope = level + phi * slope + alpha * error, phi * slope + alpha * beta * error
        seasons.append(seasons[t] + gamma * (1 - alpha) * error)
    state, found = smooth(y, start, alpha, beta, gamma, phi)
    assert found == pytest.approx(squares)
    assert (state.level, state.slope) == pytest.approx((level, slope))
    assert [state.indices[t % 4] for t in range(40, 44)] == pytest.approx(seasons[40:44])
