"""What is odd about a series before it is forecast: missing, absent, zero and outlying values.

Not covered: rows that repeat a time (the reader counts them), a model's anomalies (/api/anomalies).
"""

from __future__ import annotations

from collections import namedtuple
from statistics import median

from tollama.core import calendar
from tollama.core.errors import TollamaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

FAR = 5  # deviations
FEWEST = 8  # values from which outliers are told

Quality = namedtuple("Quality", "places steps missing absent zeros outliers remarks")
"""The `places` of the rows among the values of all `steps`, None where there is no row; counts; the
places of `outliers`; and words about the series as a whole."""


def look(series: dict[str, Any], freq: str | None) -> Quality:
    """The quality of a series with one target."""
    target: list[float | None] = series["target"]
    values = [v for v in target if v is not None]
    step = calendar.parse_freq(freq) if freq else None
    places, length = _grid(series.get("timestamps"), step, len(target))
    steps: list[float | None] = [None] * length
    for place, value in zip(places, target, strict=True):
        steps[place] = value
    zeros = values.count(0)
    remarks = []
    if values and min(values) == max(values):
        remarks.append("constant")
    elif zeros > len(values) / 2:
        remarks.append("mostly zeros")
    found = outliers(steps, calendar.season_length(step))
    missing = len(target) - len(values)
    return Quality(places, steps, missing, length - len(target), zeros, found, remarks)


def _grid(
    stamps: list[str] | None, step: calendar.Freq | None, rows: int
) -> tuple[Sequence[int], int]:
    if stamps and step:
        try:
            places, length = calendar.align(calendar.parse_timestamps(stamps), step)
        except TollamaError:
            pass  # off the grid: the answer's warnings say so
        else:
            if length <= 10 * rows:
                return places, length
    return range(rows), rows


def outliers(target: Sequence[float | None], season: int) -> list[int]:
    """Where a value is far from the median of those one and two seasons before and after it.

    A deviation is 1.4826 times the median of all these distances, and where most of them are zero
    1.2533 times their mean, as Iglewicz and Hoaglin (1993) have it. The first and the last season
    have values on one side alone and are not looked at.
    """
    distances = []
    for i in range(season, len(target) - season):
        value = target[i]
        near = [target[i - season], target[i + season]]
        if 2 * season <= i < len(target) - 2 * season:
            near += [target[i - 2 * season], target[i + 2 * season]]
        known = [v for v in near if v is not None]
        if value is not None and len(known) > 1:
            distances.append((abs(value - median(known)), i))
    if len(distances) < FEWEST:
        return []
    usual = 1.4826 * median(distance for distance, _ in distances)
    if not usual:
        usual = 1.2533 * sum(distance for distance, _ in distances) / len(distances)
    return [i for distance, i in distances if distance > FAR * usual]
