"""The calendar: future timestamps, the grid of a frequency, inference, gaps, time zones.

One idea carries it: every calendar unit numbers its days with consecutive integers ("slots"),
`_slot` and `_day` go both ways, and a frequency of `n` units visits each n-th slot from its
first. Steps shorter than a day are plain arithmetic in absolute time. Results equal pandas's
date_range (a property test holds them to it), but for two cases that pandas refuses: a wall-clock
step onto an hour that a daylight-saving change skips moves forward by the skipped time, and onto
an hour that happens twice means its first.

Not covered: holidays, time zones by anything but their IANA name, nanoseconds. Frequency strings
and timestamps as text are in `frequency` and `timestamps`; both are re-exported here.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone, tzinfo
from math import gcd

from tollama.core.errors import InvalidRequest, shown
from tollama.core.frequency import (
    CLOCK,
    DAY,
    MONTHLY,
    WEEKDAYS,
    Freq,
    parse_freq,
    same_period,
    season_length,
)
from tollama.core.timestamps import (
    format_timestamp,
    format_timestamps,
    parse_timestamp,
    parse_timestamps,
)

__all__ = [
    "Freq",
    "align",
    "format_timestamp",
    "format_timestamps",
    "future",
    "infer",
    "is_increasing",
    "parse_freq",
    "parse_timestamp",
    "parse_timestamps",
    "range_from",
    "refit",
    "same_period",
    "season_length",
    "zone",
]

_MICROSECOND = timedelta(microseconds=1)
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def zone(name: str) -> tzinfo:
    """The time zone of an IANA name such as "Europe/Berlin"; InvalidRequest if unknown."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        raise InvalidRequest(
            f"expected the IANA name of a time zone such as 'Europe/Berlin', got {shown(name)}"
        ) from None


def future(last: datetime, freq: Freq, horizon: int, *, tz: str | None = None) -> list[datetime]:
    """The `horizon` steps strictly after `last`; a `last` off the grid rolls forward onto it.

    Steps of a day and longer keep the wall-clock time, shorter ones are absolute. `tz` names
    the zone whose wall clock counts: a naive `last` is read in it, an aware one converted to it.
    """
    stamps, rolled = range_from(last, freq, horizon + 1, tz=tz)
    return stamps[:horizon] if rolled else stamps[1:]


def range_from(
    start: datetime, freq: Freq, n: int, *, tz: str | None = None
) -> tuple[list[datetime], bool]:
    """`n` steps from `start` on, and whether `start` was off the grid and rolled forward."""
    if tz is not None:
        start = start.replace(tzinfo=zone(tz)) if start.tzinfo is None else start.astimezone(zone(tz))
    try:
        if freq.is_clock:
            return _clock_range(start, timedelta(microseconds=freq.n * CLOCK[freq.unit]), n), False
        slot, exact = _slot(start.date(), freq)
        time = start.timetz()
        stamps = [
            datetime.combine(_day(at, freq), time)
            for at in range(slot, slot + n * freq.n, freq.n)
        ]
    except (OverflowError, ValueError):
        raise InvalidRequest(
            f"expected timestamps up to the year 9999, but {n} steps of {freq} "
            f"from {start.isoformat()} go past it"
        ) from None
    if start.tzinfo is not None and not isinstance(start.tzinfo, timezone):
        # A wall-clock time that the zone skips has no instant; going through UTC gives it one.
        stamps = [s.replace(fold=0).astimezone(timezone.utc).astimezone(s.tzinfo) for s in stamps]
    return stamps, not exact


def _clock_range(start: datetime, step: timedelta, n: int) -> list[datetime]:
    if start.tzinfo is None or isinstance(start.tzinfo, timezone):
        return [start + i * step for i in range(n)]
    origin = start.astimezone(timezone.utc)
    return [(origin + i * step).astimezone(start.tzinfo) for i in range(n)]


def _last_day(year: int, month: int) -> int:
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return _MONTH_DAYS[month - 1] + leap


def _slot(day: date, freq: Freq) -> tuple[int, bool]:
    """The number of the unit's first day at or after `day`, and whether it is `day` itself."""
    unit = freq.unit
    if unit in MONTHLY:
        edge = 1 if unit[1] == "S" else _last_day(day.year, day.month)
        month = day.year * 12 + day.month - 1
        if day.day > edge:
            month += 1
        period = MONTHLY[unit]
        slot, beyond = divmod(month - ((freq.anchor or 1) - 1) % period, period)
        return slot + (beyond > 0), beyond == 0 and day.day == edge
    ordinal = day.toordinal()
    if unit == "D":
        return ordinal, True
    if unit == "W":
        weeks, beyond = divmod(ordinal - 1 - (freq.anchor or 0), 7)
        return weeks + (beyond > 0), beyond == 0
    week, weekday = divmod(ordinal - 1, 7)
    return week * 5 + min(weekday, 5), weekday < 5


