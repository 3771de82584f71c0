"""What every method returns, and the small arithmetic that methods share.

Sums are exactly rounded (math.fsum), so that every version of Python gives the same digits. Not
covered: intervals. A method says how uncertain each step is *relative to the others* (its
spread); the levels are calibrated in `intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LARGEST_LOG = 230.0  # of a forecast; its square is still a float


class Prediction(NamedTuple):
    """A point forecast and the standard error of each step, both `horizon` long."""

    mean: list[float]
    spread: list[float]


class Line(NamedTuple):
    """A straight line; `intercept` is its value at time 0, the first observation is at time 1."""

    intercept: float
    slope: float

    def at(self, time: float) -> float:
        """The line's value at `time`."""
        return self.intercept + self.slope * time


def least_squares_line(y: Sequence[float]) -> Line:
    """The least squares line through y_1 .. y_n at times 1 .. n."""
    n = len(y)
    centre = (n + 1) / 2
    average = math.fsum(y) / n
    if n == 1:
        return Line(average, 0.0)
    slope = math.fsum((t - centre) * v for t, v in enumerate(y, 1)) / (n * (n * n - 1) / 12)
    return Line(average - slope * centre, slope)


def root_mean_square(values: Iterable[float], count: int) -> float:
    """The root of the sum of squares over `count`, at least one."""
    return math.sqrt(math.fsum(v * v for v in values) / max(count, 1))


def seasonal_change(y: Sequence[float], season: int) -> float:
    """The mean absolute seasonal difference, MASE's scale (Hyndman and Koehler 2006)."""
    lag = season if len(y) > season else 1
    return math.fsum(map(abs, map(float.__sub__, y[lag:], y[:-lag]))) / max(len(y) - lag, 1)


def logs_are_sensible(y: Sequence[float]) -> bool:
    """Whether a method may work on log y: positive, and within six orders of magnitude."""
    smallest = min(y)
    return smallest > 0 and max(y) < 1e6 * smallest


def exponentials(prediction: Prediction) -> Prediction:
    """A prediction of log y as one of y: the median, and the spread by the delta method."""
    mean = [math.exp(min(v, LARGEST_LOG)) for v in prediction.mean]
    spread = [min(s, 3.0) * v for s, v in zip(prediction.spread, mean, strict=True)]
    return Prediction(mean, spread)


def average(predictions: Sequence[Prediction], weights: Sequence[float]) -> Prediction:
    """The weighted mean of predictions; spreads are averaged as they are (errors move together)."""
    total = math.fsum(weights)
    shares = [w / total for w in weights]
    return Prediction(
        _mix([p.mean for p in predictions], shares), _mix([p.spread for p in predictions], shares)
    )


def _mix(rows: Sequence[Sequence[float]], shares: Sequence[float]) -> list[float]:
    mixed = [shares[0] * v for v in rows[0]]
    for share, row in zip(shares[1:], rows[1:], strict=True):
        if share:
            mixed = [m + share * v for m, v in zip(mixed, row, strict=True)]
    return mixed
