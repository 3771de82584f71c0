"""A table of text cells as series: rows grouped by id, sorted by time, read as numbers.

`series_from_rows` takes the rows of any table (CSV, Parquet, JSON records) and yields plain dicts
of the request schema. It reads everything first and then groups by id, or, when `streaming`,
settles the columns on the first `SAMPLE` rows and holds one series at a time.

Rows after the last target that still have covariates are the future: their values are known ahead.
Not covered: bytes, delimiters and file types (`data`), which column is which (`columns`), and what
one cell means (`cells`).
"""

from __future__ import annotations

from itertools import chain, islice, pairwise

from tollama.cli import cells as c
from tollama.cli import columns, timecolumns
from tollama.cli.sheet import Options, Sheet, is_generic
from tollama.core import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

SAMPLE = 5_000


def series_from_rows(
    rows: Iterable[tuple[int, list[str]]],
    options: Options,
    notes: list[str],
    *,
    where: str,
    streaming: bool = False,
) -> Iterator[dict[str, Any]]:
    """The series of a table, as dicts {"id", "timestamps"?, "target", ...}; notes are appended.

    `rows` are (line number, cells). Raises InvalidRequest naming `where`, line and column.
    """
    filled = (row for row in rows if any(map(str.strip, row[1])))
    sample = list(islice(filled, SAMPLE if streaming else None))
    if not sample:
        raise errors.InvalidRequest(f"{where}: expected a table or numbers, found an empty file")
    sheet = Sheet(sample, options, notes, where)
    if not sheet.rows:
        names = ", ".join(sheet.header)[:60]
        raise errors.InvalidRequest(
            f"{where}: expected rows below the header ({names}), found none"
        )
    roles = columns.roles(sheet)
    rest = chain(sheet.rows, filled) if streaming else iter(sheet.rows)
    del sample, sheet
    reader = _Reader(roles, options, notes, where)
    if roles.layout == "rows":
        return reader.row_per_series(rest)
    if not roles.ids:
        return reader.one_table(list(rest))
    return reader.streamed(rest) if streaming else reader.grouped(rest)


