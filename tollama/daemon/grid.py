"""A history with a value for every step, for what cuts histories (backtests and anomalies).

A forecast fills in the steps that its timestamps leave out; a history that is cut by position must
have them before it is cut, or actual values meet forecasts of other days. Not covered: what a
forecast derives (core/completion.py).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import Any

from tollama.core import calendar
from tollama.core.completion import aligned, spread
from tollama.core.errors import Loc
from tollama.core.schemas import Series


def on_grid(series: Series, loc: Loc, options: dict[str, Any] | None = None) -> Series:
    """The series with a timestamp for each step, and null for the values of steps left out.

    The same series where it tells no times, or times of no frequency. A covariate that is known
    ahead keeps its last value over a gap. Times without an offset are read in `options.tz`.
    """
    tz = (options or {}).get("tz")
    first = series.timestamps[0] if series.timestamps else series.start
    freq = calendar.parse_freq(series.freq) if series.freq else None
    n = total = series.length
    if series.timestamps:
        stamps = calendar.parse_timestamps(series.timestamps)
        if tz:
            stamps = calendar.localize(stamps, tz)
        freq = calendar.infer(stamps) if freq is None else calendar.refit(stamps, freq)
        if freq is None:
            return series
        positions, total = aligned(stamps, freq, loc)
    if first is None or freq is None:
        return series
    moments, _ = calendar.range_from(calendar.parse_timestamp(first), freq, total, tz=tz)
    found = replace(
        series,
        freq=str(freq),
        timestamps=calendar.format_timestamps(moments, first, freq),
        start=None,
    )
    if total == n:
        return found
    rows = series.target if series.multivariate else [series.target]
    target = [spread(row, positions, total) for row in rows]
    return replace(
        found,
        target=target if series.multivariate else target[0],
        past_covariates={
            name: spread(values, positions, total)
            for name, values in series.past_covariates.items()
        },
        future_covariates={
            name: [*_held(spread(values[:n], positions, total)), *values[n:]]
            if len(values) >= n
            else values
            for name, values in series.future_covariates.items()
        },
    )


def _held(values: list[Any]) -> list[Any]:
    return list(accumulate(values, lambda last, value: last if value is None else value))
