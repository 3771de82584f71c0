"""Nixtla's tasks over the past: cross-validation, history, anomalies, anomalies as they come.

    cross_validation    n_windows cutoffs, step_size apart, the last one h before the end
    full_history        (add_history) rolling origins over all that can be forecast from before it
    anomaly_detection   the same, with values outside the interval at `level` flagged
    online              the last detection_size values, step_size at a time, scored in deviations

A score of anomalies as they come is the distance from the forecast in standard deviations, those of
the normal distribution whose interval at `level` is the model's. With threshold_method
"multivariate" the squares of all series at one step are added up and held against the chi-squared
distribution (Wilson and Hilferty 1931).

Not covered: the forecast itself (nixtla.py).
"""

from __future__ import annotations

from math import erfc, sqrt
from typing import Any

from tollama.core import calendar, fields, schemas
from tollama.core.errors import InvalidRequest
from tollama.core.fields import Fields
from tollama.daemon import anomalies, backtest
from tollama.daemon.compat import shapley
from tollama.daemon.compat.nixtla import Plan, bad, contribution_rows, options_of
from tollama.daemon.compat.nixtla_levels import (
    Level,
    intervals,
    level_of,
    means,
    quantiles_of,
    read_level,
)
from tollama.daemon.compat.nixtla_series import Forecasts, Panel, Window, read_panel, requests

MAX_WINDOWS = 10_000


def cross_validation_plan(body: object, *, uses_features: bool = True) -> Plan:
    """The plan of POST /v2/cross_validation, with full_history too."""
    with Fields(body, lenient=True) as f:
        # Clients before 0.9 ask for the history with a forecast's body, and not by name.
        old = "refit" not in f.value and "feature_contributions" in f.value
        if f.take("full_history", fields.boolean, old):
            history, horizon, count, step = True, 1, 1, 1
        else:
            history = False
            horizon = f.take("h", fields.integer(1, schemas.MAX_HORIZON))
            count = f.take("n_windows", fields.integer(1, MAX_WINDOWS), 1)
            step = f.take("step_size", fields.integer(1, schemas.MAX_HORIZON), None) or horizon
        levels = f.take("level", fields.list_of(read_level), [])
        contributions = f.take("feature_contributions", fields.boolean, False)
        options, warnings = options_of(f)
        panel = read_panel(f, historic=True)
    if history:
        windows = history_windows(panel, options)
    else:
        windows = [
            Window(number, cutoff, horizon)
            for number, target in enumerate(panel.targets)
            for cutoff in backtest.cutoffs(len(target), horizon, count, step)
        ]
        if not windows:
            longest = max(map(len, panel.targets))
            raise bad(f"expected less than the longest series, which has {longest} values", "h")
    games = shapley.games(panel.features if uses_features else []) if contributions else []
    asked = windows + [
        window._replace(features=coalition) for coalition in games for window in windows
    ]

    def answer(found: Forecasts, noted: list[str]) -> dict[str, Any]:
        own = found[: len(windows)]
        return {
            **_places(panel, windows),
            "mean": means(own),
            "intervals": intervals(levels, own),
            "weights_x": None,
            "feature_contributions": (
                contribution_rows(panel, games, found, len(windows)) if contributions else None
            ),
            "model": panel.model,
            "warnings": [*warnings, *noted],
        }

    return Plan(panel, asked, requests(panel, asked, quantiles_of(levels), options), answer)


def _places(panel: Panel, windows: list[Window]) -> dict[str, list[int]]:
    """Where the forecasts lie: rows of y, and how many of each series."""
    rows = panel.rows
    sizes = [0] * len(panel.targets)
    idxs: list[int] = []
    for window in windows:
        sizes[window.series] += window.horizon
        first = rows[window.series] + window.cutoff
        idxs += range(first, first + window.horizon)
    return {"sizes": sizes, "idxs": idxs}


def history_windows(panel: Panel, options: dict[str, Any]) -> list[Window]:
    """Rolling origins over each series, so that its tail is forecast value by value."""
    season = options.get("season_length")
    if type(season) is not int:
        season = calendar.season_length(calendar.parse_freq(panel.freq) if panel.freq else None)
    return [
        Window(number, first, last - first)
        for number, target in enumerate(panel.targets)
        for first, last in anomalies.blocks(len(target), None, None, season)
    ]


