"""Quantiles around a prediction.

`Band`: calibrated half-widths. That of step k at level p is K_p * k^G_p * spread_k; (K, G) at 80%
and 95% are calibrated per model and frequency class (`calibration`), and between and beyond, the
width is a power of the normal quantile through both. `DemandBand`: for intermittent demand, the
quantiles of the history. Not covered: how a method's spread grows (that is in the method).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from .calibration import CONSTANTS, DEFAULT
from .prediction import Prediction, seasonal_change

NORMAL = NormalDist()
Z80, Z95 = NORMAL.inv_cdf(0.9), NORMAL.inv_cdf(0.975)
THINNEST, FATTEST = 0.5, 2.5  # bounds of the power: 1 is the normal distribution's tails
NARROWEST = 0.1  # no standard error is below this share of the mean seasonal change


class Band:
    """The quantiles around one prediction, none below zero where `non_negative`."""

    method = "analytic growth x calibrated constants"

    def __init__(
        self,
        prediction: Prediction,
        y: Sequence[float],
        *,
        model: str,
        freq_class: str,
        season: int,
        non_negative: bool,
    ) -> None:
        floor = NARROWEST * seasonal_change(y, season)
        self.lowest = 0.0 if non_negative else -math.inf
        self.mean = [max(v, self.lowest) for v in prediction.mean]
        self.errors = [max(error, floor) for error in prediction.spread]
        self.constants = CONSTANTS.get((model, freq_class), DEFAULT)

    def quantile(self, level: float) -> list[float]:
        """The path at `level`; paths never cross, that at 0.5 is the mean."""
        if level == 0.5:
            return list(self.mean)
        side = 1.0 if level > 0.5 else -1.0
        widths = self.half_widths(abs(NORMAL.inv_cdf(level)))
        return [max(m + side * w, self.lowest) for m, w in zip(self.mean, widths, strict=True)]

    def half_widths(self, z: float) -> list[float]:
        """The distances from the mean for the normal quantile `z` > 0."""
        (k95, growth95), (k80, growth80) = self.constants
        if growth95 == growth80 == 0:
            factor = _factor(k95, k80, z)
            return [factor * error for error in self.errors]
        return [
            _factor(k95 * k**growth95, k80 * k**growth80, z) * error
            for k, error in enumerate(self.errors, 1)
        ]


class DemandBand:
    """The quantiles of an intermittent history, scaled to the forecast's rate.

    Most steps have no demand and some have much, which no band around a mean can say. A quantile
    below 0.5 is never over the mean, one above never under it, as everywhere.
    """

    method = "quantiles of the history"

    def __init__(self, prediction: Prediction, y: Sequence[float]) -> None:
        self.mean = list(prediction.mean)
        self.history = sorted(y)
        self.rate = math.fsum(y) / len(y)

    def quantile(self, level: float) -> list[float]:
        """The path at `level`; paths never cross, that at 0.5 is the mean."""
        if level == 0.5:
            return list(self.mean)
        place = level * (len(self.history) - 1)
        below = int(place)
        above = min(below + 1, len(self.history) - 1)
        low, high = self.history[below], self.history[above]
        value = (low + (place - below) * (high - low)) / self.rate if self.rate else 0.0
        bound = min if level < 0.5 else max
        return [bound(value * rate, rate) for rate in self.mean]


def _factor(at_95: float, at_80: float, z: float) -> float:
    """The half-width at `z`: at_95 * (z / Z95)^c with c such that it is at_80 at Z80.

    c is held between THINNEST and FATTEST, so that paths cannot cross where growths differ.
    """
    power = math.log(at_95 / at_80) / math.log(Z95 / Z80)
    power = min(max(power, THINNEST), FATTEST)
    factor: float = at_95 * (z / Z95) ** power
    return factor
