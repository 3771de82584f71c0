"""The time of a table's rows: one column of dates, several that make one, or numbered steps.

`find` gives a `Times`; `cell` joins the parts of a row (year and month, date and hour) into the
text that `cells.as_timestamp` reads. Not covered: sorting and gaps (`tables`).
"""

from __future__ import annotations

from collections import namedtuple

from tollama.cli import cells as c
from tollama.cli.sheet import TIME_NAMES, Sheet
from tollama.core import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Times = namedtuple("Times", "indexes joined date example")
"""`indexes` of the columns, none when rows just follow each other; `joined`: how several make one
cell; `date`: a DateStyle, None for numbered steps; `example`: a cell, for messages."""

NONE = Times((), None, None, "")
STEP_NAMES = ("index", "step", "t", "time", "period", "n", "obs")
_JOINS = (
    "year month day hour",
    "year month day",
    "year month",
    "year quarter",
    "year week",
)


def find(sheet: Sheet, taken: set[int]) -> Times:
    """The time of the rows: what --time names, else usual names, else the first column of dates.

    Raises InvalidRequest when a column of dates does not tell day from month.
    """
    explicit = sheet.named(sheet.options.time_column, "--time")
    if explicit:
        return _explicit(sheet, tuple(explicit))
    free = [i for i in range(len(sheet.header)) if i not in taken]
    by = {sheet.keys[i]: i for i in reversed(free)}
    for how in _JOINS:
        parts = how.split()
        if all(p in by for p in parts) and sheet.kinds[by["year"]] == "number":
            found = _dated(sheet, tuple(by[p] for p in parts), how)
            if found is not None:
                return found
    named = [i for i in free if sheet.keys[i] in TIME_NAMES or _years_first(sheet, i)]
    for i in [*named, *(i for i in free if i not in named)]:
        texts = sheet.cells(i, 500)
        if c.date_kind(texts, named=i in named) is None:
            continue
        for other, how in (("time", "date time"), ("hour", "date hour")):
            j = by.get(other)
            if j is not None and j != i and max(len(t.strip()) for t in texts) <= 11:
                found = _dated(sheet, (i, j), how)
                if found is not None:
                    return found
        found = _dated(sheet, (i,), None)
        if found is not None:
            return found
    for i in named:
        # A name that says time over cells that nearly do: a typing mistake, not a column to ignore.
        if sheet.kinds[i] == "text" and sheet.share(i, _is_date) >= 0.5:
            bad = sheet.first_bad(i, _is_date) or sheet.first_bad(i, _like(sheet.cells(i)))
            if bad is None:
                raise errors.InvalidRequest(f"{sheet.at(i)}: expected dates written in one way")
            raise errors.InvalidRequest(
                f"{sheet.at(i, bad[0])}: expected a date, got {errors.shown(bad[1])}"
            )
    for i in free:
        unnamed = i == 0 and len(sheet.header) > 1 and sheet.header[0].startswith("Unnamed")
        if (sheet.keys[i] in STEP_NAMES or unnamed) and sheet.whole_numbers(i):
            return Times((i,), None, None, "")
    return NONE


def cell(values: Sequence[str], times: Times) -> str:
    """The text of a row's time."""
    if times.joined is None:
        text: str = values[times.indexes[0]]
        return text
    return _join(values, times.indexes, times.joined)


def _explicit(sheet: Sheet, indexes: tuple[int, ...]) -> Times:
    joined = None
    if len(indexes) > 1:
        keys = [sheet.keys[i] for i in indexes]
        joined = " ".join(keys)
        if joined not in _JOINS:
            joined = "date hour" if keys[-1] == "hour" else "date time"
    found = _dated(sheet, indexes, joined)
    if found is not None:
        return found
    if joined is None and sheet.whole_numbers(indexes[0]):
        return Times(indexes, None, None, "")
    got = errors.shown(next(iter(sheet.cells(indexes[0], 1)), ""))
    raise errors.InvalidRequest(
        f"{sheet.at(indexes[0])}: expected dates (2024-01-31, 2024-01-31 13:00, 31.01.2024, "
        f"2024-01, 2024Q1) or whole numbers, got {got}"
    )


def _is_date(text: str) -> bool:
    return c.date_kind([text], named=True) is not None


def _like(texts: list[str]) -> Callable[[str], bool]:
    """Whether a date is written as the first of them."""
    first = next(text for text in texts if not c.is_missing(text))
    return lambda text: c.date_kind([first, text], named=True) is not None


def _years_first(sheet: Sheet, index: int) -> bool:
    """A nameless first column of rising years beside others is the time, not a series."""
    if index > 0 or not sheet.bare or len(sheet.header) < 2:
        return False
    texts = [t.strip() for t in sheet.cells(0, 500)]
    return texts == sorted(set(texts)) and c.date_kind(texts, named=True) == "year"


def _dated(sheet: Sheet, indexes: tuple[int, ...], joined: str | None) -> Times | None:
    if joined is None:
        texts = sheet.cells(indexes[0])
    else:
        wide = max(indexes)
        texts = [_join(v, indexes, joined) for _, v in sheet.rows if len(v) > wide]
    kind = c.date_kind(texts[:2000], named=joined is None)
    if kind is None:
        return None
    example = next(t.strip() for t in texts if not c.is_missing(t))
    if kind != "numeric":
        return Times(indexes, joined, c.DateStyle(kind, ""), example)
    order = sheet.options.date_order
    if order is None:
        found = c.date_order(texts)
        if found is None:
            raise errors.InvalidRequest(
                f"{sheet.at(indexes[0])}: {errors.shown(example)} could have the day or the month "
                "first and nothing in the column tells; say --date-order dmy or mdy"
            )
        order, reason = found
        if reason == "spacing":
            said = "day" if order == "dmy" else "month"
            sheet.notes.append(
                f"{sheet.at(indexes[0])}: read {said} first, since only so the rows are evenly "
                "spaced (--date-order chooses)"
            )
    return Times(indexes, joined, c.DateStyle(kind, order), example)


def _join(values: Sequence[str], indexes: Sequence[int], how: str) -> str:
    parts = [values[i].strip().removesuffix(".0") for i in indexes]
    if how == "year quarter":
        return f"{parts[0]}Q{parts[1].lstrip('Qq')}"
    if how == "year week":
        return f"{parts[0]}-W{parts[1].lstrip('Ww')}"
    if how == "date time":
        return " ".join(parts)
    if how.endswith("hour"):
        clock = parts.pop()
        clock = clock if ":" in clock else f"{clock}:00"
    else:
        clock = ""
    if how == "date hour":
        text = parts[0]
    elif parts[1].isdigit():
        text = "-".join(parts)
    else:
        text = " ".join(reversed(parts))
    return f"{text} {clock}".rstrip()
