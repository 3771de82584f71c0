"""The nine methods that `auto` combines for series with a short season or none.

Four that combine well with equal weights (dynamic optimised Theta, Box-Cox Theta, autoregression,
damped Holt-Winters), and five that are better for some series. Not covered: how they are weighted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .autoregression import autoregression
from .holt_winters import holt_winters
from .methods import on_adjusted
from .naive import drift, seasonal_naive
from .prediction import Prediction, exponentials, logs_are_sensible
from .seasonality import Adjustment, adjust, shows_season
from .smoothing import damped, ses
from .theta import box_cox_theta, dynamic_optimised_theta

SLOTS = (
    "dotm",
    "boxcox-theta",
    "ar",
    "holt-winters",
    "ar-adjusted",
    "drift",
    "ses",
    "seasonal-naive",
    "log-dotm",
)
BASE = SLOTS[:4]


class Components(NamedTuple):
    """The prediction of each slot, the adjusted series, and the season that was found (1: none)."""

    parts: dict[str, Prediction]
    adjustment: Adjustment
    season: int


def components(
    y: Sequence[float], horizon: int, season: int, *, base_only: bool = False
) -> Components:
    """The slots for 5 observations or more; dotm stands in where a method needs more."""
    n = len(y)
    adjustment = adjust(y, season, horizon, test=shows_season)
    season = season if adjustment.is_seasonal else 1
    lag = season if n >= 2 * season + 8 else 1
    parts = {
        "dotm": on_adjusted(dynamic_optimised_theta, adjustment, horizon),
        "boxcox-theta": on_adjusted(box_cox_theta, adjustment, horizon),
    }
    parts["ar"] = autoregression(y, horizon, lag) if n >= lag + 8 else parts["dotm"]
    if season > 1 and n >= 2 * season + 4:
        parts["holt-winters"] = holt_winters(y, horizon, season)
    else:
        parts["holt-winters"] = on_adjusted(damped_on_logs, adjustment, horizon)
    if not base_only:
        enough = n >= 9
        parts["ar-adjusted"] = (
            on_adjusted(ordinary_autoregression, adjustment, horizon) if enough else parts["dotm"]
        )
        parts["drift"] = on_adjusted(drift, adjustment, horizon)
        parts["ses"] = on_adjusted(ses, adjustment, horizon)
        parts["seasonal-naive"] = seasonal_naive(y, horizon, season)
        parts["log-dotm"] = on_adjusted(dotm_on_logs, adjustment, horizon)
    return Components(parts, adjustment, season)


def ordinary_autoregression(y: Sequence[float], horizon: int) -> Prediction:
    """The autoregression on ordinary differences."""
    return autoregression(y, horizon, 1)


def damped_on_logs(y: Sequence[float], horizon: int) -> Prediction:
    """The damped trend of log y where that is sensible, else of y."""
    if not logs_are_sensible(y):
        return damped(y, horizon)
    return exponentials(damped(list(map(math.log, y)), horizon))


def dotm_on_logs(y: Sequence[float], horizon: int) -> Prediction:
    """The dynamic optimised Theta model of log y where that is sensible, else of y."""
    if not logs_are_sensible(y):
        return dynamic_optimised_theta(y, horizon)
    return exponentials(dynamic_optimised_theta(list(map(math.log, y)), horizon))
