"""The one entry of the family: a target and a model in; mean, quantiles, usage, warnings out.

Not covered: requests, series ids, frequencies as text (`family`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .combination import LONG_SEASON, combine
from .history import History, Target, clean
from .intermittent import METHODS as DEMAND_METHODS
from .intervals import Band, DemandBand
from .methods import METHODS, run
from .prediction import Prediction
from .seasonality import SHORTEST_SHARE, detect_season

MODELS = (*METHODS, "auto")
COMPETITION = ("naive2", "ses", "holt", "damped", "comb", "theta")  # M4's benchmarks
LONGER = {("W", 1): 52, ("D", 7): 364, ("D", 5): 260, ("H", 60): 1440}


class Result(NamedTuple):
    """The answer for one series; each list has `horizon` values."""

    mean: list[float]
    quantiles: dict[float, list[float]]
    usage: dict[str, object]
    warnings: list[str]


class Choice(NamedTuple):
    """A prediction and how it came about: seasons used, weight of each method, fallbacks."""

    prediction: Prediction
    seasons: list[int]
    components: dict[str, float]
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

    `season_length` is the frequency's; `freq_class` is Y, Q, M, W, D, H, or None when the frequency
    is not known and the season is to be found in the data. `options.season_length` (an integer or
    a list) and `options.non_negative` overrule what is derived.
    """
    options = options or {}
    asked = options.get("season_length")
    main = _main_season(asked, season_length, freq_class, model)
    history = clean(target, main)
    if history is None:
        return _all_missing(model, horizon, quantiles)
    y = history.values
    # Naive2 is a scale to measure by: it takes only a season that is known.
    searches = model != "naive2" and _is_seasonal(model)
    unknown = asked is None and freq_class is None and season_length == 1 and searches
    if unknown:
        main = detect_season(y)
    seasons = _candidate_seasons(asked, main, freq_class) if model == "auto" else [main]
    steps = history.trailing + horizon
    choice = _choose(model, y, steps, seasons, freq_class)

    band: Band | DemandBand
    if choice.components.keys() & set(DEMAND_METHODS):
        band = DemandBand(choice.prediction, y)
    else:
        floor_at_zero = options.get("non_negative")
        band = Band(
            choice.prediction,
            y,
            model=model,
            freq_class=interval_class(model, freq_class, choice.seasons),
            season=main,
            non_negative=min(y) >= 0 if floor_at_zero is None else bool(floor_at_zero),
        )
    usage: dict[str, object] = {
        "model": model,
        "season_length": _one_or_list(choice.seasons),
        "components": {name: round(share, 3) for name, share in choice.components.items()},
        "interval": band.method,
    }
    if unknown and main > 1:
        usage["season_detected"] = True
    return Result(
        _restored(history, band.mean),
        {level: _restored(history, band.quantile(level)) for level in quantiles},
        usage,
        [*_gaps(history), *choice.warnings],
    )


def _choose(
    model: str, y: list[float], steps: int, seasons: Sequence[int], freq_class: str | None
) -> Choice:
    if max(y) == min(y):
        still = Prediction([y[-1]] * steps, [0.0] * steps)
        what = "one observation" if len(y) == 1 else "a constant target"
        return Choice(still, [], {"naive": 1.0}, [f"{what}: used naive, its value is repeated"])
    warnings: list[str] = []
    if model == "auto":
        combined = combine(y, steps, seasons, freq_class)
        choice = Choice(combined.prediction, combined.seasons, combined.weights, warnings)
    else:
        done = run(model, y, steps, seasons[0])
        used = [done.season] if done.season > 1 else []
        choice = Choice(done.prediction, used, {done.method: 1.0}, warnings)
        if done.reason:
            warnings.append(f"{done.reason}: used {done.method}")
    shortest = next((season for season in seasons if season > 1), 1)
    if not choice.seasons and _is_seasonal(model) and len(y) < SHORTEST_SHARE * shortest:
        warnings.append(
            f"fewer than {SHORTEST_SHARE} seasons of {_count(shortest, 'observation')}: "
            "used no seasonal pattern"
        )
    return choice


def interval_class(model: str, freq_class: str | None, seasons: Sequence[int]) -> str:
    """The class whose interval constants apply: the frequency's, O where that is not known.

    `auto` forecasts weeks without a year and hours without a day as it does days, and a season that
    was found in the data as it does one that was known.
    """
    if model == "auto" and freq_class in ("W", "H") and not seasons:
        return "D"
    if model == "auto" and freq_class is None and seasons:
        found = seasons[0]
        return "H" if found >= LONG_SEASON else {4: "Q", 12: "M"}.get(found, "O")
    return freq_class or "O"


def _is_seasonal(model: str) -> bool:
    """Whether a model does anything with a season."""
    return model == "auto" or METHODS[model].season != "ignored"


def _restored(history: History, path: Sequence[float]) -> list[float]:
    return history.restore(path[history.trailing :])


def _gaps(history: History) -> list[str]:
    warnings = []
    if history.filled:
        warnings.append(
            f"{_count(history.filled, 'missing value')} inside the target: interpolated"
        )
    if history.trailing:
        count = _count(history.trailing, "missing value")
        warnings.append(f"{count} at the end of the target: forecast over them")
    return warnings


def _main_season(asked: object, derived: int, freq_class: str | None, model: str) -> int:
    """The season of a single method: the shortest asked for, or the frequency's."""
    if isinstance(asked, (list, tuple)):
        return int(min(asked))
    if isinstance(asked, int):
        return asked
    # The competition's period of weekly data is 1, and these are the competition's methods.
    return 1 if freq_class == "W" and model in COMPETITION else derived


def _candidate_seasons(asked: object, main: int, freq_class: str | None) -> list[int]:
    """The one or two seasons that `auto` looks for, ascending.

    A list is taken as it is. A single number, or the frequency's season, is joined by the
    frequency's longer cycle: the year of weeks and days, the week of hours, the day of minutes.
    """
    if isinstance(asked, (list, tuple)):
        return sorted({min(asked), max(asked)})
    longer = LONGER.get((freq_class or "", main))
    if longer is None and main >= LONG_SEASON and freq_class in ("H", None):
        longer = 7 * main
    return sorted({main, longer or main})


def _all_missing(model: str, horizon: int, levels: Sequence[float]) -> Result:
    zeros = [0.0] * horizon
    usage: dict[str, object] = {"model": model, "season_length": 1, "components": {}}
    warning = "every value of the target is missing: used zero"
    return Result(zeros, {level: zeros for level in levels}, usage, [warning])


def _one_or_list(seasons: list[int]) -> int | list[int]:
    return seasons[0] if len(seasons) == 1 else seasons or 1


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
