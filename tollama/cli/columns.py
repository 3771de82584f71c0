"""Which column of a table is what: header or none, time, id, target, covariates; long or wide.

Names are looked at first (`TIME_NAMES`, `ID_NAMES`, `TARGET_NAMES`), then what the cells hold. What
is left over is ignored with a note, never silently. Not covered: reading the cells (`tables`).
"""

from __future__ import annotations

import re
from collections import namedtuple

from ..core import errors
from . import cells as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TIME_NAMES = frozenset(
    "ds timestamp timestamps datetime date time period month day week quarter year hour yearmonth "
    "observationdate startdate".split()
)
STEP_NAMES = frozenset("index step t time period n obs".split())
ID_NAMES = "uniqueid itemid seriesid tsid series id item".split()
SORT_OF_ID = frozenset(
    "store shop sku product dept department family region country state city ticker symbol station "
    "sensor device customer site location meter channel category brand group key name label code unit "
    "line item".split()
)
TARGET_NAMES = "y target value values".split()
SORT_OF_TARGET = (
    "sales demand close adjclose count quantity qty amount price load consumption total revenue "
    "volume orders visits units passengers"
).split()

Options = namedtuple(
    "Options",
    "id_column time_column target_column covariates freq name decimal date_order",
    defaults=(None, None, None, (), None, None, None, None),
)
"""What the caller knows of the table; None and () leave it to detection."""

Roles = namedtuple(
    "Roles", "layout header ids times joined date example target covariates others style"
)
"""Column indexes by role. `layout`: "long", "wide" or "rows" (one series a line); `joined`: how the
time columns make one cell; `date`: a DateStyle, None for numbered steps; `style`: {index: NumberStyle}."""


def key(name: str) -> str:
    """A column name without case, spaces and punctuation: "Unique_ID" -> "uniqueid"."""
    return "".join(ch for ch in name.lower() if ch.isalnum())


def is_generic(name: str) -> bool:
    """Whether a target column's name says nothing about the series, so the file's name says more."""
    return key(name) in TARGET_NAMES or name.startswith("column_")