class _Reader:
    """One table being read: its roles, and what has been noted so far."""

    def __init__(
        self, roles: columns.Roles, options: Options, notes: list[str], where: str
    ) -> None:
        self.roles = roles
        self.options = options
        self.notes = notes
        self.where = where
        self.stamps: dict[str, str] = {}
        self.noted: dict[str, int] = {}

    # -- layouts ------------------------------------------------------------------------------

    def grouped(self, rows: Iterator[tuple[int, list[str]]]) -> Iterator[dict[str, Any]]:
        """Long form, everything in memory: the rows of an id may lie anywhere."""
        groups: dict[str, list[tuple[int, list[str]]]] = {}
        for row in rows:
            groups.setdefault(self.row_id(row), []).append(row)
        for name, members in groups.items():
            yield from self.table(members, [(name, self.roles.target[0])])
        self.close()

    def streamed(self, rows: Iterator[tuple[int, list[str]]]) -> Iterator[dict[str, Any]]:
        """Long form, one series in memory: the rows of an id must lie together."""
        done: dict[str, int] = {}
        current: str | None = None
        members: list[tuple[int, list[str]]] = []
        for row in rows:
            name = self.row_id(row)
            if name != current:
                if current is not None:
                    yield from self.table(members, [(current, self.roles.target[0])])
                    done[current] = members[-1][0]
                if name in done:
                    raise errors.InvalidRequest(
                        f"{self.where}, line {row[0]}: id {errors.shown(name)} comes again after "
                        f"line {done[name]}; a file this big is read as a stream, so the rows of "
                        "an id must lie together: sort the file by id"
                    )
                current, members = name, []
            members.append(row)
        if current is not None:
            yield from self.table(members, [(current, self.roles.target[0])])
        self.close()

    def one_table(self, rows: list[tuple[int, list[str]]]) -> Iterator[dict[str, Any]]:
        """Wide form, or one series without an id: every target column is a series."""
        header = self.roles.header
        named = [(header[i], i) for i in self.roles.target]
        if len(named) == 1 and self.options.name and is_generic(named[0][0]):
            named = [(self.options.name, named[0][1])]
        yield from self.table(rows, named)
        self.close()

    def row_per_series(self, rows: Iterator[tuple[int, list[str]]]) -> Iterator[dict[str, Any]]:
        """One series a line, as the M competitions publish them: id first, then the values."""
        header, target = self.roles.header, self.roles.target
        stamps: list[str] | None = None
        if self.roles.times.date is not None:
            stamps = [c.as_timestamp(header[i], self.roles.times.date) for i in target]
        seen: dict[str, int] = {}
        for line, row in rows:
            name = row[self.roles.ids[0]].strip()
            if name in seen:
                raise errors.InvalidRequest(
                    f"{self.where}, line {line}: id {errors.shown(name)} repeats line {seen[name]}"
                )
            seen[name] = line
            texts = [row[i] if i < len(row) else "" for i in target]
            end = len(texts)
            while stamps is None and end > 1 and c.is_missing(texts[end - 1]):
                end -= 1
            values, bad = c.as_numbers(texts[:end], self.roles.style[target[0]])
            if bad is not None:
                raise self.wrong(line, target[bad], "a number", texts[bad])
            series = {"id": name, "target": values}
            if stamps is not None:
                series["timestamps"] = stamps
            yield self.with_freq(series)

    # -- one group of rows -----------------------------------------------------------------------

    def row_id(self, row: tuple[int, list[str]]) -> str:
        line, values = row
        self.check_width(line, values)
        if len(self.roles.ids) == 1:
            name: str = values[self.roles.ids[0]].strip()
            if name:
                return name
        parts = [values[i].strip() for i in self.roles.ids]
        for i, part in zip(self.roles.ids, parts, strict=True):
            if not part:
                raise self.wrong(line, i, "an id", "")
        return "/".join(parts)

    def check_width(self, line: int, values: list[str]) -> None:
        expected = len(self.roles.header)
        if len(values) == expected:
            return
        while len(values) > expected and not values[-1].strip():
            values.pop()
        if len(values) != expected:
            raise errors.InvalidRequest(
                f"{self.where}, line {line}: expected {expected} columns, found {len(values)}"
                + (
                    "; a comma inside a number or text needs quotes, or another delimiter"
                    if len(values) > expected
                    else ""
                )
            )

    def table(
        self, rows: list[tuple[int, list[str]]], named: list[tuple[str, int]]
    ) -> Iterator[dict[str, Any]]:
        """The series of rows that share their time column; `named` are (id, target column)."""
        roles = self.roles
        if not roles.ids:
            for line, values in rows:
                self.check_width(line, values)
        label = named[0][0] if roles.ids else ""
        rows, stamps = self.in_time_order(rows, label)
        targets = {name: self.numbers(rows, i) if rows else [] for name, i in named}
        past = self.past_length(rows, list(targets.values()))
        covariates = {roles.header[i]: self.covariate(rows, i) for i in roles.covariates}
        known = {
            name: values
            for name, values in covariates.items()
            if past < len(rows) and any(v is not None for v in values[past:])
        }
        if past < len(rows) and not roles.covariates:
            self.note(
                "rows without a target at the end, but with other columns filled, were left out"
            )
        for name, target in targets.items():
            begin = 0
            if len(named) > 1:
                while begin < past - 1 and target[begin] is None:
                    begin += 1
            series: dict[str, Any] = {"id": name, "target": target[begin:past]}
            if stamps is not None:
                series["timestamps"] = stamps[begin:past]
            if known:
                series["future_covariates"] = {k: v[begin:] for k, v in known.items()}
            unknown = {k: v[begin:past] for k, v in covariates.items() if k not in known}
            if unknown:
                series["past_covariates"] = unknown
            yield self.with_freq(series)

    def in_time_order(
        self, rows: list[tuple[int, list[str]]], label: str
    ) -> tuple[list[tuple[int, list[str]]], list[str] | None]:
        """The rows sorted by time, and their timestamps (None where the table has no dates)."""
        roles = self.roles
        if not roles.times.indexes:
            return rows, None
        if roles.times.date is None:
            return self.in_step_order(rows, label), None
        stamps = self.timestamps(rows)
        try:
            keys: list[Any] = c.sort_keys(stamps)
        except errors.InvalidRequest as error:
            raise errors.InvalidRequest(f"{self.where}, {error.message}") from None
        order = range(len(rows))
        if any(a > b for a, b in pairwise(keys)):
            order = sorted(order, key=keys.__getitem__)  # type: ignore[assignment]
            self.note("rows were not in time order and have been sorted")
            rows, stamps = [rows[i] for i in order], [stamps[i] for i in order]
            keys = [keys[i] for i in order]
        again = {i for i in range(1, len(keys)) if keys[i] == keys[i - 1]}
        if again:
            # Where many repeat, the file holds several series and their column was not found.
            if self.options.repeats is None or 5 * len(again) > len(keys):
                i = min(again)
                self.repeated(rows[i - 1][0], rows[i][0], stamps[i], label)
            self.options.repeats[label] = len(again)
            kept = [i for i in range(len(keys)) if i not in again]
            rows, stamps = [rows[i] for i in kept], [stamps[i] for i in kept]
        if any(len(s) > 10 for s in stamps):
            stamps = [s + "T00:00:00" if len(s) == 10 else s for s in stamps]
        return rows, stamps

    def in_step_order(
        self, rows: list[tuple[int, list[str]]], label: str
    ) -> list[tuple[int, list[str]]]:
        """Rows with numbered steps, sorted; steps left out become empty rows."""
        index = self.roles.times.indexes[0]
        steps: dict[int, tuple[int, list[str]]] = {}
        for line, values in rows:
            text = values[index].strip()
            try:
                step = int(text[:-2] if text.endswith(".0") else text)
            except ValueError:
                raise self.wrong(line, index, "a whole number of steps", text) from None
            if step in steps:
                self.repeated(steps[step][0], line, str(step), label)
            steps[step] = (line, values)
        order = sorted(steps)
        if order != list(steps):
            self.note("rows were not in time order and have been sorted")
        gaps = {b - a for a, b in pairwise(order)}
        if len(gaps) <= 1:
            return [steps[s] for s in order]
        width = min(gaps)
        if any(g % width for g in gaps) or (order[-1] - order[0]) // width > 10 * len(order):
            raise errors.InvalidRequest(
                f"{self.where}, column {self.roles.header[index]!r}: expected dates or evenly "
                f"numbered steps, found steps of {width} to {max(gaps)}"
            )
        self.note("steps left out were filled with missing values")
        blank = [""] * len(self.roles.header)
        return [steps.get(s, (0, blank)) for s in range(order[0], order[-1] + 1, width)]

    def past_length(
        self, rows: list[tuple[int, list[str]]], targets: list[list[float | None]]
    ) -> int:
        """How many rows are history: not the last ones that have covariates but no target."""
        others = self.roles.covariates or self.roles.others
        end = len(rows)
        while end > 1 and others and all(t[end - 1] is None for t in targets):
            if not any(self.is_filled(rows[end - 1][1][i], i) for i in others):
                break
            end -= 1
        if all(v is None for t in targets for v in t[:end]):
            return len(rows)
        return end

    # -- cells ----------------------------------------------------------------------------------

    def timestamps(self, rows: list[tuple[int, list[str]]]) -> list[str]:
        """The ISO timestamps of rows; equal texts, as series share them, are read once."""
        known, times = self.stamps, self.roles.times
        texts = [timecolumns.cell(values, times) for _, values in rows]
        for index, text in enumerate(texts):
            if text in known:
                continue
            try:
                known[text] = c.as_timestamp(text, times.date)
            except ValueError:
                wanted = f"a date like {times.example}" if times.example else "a date"
                raise self.wrong(rows[index][0], times.indexes[0], wanted, text) from None
        stamps = [known[text] for text in texts]
        if len(known) > 200_000:
            known.clear()
        return stamps

    def numbers(self, rows: list[tuple[int, list[str]]], index: int) -> list[float | None]:
        texts = [values[index] for _, values in rows]
        values, bad = c.as_numbers(texts, self.roles.style[index])
        if bad is not None:
            raise self.wrong(rows[bad][0], index, "a finite number or an empty cell", texts[bad])
        return values

    def covariate(self, rows: list[tuple[int, list[str]]], index: int) -> list[Any]:
        if index in self.roles.style:
            return self.numbers(rows, index)
        texts = [values[index].strip() for _, values in rows]
        return [text if self.is_filled(text, index) else None for text in texts]

    def is_filled(self, cell: str, index: int) -> bool:
        if index in self.roles.texts:
            return cell.strip().lower() not in c.NO_CATEGORY
        return not c.is_missing(cell)

    # -- words ----------------------------------------------------------------------------------

    def with_freq(self, series: dict[str, Any]) -> dict[str, Any]:
        if self.options.freq:
            series["freq"] = self.options.freq
        return series

    def wrong(self, line: int, index: int, wanted: str, found: str) -> errors.InvalidRequest:
        column = self.roles.header[index]
        got = errors.shown(found.strip()) if found.strip() else "an empty cell"
        return errors.InvalidRequest(
            f"{self.where}, line {line}, column {errors.shown(column)}: "
            f"expected {wanted}, got {got}"
        )

    def repeated(self, before: int, line: int, stamp: str, label: str) -> None:
        of = f" of series {errors.shown(label)}" if label else ""
        hint = "" if label else "; if the file holds several series, name their column with --id"
        first, second = sorted((before, line))
        raise errors.InvalidRequest(
            f"{self.where}, line {second}: expected one row a timestamp, but {stamp}{of} "
            f"is on line {first} already{hint}"
        )

    def note(self, text: str) -> None:
        """Counted, so that a thousand series say it once; `close` writes the notes."""
        self.noted[text] = self.noted.get(text, 0) + 1

    def close(self) -> None:
        for text, times in self.noted.items():
            self.notes.append(f"{self.where}: {text}" + (f" ({times} series)" if times > 1 else ""))
