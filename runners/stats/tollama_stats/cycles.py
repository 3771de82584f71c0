"""Series with long seasons: a day, a day and a week, a year of weeks.

The shape of the last cycles is nearly all there is to know of such series, and autoregressions on
the differences at a cycle carry it on. Not covered: whether there is such a season (`seasonality`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .autoregression import LONGEST, Differenced, autoregression, fit_differences, predict
from .methods import on_adjusted
from .naive import seasonal_naive
from .prediction import Prediction, exponentials, logs_are_sensible
from .seasonality import remove_season
from .theta import dynamic_optimised_theta

ORIGINS = 7  # ends of history, a day apart, that the day's and the week's model are tried at


class Parts(NamedTuple):
    """Predictions by name, the share of each, and the seasons that they use."""

    predictions: dict[str, Prediction]
    shares: dict[str, float]
    seasons: list[int]


def day_and_week(y: Sequence[float], horizon: int, day: int, week: int) -> Parts:
    """Autoregressions at both lags, without drift, by how well each did over the last days.

    Before there is more than a week of history, the day's model and its last day.
    """
    on_logs = logs_are_sensible(y)
    z = list(map(math.log, y)) if on_logs else list(y)
    lags = (day, week) if len(y) >= week + 2 * day else (day,)
    fits = [fit_differences(z, lag, drift_share=0.0) for lag in lags]
    made = {}
    for fitted in fits:
        found = predict(fitted, z, horizon)
        made[f"ar-{fitted.season}"] = exponentials(found) if on_logs else found
    if len(fits) == 1:
        made["seasonal-naive"] = seasonal_naive(y, horizon, day)
        return Parts(made, dict.fromkeys(made, 0.5), [day])
    share = weekly_share(z, *fits)
    return Parts(made, dict(zip(made, (1 - share, share), strict=True)), [day, week])


def weekly_share(z: Sequence[float], daily: Differenced, weekly: Differenced) -> float:
    """The weekly model's share: inverse squared errors (Bates and Granger 1969).

    The errors are mean absolute errors of forecasts up to two days ahead from earlier ends; two
    thirds where the history is too short to try.
    """
    n, day = len(z), daily.season
    ends = [n - j * day for j in range(1, ORIGINS + 1)]
    ends = [end for end in ends if end >= weekly.season + LONGEST]
    if not ends:
        return 2 / 3
    trials = [(end, min(2 * day, n - end)) for end in ends]
    of_day, of_week = mean_error(daily, z, trials), mean_error(weekly, z, trials)
    if of_day == of_week == 0:
        return 2 / 3
    return of_day**2 / (of_day**2 + of_week**2)


def mean_error(fitted: Differenced, z: Sequence[float], trials: Sequence[tuple[int, int]]) -> float:
    """The mean over trials (end, steps) of the mean absolute error of a model fitted once."""
    total = 0.0
    for end, steps in trials:
        path = fitted.extend(z[:end], steps)
        total += math.fsum(map(abs, map(float.__sub__, path, z[end : end + steps]))) / steps
    return total / len(trials)


def long_year(y: Sequence[float], horizon: int, short: int, year: int) -> Parts:
    """Theta without the season, and autoregressions with and without it, equally."""
    made = {
        "dotm": on_adjusted(dynamic_optimised_theta, remove_season(y, year, horizon), horizon),
        f"ar-{year}": autoregression(y, horizon, year),
        "ar" if short == 1 else f"ar-{short}": autoregression(y, horizon, short),
    }
    return Parts(made, dict.fromkeys(made, 1 / 3), [short, year] if short > 1 else [year])
