"""What a request leaves out, filled in once inside the runner.

Frequency from timestamps, nulls for steps that are missing between them, the season length, the
first future timestamp, and covariates split into their past and future parts. A model author sees
the result.

Not covered: checks that need no calendar (schemas.py) and what a model can use (runner_sdk.py).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from tollama.core import calendar
from tollama.core.errors import InvalidRequest, Loc
from tollama.core.schemas import ForecastRequest, Series

MAX_SPREAD = 100


def complete(request: ForecastRequest, *, offset: int = 0) -> tuple[ForecastRequest, list[str]]:
    """The request with everything derived, and warnings for what had to be mended.

    Raises InvalidRequest with the paths of timestamps that no frequency explains. `offset` numbers
    the first series within the client's own request.
    """
    warnings: list[str] = []
    problems: list[tuple[Loc, str]] = []
    done: list[Series] = []
    for index, series in enumerate(request.series, offset):
        loc: Loc = ("series", index)
        try:
            done.append(_complete(series, request, loc, warnings))
        except InvalidRequest as error:
            problems += [(path if path else loc, text) for path, text in error.problems()]
    if problems:
        raise InvalidRequest.of(problems)
    return replace(request, series=tuple(done)), warnings


def _complete(series: Series, request: ForecastRequest, loc: Loc, warnings: list[str]) -> Series:
    where = f"series[{loc[-1]}]"
    horizon = request.horizon
    options = request.options
    want = bool(options.get("timestamps"))
    steps = horizon if want else 1
    zone = options.get("tz")
    freq = calendar.parse_freq(series.freq) if series.freq else None
    changed: dict[str, Any] = {}
    past = dict(series.past_covariates)
    future = {}
    n = series.length
    for name, values in series.future_covariates.items():
        if len(values) == n + horizon:
            past[name] = values[:n]
            future[name] = values[n:]
        else:
            future[name] = values
    target = series.target
    if series.timestamps:
        stamps = calendar.parse_timestamps(series.timestamps)
        if zone:
            stamps = calendar.localize(stamps, zone)
        if freq is None:
            freq = calendar.infer(stamps)
            if freq is None:
                warnings.append(
                    f"{where}: no regular frequency found in the timestamps, the values were taken "
                    "as equally spaced; pass freq"
                    if n > 1
                    else f"{where}: one timestamp tells no frequency; pass freq"
                )
        else:
            fitted = calendar.refit(stamps, freq)
            if fitted != freq:
                warnings.append(
                    f"{where}: freq {freq} was taken as {fitted}, as the timestamps are"
                )
                freq = fitted
        if freq is not None:
            positions, total = aligned(stamps, freq, loc)
            if total != n:
                target = (
                    [spread(row, positions, total) for row in target]
                    if series.multivariate
                    else spread(target, positions, total)
                )
                past = {name: spread(values, positions, total) for name, values in past.items()}
                warnings.append(
                    f"{where}: {total - n} steps missing between the timestamps were taken as null"
                )
            after = calendar.future(stamps[-1], freq, steps, tz=zone)
            changed["future_timestamps"] = calendar.format_timestamps(
                after, series.timestamps[-1], freq
            )
    elif series.start and freq is not None:
        first = calendar.parse_timestamp(series.start)
        after, rolled = calendar.range_from(first, freq, steps, tz=zone, skip=n)
        if rolled:
            warnings.append(
                f"{where}: start {series.start} is not on the grid of {freq}, "
                "the first value was taken as the next step on it"
            )
        changed["future_timestamps"] = calendar.format_timestamps(after, series.start, freq)
    stamps_after = changed.get("future_timestamps")
    if stamps_after:
        changed["next_timestamp"] = stamps_after[0]
        if not want:
            changed["future_timestamps"] = None
    season = options.get("season_length")
    if type(season) is list:
        season = min(season)
    return Series(  # in full: `replace` is several times slower, and every request comes by here
        id=series.id,
        target=target,
        freq=series.freq or (str(freq) if freq else None),
        timestamps=series.timestamps,
        start=series.start,
        past_covariates=past,
        future_covariates=future,
        static_covariates=series.static_covariates,
        actuals=series.actuals,
        season_length=season if type(season) is int else calendar.season_length(freq),
        **changed,
    )


def aligned(stamps: list[datetime], freq: calendar.Freq, loc: Loc) -> tuple[list[int], int]:
    """The step of each timestamp and the number of steps; InvalidRequest with the path of one."""
    try:
        positions, total = calendar.align(stamps, freq)
    except InvalidRequest as error:
        raise InvalidRequest.of(
            [((*loc, "timestamps", *path), text) for path, text in error.problems()]
        ) from None
    # Two timestamps far apart and a step of a second would ask for gigabytes of nulls.
    if total > MAX_SPREAD * len(stamps) + 10_000:
        raise InvalidRequest.of(
            [
                (
                    (*loc, "timestamps"),
                    f"expected at most {MAX_SPREAD} steps of {freq} per value, got {total:,} steps "
                    f"for {len(stamps):,} values; pass a longer freq",
                )
            ]
        )
    return positions, total


def spread(values: list[Any], positions: list[int], total: int) -> list[Any]:
    """`total` values, null where no position points."""
    found: list[Any] = [None] * total
    for position, value in zip(positions, values, strict=True):
        found[position] = value
    return found
