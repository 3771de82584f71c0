"""Cells of a table read as numbers, dates or missing values, one style for a whole column.

A column has one style: decimal point or decimal comma, thousands separators or none, day first or
month first. It is found from all cells together, so that `1,5` beside `1.234,5` reads as 1.5 and
`03/04/2024` beside `25/04/2024` as 3 April; what cannot be decided is an error that names the flag
that decides it. Not covered: which column is which (`tables`), and frequencies (`core.calendar`).
"""

from __future__ import annotations

import math
import re
from collections import namedtuple
from itertools import pairwise

from tollama.core import errors

MISSING = frozenset(
    ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", ".", "?", "missing", "<na>")
)

NO_CATEGORY = frozenset(("", "#n/a", "nan", "null", "<na>"))
"""Missing among texts, where "none" or "NA" may well be a category."""

NumberStyle = namedtuple("NumberStyle", "decimal")
"""`decimal` is "." or ","; the other sign, spaces and apostrophes may part thousands."""

DateStyle = namedtuple("DateStyle", "kind order")
"""`kind` is a key of `_KINDS`; `order` is "dmy", "mdy" or "" where the kind leaves no choice."""

_EXP = r"(?:[eE][+-]?\d+)?"
_GAPS = r"\d{1,3}(?:[ \u00a0\u202f\u2009'\u2019]\d{3})+"
_NUMBER = {
    ".": re.compile(rf"[+-]?(?:(?:{_GAPS}|\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d*)?|\.\d+){_EXP}"),
    ",": re.compile(rf"[+-]?(?:(?:{_GAPS}|\d{{1,3}}(?:\.\d{{3}})+|\d+)(?:,\d*)?|,\d+){_EXP}"),
}
_SEPARATORS = str.maketrans({c: None for c in " \u00a0\u202f\u2009'\u2019"})
_SIGNS = str.maketrans({"\u2212": "-"})


def is_missing(cell: str) -> bool:
    """Whether a cell stands for a missing value: empty, NA, NaN, null and their like."""
    return cell.strip().lower() in MISSING


def looks_numeric(cell: str) -> bool:
    """Whether a cell is a number in either style."""
    text = cell.strip().translate(_SIGNS)
    return bool(_NUMBER["."].fullmatch(text) or _NUMBER[","].fullmatch(text))


def number_style(cells: list[str], decimal: str | None = None) -> NumberStyle | None:
    """The one style in which the cells are numbers; None when it cannot be told.

    `decimal` is what the caller knows ("." or ","): the user's flag, or another column's style.
    Cells that are no numbers at all are not considered. `1,234` alone could be either: plain
    integers beside it decide (987 says that commas part thousands, 1234 that they do not).
    """
    if decimal is None and as_floats(cells) is not None:
        return NumberStyle(".")
    texts = {cell.strip().translate(_SIGNS) for cell in cells}
    texts = {t for t in texts if t.lower() not in MISSING}
    point = {t for t in texts if _NUMBER["."].fullmatch(t)}
    comma = {t for t in texts if _NUMBER[","].fullmatch(t)}
    numbers = point | comma
    if not numbers:
        return NumberStyle(decimal or ".")
    if decimal is not None:
        return NumberStyle(decimal)
    if point == numbers and comma != numbers:
        return NumberStyle(".")
    if comma == numbers and point != numbers:
        return NumberStyle(",")
    if point != numbers:  # each style fails somewhere: the majority, and its cells are errors later
        return NumberStyle("." if len(point) >= len(comma) else ",")
    if not any("," in t for t in numbers):
        return NumberStyle(".")
    whole = [t.lstrip("+-") for t in numbers if t.lstrip("+-").isdigit()]
    if any(len(t) > 3 for t in whole) or any(t.lstrip("+-").startswith("0,") for t in numbers):
        return NumberStyle(",")
    return NumberStyle(".") if any(t.strip("0") for t in whole) else None


def as_number(cell: str, style: NumberStyle) -> float | None:
    """The value of one cell, None when missing; ValueError when it is neither or not finite."""
    text = cell.strip().translate(_SIGNS)
    if text.lower() in MISSING:
        return None
    if not _NUMBER[style.decimal].fullmatch(text):
        raise ValueError(cell)
    text = text.translate(_SEPARATORS)
    text = (
        text.replace(",", "") if style.decimal == "." else text.replace(".", "").replace(",", ".")
    )
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


def as_floats(cells: list[str]) -> list[float] | None:
    """The cells as plain finite numbers at C speed; None when one is anything else."""
    try:
        values = list(map(float, cells))
        plain = math.isfinite(math.fsum(values)) and "_" not in "".join(cells)
    except (ValueError, OverflowError):
        return None
    return values if plain else None


def as_numbers(cells: list[str], style: NumberStyle) -> tuple[list[float | None], int | None]:
    """The values of a column and the index of the first cell that is no number, if any."""
    if style.decimal == "." and (fast := as_floats(cells)) is not None:
        return [*fast], None
    values: list[float | None] = []
    for index, cell in enumerate(cells):
        try:
            values.append(as_number(cell, style))
        except ValueError:
            return values, index
    return values, None