def _day(slot: int, freq: Freq) -> date:
    """The day of a slot: the inverse of `_slot`."""
    unit = freq.unit
    if unit in MONTHLY:
        period = MONTHLY[unit]
        year, month0 = divmod(slot * period + ((freq.anchor or 1) - 1) % period, 12)
        return date(year, month0 + 1, 1 if unit[1] == "S" else _last_day(year, month0 + 1))
    if unit == "D":
        return date.fromordinal(slot)
    if unit == "W":
        return date.fromordinal(slot * 7 + 1 + (freq.anchor or 0))
    week, weekday = divmod(slot, 5)
    return date.fromordinal(week * 7 + weekday + 1)


def is_increasing(timestamps: list[datetime]) -> int | None:
    """The index of the first timestamp that is not after the one before it, or None if none is.

    InvalidRequest when some timestamps have an offset and some have none.
    """
    aware = timestamps[0].tzinfo is not None if timestamps else False
    for index, stamp in enumerate(timestamps):
        if (stamp.tzinfo is not None) is not aware:
            raise InvalidRequest.of(
                [((index,), "expected an offset from UTC on all timestamps or on none")]
            )
    for index in range(1, len(timestamps)):
        if not timestamps[index - 1] < timestamps[index]:
            return index
    return None


def align(timestamps: list[datetime], freq: Freq) -> tuple[list[int], int]:
    """Each timestamp's position on the grid from the first on, and the length of that grid.

    Missing steps are the positions that do not occur: the caller fills them with null, and
    bounds the length first. InvalidRequest names the first timestamp off the grid, by index.
    """
    if not timestamps:
        return [], 0
    if freq.is_clock:
        first, step = timestamps[0], freq.n * CLOCK[freq.unit]
        spans = [(stamp - first) // _MICROSECOND for stamp in timestamps]
        positions = [span // step for span in spans]
        if any(span % step for span in spans):
            bad = next(i for i, span in enumerate(spans) if span % step)
            raise _off_grid(timestamps, bad, freq)
        return positions, positions[-1] + 1

    time = timestamps[0].time()
    slots = []
    for index, stamp in enumerate(timestamps):
        slot, exact = _slot(stamp, freq)
        if not exact or stamp.time() != time:
            raise _off_grid(timestamps, index, freq)
        slots.append(slot)
    first_slot = slots[0]
    if freq.n == 1:
        positions = [slot - first_slot for slot in slots]
    else:
        positions = [(slot - first_slot) // freq.n for slot in slots]
        for index, slot in enumerate(slots):
            if (slot - first_slot) % freq.n:
                raise _off_grid(timestamps, index, freq)
    return positions, positions[-1] + 1


def _off_grid(timestamps: list[datetime], index: int, freq: Freq) -> InvalidRequest:
    stamp = timestamps[index]
    message = f"expected a timestamp on the grid of freq {str(freq)!r}"
    if index or freq.is_clock:
        message += f" from {timestamps[0].isoformat()} on"
    message += f", got {stamp.isoformat()} ({WEEKDAYS[stamp.weekday()].capitalize()})"
    better = infer(timestamps)
    if better is not None:
        message += f": these timestamps have freq {str(better)!r}"
    return InvalidRequest.of([((index,), message)])


def refit(timestamps: list[datetime], freq: Freq) -> Freq:
    """`freq`, or the frequency with the same period on whose grid the timestamps really are.

    Weekly stamps on Mondays with "W" (Sundays in pandas) become W-MON; first days of a month
    with "M" (the last) become MS. The caller says so in a warning. Anything else stays as it is.
    """
    found = infer(timestamps)
    if found is None or found == freq or not timestamps:
        return freq
    # Gaps may hide the true step: a single step of the same unit is what is looked for.
    single = Freq(found.unit, freq.n, found.anchor)
    for candidate in (found, single):
        if candidate != freq and same_period(candidate, freq) and not _fits(timestamps, freq):
            return candidate if _fits(timestamps, candidate) else freq
    return freq


def _fits(timestamps: list[datetime], freq: Freq) -> bool:
    try:
        align(timestamps, freq)
    except InvalidRequest:
        return False
    return True
