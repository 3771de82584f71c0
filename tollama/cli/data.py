"""Files and standard input as request series: the front door of the command line's data.

CSV (long, wide, headerless; any usual delimiter, decimal comma, gzip), JSON lines, JSON lists, a
request, and Parquet where pyarrow is installed. `read_series` holds everything; `iter_series` holds
one series at a time of a big long CSV or JSON lines file. What was guessed or left out is said in
`notes`, for stderr; what cannot be read is an InvalidRequest naming file, line and column.
Not covered: bytes and encodings (`sources`), the roles of columns (`columns`), whether a series
makes a valid request (core.schemas checks), frequencies (core.calendar).
"""

from __future__ import annotations

import json
from collections import namedtuple

from tollama.cli import sources, tables
from tollama.cli.sheet import Options
from tollama.core import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, BinaryIO

Data = namedtuple("Data", "series notes")
"""`series`: a list, or an iterator from iter_series; `notes`: lines for stderr, complete when that
is used up."""

_ALIASES = (
    ("id", ("item_id", "unique_id", "series_id")),
    ("target", ("y", "values")),
    ("timestamps", ("ds", "timestamp")),
)


def read_series(
    source: str | BinaryIO,
    *,
    id_column: str | None = None,
    time_column: str | None = None,
    target_column: str | None = None,
    covariates: list[str] | tuple[str, ...] = (),
    freq: str | None = None,
    name: str | None = None,
    decimal: str | None = None,
    date_order: str | None = None,
    repeats: dict[str, int] | None = None,
) -> Data:
    """All series of a file, of "-" (standard input) or of a binary stream.

    Columns that are named are not searched for; `covariates` are columns to pass to the model;
    `name` is the id where the data has none (else the file's name); `decimal` is "." or ",",
    `date_order` "dmy" or "mdy"; rows that repeat a time of their series are left out and counted in
    `repeats`, and an error without it. Raises InvalidRequest, and NotFound for a missing file.
    """
    options = Options(
        *(id_column, time_column, target_column, tuple(covariates), freq, name, decimal),
        *(date_order, repeats),
    )
    data = _read(source, options, streaming=False)
    return Data(list(data.series), data.notes)


def iter_series(
    source: str | BinaryIO,
    *,
    id_column: str | None = None,
    time_column: str | None = None,
    target_column: str | None = None,
    covariates: list[str] | tuple[str, ...] = (),
    freq: str | None = None,
    name: str | None = None,
    decimal: str | None = None,
    date_order: str | None = None,
) -> Data:
    """As read_series, but `series` is an iterator that holds one series at a time.

    Up to `sources.WHOLE` bytes everything is read at once, so rows may lie in any order; beyond,
    the rows of an id must lie together (an InvalidRequest says so), and the first rows settle
    which column is what and how its numbers and dates are written.
    """
    options = Options(
        id_column, time_column, target_column, tuple(covariates), freq, name, decimal, date_order
    )
    return _read(source, options, streaming=True)


def read_request(source: str | BinaryIO) -> dict[str, Any]:
    """The request object in a JSON file (`--input`), as it stands there."""
    text = sources.open_text(source, [])
    where = text.where
    value = _loads("".join(text.lines), where)
    if not isinstance(value, dict) or ("series" not in value and "target" in value):
        raise errors.InvalidRequest(
            f'{where}: expected a request object with "series", found '
            f"{'a single series' if isinstance(value, dict) else errors.shown(value)}; "
            "data without a request goes to `tollama run MODEL FILE`"
        )
    return value


def sniff(source: str | BinaryIO) -> str:
    """What a file holds: "csv", "json", "jsonl", "request", "parquet" or "empty"."""
    text = sources.open_text(source, [])
    if text.parquet is not None:
        return "parquet"
    kind = text.kind()
    if kind == "json":
        value = _loads("".join(text.lines), text.where)
        return "request" if isinstance(value, dict) and "series" in value else "json"
    return kind


def known_horizon(series: dict[str, Any]) -> int | None:
    """How many future steps a series' covariates reach, None when it has none."""
    future = series.get("future_covariates") or {}
    n = len(series["target"])
    if series["target"] and isinstance(series["target"][0], list):
        n = len(series["target"][0])
    lengths = [len(v) - n for v in future.values() if len(v) > n]
    return min(lengths) if lengths else None


def cut_future(series: dict[str, Any], horizon: int) -> dict[str, Any]:
    """The series with its future covariates cut to `horizon` steps, where they reach further."""
    known = known_horizon(series)
    if known is None or known <= horizon:
        return series
    end = horizon - known
    return {
        **series,
        "future_covariates": {k: v[:end] for k, v in series["future_covariates"].items()},
    }


def _read(source: str | BinaryIO, options: Options, *, streaming: bool) -> Data:
    notes: list[str] = []
    text = sources.open_text(source, notes, whole=not streaming)
    if options.name is None and text.name:
        options = options._replace(name=text.name)
    where = text.where
    if text.parquet is not None:
        rows = sources.parquet_rows(text.parquet, where)
        streaming = streaming and not text.complete
        found = tables.series_from_rows(rows, options, notes, where=where, streaming=streaming)
        return Data(found, notes)
    streaming = streaming and not text.complete
    kind = text.kind()
    if kind == "jsonl":
        return Data(_json_lines(text.lines, options, notes, where, streaming), notes)
    if kind == "json":
        value = _loads("".join(text.lines), where)
        return Data(_json_series(value, options, notes, where), notes)
    rows = sources.csv_rows(text, options.decimal)
    found = tables.series_from_rows(rows, options, notes, where=where, streaming=streaming)
    return Data(found, notes)


