"""Nixtla's levels: percentages on the wire, quantiles for the model, columns in the answer.

Quantiles that its client is asked for come as levels too, rounded to whole numbers, more than once
and with 0 for the median. A column is named by the level as it was sent: "lo-80", "hi-99.5".
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tollama.core import fields
from tollama.core.errors import Loc, shown
from tollama.daemon.compat.nixtla_series import Forecasts


class Level(NamedTuple):
    """A level as it was sent (its text names the answer's columns) and its two quantiles."""

    text: str
    low: float
    high: float


def level_of(value: Any) -> Level:
    """A level in percent as quantiles: 80 is 0.1 and 0.9, 0 is the median twice."""
    low = round((100 - value) / 200, 10)
    return Level(str(value), low, round(1 - low, 10))


def read_level(value: object, loc: Loc) -> Level:
    """A reader of a level, a number from 0 to below 100."""
    if type(value) not in fields.NUMBER_TYPES or not 0 <= value < 100:  # type: ignore[operator]
        raise fields.fail(loc, f"expected a number from 0 to below 100, got {shown(value)}")
    return level_of(value)


def quantiles_of(levels: list[Level]) -> list[float]:
    """The quantiles to ask for: ascending, each once."""
    return sorted({q for level in levels for q in (level.low, level.high)})


def intervals(levels: list[Level], found: Forecasts) -> dict[str, list[float]] | None:
    """{"lo-80": [...], "hi-80": [...]} over all windows, None without levels."""
    if not levels:
        return None
    columns: dict[str, list[float]] = {}
    for level in levels:
        for name, quantile in (("lo", level.low), ("hi", level.high)):
            columns[f"{name}-{level.text}"] = [
                value for item in found for value in item["quantiles"][repr(quantile)]
            ]
    return columns


def means(found: Forecasts) -> list[float]:
    """The mean over all windows."""
    return [value for item in found for value in item["mean"]]
