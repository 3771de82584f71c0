"""Autoregression on (seasonal) differences, fitted by Burg's method, its order chosen by AICc.

Burg (1975); the recursion as in Brockwell and Davis (2016), section 5.1.2; AICc from Hurvich and
Tsai (1989). Burg's estimate is always stationary, so a forecast cannot explode. Not covered: moving
averages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul
from typing import NamedTuple

from .prediction import Prediction, exponentials, logs_are_sensible

LONGEST = 30  # the highest order
SHORT_SEASON = 24  # up to here the order may reach over one season


class Autoregression(NamedTuple):
    """x_t = sum_i coefficients[i] x_{t-1-i} + e_t, with the variance of e."""

    coefficients: list[float]
    variance: float


def burg(x: Sequence[float], longest: int) -> Autoregression:
    """The autoregression of order 0 .. `longest` with the least AICc."""
    n = len(x)
    forward, backward = list(x[1:]), list(x[:-1])
    variance = math.fsum(map(mul, x, x)) / n
    coefficients: list[float] = []
    best = (_aicc(variance, n, 0), Autoregression([], variance))
    for order in range(1, longest + 1):
        energy = math.fsum(map(mul, forward, forward)) + math.fsum(map(mul, backward, backward))
        if energy <= 0 or variance <= 0:
            break
        reflection = 2 * math.fsum(map(mul, forward, backward)) / energy
        coefficients = [
            a - reflection * b for a, b in zip(coefficients, reversed(coefficients), strict=True)
        ]
        coefficients.append(reflection)
        variance *= 1 - reflection * reflection
        if variance <= 0:
            break
        best = min(best, (_aicc(variance, n, order), Autoregression(coefficients, variance)))
        forward, backward = (
            [f - reflection * b for f, b in zip(forward, backward, strict=True)][1:],
            [b - reflection * f for f, b in zip(forward, backward, strict=True)][:-1],
        )
    return best[1]


class Differenced(NamedTuple):
    """An autoregression of the differences at lag `season`, with their mean change a step."""

    season: int
    drift: float
    model: Autoregression
    observations: int

    def extend(self, z: Sequence[float], horizon: int) -> list[float]:
        """The `horizon` values after z; z has a season and the model's order of observations."""
        order = len(self.model.coefficients)
        recent = z[-self.season - order :]
        x = [b - a - self.drift for a, b in zip(recent, recent[self.season :], strict=False)]
        path = list(z[-self.season :])
        for k, step in enumerate(_iterate(self.model.coefficients, x, horizon)):
            path.append(path[k] + step + self.drift)
        return path[self.season :]


def fit_differences(
    z: Sequence[float], season: int, *, drift_share: float | None = None
) -> Differenced:
    """The model of z_t - z_{t-season}, which needs `season` + 8 observations.

    The mean difference is shrunk to `drift_share` of it; by default half, or 0.7 for a long
    non-seasonal series.
    """
    differences = list(map(float.__sub__, z[season:], z[:-season]))
    n = len(differences)
    if drift_share is None:
        drift_share = 0.7 if season == 1 and n >= 30 else 0.5
    drift = drift_share * math.fsum(differences) / n
    reach = max(season + 1, 6) if season <= SHORT_SEASON else 28
    model = burg([v - drift for v in differences], min(n // 4, reach, LONGEST))
    return Differenced(season, drift, model, n)


def autoregression(
    y: Sequence[float], horizon: int, season: int, *, drift_share: float | None = None
) -> Prediction:
    """AR(p) on differences at lag `season` (1: ordinary), of log y where that is sensible."""
    on_logs = logs_are_sensible(y)
    z = list(map(math.log, y)) if on_logs else list(y)
    found = predict(fit_differences(z, season, drift_share=drift_share), z, horizon)
    return exponentials(found) if on_logs else found


def predict(fitted: Differenced, z: Sequence[float], horizon: int) -> Prediction:
    """The prediction of a fitted model after z."""
    return Prediction(fitted.extend(z, horizon), standard_errors(fitted, horizon))


def standard_errors(fitted: Differenced, horizon: int) -> list[float]:
    """sigma sqrt(psi_0^2 + ... + psi_{h-1}^2), psi of the model and its differencing together."""
    coefficients, season = fitted.model.coefficients, fitted.season
    order, n = len(coefficients), fitted.observations
    sigma = math.sqrt(fitted.model.variance * n / max(n - order - 1, 1))
    psi = [1.0] + [0.0] * (horizon - 1)
    if order:
        psi[1:] = _iterate(coefficients, [0.0] * (order - 1) + [1.0], horizon - 1)
    for k in range(season, horizon):
        psi[k] += psi[k - season]
    errors, total = [], 0.0
    for p in psi:
        total += p * p
        errors.append(sigma * math.sqrt(total))
    return errors


def _aicc(variance: float, n: int, order: int) -> float:
    if variance <= 0:
        return math.inf
    return n * math.log(variance) + 2 * (order + 1) * n / max(1, n - order - 2)


def _iterate(coefficients: Sequence[float], x: Sequence[float], horizon: int) -> list[float]:
    """The recursion run `horizon` steps beyond x without new errors."""
    order = len(coefficients)
    if not order:
        return [0.0] * horizon
    path = list(x[-order:])
    backwards = coefficients[::-1]
    for k in range(horizon):
        path.append(math.fsum(map(mul, backwards, path[k:])))
    return path[order:]
