"""Frequency strings: what they mean, their canonical spelling, the season they imply.

Covered: microseconds to years, business days, weeks by weekday, months, quarters and years by
their first or last day, multiples of all of these; the spellings of pandas before and after
2.2, English words, ISO-like case. Not covered: other calendars (holidays, business month ends,
semi-months, 4-4-5 years), compound steps ("1h30min"), fractions ("1.5h"), steps under 1 us.
"""

from __future__ import annotations

import re
from collections import namedtuple

from tollama.core.errors import InvalidRequest, shown

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

# Microseconds a step, of the units that are a fixed span of time.
CLOCK = {
    "us": 1,
    "ms": 1_000,
    "S": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
}
DAY = 24 * CLOCK["h"]

# Months a step, of the units that count months.
MONTHLY = {"MS": 1, "ME": 1, "QS": 3, "QE": 3, "YS": 12, "YE": 12}

# The anchor that a bare spelling means, as in pandas: weekday (0 = Monday) or month.
DEFAULT_ANCHOR = {"W": 6, "QS": 1, "QE": 12, "YS": 1, "YE": 12}

# Spellings that mean something only in this case.
_EXACT = {"M": "ME", "MS": "MS", "ms": "ms"}

# Spellings in any case. The words for a month and longer mean its first day: people who write
# "monthly" stamp 2024-01-01; who means the last day writes "ME".
_ANY_CASE = {
    **dict.fromkeys(("us", "u", "microsecond", "microseconds"), "us"),
    **dict.fromkeys(("l", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "second", "seconds", "secondly"), "S"),
    **dict.fromkeys(("min", "t", "minute", "minutes", "minutely"), "min"),
    **dict.fromkeys(("h", "hour", "hours", "hourly"), "h"),
    **dict.fromkeys(("d", "day", "days", "daily"), "D"),
    **dict.fromkeys(("b", "business day", "business days"), "B"),
    **dict.fromkeys(("w", "week", "weeks", "weekly"), "W"),
    "me": "ME",
    **dict.fromkeys(("month", "months", "monthly"), "MS"),
    "qs": "QS",
    **dict.fromkeys(("q", "qe"), "QE"),
    **dict.fromkeys(("quarter", "quarters", "quarterly"), "QS"),
    **dict.fromkeys(("ys", "as"), "YS"),
    **dict.fromkeys(("y", "ye", "a"), "YE"),
    **dict.fromkeys(("year", "years", "yearly", "annual", "annually"), "YS"),
}

KNOWN = (
    "S, min, h, D, B, W, MS, ME, QS, QE, YS, YE, with a multiple ('15min') or an anchor ('QS-OCT')"
)

# Steps in the longer cycle that a unit's season is, by the custom of the M competitions and
# GluonTS for h, B, M, Q and Y, and the yearly and weekly cycles for W and D (see season_length).
_SEASON = {"D": 7, "B": 5, "W": 52, "MS": 12, "ME": 12, "QS": 4, "QE": 4, "YS": 1, "YE": 1}

_PATTERN = re.compile(r"(\d{0,6})\s*([A-Za-z]+(?: [A-Za-z]+)?)(?:-([A-Za-z]{3}))?", re.ASCII)


class Freq(namedtuple("Freq", ("unit", "n", "anchor"))):
    """The step of a time series: `n` units, on an anchor where the unit has one.

    `unit` is one of us, ms, S, min, h, D, B, W, MS, ME, QS, QE, YS, YE; `anchor` is the weekday
    (0 = Monday) of W, the month (1..12) of Q and Y, else None. `str` is what pandas 3 reads.
    """

    __slots__ = ()

    unit: str
    n: int
    anchor: int | None

    def __new__(cls, unit: str, n: int = 1, anchor: int | None = None) -> Freq:
        return super().__new__(cls, unit, n, DEFAULT_ANCHOR.get(unit) if anchor is None else anchor)

    def __str__(self) -> str:
        text = "s" if self.unit == "S" else self.unit
        if self.n != 1:
            text = f"{self.n}{text}"
        if self.anchor is None:
            return text
        return f"{text}-{WEEKDAYS[self.anchor] if self.unit == 'W' else MONTHS[self.anchor - 1]}"

    @property
    def is_clock(self) -> bool:
        """Whether a step is a fixed span of time, shorter than a calendar day."""
        return self.unit in CLOCK


def parse_freq(text: str) -> Freq:
    """The frequency that `text` names; InvalidRequest if it names none.

    `M` is the month's end, as it was in pandas, and `m` is refused: it has meant both a minute
    and a month. `ms` is a millisecond and `MS` the month's start.
    """
    match = _PATTERN.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise _unknown(text)
    number, name, anchor_name = match.groups()
    unit = _EXACT.get(name)
    if unit is None:
        if name.lower() in ("m", "ms"):
            raise InvalidRequest(
                f"expected a frequency whose case is clear, got {shown(text)}: "
                "write 'min' for minutes, 'ms' for milliseconds, 'MS' or 'ME' for months"
            )
        unit = _ANY_CASE.get(name.lower())
    n = int(number) if number else 1
    if unit is None or n == 0:
        raise _unknown(text)
    if anchor_name is None:
        return Freq(unit, n)
    names = WEEKDAYS if unit == "W" else MONTHS if unit[0] in "QY" else ()
    if anchor_name.upper() not in names:
        raise _unknown(text)
    return Freq(unit, n, names.index(anchor_name.upper()) + (unit != "W"))


def season_length(freq: Freq | None) -> int:
    """Steps in one season of a series of this frequency; 1 = no season.

    h 24, D 7, B 5, W 52, months 12, quarters 4, years 1. A multiple divides the season when it
    divides it evenly and else has none (GluonTS's rule): 2h 12, 4W 13, 5h 1. Under an hour, the
    season is the shortest of minute, hour and day that holds at least 24 steps: S 60, min 60,
    5min 288, 15min 96. Note that M4 scores daily and weekly series with season 1.
    """
    if freq is None:
        return 1
    if freq.is_clock:
        step = freq.n * CLOCK[freq.unit]
        if step % DAY == 0:
            return season_length(Freq("D", step // DAY))
        for cycle in (CLOCK["min"], CLOCK["h"]):
            if step >= CLOCK["S"] and cycle % step == 0 and cycle // step >= 24:
                return cycle // step
        return DAY // step if DAY % step == 0 and step >= CLOCK["S"] else 1
    if freq.unit == "D" and freq.n % 7 == 0:
        return season_length(Freq("W", freq.n // 7))
    season = _SEASON[freq.unit]
    return season // freq.n if season % freq.n == 0 else 1


def same_period(a: Freq, b: Freq) -> bool:
    """Whether two frequencies have steps of the same length, anchors and edges aside."""
    return _period(a) == _period(b)


def _period(freq: Freq) -> tuple[str, int]:
    if freq.is_clock:
        return "time", freq.n * CLOCK[freq.unit]
    if freq.unit in MONTHLY:
        return "months", freq.n * MONTHLY[freq.unit]
    if freq.unit == "W":
        return "days", freq.n * 7
    return ("days" if freq.unit == "D" else "business days"), freq.n


def _unknown(text: object) -> InvalidRequest:
    return InvalidRequest(
        "expected a frequency such as 'h', 'D', 'W-SUN', 'MS', "
        f"got {shown(text)}: the known ones are {KNOWN}"
    )
