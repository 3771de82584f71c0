"""Quantiles from a prediction: calibrated half-widths around the mean.

The half-width of step k at level p is K_p * k^G_p * spread_k. (K, G) at 80% and 95% are calibrated per model
and frequency class (`calibration`); between and beyond, the width is a power of the normal quantile through
both. Not covered: which model, how its spread grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

from .calibration import CONSTANTS, DEFAULT
from .prediction import Prediction

NORMAL = NormalDist()
Z80, Z95 = NORMAL.inv_cdf(0.9), NORMAL.inv_cdf(0.975)
STEEPEST, FLATTEST = (
    2.0,
    0.5,
)  # bounds of the power: 1 is the normal distribution, more has fatter tails


def half_widths(
    spread: Sequence[float], tail: float, *, model: str, freq_class: str, floor: float
) -> list[float]:
    """The distances from the mean of the quantiles `tail` and 1 - `tail`, for 0 < tail < 0.5."""
    import math

    z = -NORMAL.inv_cdf(tail)
    (k95, g95), (k80, g80) = CONSTANTS.get((model, freq_class), DEFAULT)
    widths = []
    for k, error in enumerate(spread, 1):
        at_80 = k80 * k**g80
        at_95 = k95 * k**g95
        power = math.log(at_95 / at_80) / math.log(Z95 / Z80)
        power = min(max(power, FLATTEST), STEEPEST)
        anchor, z_anchor = (at_80, Z80) if z < (Z80 + Z95) / 2 else (at_95, Z95)
        widths.append(anchor * (z / z_anchor) ** power * max(error, floor))
    return widths


def quantiles(
    prediction: Prediction,
    levels: Sequence[float],
    *,
    model: str,
    freq_class: str,
    floor: float,
    non_negative: bool,
) -> dict[float, list[float]]:
    """Each level's path; never crossing, the level 0.5 is the mean."""
    answer = {}
    for level in levels:
        if level == 0.5:
            path = list(prediction.mean)
        else:
            side = 1.0 if level > 0.5 else -1.0
            widths = half_widths(
                prediction.spread,
                min(level, 1 - level),
                model=model,
                freq_class=freq_class,
                floor=floor,
            )
            path = [m + side * w for m, w in zip(prediction.mean, widths, strict=True)]
        answer[level] = [max(v, 0.0) for v in path] if non_negative else path
    return answer
