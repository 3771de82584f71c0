"""Bands: through the calibrated levels, ordered, never below zero where that is asked."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tollama_stats.calibration import CONSTANTS
from tollama_stats.forecast import MODELS
from tollama_stats.intermittent import METHODS
from tollama_stats.intervals import Band
from tollama_stats.prediction import Prediction


def band(model: str, freq_class: str, horizon: int, *, non_negative: bool = False) -> Band:
    return Band(
        Prediction([10.0] * horizon, [1.0] * horizon),
        [1.0, 2.0],
        model=model,
        freq_class=freq_class,
        season=1,
        non_negative=non_negative,
    )


def test_every_model_is_calibrated_for_every_class() -> None:
    calibrated = [name for name in MODELS if name not in METHODS]
    assert set(CONSTANTS) == {(name, kind) for name in calibrated for kind in "YQMWDHO"}


@pytest.mark.parametrize(("model", "freq_class"), CONSTANTS)
def test_band_goes_through_both_calibrated_levels(model: str, freq_class: str) -> None:
    found = band(model, freq_class, 6)
    for (factor, growth), level in zip(CONSTANTS[model, freq_class], (0.975, 0.9), strict=True):
        expected = [10 + factor * k**growth for k in range(1, 7)]
        assert found.quantile(level) == pytest.approx(expected)
        assert found.quantile(1 - level) == pytest.approx([20 - v for v in expected])


@pytest.mark.parametrize(("model", "freq_class"), CONSTANTS)
def test_paths_do_not_cross_at_any_horizon(model: str, freq_class: str) -> None:
    found = band(model, freq_class, 2000)
    paths = [found.quantile(level) for level in (0.001, 0.1, 0.4, 0.5, 0.6, 0.9, 0.95, 0.999)]
    for lower, higher in pairwise(paths):
        assert all(map(float.__lt__, lower, higher))


def test_band_is_cut_at_zero() -> None:
    found = band("theta", "Y", 50, non_negative=True)
    assert min(found.quantile(0.001)) == 0.0
    assert min(band("theta", "Y", 50).quantile(0.001)) < 0
