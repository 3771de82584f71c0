"""`auto`: the combination of forecasts that is the embedded default.

Combining simple methods that err differently beats choosing one (Bates and Granger 1969;
Petropoulos and Svetunkov 2020, sixth in M4 with a median of four). Which ones depends on the
season:

* up to 23 steps, or none: the methods of `components`, weighted by what series of the competitions
  with such features have taught (`weights`); equally for days and weeks, where there are no such
  lessons;
* a day, or a day and a week (24 and 168 hours): autoregressions on the differences at each cycle,
  by how well each did over the last days;
* a long year (52 weeks): Theta without the season, autoregressions with and without it;
* intermittent demand: Syntetos-Boylan, Teunter-Syntetos-Babai and simple smoothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .components import BASE, SLOTS, components
from .cycles import day_and_week, long_year
from .features import STEPS, features
from .intermittent import is_intermittent
from .methods import run
from .prediction import Prediction, average, seasonal_change
from .seasonality import is_cycle
from .weights import equal_shares, learned_shares

LONGEST_FIT = 1_500
LONG_SEASON = 24  # from here on autoregressions carry the season
FEWEST = 6  # observations below which one method is all that can be fitted
GROWING = ("dotm", "ar")  # methods that know how fast their errors grow
TRUST_IN_OTHER = 0.5  # a series of unknown frequency may be like nothing in the lessons
OWN_SHARE = 0.7  # of the spread; the rest is the seasonal change


class Combination(NamedTuple):
    """The combined prediction, the weights by method, and the seasons that were found."""

    prediction: Prediction
    weights: dict[str, float]
    seasons: list[int]


def combine(
    y: Sequence[float], horizon: int, seasons: Sequence[int], freq_class: str | None
) -> Combination:
    """The combination for a series whose possible seasons are `seasons`, ascending, at most two."""
    short, long = seasons[0], seasons[-1]
    if is_intermittent(y) and not (is_cycle(y, short) or is_cycle(y, long)):
        parts = {name: run(name, y, horizon, 1).prediction for name in ("sba", "tsb", "ses")}
        return _mixed(y, parts, dict.fromkeys(parts, 1 / 3), [], 1)
    y = y[-max(LONGEST_FIT, 5 * long) :]
    if len(y) < FEWEST:
        only = run("dotm", y, horizon, 1)
        return Combination(only.prediction, {only.method: 1.0}, [])
    if short >= LONG_SEASON and long > short and is_cycle(y, short):
        return _mixed(y, *day_and_week(y, horizon, short, long), short)
    if long >= LONG_SEASON and is_cycle(y, long):
        return _mixed(y, *long_year(y, horizon, short if short < long else 1, long), long)
    return _short_season(y, horizon, short if short < LONG_SEASON else 1, freq_class)


def _short_season(
    y: Sequence[float], horizon: int, season: int, freq_class: str | None
) -> Combination:
    kind = _kind(freq_class, season)
    if kind is None:
        found = components(y, horizon, season, base_only=True)
        shares = equal_shares()
    else:
        found = components(y, max(horizon, STEPS[kind]), season)
        trust = TRUST_IN_OTHER if kind == "O" else 1.0
        shares = learned_shares(features(y, found, kind), trust=trust)
    parts = {
        name: Prediction(p.mean[:horizon], p.spread[:horizon]) for name, p in found.parts.items()
    }
    return _mixed(y, parts, shares, [found.season] if found.season > 1 else [], season)


def _kind(freq_class: str | None, season: int) -> str | None:
    """The class whose lessons apply: by season for months and quarters, else by frequency."""
    by_season = {4: "Q", 12: "M"}.get(season)
    if by_season and freq_class in (by_season, None):
        return by_season
    if season == 1 and freq_class in ("Y", "Q", "M"):
        return freq_class
    return "O" if season == 1 and freq_class is None else None


def _mixed(
    y: Sequence[float],
    parts: dict[str, Prediction],
    shares: dict[str, float],
    seasons: list[int],
    tried: int,
) -> Combination:
    """The weighted mean of the parts, with one spread made of three signs of uncertainty.

    The mean spread of the methods that know how their errors grow; how far the main parts differ;
    and, so that a close fit does not look like certainty, the mean seasonal change. It is widened
    for what was estimated from few observations; `tried` is the season that was looked for.
    """
    mean = average([parts[name] for name in shares], list(shares.values())).mean
    main = [part for name, part in parts.items() if name in BASE or name not in SLOTS]
    growing = [p for name, p in parts.items() if name in GROWING or name.startswith("ar-")]
    spreads = growing or main
    grown = average(spreads, [1.0] * len(spreads)).spread
    # A whole year's change of a weekly series is mostly trend.
    season = seasons[0] if seasons and seasons[0] < 2 * LONG_SEASON else 1
    change = (1 - OWN_SHARE) * seasonal_change(y, season)
    spread = [
        widening * (OWN_SHARE * math.hypot(own, _deviation(values)) + change)
        for widening, own, values in zip(
            estimation_error(len(y), tried, len(mean)),
            grown,
            zip(*(part.mean for part in main), strict=True),
            strict=True,
        )
    ]
    return Combination(Prediction(mean, spread), shares, seasons)


def estimation_error(n: int, season: int, horizon: int) -> list[float]:
    """By what factor errors k steps ahead of n observations exceed those of the fit.

    sqrt((n + p) / (n - p) * (1 + k / n)): Akaike's (1969) final prediction error with p parameters,
    a level, a slope and the season; and the slope's own error, which grows with k as in the drift
    method (FPP3, table 5.2).
    """
    p = min(2 + season, n / 2)
    return [math.sqrt((n + p) / (n - p) * (1 + k / n)) for k in range(1, horizon + 1)]


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation of a few values."""
    centre = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / len(values))