def anomaly_plan(body: object) -> Plan:
    """The plan of POST /v2/anomaly_detection."""
    with Fields(body, lenient=True) as f:
        level = f.take("level", read_level, level_of(99))
        options, warnings = options_of(f)
        panel = read_panel(f)
    windows = history_windows(panel, options)
    if not windows:
        raise bad("expected series of at least 2 values", "series", "sizes")

    def answer(found: Forecasts, noted: list[str]) -> dict[str, Any]:
        return {
            **_places(panel, windows),
            "mean": means(found),
            "anomaly": [flag for flag, _ in judged(panel, windows, found, level)],
            "intervals": intervals([level], found),
            "weights_x": None,
            "model": panel.model,
            "warnings": [*warnings, *noted],
        }

    quantiles = quantiles_of([level])
    return Plan(panel, windows, requests(panel, windows, quantiles, options), answer)


def online_plan(body: object) -> Plan:
    """The plan of POST /v2/online_anomaly_detection."""
    with Fields(body, lenient=True) as f:
        horizon = f.take("h", fields.integer(1, schemas.MAX_HORIZON))
        size = f.take("detection_size", fields.integer(1))
        method = f.take(
            "threshold_method", fields.choice("univariate", "multivariate"), "univariate"
        )
        step = f.take("step_size", fields.integer(1, schemas.MAX_HORIZON), None)
        level = f.take("level", read_level, level_of(99))
        options, warnings = options_of(f)
        panel = read_panel(f, historic=True)
    windows = online_windows(panel, size, min(horizon, step or horizon))
    several = method == "multivariate"
    if several and len({len(target) for target in panel.targets}) > 1:
        raise bad("expected series of equal length with threshold_method multivariate", "series")

    def answer(found: Forecasts, noted: list[str]) -> dict[str, Any]:
        judgements = judged(panel, windows, found, level)
        extra: dict[str, Any] = {}
        if several:
            flags, sums = together(panel, windows, judgements, level)
            extra["accumulated_anomaly_score"] = sums
        else:
            flags = [flag for flag, _ in judgements]
        return {
            **_places(panel, windows),
            "mean": means(found),
            "anomaly": flags,
            "anomaly_score": [score for _, score in judgements],
            **extra,
            "intervals": intervals([level], found),
            "weights_x": None,
            "model": panel.model,
            "warnings": [*warnings, *noted],
        }

    quantiles = quantiles_of([level])
    return Plan(panel, windows, requests(panel, windows, quantiles, options), answer)


def online_windows(panel: Panel, size: int, step: int) -> list[Window]:
    """The last `size` values of each series, `step` at a time."""
    windows = []
    for number, target in enumerate(panel.targets):
        n = len(target)
        if size >= n:
            raise InvalidRequest.of(
                [
                    (
                        ("detection_size",),
                        f"expected less than each series' length, series {number} has {n} values, "
                        f"got {size}",
                    )
                ]
            )
        windows += [Window(number, at, min(step, n - at)) for at in range(n - size, n, step)]
    return windows


def judged(
    panel: Panel, windows: list[Window], found: Forecasts, level: Level
) -> list[tuple[bool, float]]:
    """Whether each value is outside its interval, and how many deviations from the forecast."""
    z = normal_quantile(level.high)
    low_key, high_key = repr(level.low), repr(level.high)
    verdicts: list[tuple[bool, float]] = []
    for window, item in zip(windows, found, strict=True):
        values = panel.targets[window.series][window.cutoff : window.cutoff + window.horizon]
        lower, upper = item["quantiles"][low_key], item["quantiles"][high_key]
        for value, mean, low, high in zip(values, item["mean"], lower, upper, strict=True):
            if value is None:
                verdicts.append((False, 0.0))
                continue
            half = high - mean if value > mean else mean - low
            deviations = abs(value - mean) * z / half if half > 0 else 0.0 if value == mean else z
            verdicts.append((not low <= value <= high, deviations))
    return verdicts


def together(
    panel: Panel, windows: list[Window], judgements: list[tuple[bool, float]], level: Level
) -> tuple[list[bool], list[float]]:
    """The flags and the sums of squared scores of all series at one step, one a row."""
    count = len(panel.targets)
    size = len(judgements) // count
    sums = [0.0] * size
    for place, (_, score) in enumerate(judgements):
        sums[place % size] += score * score
    limit = chi_squared_quantile(level.high - level.low, count)
    return [total > limit for total in sums] * count, sums * count


def normal_quantile(probability: float) -> float:
    """The standard normal quantile of a probability in (0, 1), by bisection of erfc."""
    low, high = -9.0, 9.0
    for _ in range(60):
        middle = (low + high) / 2
        if erfc(-middle / sqrt(2)) / 2 < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def chi_squared_quantile(probability: float, degrees: int) -> float:
    """The quantile of the chi-squared distribution (Wilson and Hilferty 1931)."""
    part = 2 / (9 * degrees)
    root: float = 1 - part + normal_quantile(probability) * sqrt(part)
    return degrees * root**3
