"""Accuracy of one forecast of one series, as pure functions on lists.

In the formulas y is the actual, f the forecast, m the season length, x the training values, and
mean and sum run over the steps whose actual is known: None and NaN in `actual` (and in `train`,
by pairs) are left out. What cannot be computed (nothing known, a scale of zero, an overflow) is
None, never NaN or infinity. Definitions are those of utilsforecast and GluonTS, named at each.

Not covered: averages over series and windows (the caller's), multivariate scores, tests of
significance. `actual` and the forecasts must be of one length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, sqrt

from tollama.core.errors import InvalidRequest, shown

METRICS = ("mae", "rmse", "mape", "smape", "mase", "rmsse", "wql", "msis", "coverage")


def _pairs(
    actual: Sequence[float | None], forecast: Sequence[float | None]
) -> Iterator[tuple[float, float]]:
    """The (y, f) of every step where both are known."""
    for y, f in zip(actual, forecast, strict=True):
        if y is not None and f is not None and y == y and f == f:
            yield y, f


def _mean(values: list[float]) -> float | None:
    return _ratio(sum(values), len(values))


def _ratio(value: float | None, scale: float | None) -> float | None:
    """`value / scale`, or None where that is not a finite number."""
    if value is None or not scale:
        return None
    try:
        ratio = value / scale
    except OverflowError:  # integers beyond the range of floats
        return None
    return ratio if isfinite(ratio) else None


def mae(actual: Sequence[float | None], forecast: Sequence[float | None]) -> float | None:
    """Mean absolute error: mean |y - f|. (utilsforecast.losses.mae)"""
    return _mean([abs(y - f) for y, f in _pairs(actual, forecast)])


def mse(actual: Sequence[float | None], forecast: Sequence[float | None]) -> float | None:
    """Mean squared error: mean (y - f)^2. (utilsforecast.losses.mse)"""
    return _mean([(y - f) * (y - f) for y, f in _pairs(actual, forecast)])


def rmse(actual: Sequence[float | None], forecast: Sequence[float | None]) -> float | None:
    """Root mean squared error: sqrt(mean (y - f)^2). (utilsforecast.losses.rmse)"""
    squared = mse(actual, forecast)
    return None if squared is None else sqrt(squared)


def mape(actual: Sequence[float | None], forecast: Sequence[float]) -> float | None:
    """Mean absolute percentage error as a fraction: mean |y - f| / |y|.

    Steps with y = 0 are left out, as utilsforecast.losses.mape does on pandas.
    """
    return _mean([abs(y - f) / abs(y) for y, f in _pairs(actual, forecast) if y != 0])


def smape(actual: Sequence[float | None], forecast: Sequence[float]) -> float | None:
    """Symmetric mean absolute percentage error, 0..1: mean |y - f| / (|y| + |f|), 0/0 being 0.

    (utilsforecast.losses.smape; half of GluonTS's, 1/200 of M4's: see `smape_m4`)
    """
    pairs = _pairs(actual, forecast)
    return _mean([abs(y - f) / (abs(y) + abs(f)) if y or f else 0.0 for y, f in pairs])


def smape_m4(actual: Sequence[float | None], forecast: Sequence[float]) -> float | None:
    """sMAPE in per cent, 0..200, as the M4 competition prints it (Makridakis et al. 2020)."""
    fraction = smape(actual, forecast)
    return None if fraction is None else 200 * fraction


def seasonal_error(train: Sequence[float | None], season_length: int) -> float | None:
    """In-sample error of the seasonal naive forecast, the scale of MASE and MSIS.

    mean |x[t] - x[t-m]| (Hyndman and Koehler 2006); None for a series not longer than m. GluonTS
    falls back to m = 1 there, utilsforecast does not, nor do we.
    """
    return mae(train[season_length:], train[: max(len(train) - season_length, 0)])


def mase(
    actual: Sequence[float | None],
    forecast: Sequence[float],
    train: Sequence[float | None],
    season_length: int,
) -> float | None:
    """Mean absolute scaled error: mean |y - f| / mean |x[t] - x[t-m]|.

    (utilsforecast.losses.mase; Hyndman and Koehler 2006, section 3)
    """
    return _ratio(mae(actual, forecast), seasonal_error(train, season_length))


def rmsse(
    actual: Sequence[float | None],
    forecast: Sequence[float],
    train: Sequence[float | None],
    season_length: int,
) -> float | None:
    """Root mean squared scaled error: sqrt(mean (y - f)^2 / mean (x[t] - x[t-m])^2).

    (utilsforecast.losses.rmsse; M5's measure is the one with m = 1)
    """
    scale = mse(train[season_length:], train[: max(len(train) - season_length, 0)])
    squared = _ratio(mse(actual, forecast), scale)
    return None if squared is None else sqrt(squared)


def _pinball(y: float, f: float, q: float) -> float:
    return q * (y - f) if y >= f else (1 - q) * (f - y)


def quantile_loss(
    actual: Sequence[float | None], forecast: Sequence[float], q: float
) -> float | None:
    """Pinball loss of the q-quantile: mean max(q (y - f), (q - 1)(y - f)).

    (utilsforecast.losses.quantile_loss; GluonTS's is the sum of twice these)
    """
    return _mean([_pinball(y, f, q) for y, f in _pairs(actual, forecast)])


def wql(actual: Sequence[float | None], quantiles: Mapping[float, Sequence[float]]) -> float | None:
    """Weighted quantile loss: mean over q of 2 sum pinball_q(y, f_q) / sum |y|.

    (GluonTS's mean_weighted_sum_quantile_loss; utilsforecast.losses.scaled_crps)
    """
    total = sum(
        2 * _pinball(y, f, q)
        for q, forecast in quantiles.items()
        for y, f in _pairs(actual, forecast)
    )
    weight = sum(abs(y) for y in actual if y is not None and y == y)
    return _ratio(_ratio(total, weight), len(quantiles))


def _banded(
    actual: Sequence[float | None], lower: Sequence[float], upper: Sequence[float]
) -> Iterator[tuple[float, float, float]]:
    """The (y, l, u) of every step whose actual is known."""
    for y, lo, up in zip(actual, lower, upper, strict=True):
        if y is not None and y == y:
            yield y, lo, up


def coverage(
    actual: Sequence[float | None], lower: Sequence[float], upper: Sequence[float]
) -> float | None:
    """Fraction of actuals within the bounds, these included. (utilsforecast.losses.coverage)

    A step whose actual is unknown is left out here; utilsforecast counts it as outside.
    """
    return _mean([float(lo <= y <= up) for y, lo, up in _banded(actual, lower, upper)])


def winkler(
    actual: Sequence[float | None],
    lower: Sequence[float],
    upper: Sequence[float],
    level: float,
) -> float | None:
    """Mean interval score of the bounds l, u at `level` = 1 - a (Winkler 1972).

    mean (u - l) + (2/a) max(l - y, 0) + (2/a) max(y - u, 0). (utilsforecast.losses.winkler_score)
    """
    penalty = 2 / (1 - level)
    return _mean(
        [
            (up - lo) + penalty * (max(lo - y, 0.0) + max(y - up, 0.0))
            for y, lo, up in _banded(actual, lower, upper)
        ]
    )


def msis(
    actual: Sequence[float | None],
    lower: Sequence[float],
    upper: Sequence[float],
    train: Sequence[float | None],
    season_length: int,
    level: float,
) -> float | None:
    """Mean scaled interval score: `winkler` / mean |x[t] - x[t-m]|, as in M4. (GluonTS's MSIS)"""
    return _ratio(winkler(actual, lower, upper, level), seasonal_error(train, season_length))


def owa(
    smape: float | None, mase: float | None, naive2_smape: float | None, naive2_mase: float | None
) -> float | None:
    """Overall weighted average of M4, from averages over all series: Naive2 scores 1.

    (sMAPE / sMAPE of Naive2 + MASE / MASE of Naive2) / 2
    """
    parts = _ratio(smape, naive2_smape), _ratio(mase, naive2_mase)
    return None if parts[0] is None or parts[1] is None else (parts[0] + parts[1]) / 2


def symmetric_pairs(levels: Sequence[float]) -> list[tuple[float, float, float]]:
    """The (level, lower quantile, upper quantile) of each central interval, widest first."""
    mirrored = {round(1 - q, 9): q for q in levels}
    return [
        (round(1 - 2 * q, 9), q, mirrored[round(q, 9)])
        for q in sorted(levels)
        if q < 0.5 and round(q, 9) in mirrored
    ]


def evaluate(
    metrics: Sequence[str],
    *,
    actual: Sequence[float | None],
    mean: Sequence[float],
    quantiles: Mapping[float, Sequence[float]] | None,
    train: Sequence[float | None],
    season_length: int,
) -> dict[str, float | None]:
    """The metrics asked for by their names in METRICS; InvalidRequest for another name.

    msis and coverage answer once for each central interval that the quantiles hold, under
    "msis_0.95", "coverage_0.8" and so on, widest first; under their bare names, with None, if
    the quantiles hold none. wql is None without quantiles.
    """
    bands = symmetric_pairs(list(quantiles)) if quantiles else []
    scores: dict[str, float | None] = {}
    for name in metrics:
        if name in ("msis", "coverage"):
            if not quantiles or not bands:
                scores[name] = None
                continue
            for level, low, high in bands:
                lower, upper = quantiles[low], quantiles[high]
                scores[f"{name}_{level:.9g}"] = (
                    coverage(actual, lower, upper)
                    if name == "coverage"
                    else msis(actual, lower, upper, train, season_length, level)
                )
        elif name == "wql":
            scores[name] = wql(actual, quantiles) if quantiles else None
        elif name in _POINT:
            scores[name] = _POINT[name](actual, mean)
        elif name in _SCALED:
            scores[name] = _SCALED[name](actual, mean, train, season_length)
        else:
            raise InvalidRequest(f"expected metrics among {', '.join(METRICS)}, got {shown(name)}")
    return scores


_POINT = {"mae": mae, "rmse": rmse, "mape": mape, "smape": smape}
_SCALED = {"mase": mase, "rmsse": rmsse}
