"""`auto`: the combination of forecasts that is the embedded default.

Combining simple, different methods beats choosing one (Bates and Granger 1969; Petropoulos and Svetunkov 2020,
sixth in M4 with a median of four). Four methods that err differently: a trend that adapts (dynamic optimised
Theta), a trend on the scale where it is linear (Box-Cox Theta), smoothing of level, trend and season (damped
Holt-Winters), and short-term dynamics (autoregression).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from . import intermittent
from .autoregression import autoregression
from .holt_winters import holt_winters
from .methods import on_adjusted, run
from .prediction import Prediction, average, exponentials, logs_are_sensible
from .seasonality import adjust, is_seasonal
from .smoothing import damped
from .theta import box_cox_theta, dynamic_optimised_theta

LONGEST_FIT = 1_500
LONG_SEASON = 24  # from here on several cycles are modelled by autoregressions


class Combination(NamedTuple):
    """The combined prediction, the weights by method, and the seasons that were found."""

    prediction: Prediction
    weights: dict[str, float]
    seasons: list[int]


def combine(y: Sequence[float], horizon: int, seasons: Sequence[int]) -> Combination:
    """The combination for a series whose possible seasons are `seasons`, shortest first."""
    main = seasons[0] if seasons else 1
    if intermittent.is_intermittent(y):
        parts = {name: run(name, y, horizon, main).prediction for name in ("sba", "tsb", "ses")}
        return _mixed(parts, {name: 1.0 for name in parts}, [])
    for cycle in reversed(seasons):
        if cycle >= 2 * LONG_SEASON and is_seasonal(y, cycle):
            return _long_season(y, horizon, main, cycle)
    return _usual(y[-max(LONGEST_FIT, 5 * main) :], horizon, main)


def _usual(y: Sequence[float], horizon: int, season: int) -> Combination:
    n = len(y)
    if n < 5:
        used = run("dotm", y, horizon, 1)
        return Combination(used.prediction, {used.method: 1.0}, [])
    adjustment = adjust(y, season, horizon)
    found = season if adjustment.is_seasonal else 1
    parts = {
        "dotm": on_adjusted(dynamic_optimised_theta, adjustment, horizon),
        "boxcox-theta": on_adjusted(box_cox_theta, adjustment, horizon),
    }
    lag = found if n >= 2 * found + 8 else 1
    if n >= lag + 8:
        parts["ar"] = autoregression(y, horizon, lag)
    if found > 1 and n >= 2 * found + 4:
        parts["holt-winters"] = holt_winters(y, horizon, found)
    elif n >= 10:
        parts["damped"] = on_adjusted(damped_on_logs, adjustment, horizon)
    return _mixed(parts, {name: 1.0 for name in parts}, [found] if found > 1 else [])


def _long_season(y: Sequence[float], horizon: int, main: int, cycle: int) -> Combination:
    y = y[-max(LONGEST_FIT, 5 * cycle) :]
    adjustment = adjust(y, cycle, horizon)
    parts = {
        "dotm": on_adjusted(dynamic_optimised_theta, adjustment, horizon),
        "ar-long": autoregression(y, horizon, cycle),
        "ar": autoregression(y, horizon, main),
    }
    several = main >= LONG_SEASON
    weights = {"dotm": 0.0 if several else 1.0, "ar-long": 1.0, "ar": 1.0}
    return _mixed(parts, weights, [main, cycle] if main > 1 else [cycle])


def _mixed(
    parts: dict[str, Prediction], weights: dict[str, float], seasons: list[int]
) -> Combination:
    total = sum(weights.values())
    shares = {name: weight / total for name, weight in weights.items() if weight}
    mean = average([parts[name] for name in shares], list(shares.values())).mean
    # Theta and AR know how fast their errors grow; that of the others follows from a fit on another scale.
    growing = [parts[name] for name in ("dotm", "ar", "ar-long") if name in parts]
    spread = average(growing or list(parts.values()), [1.0] * len(growing or parts)).spread
    return Combination(Prediction(mean, spread), shares, seasons)


def damped_on_logs(y: Sequence[float], horizon: int) -> Prediction:
    """The damped trend of log y where that is sensible, else of y."""
    if not logs_are_sensible(y):
        return damped(y, horizon)
    return exponentials(damped(list(map(math.log, y)), horizon))
