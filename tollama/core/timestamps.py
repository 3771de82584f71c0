"""ISO 8601 timestamps: reading them, and writing new ones in the style of those read.

Covered: dates, date-times with any precision down to a microsecond, Z and numeric offsets, ISO
week dates, the basic form (20240131), and three shortened forms: 1949, 1949-01 and 1949Q1,
which mean the first day. Not covered: names of time zones in the text, two-digit years, local
orders of day and month (the CSV reader decides those), leap seconds. Digits under a microsecond
are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone

from tollama.core.errors import InvalidRequest, shown
from tollama.core.frequency import Freq

# datetime.fromisoformat reads more from Python 3.11 on than on 3.10: what it refuses there is
# read by this pattern, so that every Python accepts the same texts.
_ISO = re.compile(
    r"(?P<year>\d{4})"
    r"(?:-?Q(?P<quarter>[1-4])"
    r"|-?W(?P<week>\d\d)(?:-?(?P<weekday>[1-7]))?"
    r"|-(?P<month>\d\d)(?:-(?P<day>\d\d))?"
    r"|(?P<basic>\d{4}))?"
    r"(?:[T ](?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?)?"
    r"\s?(?P<offset>Z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?)?",
    re.IGNORECASE | re.ASCII,
)

_STYLE = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d|\d{8}|.*?[^T ]*?)"
    r"(?:(?P<separator>[T ])(?P<time>[\d:]+)(?:[.,](?P<fraction>\d+))?(?P<offset>.*))?",
    re.IGNORECASE,
)


def parse_timestamp(text: str) -> datetime:
    """The date-time that `text` names, aware if it has an offset; InvalidRequest if it is none."""
    if isinstance(text, str):
        if text[10:11] in ("", "T", " "):
            try:
                return datetime.fromisoformat(text)
            except ValueError:
                pass
        match = _ISO.fullmatch(text.strip())
        if match is not None:
            try:
                return _build(match.groupdict())
            except (ValueError, OverflowError):
                pass
    raise InvalidRequest(
        "expected an ISO 8601 timestamp such as '2024-01-31' or '2024-01-31T13:00:00Z', "
        f"got {shown(text)}"
    )


def parse_timestamps(texts: list[str]) -> list[datetime]:
    """`parse_timestamp` of each; the InvalidRequest lists each bad one under its index."""
    try:
        if {text[10:11] for text in texts} <= {"", "T", " "}:
            return list(map(datetime.fromisoformat, texts))
    except (TypeError, ValueError):
        pass
    found: list[datetime] = []
    problems: list[tuple[tuple[str | int, ...], str]] = []
    for index, text in enumerate(texts):
        try:
            found.append(parse_timestamp(text))
        except InvalidRequest as error:
            problems.append(((index,), error.message))
    if problems:
        raise InvalidRequest.of(problems)
    return found


def _build(part: dict[str, str | None]) -> datetime:
    year = int(part["year"] or 0)
    if part["quarter"]:
        day = date(year, 3 * int(part["quarter"]) - 2, 1)
    elif part["week"]:
        day = date.fromisocalendar(year, int(part["week"]), int(part["weekday"] or 1))
    elif part["basic"]:
        day = date(year, int(part["basic"][:2]), int(part["basic"][2:]))
    else:
        day = date(year, int(part["month"] or 1), int(part["day"] or 1))
    return datetime(
        day.year,
        day.month,
        day.day,
        int(part["hour"] or 0),
        int(part["minute"] or 0),
        int(part["second"] or 0),
        int((part["fraction"] or "0")[:6].ljust(6, "0")),
        _offset(part["offset"]),
    )


def _offset(text: str | None) -> timezone | None:
    if not text:
        return None
    if text in "Zz":
        return timezone.utc
    digits = text[1:].replace(":", "").ljust(6, "0")
    span = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:]))
    return timezone(-span if text[0] == "-" else span)


def format_timestamp(moment: datetime, like: str, freq: Freq | None = None) -> str:
    """`moment` in the style of `like`, a timestamp that `parse_timestamp` reads.

    Kept: a bare date or a shortened form as long as it says the moment in full (and `freq` is
    no clock step, whose midnights would look unlike its other hours), "T" or a blank, seconds
    or none, the digits of the fraction, Z. An offset is written when both have one: a moment
    with a zone asked for in the style of a text without offset is wall-clock time.
    """
    return format_timestamps([moment], like, freq)[0]


def format_timestamps(
    moments: Iterable[datetime], like: str, freq: Freq | None = None
) -> list[str]:
    """`format_timestamp` of each moment, the style read once."""
    match = _STYLE.fullmatch(like.strip())
    style = match.groupdict() if match is not None else {}
    separator = style.get("separator") or ""
    short = style.get("date") or ""
    bare = not separator and (freq is None or not freq.is_clock)
    digits = len(style.get("fraction") or "")
    seconds = len((style.get("time") or "").replace(":", "")) != 4
    zulu = (style.get("offset") or "").strip() in ("Z", "z")
    compact = short.isdigit() and len(short) == 8
    with_offset = not separator or bool(style.get("offset"))

    texts = []
    for moment in moments:
        if bare and not (moment.hour or moment.minute or moment.second or moment.microsecond):
            texts.append(_date_like(moment, short))
            continue
        date_text = _iso_date(moment, compact=compact)
        micros = moment.microsecond
        time_text = f"{moment.hour:02}:{moment.minute:02}"
        if seconds or moment.second or micros:
            time_text += f":{moment.second:02}"
        if digits or micros:
            width = max(digits, 6 if micros % 1000 else 3 if micros else 0)
            time_text += "." + f"{micros:06}".ljust(width, "0")[:width]
        offset = moment.isoformat()[26 if micros else 19 :] if with_offset else ""
        if zulu and offset == "+00:00":
            offset = "Z"
        texts.append(f"{date_text}{separator or 'T'}{time_text}{offset}")
    return texts


def _iso_date(moment: datetime, *, compact: bool) -> str:
    text = moment.date().isoformat()
    return text.replace("-", "") if compact else text


def _date_like(moment: datetime, short: str) -> str:
    """A midnight as a bare date, in a shortened form where that form can say it."""
    first = moment.day == 1
    if "Q" in short.upper() and first and moment.month % 3 == 1:
        return f"{moment.year:04}{'-' if '-' in short else ''}Q{(moment.month + 2) // 3}"
    if len(short) == 4 and first and moment.month == 1:
        return f"{moment.year:04}"
    if len(short) == 7 and first and "W" not in short.upper() and "Q" not in short.upper():
        return f"{moment.year:04}-{moment.month:02}"
    return _iso_date(moment, compact=short.isdigit() and len(short) == 8)
