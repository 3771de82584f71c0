"""What the learned weights know of a series: numbers that describe it, free of its unit.

Changes are measured in mean absolute changes of the seasonally adjusted series, forecasts over a
fixed number of steps, so that weights depend on the series alone and a longer horizon begins with
the shorter one's forecast. Not covered: how the numbers become weights (`weights`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul
from statistics import fmean

from .components import BASE, SLOTS, Components
from .prediction import least_squares_line

STEPS = {"Y": 6, "Q": 8, "M": 18, "O": 8}  # the fixed number of steps by class
NAMES = (
    "length",
    "seasonal",
    "linearity",
    "line slope",
    "drift slope",
    "last change",
    "last 4 changes",
    "last changes",
    "autocorrelation of changes at 1",
    "autocorrelation of changes at 2",
    "autocorrelation at 1",
    "relative size of changes",
    "recent size of changes",
    "largest change",
    "seasonal changes",
    "disagreement",
    *(f"{name} above the mean" for name in SLOTS if name != "log-dotm"),
    "last residual",
    "distance from the highest",
    "seasonal share",
    "yearly",
    "quarterly",
    "monthly",
    "quarterly and seasonal",
    "monthly and seasonal",
)


def features(y: Sequence[float], found: Components, kind: str) -> list[float]:
    """The numbers of NAMES for a series of class `kind` (Y, Q, M or O)."""
    a = found.adjustment.values
    n, steps, season = len(a), STEPS[kind], found.season
    seasonal = season > 1
    changes = list(map(float.__sub__, a[1:], a[:-1]))
    sizes = list(map(abs, changes))
    unit = fmean(sizes) + 1e-12
    line = least_squares_line(a)
    residuals = [v - line.at(t) for t, v in enumerate(a, 1)]
    spread = max(a) - min(a) + 1e-12
    lag = season if n > season else 1
    seasonal_change = fmean(map(abs, map(float.__sub__, y[lag:], y[:-lag])))

    ahead = {name: fmean(found.parts[name].mean[:steps]) for name in SLOTS}
    paths = [found.parts[name].mean[:steps] for name in BASE]
    middle = [fmean(values) for values in zip(*paths, strict=True)]
    centre = fmean(middle)
    disagreement = fmean(abs(v - m) for path in paths for v, m in zip(path, middle, strict=True))
    return [
        math.log(n),
        float(seasonal),
        1 - _variance(residuals) / (_variance(a) + 1e-12),
        line.slope * steps / unit,
        (a[-1] - a[0]) / (n - 1) / unit,
        changes[-1] / unit,
        fmean(changes[-4:]) / unit,
        fmean(changes[-steps:]) / unit,
        _autocorrelation(changes, 1),
        _autocorrelation(changes, 2),
        _autocorrelation(a, 1),
        unit / (fmean(map(abs, a)) + 1e-12),
        math.log((fmean(sizes[-max(3, n // 3) :]) + 1e-12) / unit),
        max(sizes) / unit,
        seasonal_change / unit,
        disagreement / unit,
        *((ahead[name] - centre) / unit for name in SLOTS if name != "log-dotm"),
        residuals[-1] / unit,
        (max(a) - a[-1]) / spread,
        1 - _variance(a[season:]) / (_variance(y[season:]) + 1e-12) if seasonal else 0.0,
        float(kind == "Y"),
        float(kind == "Q"),
        float(kind == "M"),
        float(kind == "Q" and seasonal),
        float(kind == "M" and seasonal),
    ]


def _variance(values: Sequence[float]) -> float:
    centre = math.fsum(values) / len(values)
    return math.fsum((v - centre) ** 2 for v in values) / len(values)


def _autocorrelation(values: Sequence[float], lag: int) -> float:
    centre = math.fsum(values) / len(values)
    deviations = [v - centre for v in values]
    total = math.fsum(map(mul, deviations, deviations))
    return math.fsum(map(mul, deviations[lag:], deviations)) / total if total > 0 else 0.0
