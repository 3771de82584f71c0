"""The one entry of the family: a target and a model's name in, mean, quantiles, usage and warnings out.

Not covered: requests, series ids, frequencies as text (`family`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .combination import LONG_SEASON, combine
from .history import History, Target, clean
from .intervals import quantiles as quantile_paths
from .methods import METHODS, run
from .prediction import Prediction
from .seasonality import SHORTEST_SHARE, detect_season

MODELS = (*METHODS, "auto")
NARROWEST = (
    0.1  # of the seasonal naive scale: no interval is narrower than its normal width times this
)


class Result(NamedTuple):
    """The answer for one series; each list has `horizon` values."""

    mean: list[float]
    quantiles: dict[float, list[float]]
    usage: dict[str, object]
    warnings: list[str]


def forecast(
    model: str,
    target: Target,
    horizon: int,
    *,
    quantiles: Sequence[float] = (),
    season_length: int = 1,
    freq_class: str | None = None,
    options: dict[str, object] | None = None,
) -> Result:
    """Forecast one series.

    `season_length` is the frequency's; `freq_class` is Y, Q, M, W, D, H, or None when the frequency is not
    known and the season is to be found in the data. `options.season_length` (an integer or a list) and
    `options.non_negative` overrule what is derived.
    """
    options = options or {}
    asked = options.get("season_length")
    main = _first_season(asked, season_length)
    history = clean(target, main)
    warnings: list[str] = []
    if history is None:
        return _all_missing(model, horizon, quantiles)
    y = history.values
    detected = asked is None and freq_class is None and season_length == 1
    if detected:
        main = detect_season(y)
    seasons = _seasons(asked, main, freq_class)
    if history.filled:
        warnings.append(
            f"{_count(history.filled, 'missing value')} inside the target: interpolated"
        )
    if history.trailing:
        warnings.append(
            f"{_count(history.trailing, 'missing value')} at the end of the target: forecast over them"
        )
    if 1 < main and len(y) < SHORTEST_SHARE * main and model not in ("naive", "drift"):
        warnings.append(
            f"{_count(len(y), 'observation')} are fewer than {SHORTEST_SHARE} seasons of {main}: "
            "no seasonal pattern was fitted"
        )
    steps = history.trailing + horizon
    usage: dict[str, object] = {"model": model}
    if max(y) == min(y):
        prediction = Prediction([y[-1]] * steps, [0.0] * steps)
        word = "one observation" if len(y) == 1 else "a constant target"
        warnings.append(f"{word}: its last value is repeated")
        usage |= {"season_length": 1, "components": {"naive": 1.0}}
    elif model == "auto":
        combined = combine(y, steps, seasons)
        prediction = combined.prediction
        found = combined.seasons
        usage["season_length"] = found[0] if len(found) == 1 else found or 1
        usage["components"] = {name: round(w, 3) for name, w in combined.weights.items()}
    else:
        done = run(model, y, steps, main)
        prediction = done.prediction
        usage["season_length"] = done.season
        if done.reason:
            warnings.append(f"{done.reason}: used {done.method}")
            usage["components"] = {done.method: 1.0}
    if detected and main > 1:
        usage["season_detected"] = True
    mean, paths = _finish(prediction, history, quantiles, model, freq_class or "O", main, options)
    usage["interval"] = "analytic growth x calibrated constants"
    return Result(mean, paths, usage, warnings)


def _finish(
    prediction: Prediction,
    history: History,
    levels: Sequence[float],
    model: str,
    freq_class: str,
    season: int,
    options: dict[str, object],
) -> tuple[list[float], dict[float, list[float]]]:
    y = history.values
    wanted = options.get("non_negative")
    non_negative = min(y) >= 0 if wanted is None else bool(wanted)
    lag = season if len(y) > season else 1
    changes = [abs(b - a) for a, b in zip(y, y[lag:], strict=False)]
    floor = NARROWEST * sum(changes) / len(changes) if changes else 0.0
    mean = [max(v, 0.0) for v in prediction.mean] if non_negative else prediction.mean
    paths = quantile_paths(
        Prediction(mean, prediction.spread),
        levels,
        model=model,
        freq_class=freq_class,
        floor=floor,
        non_negative=non_negative,
    )
    start = history.trailing
    return (
        history.restore(mean[start:]),
        {level: history.restore(path[start:]) for level, path in paths.items()},
    )


def _first_season(asked: object, derived: int) -> int:
    if isinstance(asked, (list, tuple)):
        return min(asked) if asked else 1
    return asked if isinstance(asked, int) else derived


def _seasons(asked: object, main: int, freq_class: str | None) -> list[int]:
    """The cycles `auto` may use: those asked for, or the frequency's and the next longer one."""
    if isinstance(asked, (list, tuple)):
        return sorted(set(asked))
    if freq_class == "W":
        return [main, 52] if main < 52 else [main]
    if main >= LONG_SEASON and freq_class != "W":
        return [main, 7 * main]  # a day and a week
    return [main]


def _all_missing(model: str, horizon: int, levels: Sequence[float]) -> Result:
    zeros = [0.0] * horizon
    usage = {"model": model, "season_length": 1, "components": {}, "interval": "none"}
    warning = "every value of the target is missing: the forecast is zero"
    return Result(zeros, {level: zeros for level in levels}, usage, [warning])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
