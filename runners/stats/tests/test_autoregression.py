"""Burg's method, and forecasts on differences."""

from __future__ import annotations

import math
import random

import pytest

from tollama_stats.autoregression import autoregression, burg


def process(coefficients: list[float], n: int, seed: int = 4) -> list[float]:
    rng, x = random.Random(seed), [0.0] * len(coefficients)
    for _ in range(n + 100):
        x.append(sum(c * v for c, v in zip(coefficients, x[::-1], strict=False)) + rng.gauss(0, 1))
    return x[-n:]


def test_burg_recovers_a_process() -> None:
    found = burg(process([1.2, -0.5], 4000), 6)
    assert found.coefficients[:2] == pytest.approx([1.2, -0.5], abs=0.05)
    assert found.variance == pytest.approx(1.0, abs=0.06)


def test_burg_chooses_no_order_for_noise() -> None:
    assert len(burg(process([0.0], 500), 8).coefficients) <= 1


def test_autoregression_repeats_a_season() -> None:
    y = [100 + 10 * math.sin(2 * math.pi * t / 12) for t in range(72)]
    expected = [100 + 10 * math.sin(2 * math.pi * t / 12) for t in range(72, 96)]
    assert autoregression(y, 24, 12).mean == pytest.approx(expected, abs=0.5)


def test_autoregression_errors_grow_as_a_random_walk_of_noise_differences() -> None:
    rng, y = random.Random(5), [100.0]
    for _ in range(400):
        y.append(y[-1] + rng.gauss(0, 0.1))
    spread = autoregression(y, 16, 1).spread
    assert spread[0] == pytest.approx(0.1, rel=0.15)
    assert spread[15] == pytest.approx(4 * spread[0], rel=0.2)


def test_autoregression_keeps_to_its_drift_share() -> None:
    rng, y = random.Random(6), [100.0]
    for _ in range(80):
        y.append(y[-1] * (1.01 + rng.gauss(0, 0.02)))
    paths = [autoregression(y, 24, 1, drift_share=share).mean for share in (0.0, 0.5, 1.0)]
    assert paths[0][-1] < paths[1][-1] < paths[2][-1]
