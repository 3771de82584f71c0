"""A table with its column names: header or none, lookup of columns by name, kinds of cells.

Not covered: the role of a column (`columns`, `timecolumns`) and reading its cells (`tables`).
"""

from __future__ import annotations

from collections import namedtuple

from tollama.cli import cells as c
from tollama.core import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Row = tuple[int, list[str]]


def words(text: str) -> tuple[str, ...]:
    """A table of words, written with spaces."""
    return tuple(text.split())


TIME_NAMES = words(
    "ds timestamp timestamps datetime date time period month day week quarter year hour "
    "yearmonth observationdate startdate"
)
ID_NAMES = words("uniqueid itemid seriesid tsid series id item")
TARGET_NAMES = words("y target value values")

Options = namedtuple(
    "Options",
    "id_column time_column target_column covariates freq name decimal date_order repeats",
    defaults=(None, None, None, (), None, None, None, None, None),
)
"""What the caller knows of the table; None and () leave it to detection. Into `repeats`, a dict,
goes how many rows of each series repeat a time and are left out; without it they are an error."""


def key(name: str) -> str:
    """A column name without case, spaces and punctuation: "Unique_ID" -> "uniqueid"."""
    return "".join(ch for ch in name.lower() if ch.isalnum())


def is_generic(name: str) -> bool:
    """Whether a target's name says nothing about the series, so that the file's name says more."""
    return key(name) in TARGET_NAMES or name.startswith("column_")


class Sheet:
    """Rows under one header; `bare` says that the table had none and the names are made up."""

    def __init__(self, rows: Sequence[Row], options: Options, notes: list[str], where: str) -> None:
        self.options = options
        self.notes = notes
        self.where = where
        self.header, self.rows, self.bare = split_header(rows)
        self.keys = [key(name) for name in self.header]
        self.kinds = [self._kind_of(i) for i in range(len(self.header))]
        repeated = sorted({n for n in self.header if self.header.count(n) > 1})
        if repeated:
            raise errors.InvalidRequest(
                f"{where}: expected different column names, found {repeated[0]!r} twice"
            )

    def cells(self, index: int, limit: int | None = None) -> list[str]:
        """The cells of a column, of the first `limit` rows."""
        rows = self.rows if limit is None else self.rows[:limit]
        return [values[index] for _, values in rows if index < len(values)]

    def _kind_of(self, index: int) -> str:
        """ "number", "text" or "empty", by nine in ten of the first filled cells."""
        first = self.cells(index, 2000)
        if first and c.as_floats(first) is not None:
            return "number"
        texts = [t for t in first if not c.is_missing(t)]
        if not texts:
            texts = [t for t in self.cells(index) if not c.is_missing(t)][:2000]
        if not texts:
            return "empty"
        return "number" if sum(map(c.looks_numeric, texts)) >= 0.9 * len(texts) else "text"

    def share(self, index: int, good: Callable[[str], bool]) -> float:
        """The share of a column's first filled cells that are good."""
        texts = [t for t in self.cells(index, 2000) if not c.is_missing(t)]
        return sum(map(good, texts)) / len(texts) if texts else 0.0

    def first_bad(self, index: int, good: Callable[[str], bool]) -> tuple[int, str] | None:
        """The line and text of the first filled cell of a column that is not good, if any is."""
        for line, values in self.rows:
            if index < len(values) and not c.is_missing(values[index]) and not good(values[index]):
                return line, values[index].strip()
        return None

    def whole_numbers(self, index: int) -> bool:
        """Whether a column counts: whole numbers in every row looked at."""
        texts = [t.strip().removesuffix(".0") for t in self.cells(index, 2000)]
        return all(t.lstrip("-").isdigit() for t in texts)

    def column(self, name: str, flag: str) -> int:
        """The index of a column the caller named: exact, without case, or counted from 1."""
        if name in self.header:
            return self.header.index(name)
        if key(name) in self.keys:
            return self.keys.index(key(name))
        if name.isdigit() and 1 <= int(name) <= len(self.header):
            return int(name) - 1
        known = ", ".join(self.header[:20])
        raise errors.InvalidRequest(
            f"{self.where}: {flag} {name!r}: expected one of the columns {known}"
        )

    def named(self, value: str | None, flag: str) -> list[int]:
        """The columns of an option: one name, or several parted by commas."""
        if not value:
            return []
        if value in self.header or key(value) in self.keys:
            return [self.column(value, flag)]
        return [self.column(part.strip(), flag) for part in value.split(",")]

    def at(self, index: int, line: int = 0) -> str:
        """A place for messages: file, line and column."""
        where = f"{self.where}, line {line}" if line else self.where
        return f"{where}, column {errors.shown(self.header[index])}"


def split_header(rows: Sequence[Row]) -> tuple[list[str], Sequence[Row], bool]:
    """The column names, the rows below them, and whether the names had to be made up.

    The first row is a header when a column turns from text (or dates) into numbers or dates below
    it, when it is all text, or when its first cell is a usual name.
    """
    first = [cell.strip() for cell in rows[0][1]]
    kinds = [_kind(cell) for cell in first]
    below = [[_kind(v[i]) for _, v in rows[1:50] if i < len(v)] for i in range(len(first))]
    turns = any(
        (kind == "text" and any(k in ("number", "date") for k in column))
        or (kind == "date" and column and all(k in ("number", "empty") for k in column))
        for kind, column in zip(kinds, below, strict=True)
    )
    all_text = "text" in kinds and not any(k in ("number", "date") for k in kinds)
    usual = key(first[0]) in ID_NAMES + TIME_NAMES + TARGET_NAMES
    if not (turns or all_text or usual):
        width = max(len(values) for _, values in rows[:200])
        return [f"column_{i + 1}" for i in range(width)], rows, True
    names = [name or f"column_{i + 1}" for i, name in enumerate(first)]
    while len(names) > 1 and not first[len(names) - 1] and set(below[len(names) - 1]) <= {"empty"}:
        names.pop()
    return names, rows[1:], False


def _kind(cell: str) -> str:
    if c.is_missing(cell):
        return "empty"
    if c.looks_numeric(cell):
        return "number"
    return "date" if c.date_kind([cell], named=False) else "text"
