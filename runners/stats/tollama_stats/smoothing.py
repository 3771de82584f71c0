"""Exponential smoothing without a season: simple (SES), Holt's trend, the damped trend.

Brown (1959), Holt (1957), Gardner and McKenzie (1985), in the error correction form of Hyndman,
Koehler, Ord and Snyder (2008), "Forecasting with Exponential Smoothing", table 2.1: ETS(A,N,N),
ETS(A,A,N), ETS(A,Ad,N).

    l_t = l_{t-1} + phi b_{t-1} + alpha e_t          b_t = phi b_{t-1} + alpha beta* e_t

The one-step errors are linear in the initial states (l_0, b_0), so these are found by least squares
in closed form for any smoothing parameters (profile least squares) and only the latter are
searched. Not covered: multiplicative errors, seasons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .optimise import line_search, nelder_mead
from .prediction import Prediction

ALPHAS = (0.0001, 0.05, 0.15, 0.3, 0.5, 0.7, 0.9, 0.9999)
PHI_RANGE = (0.8, 0.98)


class LevelFit(NamedTuple):
    """SES at one alpha: the best initial level, the last level, the sum of squared errors."""

    initial: float
    last: float
    sse: float


class TrendFit(NamedTuple):
    """Holt or damped at one (alpha, beta*, phi): last level, last slope, squared errors."""

    level: float
    slope: float
    sse: float


def fit_level(y: Sequence[float], alpha: float) -> LevelFit:
    """SES with the least squares initial level: e_t = e_t(l_0 = 0) - l_0 (1 - alpha)^(t-1)."""
    level, decay, keep = 0.0, 1.0, 1 - alpha
    ee = ep = 0.0
    for v in y:
        error = v - level
        level += alpha * error
        ee += error * error
        ep += error * decay
        decay *= keep
    pp = (1 - decay * decay) / (1 - keep * keep)
    initial = ep / pp
    return LevelFit(initial, level + initial * decay, max(ee - initial * ep, 0.0))


def fit_trend(y: Sequence[float], alpha: float, beta: float, phi: float) -> TrendFit:
    """Holt's recursion with the least squares initial level and slope.

    The error for any (l_0, b_0) is e + l_0 u + b_0 w: e from a start of zero, u and w the responses
    to l_0 = 1 and b_0 = 1. The state moves by a matrix D when the data are zero, so both responses
    obey x_{t+1} = trace(D) x_t - det(D) x_{t-1}.
    """
    keep, gain = 1 - alpha, alpha * beta
    trace, determinant = keep + phi * (1 - gain), keep * phi
    u, u_next = -1.0, phi * gain - keep
    w, w_next = -phi, -phi * trace
    level = change = 0.0  # change is phi b
    ee = eu = ew = uu = uw = ww = 0.0
    u_last = w_last = 0.0
    for v in y:
        level += change
        e = v - level
        level += alpha * e
        change = phi * (change + gain * e)
        ee += e * e
        eu += e * u
        ew += e * w
        uu += u * u
        uw += u * w
        ww += w * w
        u_last, u, u_next = u, u_next, trace * u_next - determinant * u
        w_last, w, w_next = w, w_next, trace * w_next - determinant * w
    collinearity = uu * ww - uw * uw
    if collinearity <= 1e-12 * uu * ww:
        l0, b0 = (-eu / uu if uu > 0 else 0.0), 0.0
    else:
        l0, b0 = (ew * uw - eu * ww) / collinearity, (eu * uw - ew * uu) / collinearity
    sse = ee + 2 * (l0 * eu + b0 * ew + l0 * b0 * uw) + l0 * l0 * uu + b0 * b0 * ww
    # Data of zero: an error is -f, the level after it (1 - alpha) f, the next error -(l + phi b).
    error, error_next = l0 * u_last + b0 * w_last, l0 * u + b0 * w
    last = -keep * error
    return TrendFit(level + last, (change - error_next - last) / phi, max(sse, 0.0))


def best_alpha(y: Sequence[float]) -> float:
    """The smoothing parameter of SES with the smallest sum of squared errors."""
    return line_search(lambda alpha: fit_level(y, alpha).sse, ALPHAS)


def ses(y: Sequence[float], horizon: int) -> Prediction:
    """Simple exponential smoothing; var_h = sigma^2 (1 + (h - 1) alpha^2) (2008, table 6.1)."""
    alpha = best_alpha(y)
    fit = fit_level(y, alpha)
    sigma = math.sqrt(fit.sse / max(len(y) - 2, 1))
    return Prediction(
        [fit.last] * horizon, [sigma * math.sqrt(1 + k * alpha * alpha) for k in range(horizon)]
    )


def holt(y: Sequence[float], horizon: int) -> Prediction:
    """Holt's linear trend; needs 4 observations."""

    def sse(x: Sequence[float]) -> float:
        alpha, beta = x
        return fit_trend(y, alpha, beta, 1.0).sse if _is_admissible(alpha, beta) else math.inf

    starts = [(alpha, beta) for alpha in (0.15, 0.5, 0.85) for beta in (0.02, 0.3)]
    start = min(starts, key=sse)
    alpha, beta = nelder_mead(sse, start, (0.1, _first_step(start[1])), iterations=40)
    return _extrapolate(fit_trend(y, alpha, beta, 1.0), len(y), horizon, (alpha, beta, 1.0))


def damped(y: Sequence[float], horizon: int) -> Prediction:
    """The damped linear trend; needs 4 observations."""
    low, high = PHI_RANGE

    def sse(x: Sequence[float]) -> float:
        alpha, beta, phi = x
        if not (_is_admissible(alpha, beta) and low <= phi <= high):
            return math.inf
        return fit_trend(y, alpha, beta, phi).sse

    starts = [(alpha, beta, 0.95) for alpha in (0.15, 0.5, 0.85) for beta in (0.02, 0.3)]
    start = min(starts, key=sse)
    steps = (0.1, _first_step(start[1]), -0.06)
    alpha, beta, phi = nelder_mead(sse, start, steps, iterations=40)
    return _extrapolate(fit_trend(y, alpha, beta, phi), len(y), horizon, (alpha, beta, phi))


def damped_sums(phi: float, horizon: int) -> list[float]:
    """phi_h = phi + phi^2 + ... + phi^h for h = 1 .. horizon."""
    sums, total, power = [], 0.0, 1.0
    for _ in range(horizon):
        power *= phi
        total += power
        sums.append(total)
    return sums


def _is_admissible(alpha: float, beta: float) -> bool:
    return 1e-4 <= alpha <= 0.9999 and alpha * beta >= 1e-4 and beta <= 0.9999


def _first_step(beta: float) -> float:
    return 0.1 if beta > 0.1 else 0.03


def _extrapolate(
    fit: TrendFit, n: int, horizon: int, parameters: tuple[float, float, float]
) -> Prediction:
    """Point forecasts l + phi_h b; var_h = sigma^2 (1 + sum_{j<h} (alpha + alpha beta phi_j)^2)."""
    alpha, beta, phi = parameters
    sigma = math.sqrt(fit.sse / max(n - 3, 1))
    sums = damped_sums(phi, horizon)
    spread, variance = [], 1.0
    for phi_j in sums:
        spread.append(sigma * math.sqrt(variance))
        variance += (alpha * (1 + beta * phi_j)) ** 2
    return Prediction([fit.level + s * fit.slope for s in sums], spread)