# -- JSON -----------------------------------------------------------------------------------------


def _constant(text: str) -> float | None:
    """NaN is a missing value; the infinities stay, for the check to name their place."""
    return None if text == "NaN" else float(text)


def _loads(text: str, where: str, line: int = 0) -> Any:
    try:
        return json.loads(text, parse_constant=_constant)
    except json.JSONDecodeError as error:
        at = f"line {line or error.lineno}, column {error.colno}"
        found = errors.shown(text[error.pos : error.pos + 20]) if text.strip() else "an empty file"
        raise errors.InvalidRequest(
            f"{where}, {at}: expected JSON ({error.msg.lower()}), found {found}"
        ) from None
    except (RecursionError, ValueError) as error:
        raise errors.InvalidRequest(f"{where}: expected plain JSON, got {error}") from None


def _json_series(
    value: Any, options: Options, notes: list[str], where: str
) -> Iterator[dict[str, Any]]:
    """Series of one JSON value: a request, a series, numbers, or records as pandas writes them."""
    if isinstance(value, dict) and isinstance(value.get("series"), list):
        ignored = sorted(set(value) - {"series"})
        if ignored:
            notes.append(f"{where}: only its series are used; --input FILE sends the whole request")
        value = value["series"]
    if isinstance(value, dict):
        if (
            all(isinstance(v, list) for v in value.values())
            and len(value) > 1
            and not _target(value)
        ):
            return tables.series_from_rows(_columns(value, where), options, notes, where=where)
        value = [value]
    if isinstance(value, list) and value:
        if all(_is_number(v) or v is None for v in value):
            return iter([_finish({"target": value}, options, options.name)])
        if all(isinstance(v, list) for v in value):
            return iter([_finish({"target": v}, options, None) for v in value])
        if all(isinstance(v, dict) for v in value):
            if any(_target(v) for v in value):
                return _series_objects(enumerate(value, 1), options, where, "series", len(value))
            return tables.series_from_rows(_records(value), options, notes, where=where)
    raise errors.InvalidRequest(
        f"{where}: expected numbers, series objects with a target, or records, "
        f"found {errors.shown(value) if value else 'nothing'}"
    )


def _json_lines(
    lines: Iterable[str], options: Options, notes: list[str], where: str, streaming: bool
) -> Iterator[dict[str, Any]]:
    """Series of JSON lines: one series a line, or one record a line."""
    values = (
        (number, _loads(line.strip(), where, number))
        for number, line in enumerate(lines, 1)
        if line.strip()
    )
    first = next(values)
    if isinstance(first[1], dict) and not _target(first[1]) and "horizon" in first[1]:
        notes.append(f"{where}: the first line is a request without series and was left out")
        first = next(values, (0, None))

    def chained() -> Iterator[tuple[int, Any]]:
        yield first
        yield from values

    if isinstance(first[1], dict) and not _target(first[1]):
        rows = _record_rows(chained(), list(first[1]), where)
        return tables.series_from_rows(rows, options, notes, where=where, streaming=streaming)
    return _series_objects(chained(), options, where, "line", 0)


def _series_objects(
    values: Iterable[tuple[int, Any]], options: Options, where: str, unit: str, count: int
) -> Iterator[dict[str, Any]]:
    for number, value in values:
        if isinstance(value, list):
            value = {"target": value}
        if not isinstance(value, dict) or not _target(value):
            raise errors.InvalidRequest(
                f"{where}, {unit} {number}: expected a series object with a list as target, "
                f"got {errors.shown(value)}"
            )
        value = dict(value)
        for name, others in _ALIASES:
            for other in others:
                if name not in value and other in value:
                    value[name] = value.pop(other)
        if "id" in value and type(value["id"]) is int:
            value["id"] = str(value["id"])
        yield _finish(value, options, options.name if count == 1 else None)


def _target(value: dict[str, Any]) -> bool:
    return any(
        isinstance(value.get(n), list) for n in ("target", "y", "values")
    ) and not isinstance(value.get("unique_id"), list)


def _finish(series: dict[str, Any], options: Options, name: str | None) -> dict[str, Any]:
    if "id" not in series and name:
        series = {"id": name, **series}
    if options.freq and not series.get("freq"):
        series["freq"] = options.freq
    return series


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    return value if isinstance(value, str) else str(value)


def _records(values: list[dict[str, Any]]) -> Iterator[tuple[int, list[str]]]:
    header = list(dict.fromkeys(name for value in values for name in value))
    yield 0, header
    for number, value in enumerate(values, 1):
        yield number, [_cell(value.get(name)) for name in header]


def _record_rows(
    values: Iterable[tuple[int, Any]], header: list[str], where: str
) -> Iterator[tuple[int, list[str]]]:
    yield 0, header
    for number, value in values:
        if not isinstance(value, dict) or not set(value) <= set(header):
            raise errors.InvalidRequest(
                f"{where}, line {number}: expected a record with the fields {', '.join(header)}, "
                f"got {errors.shown(value)}"
            )
        yield number, [_cell(value.get(name)) for name in header]


def _columns(value: dict[str, list[Any]], where: str) -> Iterator[tuple[int, list[str]]]:
    lengths = {name: len(v) for name, v in value.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {n}" for name, n in list(lengths.items())[:6])
        raise errors.InvalidRequest(f"{where}: expected lists of one length, found {shown}")
    yield 0, list(value)
    for number, row in enumerate(zip(*value.values(), strict=True), 1):
        yield number, [_cell(v) for v in row]
