"""The single methods by name: what each needs, and what takes its place when the data do not
suffice.

Not covered: `auto` (see `combination`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .autoregression import autoregression
from .holt_winters import holt_winters
from .intermittent import croston, sba, tsb
from .naive import drift, naive, seasonal_naive
from .prediction import Prediction, average
from .seasonality import Adjustment, adjust
from .smoothing import damped, holt, ses
from .theta import box_cox_theta, dynamic_optimised_theta, theta

LONGEST_FIT = 5_000  # older observations do not help these methods and would only cost time


class Method(NamedTuple):
    """A method, the observations it needs (`needs` + `seasons` seasons), and its stand-in below
    that.

    `season` says how it treats a season: "ignored", "adjusted" (removed before, put back after, if
    the test finds one), "tested" (the method's own, if the test finds one) or "own" (always the
    method's own).
    """

    function: Callable[..., Prediction]
    needs: int
    seasons: int
    season: str
    stand_in: str
    signed: bool = True


def combined(y: Sequence[float], horizon: int) -> Prediction:
    """Comb: the mean of SES, Holt and damped (Makridakis and Hibon 2000; a benchmark of M4)."""
    parts = [ses(y, horizon), holt(y, horizon), damped(y, horizon)]
    return average(parts, (1.0, 1.0, 1.0))


METHODS = {
    "naive": Method(naive, 1, 0, "ignored", ""),
    "seasonal-naive": Method(seasonal_naive, 1, 1, "own", "naive"),
    "drift": Method(drift, 2, 0, "ignored", "naive"),
    "naive2": Method(naive, 1, 0, "adjusted", ""),
    "ses": Method(ses, 2, 0, "adjusted", "naive"),
    "holt": Method(holt, 4, 0, "adjusted", "ses"),
    "damped": Method(damped, 4, 0, "adjusted", "ses"),
    "holt-winters": Method(holt_winters, 4, 2, "own", "damped"),
    "comb": Method(combined, 4, 0, "adjusted", "ses"),
    "theta": Method(theta, 3, 0, "adjusted", "ses"),
    "dotm": Method(dynamic_optimised_theta, 5, 0, "adjusted", "theta"),
    "boxcox-theta": Method(box_cox_theta, 3, 0, "adjusted", "ses"),
    "ar": Method(autoregression, 8, 1, "tested", "dotm"),
    "croston": Method(croston, 1, 0, "ignored", "ses", signed=False),
    "sba": Method(sba, 1, 0, "ignored", "ses", signed=False),
    "tsb": Method(tsb, 1, 0, "ignored", "ses", signed=False),
}


class Run(NamedTuple):
    """A prediction, the name of the method that made it, the season it used (1: none), and why."""

    prediction: Prediction
    method: str
    season: int
    reason: str  # why another method than asked was used; empty otherwise


def run(name: str, y: Sequence[float], horizon: int, season: int) -> Run:
    """The prediction of method `name`, or of its stand-in when the data do not suffice."""
    y = y[-max(LONGEST_FIT, 3 * season) :]
    method = METHODS[name]
    reason = _obstacle(name, method, y, season)
    if reason:
        return run(method.stand_in, y, horizon, season)._replace(reason=reason)
    if method.season == "own":
        return Run(method.function(y, horizon, season), name, season, "")
    if method.season == "ignored":
        return Run(method.function(y, horizon), name, 1, "")
    if method.season == "tested":
        lag = season if len(y) >= 2 * season + 8 and adjust(y, season, 0).is_seasonal else 1
        return Run(method.function(y, horizon, lag), name, lag, "")
    adjustment = adjust(y, season, horizon)
    prediction = on_adjusted(method.function, adjustment, horizon)
    return Run(prediction, name, season if adjustment.is_seasonal else 1, "")


def on_adjusted(
    function: Callable[..., Prediction], adjustment: Adjustment, horizon: int
) -> Prediction:
    """A method run on the seasonally adjusted values, its season put back."""
    return Prediction(*adjustment.restore(*function(adjustment.values, horizon)))


def _obstacle(name: str, method: Method, y: Sequence[float], season: int) -> str:
    if not method.signed and min(y) < 0:
        return f"{name} is for demand that is never negative"
    if name == "holt-winters" and season < 2:
        return "holt-winters needs a season"
    seasons = method.seasons * season if method.season == "own" else method.seasons
    needed = max(method.needs + seasons if name != "seasonal-naive" else season, 1)
    if len(y) < needed:
        return f"{name} needs {needed} observations, got {len(y)}"
    return ""
