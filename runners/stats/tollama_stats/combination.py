"""`auto`: the combination of forecasts that is the embedded default.

Combining simple methods that err differently beats choosing one (Bates and Granger 1969;
Petropoulos and Svetunkov 2020, sixth in M4 with the median of four). Which ones depends on the
season:

* up to 23 steps, or none: a trend that adapts (dynamic optimised Theta), a trend on the scale where
  it is
  linear (Box-Cox Theta), smoothing of level, trend and season (damped Holt-Winters), and short-term
  dynamics (autoregression);
* a day, or a day and a week (24 and 168 hours): the shape of the last cycles is nearly all there is
  to know,
  so autoregressions on the differences at each cycle, the longer one counting twice;
* a long year (52 weeks): Theta without the season, autoregressions with and without it;
* intermittent demand: Syntetos-Boylan, Teunter-Syntetos-Babai and simple smoothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .autoregression import autoregression
from .holt_winters import holt_winters
from .intermittent import is_intermittent
from .methods import on_adjusted, run
from .naive import seasonal_naive
from .prediction import Prediction, average, exponentials, logs_are_sensible
from .seasonality import adjust, is_cycle, remove_season
from .smoothing import damped
from .theta import box_cox_theta, dynamic_optimised_theta

LONGEST_FIT = 1_500
LONG_SEASON = 24  # from here on autoregressions carry the season
FEWEST = 5  # observations below which one method is all that can be fitted


class Combination(NamedTuple):
    """The combined prediction, the weights by method, and the seasons that were found."""

    prediction: Prediction
    weights: dict[str, float]
    seasons: list[int]


def combine(y: Sequence[float], horizon: int, seasons: Sequence[int]) -> Combination:
    """The combination for a series whose possible seasons are `seasons`, ascending, at most two."""
    if is_intermittent(y):
        return _mixed({name: run(name, y, horizon, 1).prediction for name in ("sba", "tsb", "ses")})
    short, long = seasons[0], seasons[-1]
    y = y[-max(LONGEST_FIT, 5 * long) :]
    if len(y) < FEWEST:
        only = run("dotm", y, horizon, 1)
        return Combination(only.prediction, {only.method: 1.0}, [])
    if short >= LONG_SEASON and long > short and is_cycle(y, short):
        return _day_and_week(y, horizon, short, long)
    if long >= LONG_SEASON and is_cycle(y, long):
        return _long_year(y, horizon, short if short < long else 1, long)
    return _short_season(y, horizon, short if short < LONG_SEASON else 1)


def _short_season(y: Sequence[float], horizon: int, season: int) -> Combination:
    n = len(y)
    adjustment = adjust(y, season, horizon)
    season = season if adjustment.is_seasonal else 1
    parts = {
        "dotm": on_adjusted(dynamic_optimised_theta, adjustment, horizon),
        "boxcox-theta": on_adjusted(box_cox_theta, adjustment, horizon),
    }
    lag = season if n >= 2 * season + 8 else 1
    if n >= lag + 8:
        parts["ar"] = autoregression(y, horizon, lag)
    if season > 1 and n >= 2 * season + 4:
        parts["holt-winters"] = holt_winters(y, horizon, season)
    elif n >= 10:
        parts["damped"] = on_adjusted(damped_on_logs, adjustment, horizon)
    return _mixed(parts, seasons=[season] if season > 1 else [])


def _day_and_week(y: Sequence[float], horizon: int, day: int, week: int) -> Combination:
    parts = {f"ar-{day}": autoregression(y, horizon, day, drift_share=0.0)}
    if len(y) < week + 2 * day:
        parts["seasonal-naive"] = seasonal_naive(y, horizon, day)
        return _mixed(parts, seasons=[day])
    parts[f"ar-{week}"] = autoregression(y, horizon, week, drift_share=0.0)
    return _mixed(parts, {f"ar-{week}": 2.0}, seasons=[day, week])


def _long_year(y: Sequence[float], horizon: int, short: int, year: int) -> Combination:
    adjustment = remove_season(y, year, horizon)
    parts = {
        "dotm": on_adjusted(dynamic_optimised_theta, adjustment, horizon),
        f"ar-{year}": autoregression(y, horizon, year),
        "ar" if short == 1 else f"ar-{short}": autoregression(y, horizon, short),
    }
    return _mixed(parts, seasons=[short, year] if short > 1 else [year])


def _mixed(
    parts: dict[str, Prediction],
    weights: dict[str, float] | None = None,
    *,
    seasons: Sequence[int] = (),
) -> Combination:
    """The weighted mean; a method that `weights` does not name counts 1."""
    raw = {name: (weights or {}).get(name, 1.0) for name in parts}
    total = sum(raw.values())
    shares = {name: weight / total for name, weight in raw.items()}
    mean = average(list(parts.values()), list(shares.values())).mean
    # Theta and AR know how fast their errors grow; those of the others are on another scale.
    growing = [part for name, part in parts.items() if name == "dotm" or name.startswith("ar")]
    spreads = growing or list(parts.values())
    spread = average(spreads, [1.0] * len(spreads)).spread
    return Combination(Prediction(mean, spread), shares, list(seasons))


def damped_on_logs(y: Sequence[float], horizon: int) -> Prediction:
    """The damped trend of log y where that is sensible, else of y."""
    if not logs_are_sensible(y):
        return damped(y, horizon)
    return exponentials(damped(list(map(math.log, y)), horizon))
