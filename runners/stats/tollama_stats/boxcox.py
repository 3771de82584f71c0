"""The Box-Cox transform (Box and Cox 1964, equation 1) and the choice of its power.

Not covered: shifts for data at or below zero (the power is then 1, no transform).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

from .prediction import LARGEST_LOG, logs_are_sensible

POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)


def transform(y: Sequence[float], power: float) -> list[float]:
    """(y^power - 1) / power, or log y at power 0."""
    if power == 0:
        return list(map(math.log, y))
    return [(v**power - 1) / power for v in y]


def invert(z: Sequence[float], power: float) -> list[float]:
    """The y of each transformed value; values below the transform's range become 0."""
    if power == 0:
        return [math.exp(min(v, LARGEST_LOG)) for v in z]
    return [max(power * v + 1, 0.0) ** (1 / power) for v in z]


def best_power(y: Sequence[float]) -> float:
    """The power with the largest profile likelihood of a linear trend (1964, equation 8)."""
    if not logs_are_sensible(y):
        return 1.0
    n = len(y)
    times = [t - (n + 1) / 2 for t in range(1, n + 1)]
    times_squared = n * (n * n - 1) / 12
    log_jacobian = math.fsum(map(math.log, y))

    def log_likelihood(power: float) -> float:
        z = transform(y, power)
        centre = math.fsum(z) / n
        z = [v - centre for v in z]
        along = math.fsum(map(mul, times, z))
        sse = math.fsum(map(mul, z, z)) - along * along / times_squared
        return -n / 2 * math.log(max(sse, 0.0) / n + 1e-300) + (power - 1) * log_jacobian

    return max(POWERS, key=log_likelihood)