# -- dates --------------------------------------------------------------------------------------

_TIME = r"(?:[T ,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?\s*([AaPp]\.?[Mm]\.?)?"
_ZONE = r"\s*(Z|z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAME = r"([A-Za-z]{3,9})\.?"

_KINDS = {
    "iso": re.compile(rf"(\d{{4}})-(\d{{1,2}})(?:-(\d{{1,2}}))?{_TIME}{_ZONE}"),
    "slashed": re.compile(rf"(\d{{4}})([/.])(\d{{1,2}})\2(\d{{1,2}}){_TIME}{_ZONE}"),
    "month": re.compile(r"(\d{4})(?:/| ?[Mm])(\d{1,2})"),
    "quarter": re.compile(r"(\d{4})[-/ ]?[Qq]([1-4])|[Qq]([1-4])[-/ ]?(\d{4})"),
    "week": re.compile(r"(\d{4})[- ]?[Ww](\d{1,2})(?:-?([1-7]))?"),
    "numeric": re.compile(rf"(\d{{1,2}})([./-])(\d{{1,2}})\2(\d{{4}}|\d{{2}}){_TIME}{_ZONE}"),
    "month-year": re.compile(r"(\d{1,2})[/-](\d{4})"),
    "day-name": re.compile(rf"(\d{{1,2}})[- ]?{_NAME}[-, ]*(\d{{4}}|\d{{2}}){_TIME}{_ZONE}"),
    "name-day": re.compile(rf"{_NAME} (\d{{1,2}}),? (\d{{4}}){_TIME}{_ZONE}"),
    "name-year": re.compile(rf"{_NAME}[- ,]*(\d{{4}}|'?\d{{2}})"),
    "year-name": re.compile(rf"(\d{{4}})[- ]?{_NAME}"),
    "compact": re.compile(r"(1[6-9]|2[01])(\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"),
    "year": re.compile(r"(1[5-9]\d{2}|2[01]\d{2})(?:\.0)?"),
    "compact-month": re.compile(r"((?:1[6-9]|2[01])\d{2})(0[1-9]|1[0-2])"),
    "epoch": re.compile(r"(\d{9,10})(\d{3})?(?:\.0)?"),
}
NUMERIC_KINDS = ("year", "compact-month", "epoch")
"""Kinds whose cells are numbers too: taken for dates only when the column's name says so."""


def date_kind(cells: list[str], *, named: bool) -> str | None:
    """The kind of date that at least nine in ten of the filled cells are; None if there is none.

    `named` says that the column's name, or the user, calls it a time: then plain years, months like
    194901 and epoch seconds or milliseconds count too.
    """
    texts = [text for cell in cells if (text := cell.strip()) and text.lower() not in MISSING]
    for kind, pattern in _KINDS.items():
        if not texts or (kind in NUMERIC_KINDS and not named):
            continue
        hits = sum(1 for text in texts if _fits(kind, pattern.fullmatch(text)))
        if hits and hits >= 0.9 * len(texts):
            return kind
    return None


def _fits(kind: str, match: re.Match[str] | None) -> bool:
    if match is None:
        return False
    if kind in ("day-name", "name-day", "name-year", "year-name"):
        return any(g and g[:3].lower() in _MONTHS for g in match.groups() if g and g[0].isalpha())
    return True


def date_order(cells: list[str]) -> tuple[str, str] | None:
    """Day or month first in a column of `numeric` dates, and how that was told; None: undecidable.

    Told by a part over 12; else by dots, which no country writes month first; else by which order
    gives evenly spaced steps, when only one does.
    """
    parts = [m.groups() for cell in cells if (m := _KINDS["numeric"].fullmatch(cell.strip()))]
    first = max((int(p[0]) for p in parts), default=0)
    second = max((int(p[2]) for p in parts), default=0)
    if first > 12 or second > 12:
        return ("dmy" if first > 12 else "mdy"), "parts"
    if parts and all(p[1] == "." for p in parts):
        return "dmy", "dots"
    stamps = sorted({(_century(p[3]), int(p[0]), int(p[2])) for p in parts})
    even = [
        order
        for order in ("dmy", "mdy")
        if _evenly([(y, b, a) if order == "dmy" else (y, a, b) for y, a, b in stamps])
    ]
    return (even[0], "spacing") if len(even) == 1 and len(stamps) > 2 else None


def _evenly(days: list[tuple[int, int, int]]) -> bool:
    """Whether (year, month, day) triples step by a constant number of days or of months."""
    from datetime import date

    days = sorted(days)
    ordinals = [date(*d).toordinal() for d in days]
    months = [y * 12 + m for y, m, _ in days]
    same_day = len({d for _, _, d in days}) == 1
    return _constant(ordinals) or (same_day and _constant(months))