def split_header(
    rows: list[tuple[int, list[str]]],
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The column names and the rows below them; names are made up when there is no header.

    The first row is a header when a column turns from text (or dates) into numbers or dates below it,
    or when it is all text.
    """
    first = [cell.strip() for cell in rows[0][1]]
    width = max(len(values) for _, values in rows[:200])
    kinds = [_kind(cell) for cell in first]
    below = [[_kind(v[i]) for _, v in rows[1:50] if i < len(v)] for i in range(len(first))]
    turns = any(
        (kind == "text" and any(k in ("number", "date") for k in column))
        or (kind == "date" and column and all(k in ("number", "empty") for k in column))
        for kind, column in zip(kinds, below, strict=True)
    )
    all_text = "text" in kinds and not any(k in ("number", "date") for k in kinds)
    known = bool(first) and (key(first[0]) in ID_NAMES or key(first[0]) in TIME_NAMES)
    if turns or all_text or known:
        names = [name or f"column_{i + 1}" for i, name in enumerate(first)]
        while len(names) > 1 and not first[len(names) - 1] and not any(below[len(names) - 1 :]):
            names.pop()
        return names, rows[1:]
    return [f"column_{i + 1}" for i in range(width)], rows


def _kind(cell: str) -> str:
    if c.is_missing(cell):
        return "empty"
    if c.looks_numeric(cell):
        return "number"
    return "date" if c.date_kind([cell], named=False) else "text"


def roles(
    header: list[str],
    rows: list[tuple[int, list[str]]],
    options: Options,
    notes: list[str],
    *,
    where: str,
) -> Roles:
    """The role of every column, from the caller's options, the names and the cells."""
    return _Finder(header, rows, options, notes, where).roles()


def time_cell(values: Sequence[str], roles: Roles) -> str:
    """The text of a row's time: one cell, or several (year and month, date and time) joined."""
    if roles.joined is None:
        return values[roles.times[0]]
    return _join(values, roles.times, roles.joined)


def _join(values: Sequence[str], indexes: Sequence[int], how: str) -> str:
    parts = [values[i].strip().removesuffix(".0") for i in indexes]
    if how == "date time":
        return " ".join(parts)
    if how == "date hour":
        return f"{parts[0]} {parts[1]}:00"
    if how == "year quarter":
        return f"{parts[0]}Q{parts[1].lstrip('Qq')}"
    if how == "year week":
        return f"{parts[0]}-W{parts[1].lstrip('Ww')}"
    if not parts[1].isdigit():
        return f"{parts[1]} {parts[0]}" if len(parts) == 2 else f"{parts[2]} {parts[1]} {parts[0]}"
    text = "-".join(parts[:3])
    return f"{text} {parts[3]}:00" if len(parts) > 3 else text


class _Finder:
    """The search for roles in one table."""

    def __init__(
        self,
        header: list[str],
        rows: list[tuple[int, list[str]]],
        options: Options,
        notes: list[str],
        where: str,
    ) -> None:
        self.header = header
        self.rows = rows
        self.options = options
        self.notes = notes
        self.where = where
        self.keys = [key(name) for name in header]
        self.kinds = [self.column_kind(i) for i in range(len(header))]

    def cells(self, index: int, limit: int | None = None) -> list[str]:
        rows = self.rows if limit is None else self.rows[:limit]
        return [values[index] for _, values in rows if index < len(values)]

    def column_kind(self, index: int) -> str:
        """ "number", "text" or "empty", by nine in ten of the first filled cells."""
        texts = [t for t in self.cells(index, 2000) if not c.is_missing(t)]
        if not texts:
            texts = [t for t in self.cells(index) if not c.is_missing(t)][:2000]
        if not texts:
            return "empty"
        hits = sum(map(c.looks_numeric, texts))
        return "number" if hits >= 0.9 * len(texts) else "text"

    def column(self, name: str, flag: str) -> int:
        """The index of a column that the caller named; exact, without case, or counted from 1."""
        if name in self.header:
            return self.header.index(name)
        if key(name) in self.keys:
            return self.keys.index(key(name))
        if name.isdigit() and 1 <= int(name) <= len(self.header):
            return int(name) - 1
        raise errors.InvalidRequest(
            f"{self.where}: {flag} {name!r}: expected one of the columns {', '.join(self.header[:20])}"
        )

    def named(self, value: str | None, flag: str) -> list[int]:
        """The columns of an option: one name, or several parted by commas."""
        if not value:
            return []
        if value in self.header or key(value) in self.keys:
            return [self.column(value, flag)]
        return [self.column(part.strip(), flag) for part in value.split(",")]

    def roles(self) -> Roles:
        options = self.options
        repeated = {n for n in self.header if self.header.count(n) > 1}
        if repeated:
            raise errors.InvalidRequest(
                f"{self.where}: expected different column names, found {sorted(repeated)[0]!r} twice"
            )
        target = self.named(options.target_column, "--target")
        ids = self.named(options.id_column, "--id")
        covariates = self.covariates({*target, *ids})
        taken = {*target, *ids, *covariates}
        times, joined, date, example = self.time(taken)
        taken |= {*times}
        if not times and not ids and not target and (found := self.row_layout()):
            return found
        self.drop_row_numbers(taken)
        if not ids:
            ids = self.find_id(taken, times, joined)
            taken |= {*ids}
        layout = "long" if ids or target else "wide"
        if not target:
            target, layout = self.find_target(taken, layout)
        if len(target) > 1 and ids:
            raise errors.InvalidRequest(
                f"{self.where}: --target: expected one column beside an id column, got {len(target)}"
            )
        taken |= {*target}
        others = tuple(i for i in range(len(self.header)) if i not in taken)
        others = tuple(i for i in others if i not in self.dropped)
        if others:
            names = ", ".join(self.header[i] for i in others[:6])
            more = f" and {len(others) - 6} more" if len(others) > 6 else ""
            text = any(self.kinds[i] == "number" for i in others) or layout == "long"
            hint = " (--covariates NAME,... passes them to the model)" if text else ""
            self.notes.append(f"{self.where}: columns not used: {names}{more}{hint}")
        style = self.styles([*target, *(i for i in covariates if self.kinds[i] != "text")])
        return Roles(
            layout, self.header, tuple(ids), tuple(times), joined, date, example,
            tuple(target), tuple(covariates), others, style,
        )  # fmt: skip

    def covariates(self, taken: set[int]) -> list[int]:
        names = list(self.options.covariates or ())
        found = [i for name in names for i in self.named(name, "--covariates")]
        for i in found:
            if i in taken:
                raise errors.InvalidRequest(
                    f"{self.where}: --covariates: column {self.header[i]!r} is the id or the target"
                )
        return list(dict.fromkeys(found))

    # -- time -----------------------------------------------------------------------------------

    def time(self, taken: set[int]) -> tuple[list[int], str | None, c.DateStyle | None, str]:
        """The time columns, how they join, their date style and an example for messages."""
        explicit = self.named(self.options.time_column, "--time")
        if explicit:
            joined = None
            if len(explicit) > 1:
                joined = self.join_of(explicit)
            return self.dated(explicit, joined, must=True)
        free = [i for i in range(len(self.header)) if i not in taken]
        by = {k: i for i, k in reversed(list(enumerate(self.keys))) if i in free}
        for how in (
            "year month day hour",
            "year month day",
            "year month",
            "year quarter",
            "year week",
        ):
            parts = how.split()
            if all(p in by for p in parts) and self.kinds[by["year"]] == "number":
                found = self.dated([by[p] for p in parts], how, must=False)
                if found[2] is not None:
                    return found
        named = [i for i in free if self.keys[i] in TIME_NAMES]
        for i in [*named, *(i for i in free if i not in named)]:
            kind = c.date_kind(self.cells(i, 500), named=i in named)
            if kind is None:
                continue
            for other, how in (("time", "date time"), ("hour", "date hour")):
                j = by.get(other)
                if j is not None and j != i and len(self.cells(i, 1)[0].strip()) <= 11:
                    found = self.dated([i, j], how, must=False)
                    if found[2] is not None:
                        return found
            return self.dated([i], None, must=True)
        for i in free:
            if (self.keys[i] in STEP_NAMES or self.unnamed(i)) and self.whole_numbers(i):
                return [i], None, None, ""
        return [], None, None, ""

    def join_of(self, indexes: list[int]) -> str:
        keys = [self.keys[i] for i in indexes]
        how = " ".join(keys)
        if how in (
            "year month day hour",
            "year month day",
            "year month",
            "year quarter",
            "year week",
        ):
            return how
        return "date hour" if keys[-1] == "hour" else "date time"

    def dated(
        self, indexes: list[int], joined: str | None, *, must: bool
    ) -> tuple[list[int], str | None, c.DateStyle | None, str]:
        if joined is None:
            texts = self.cells(indexes[0])
        else:
            texts = [_join(v, indexes, joined) for _, v in self.rows if len(v) > max(indexes)]
        column = errors.shown(self.header[indexes[0]])
        kind = c.date_kind(texts[:2000], named=joined is None)
        if kind is None:
            if not must:
                return [], None, None, ""
            if joined is None and self.whole_numbers(indexes[0]):
                return indexes, None, None, ""
            raise errors.InvalidRequest(
                f"{self.where}, column {column}: expected dates (2024-01-31, 2024-01-31 13:00, "
                f"31.01.2024, 2024-01, 2024Q1) or whole numbers, got {errors.shown(texts[0])}"
            )
        example = next(t.strip() for t in texts if not c.is_missing(t))
        if kind != "numeric":
            return indexes, joined, c.DateStyle(kind, ""), example
        order = self.options.date_order
        if order is None:
            found = c.date_order(texts)
            if found is None:
                raise errors.InvalidRequest(
                    f"{self.where}, column {column}: {errors.shown(example)} could have the day or the "
                    "month first and nothing in the column tells; say --date-order dmy or mdy"
                )
            order, reason = found
            if reason != "parts":
                said = "day" if order == "dmy" else "month"
                why = "dots" if reason == "dots" else "even spacing"
                self.notes.append(f"{self.where}, column {column}: read {said} first, by its {why}")
        return indexes, joined, c.DateStyle(kind, order), example

    def whole_numbers(self, index: int) -> bool:
        texts = [t.strip() for t in self.cells(index, 2000)]
        return all(t.removesuffix(".0").lstrip("-").isdigit() for t in texts)

    def unnamed(self, index: int) -> bool:
        return index == 0 and self.header[0] in ("column_1", "Unnamed: 0") and len(self.header) > 1

    # -- id -------------------------------------------------------------------------------------

    dropped: frozenset[int] = frozenset()

    def drop_row_numbers(self, taken: set[int]) -> None:
        """A first column that only counts the rows, as pandas writes it, is nothing."""
        if 0 in taken or len(self.header) < 2 or self.kinds[0] != "number":
            return
        if self.keys[0] not in ("column1", "unnamed0", "index", "id", "no", "row", "rownames"):
            return
        texts = [t.strip() for t in self.cells(0, 500)]
        if len(texts) > 1 and texts in (
            [str(i) for i in range(len(texts))],
            [str(i + 1) for i in range(len(texts))],
        ):
            self.dropped = frozenset((0,))

    def find_id(self, taken: set[int], times: list[int], joined: str | None) -> list[int]:
        free = [i for i in range(len(self.header)) if i not in taken and i not in self.dropped]
        for name in ID_NAMES:
            for i in free:
                if self.keys[i] == name:
                    return [i]
        if not times:
            return []

        def stamp(values: list[str]) -> str:
            return values[times[0]] if joined is None else _join(values, times, joined)

        rows = [v for _, v in self.rows if len(v) == len(self.header)]
        likely = [
            i for i in free
            if self.kinds[i] == "text" or (self.keys[i] in SORT_OF_ID and self.kinds[i] == "number")
        ]  # fmt: skip
        if len({stamp(v).strip() for v in rows}) == len(rows):
            texts = [i for i in likely if len({v[i].strip() for v in rows}) == 1]
            return texts[:1] if len(texts) == 1 and rows and rows[0][texts[0]].strip() else []
        for group in [*([i] for i in likely), likely]:
            if group and len({(stamp(v).strip(), *(v[i] for i in group)) for v in rows}) == len(
                rows
            ):
                names = " and ".join(repr(self.header[i]) for i in group)
                self.notes.append(f"{self.where}: taken as id: {names} (--id NAME chooses another)")
                return group
        return []

    # -- target ---------------------------------------------------------------------------------

    def find_target(self, taken: set[int], layout: str) -> tuple[list[int], str]:
        free = [i for i in range(len(self.header)) if i not in taken and i not in self.dropped]
        numeric = [i for i in free if self.kinds[i] == "number"]
        usable = [i for i in free if self.kinds[i] != "text"]
        for name in [*TARGET_NAMES, *(SORT_OF_TARGET if layout == "long" else ())]:
            for i in usable:
                if self.keys[i] == name:
                    return [i], "long"
        if not numeric:
            numeric = usable[:1] if len(usable) == 1 else []
        if not numeric:
            shown = ", ".join(self.header[:12])
            raise errors.InvalidRequest(
                f"{self.where}: expected a column of numbers to forecast, found none among {shown}"
                "; --target NAME chooses one"
            )
        if layout == "long" and len(numeric) > 1:
            names = ", ".join(self.header[i] for i in numeric)
            raise errors.InvalidRequest(
                f"{self.where}: expected one column to forecast, found {names}; choose one with --target"
            )
        return numeric, layout

    def row_layout(self) -> Roles | None:
        """One series a line: distinct ids first, then columns called V1, V2, ... or by dates."""
        if len(self.header) < 3 or self.kinds[0] == "empty":
            return None
        ids = [t.strip() for t in self.cells(0)]
        if len(set(ids)) != len(ids) or not (self.kinds[0] == "text" or self.keys[0] in ID_NAMES):
            return None
        target = [i for i in range(1, len(self.header)) if self.kinds[i] != "text"]
        if (
            len(target) < 2
            or target[-1] != len(self.header) - 1
            or len(target) != target[-1] - target[0] + 1
        ):
            return None
        names = [self.header[i] for i in target]
        kind = c.date_kind(names, named=True)
        date = c.DateStyle(kind, "") if kind and kind != "numeric" else None
        counted = [re.fullmatch(r"\D*(\d+)", name) for name in names]
        numbers = [int(m.group(1)) if m else -1 for m in counted]
        if date is None and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            return None
        texts = [t for i in target for t in self.cells(i)]
        style = c.number_style(texts, self.options.decimal) or c.NumberStyle(".")
        return Roles(
            "rows", self.header, (0,), (), None, date, "",
            tuple(target), (), (), {target[0]: style},
        )  # fmt: skip

    # -- numbers --------------------------------------------------------------------------------

    def styles(self, indexes: list[int]) -> dict[int, c.NumberStyle]:
        """The number style of each column; one that leaves it open takes that of the others."""
        found = {i: c.number_style(self.cells(i), self.options.decimal) for i in indexes}
        commas = any(s is not None and s.decimal == "," for s in found.values())
        points = any(
            s is not None and s.decimal == "." and any("." in t for t in self.cells(i))
            for i, s in found.items()
        )
        styles = {}
        for i, style in found.items():
            if style is None:
                if commas == points:
                    example = next(t.strip() for t in self.cells(i) if "," in t)
                    raise errors.InvalidRequest(
                        f"{self.where}, column {errors.shown(self.header[i])}: {errors.shown(example)} "
                        "could have a decimal comma or thousands; say --decimal , or --decimal ."
                    )
                style = c.NumberStyle("," if commas else ".")
            elif style.decimal == "." and commas:
                other = c.number_style(self.cells(i), ",")
                if other is not None and c.as_numbers(self.cells(i), other)[1] is None:
                    style = other
            styles[i] = style
        return styles
