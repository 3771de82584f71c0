"""A target as the methods need it: no gaps, finite floats of ordinary size, the unknown end cut
off.

Missing values inside are interpolated: linearly, and for seasonal series linearly between the
seasonally adjusted neighbours. Leading ones are dropped; trailing ones become extra steps to
forecast and throw away. Values are scaled by a power of two, which is exact, so 1e300 and 1e-300
behave as 1 does. Not covered: outliers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .seasonality import seasonal_indices

LARGEST = 1.7976931348623157e308
Target = Sequence[float | int | None]


class History(NamedTuple):
    """The cleaned series: true value = `values` * 2 ** `exponent`."""

    values: list[float]
    exponent: int
    trailing: int  # missing values at the end
    filled: int  # missing values inside

    def restore(self, scaled: Sequence[float]) -> list[float]:
        """Scaled numbers in the target's own size, held inside the range of a float."""
        if not self.exponent:
            return list(scaled)
        return [_times_power_of_two(v, self.exponent) for v in scaled]


def clean(target: Target, season: int) -> History | None:
    """The history in `target`; None when every value is missing."""
    known = [t for t, v in enumerate(target) if v is not None]
    if not known:
        return None
    inner = [None if v is None else _to_float(v) for v in target[known[0] : known[-1] + 1]]
    largest = max(abs(v) for v in inner if v is not None)
    exponent = math.frexp(largest)[1] if largest else 0
    # Two steps: 2.0 ** -exponent alone overflows for the smallest numbers.
    scaled = [None if v is None else math.ldexp(v, -exponent) for v in inner]
    filled = len(scaled) - len(known)
    return History(_interpolate(scaled, season), exponent, len(target) - 1 - known[-1], filled)


def _interpolate(values: list[float | None], season: int) -> list[float]:
    if None not in values:
        return values  # type: ignore[return-value]
    linear = _linear(values)
    if season < 2 or len(values) < 3 * season:
        return linear
    indices = seasonal_indices(linear, season, multiplicative=False)
    adjusted = [None if v is None else v - indices[t % season] for t, v in enumerate(values)]
    filled = [v + indices[t % season] for t, v in enumerate(_linear(adjusted))]
    low = min(v for v in values if v is not None)
    high = max(v for v in values if v is not None)
    return [
        min(max(guess, low), high) if v is None else v
        for v, guess in zip(values, filled, strict=True)
    ]


def _linear(values: Sequence[float | None]) -> list[float]:
    """Gaps between known values on the straight line between them; both ends are known."""
    filled: list[float] = []
    gap = 0
    for v in values:
        if v is None:
            gap += 1
            continue
        if gap:
            left = filled[-1]
            step = (v - left) / (gap + 1)
            filled += [left + step * k for k in range(1, gap + 1)]
            gap = 0
        filled.append(v)
    return filled


def _to_float(value: float | int) -> float:
    try:
        return float(value)
    except OverflowError:
        return LARGEST if value > 0 else -LARGEST


def _times_power_of_two(value: float, exponent: int) -> float:
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return LARGEST if value > 0 else -LARGEST