def _constant(values: list[int]) -> bool:
    return len({b - a for a, b in pairwise(values)}) <= 1


def _century(text: str) -> int:
    year = int(text.lstrip("'"))
    return year if len(text.lstrip("'")) == 4 else year + (2000 if year < 70 else 1900)


def as_timestamp(cell: str, style: DateStyle) -> str:
    """A cell as an ISO 8601 string; ValueError when it is no date of this style."""
    from datetime import date, datetime, timedelta, timezone

    text = cell.strip()
    if style.kind == "iso" and len(text) in (10, 16, 19) and text[4] == text[7] == "-":
        try:  # the usual form, at C speed
            return datetime.fromisoformat(text).isoformat()[: 10 if len(text) == 10 else None]
        except ValueError:
            pass
    match = _KINDS[style.kind].fullmatch(text)
    if not _fits(style.kind, match) or match is None:
        raise ValueError(cell)
    g = match.groups()
    kind = style.kind
    if kind == "iso":
        return _stamp(int(g[0]), int(g[1]), int(g[2] or 1), g[3:])
    if kind == "slashed":
        return _stamp(int(g[0]), int(g[2]), int(g[3]), g[4:])
    if kind == "compact":
        return _stamp(int(g[0] + g[1]), int(g[2]), int(g[3]), ())
    if kind in ("month", "compact-month"):
        return _stamp(int(g[0]), int(g[1]), 1, ())
    if kind == "month-year":
        return _stamp(int(g[1]), int(g[0]), 1, ())
    if kind == "year":
        return _stamp(int(g[0]), 1, 1, ())
    if kind == "quarter":
        year, quarter = (g[0], g[1]) if g[0] else (g[3], g[2])
        return _stamp(int(year or 0), 3 * int(quarter or 0) - 2, 1, ())
    if kind == "week":
        return date.fromisocalendar(int(g[0]), int(g[1]), int(g[2] or 1)).isoformat()
    if kind == "numeric":
        day, month = (g[0], g[2]) if style.order == "dmy" else (g[2], g[0])
        return _stamp(_century(g[3]), int(month), int(day), g[4:])
    if kind == "day-name":
        return _stamp(_century(g[2]), _month(g[1]), int(g[0]), g[3:])
    if kind == "name-day":
        return _stamp(int(g[2]), _month(g[0]), int(g[1]), g[3:])
    if kind == "name-year":
        return _stamp(_century(g[1]), _month(g[0]), 1, ())
    if kind == "year-name":
        return _stamp(int(g[0]), _month(g[1]), 1, ())
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(
        seconds=int(g[0]), milliseconds=int(g[1] or 0)
    )
    return epoch.replace(tzinfo=None).isoformat()


def _month(name: str) -> int:
    return _MONTHS.index(name[:3].lower()) + 1


def _stamp(year: int, month: int, day: int, rest: tuple[str | None, ...]) -> str:
    """ISO text of checked parts; `rest` is hour, minute, second, fraction, am/pm, zone or empty."""
    from datetime import datetime

    hour, minute, second, fraction, half, zone = rest or (None,) * 6
    hours = int(hour or 0)
    if half is not None:
        if hour is None or not 1 <= hours <= 12:
            raise ValueError(hour)
        hours = hours % 12 + (12 if half[0] in "pP" else 0)
    stamp = datetime(year, month, day, hours, int(minute or 0), int(second or 0))
    if hour is None:
        if zone is not None:
            raise ValueError(zone)
        return stamp.isoformat()[:10]
    text = stamp.isoformat() + (f".{fraction}" if fraction and fraction.strip("0") else "")
    if zone is None:
        return text
    if zone.upper() in ("Z", "UTC", "GMT"):
        return text + "Z"
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return f"{text}{zone[0]}{digits[:2]}:{digits[2:]}"


def sort_keys(stamps: list[str]) -> list[object]:
    """Keys that order ISO timestamps by instant; InvalidRequest when only some have a zone.

    Dates among times count as midnight, so the keys of one column compare with each other.
    """
    if all(len(s) == 10 for s in stamps):
        return [*stamps]
    zoned = [len(s) > 10 and (s[-1] == "Z" or s[-6:-5] in ("+", "-")) for s in stamps]
    if not any(zoned):
        full = any(len(s) > 10 for s in stamps)
        return [s + "T00:00:00" if full and len(s) == 10 else s for s in stamps]
    if not all(zoned):
        raise errors.InvalidRequest(
            "timestamps: expected a UTC offset on all or on none, got "
            f"{stamps[zoned.index(True)]!r} and {stamps[zoned.index(False)]!r}"
        )
    from datetime import datetime

    keys: list[object] = []
    for s in stamps:
        text = s[:-1] + "+00:00" if s[-1] == "Z" else s
        body, offset = text[:-6], text[-6:]
        if "." in body:
            body = body[:26].ljust(26, "0")
        keys.append(datetime.fromisoformat(body + offset).timestamp())
    return keys
