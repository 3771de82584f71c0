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
from itertools import pairwise
from math import gcd

from tollama.core.errors import InvalidRequest, shown
from tollama.core.frequency import (
    CLOCK,
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
    "localize",
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


def localize(timestamps: list[datetime], tz: str) -> list[datetime]:
    """The timestamps on the wall clock of a zone: naive ones are read in it, others converted.

    Daily stamps that a database wrote in UTC are a fixed time of day only there.
    """
    clock = zone(tz)
    return [
        stamp.replace(tzinfo=clock) if stamp.tzinfo is None else stamp.astimezone(clock)
        for stamp in timestamps
    ]


def future(last: datetime, freq: Freq, horizon: int, *, tz: str | None = None) -> list[datetime]:
    """The `horizon` steps strictly after `last`; a `last` off the grid rolls forward onto it.

    Steps of a day and longer keep the wall-clock time, shorter ones are absolute. `tz` names
    the zone whose wall clock counts: a naive `last` is read in it, an aware one converted to it.
    """
    stamps, rolled = range_from(last, freq, horizon + 1, tz=tz)
    return stamps[:horizon] if rolled else stamps[1:]


def range_from(
    start: datetime, freq: Freq, n: int, *, tz: str | None = None, skip: int = 0
) -> tuple[list[datetime], bool]:
    """`n` steps from `start` on, and whether `start` was off the grid and rolled forward.

    The first `skip` steps are left out, at no cost.
    """
    if tz is not None:
        [start] = localize([start], tz)
    try:
        if freq.is_clock:
            step = timedelta(microseconds=freq.n * CLOCK[freq.unit])
            return _clock_range(start, step, range(skip, skip + n)), False
        slot, exact = _slot(start.date(), freq)
        time = start.timetz()
        stamps = [
            datetime.combine(_day(slot + at * freq.n, freq), time) for at in range(skip, skip + n)
        ]
    except (OverflowError, ValueError):
        raise InvalidRequest(
            f"expected timestamps up to the year 9999, but {skip + n} steps of {freq} "
            f"from {start.isoformat()} go past it"
        ) from None
    if start.tzinfo is not None and not isinstance(start.tzinfo, timezone):
        # A wall-clock time that the zone skips has no instant; going through UTC gives it one.
        stamps = [s.replace(fold=0).astimezone(timezone.utc).astimezone(s.tzinfo) for s in stamps]
    return stamps, not exact


def _clock_range(start: datetime, step: timedelta, numbers: range) -> list[datetime]:
    if start.tzinfo is None or isinstance(start.tzinfo, timezone):
        return [start + i * step for i in numbers]
    origin = start.astimezone(timezone.utc)
    return [(origin + i * step).astimezone(start.tzinfo) for i in numbers]


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
        step = freq.n * CLOCK[freq.unit]
        spans = _microseconds(timestamps)
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


def _microseconds(timestamps: list[datetime]) -> list[int]:
    """Absolute time since the first timestamp."""
    if not isinstance(timestamps[0].tzinfo, (timezone, type(None))):
        # Two moments of one zone subtract by their wall clocks.
        timestamps = [stamp.astimezone(timezone.utc) for stamp in timestamps]
    first = timestamps[0]
    return [(stamp - first) // _MICROSECOND for stamp in timestamps]


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
    """`freq`, or its twin of the same period on whose grid the timestamps really are.

    Weekly stamps on Mondays with "W" (Sundays in pandas) become W-MON, first days of a month
    with "M" (the last) become MS. The caller says so in a warning. Anything else stays as it is.
    """
    if not timestamps or _fits(timestamps, freq):
        return freq
    first = timestamps[0]
    if freq.unit == "W":
        twin = Freq("W", freq.n, first.weekday())
    elif freq.unit in MONTHLY:
        letter = freq.unit[0]
        anchor = None if letter == "M" else first.month
        twin = Freq(letter + ("S" if first.day == 1 else "E"), freq.n, anchor)
    else:
        return freq
    return twin if _fits(timestamps, twin) else freq


def _fits(timestamps: list[datetime], freq: Freq) -> bool:
    try:
        align(timestamps, freq)
    except InvalidRequest:
        return False
    return True


def infer(timestamps: list[datetime]) -> Freq | None:
    """The frequency of increasing timestamps, with or without gaps; None if they have none.

    The step is the largest that reaches every timestamp and that occurs between two of them at
    least once (for whole months: that reaches every timestamp). Two timestamps suffice if they
    are a single unit apart. Days that keep their wall-clock time across a change of offset are
    days; without weekends, and so many that chance does not explain it, they are business days.
    """
    if len(timestamps) < 2:
        return None
    if len({stamp.time() for stamp in timestamps[:3]}) == 1:
        found = None
        if len({stamp.time() for stamp in timestamps}) == 1:
            found = _infer_months(timestamps) or _infer_days(timestamps)
        if found is not None:
            return found if found.n == 1 or len(timestamps) > 2 else None
    found = _infer_clock(timestamps)
    return found if found is not None and (found.n == 1 or len(timestamps) > 2) else None


def _steps(numbers: list[int]) -> tuple[int, int]:
    """The smallest and the greatest common step of numbers; (0, 0) if they do not increase."""
    steps = {b - a for a, b in pairwise(numbers)}
    smallest = min(steps)
    return (smallest, gcd(*steps)) if smallest > 0 else (0, 0)


def _infer_months(timestamps: list[datetime]) -> Freq | None:
    if all(stamp.day == 1 for stamp in timestamps):
        edge = "S"
    elif all(stamp.day == _last_day(stamp.year, stamp.month) for stamp in timestamps):
        edge = "E"
    else:
        return None
    smallest, step = _steps([stamp.year * 12 + stamp.month for stamp in timestamps])
    if smallest == 0:
        return None
    month = timestamps[0].month
    if step % 12 == 0:
        return Freq("Y" + edge, step // 12, month)
    if step % 3 == 0:
        # Four months name the same quarters: the first of the year at starts, else the last.
        first = (month - 1) % 3 + 1
        return Freq("Q" + edge, step // 3, first if edge == "S" else first + 9)
    return Freq("M" + edge, step)


def _infer_days(timestamps: list[datetime]) -> Freq | None:
    ordinals = [stamp.toordinal() for stamp in timestamps]
    smallest, step = _steps(ordinals)
    if smallest == 0 or smallest != step:
        return None
    if step % 7 == 0:
        return Freq("W", step // 7, timestamps[0].weekday())
    if step == 1 and len(ordinals) > 2 and _skips_weekends(ordinals):
        return Freq("B")
    return Freq("D", step)


def _skips_weekends(ordinals: list[int]) -> bool:
    """Whether days leave out every weekend, and would hardly do so by chance."""
    if any((ordinal - 1) % 7 >= 5 for ordinal in ordinals):
        return False
    weekdays = _slot(date.fromordinal(ordinals[-1]), Freq("B"))[0] + 1
    weekdays -= _slot(date.fromordinal(ordinals[0]), Freq("B"))[0]
    weekend_days = ordinals[-1] - ordinals[0] + 1 - weekdays
    missing = 1 - len(ordinals) / weekdays
    return weekend_days > 0 and missing**weekend_days < 0.05


def _infer_clock(timestamps: list[datetime]) -> Freq | None:
    smallest, step = _steps(_microseconds(timestamps))
    if smallest == 0 or smallest != step:
        return None
    unit = next(unit for unit in reversed(CLOCK) if step % CLOCK[unit] == 0)
    return Freq(unit, step // CLOCK[unit])
