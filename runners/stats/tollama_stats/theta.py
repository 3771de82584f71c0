"""The Theta family: the standard method, the dynamic optimised model, Theta after a Box-Cox
transform.

Not covered: seasons; these work on seasonally adjusted series.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from . import boxcox
from .optimise import line_search
from .prediction import Line, Prediction, least_squares_line
from .smoothing import ALPHAS, best_alpha, fit_level

DYNAMIC_ALPHAS = (0.01, *ALPHAS[1:-1], 0.99)
SKIPPED = 3  # the first errors of the dynamic model, whose line has seen too few points


def theta(y: Sequence[float], horizon: int) -> Prediction:
    """The Theta method (Assimakopoulos and Nikolopoulos 2000); needs 3 observations.

    The mean of the theta line 0 (the least squares line) and of the theta line 2 (twice the
    distance from it) forecast by SES. It equals SES with drift (Hyndman and Billah 2003), hence the
    spread.
    """
    n = len(y)
    line = least_squares_line(y)
    theta_2 = [2 * v - line.at(t) for t, v in enumerate(y, 1)]
    alpha = best_alpha(theta_2)
    fit = fit_level(theta_2, alpha)
    # The line contributes nothing to the one-step error, so half of theta_2's error is left.
    sigma = 0.5 * math.sqrt(fit.sse / max(n - 3, 1))
    return Prediction(
        [0.5 * (fit.last + line.at(n + k)) for k in range(1, horizon + 1)],
        [sigma * math.sqrt(1 + k * alpha * alpha) for k in range(horizon)],
    )


class DynamicFit(NamedTuple):
    """The dynamic model at one alpha: 1 - 1/theta, last level, (1 - alpha)^n, squared errors."""

    weight: float
    level: float
    decay: float
    sse: float


def dynamic_lines(y: Sequence[float]) -> list[Line]:
    """The least squares line through y_1 .. y_t for every t, by recursion; entry t - 1 is time t's.

    A_t = mean_t - B_t (t + 1) / 2,  B_t = ((t - 2) B_{t-1} + 6 (y_t - mean_{t-1}) / t) / (t + 1)
    """
    average, slope = y[0], 0.0
    lines = [Line(y[0], 0.0)]
    for t, v in enumerate(y[1:], 2):
        slope = ((t - 2) * slope + 6 * (v - average) / t) / (t + 1)
        average += (v - average) / t
        lines.append(Line(average - slope * (t + 1) / 2, slope))
    return lines


def fit_dynamic(y: Sequence[float], lines: Sequence[Line], alpha: float) -> DynamicFit:
    """The best initial level l_0 and weight w = 1 - 1/theta for one alpha, in closed form.

    mu_t = l_{t-1} + w z_t,  z_t = (1-alpha)^(t-1) A_{t-1} + (1 - (1-alpha)^t) / alpha B_{t-1}

    is linear in (l_0, w): with e_t the error for l_0 = w = 0, the least squares problem is
    e_t - l_0 (1-alpha)^(t-1) - w z_t.
    """
    keep, decay, level = 1 - alpha, 1.0, 0.0
    for v in y[:SKIPPED]:
        level += alpha * (v - level)
        decay *= keep
    from_decay, ratio = decay, keep / alpha
    ee = ep = ez = pz = zz = 0.0
    for v, (intercept, slope) in zip(y[SKIPPED:], lines[SKIPPED - 1 :], strict=False):
        e = v - level
        z = slope / alpha + decay * (intercept - ratio * slope)
        ee += e * e
        ep += e * decay
        ez += e * z
        pz += decay * z
        zz += z * z
        level += alpha * e
        decay *= keep
    pp = (from_decay * from_decay - decay * decay) / (1 - keep * keep)
    determinant = pp * zz - pz * pz
    weight = (ez * pp - ep * pz) / determinant if determinant > 1e-12 * pp * zz else 0.0
    weight = min(max(weight, 0.0), 0.99)  # theta from 1 to 100
    initial = (ep - weight * pz) / pp if pp > 1e-30 else y[0]
    sse = ee + initial * initial * pp + weight * weight * zz
    sse += 2 * (initial * weight * pz - initial * ep - weight * ez)
    return DynamicFit(weight, level + initial * decay, decay, max(sse, 0.0))


def dynamic_optimised_theta(y: Sequence[float], horizon: int) -> Prediction:
    """The dynamic optimised Theta model (Fiorucci et al. 2016, section 3); needs 5 observations.

    y_t = mu_t + e_t;  mu_t as in `fit_dynamic`;  l_t = alpha y_t + (1 - alpha) l_{t-1}.
    Beyond the data mu_t stands for y_t and the line stays the last one.
    """
    n = len(y)
    lines = dynamic_lines(y)
    alpha = line_search(lambda a: fit_dynamic(y, lines, a).sse, DYNAMIC_ALPHAS)
    weight, level, decay, sse = fit_dynamic(y, lines, alpha)
    line = lines[-1]
    mean = []
    for _ in range(horizon):
        term = decay * line.intercept + (1 - decay * (1 - alpha)) / alpha * line.slope
        mu = level + weight * term
        mean.append(mu)
        level = alpha * mu + (1 - alpha) * level
        decay *= 1 - alpha
    sigma = math.sqrt(sse / max(n - SKIPPED - 2, 1))
    return Prediction(mean, [sigma * math.sqrt(1 + k * alpha * alpha) for k in range(horizon)])


def box_cox_theta(y: Sequence[float], horizon: int) -> Prediction:
    """Theta on Box-Cox transformed data (Legaki and Koutsouri 2018, entry 260 of M4)."""
    power = boxcox.best_power(y)
    if power == 1.0:
        return theta(y, horizon)
    transformed = theta(boxcox.transform(y, power), horizon)
    mean = boxcox.invert(transformed.mean, power)
    # dy/dz = y^(1 - power)
    slopes = (max(v, 0.0) ** (1 - power) for v in mean)
    return Prediction(mean, [s * d for s, d in zip(transformed.spread, slopes, strict=True)])
