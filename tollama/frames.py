"""Tables and lists in, series out; forecasts in, the same kind of table out.

Known: a list of numbers, a dict of lists, a list of request series, a Series of pandas with times
as its index, and tables of pandas, polars or PyArrow in the long form of statsforecast (unique_id,
ds, y in any order of rows; further columns are covariates when they are asked for). Nothing of
these packages is imported unless a table of theirs was given.

Not covered: calling the daemon (client.py) and files (cli/data.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from tollama.core.errors import InvalidRequest

KINDS = ("pandas", "polars", "pyarrow")


class Table(NamedTuple):
    """What is needed to give the same kind of table back.

    `ids` are the series' names as the table had them, `last` the final integer time of each series
    with the step to the next, `times` the type of the time column, `zone` its time zone's name.
    """

    kind: str  # "list", "dict", "series", "pandas", "polars" or "pyarrow"
    id_col: str
    time_col: str
    has_id: bool
    indexed: bool = False  # a Series of pandas, with times in its index
    times: Any = None
    zone: str | None = None
    ids: tuple[Any, ...] = ()
    last: tuple[tuple[Any, Any], ...] = ()


def kind_of(data: Any) -> str:
    """Which of the known kinds `data` is; raises InvalidRequest for anything else."""
    module, name = type(data).__module__.partition(".")[0], type(data).__name__
    if module in KINDS and name in ("DataFrame", "Table", "RecordBatch"):
        return module
    if isinstance(data, Mapping):
        return "dict"
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return "series" if data and isinstance(data[0], Mapping) else "list"
    if any(hasattr(data, method) for method in _TO_LIST):
        return "list"
    raise InvalidRequest(
        "data: expected a list of numbers, a dict of lists, a list of series, or a table of "
        f"pandas, polars or PyArrow, got {name}"
    )


# How numpy and pandas, polars, and PyArrow give their values.
_TO_LIST = ("tolist", "to_list", "to_pylist")


def _values(data: Any) -> list[float | None]:
    method = next((name for name in _TO_LIST if hasattr(data, name)), None)
    return [_number(value) for value in (getattr(data, method)() if method else data)]


def columns_of(data: Any, kind: str) -> dict[str, list[Any]]:
    """A table as lists by column name."""
    if kind == "pandas":
        if data.index.name is not None and data.index.name not in data.columns:
            data = data.reset_index()
        return {str(name): data[name].tolist() for name in data.columns}
    if kind == "polars":
        return {name: data[name].to_list() for name in data.columns}
    return {name: data.column(name).to_pylist() for name in data.column_names}


def to_series(
    data: Any,
    *,
    id_col: str = "unique_id",
    time_col: str = "ds",
    target_col: str = "y",
    freq: str | None = None,
    future: Any = None,
    covariates: Iterable[str] = (),
) -> tuple[list[dict[str, Any]], Table]:
    """`data` as the series of a request, and what gives the same kind back.

    `future` is a table of the steps to come with the columns that are known ahead; these and the
    columns named in `covariates` go to the model.
    """
    indexed = type(data).__module__.startswith("pandas.") and type(data).__name__ == "Series"
    if indexed:
        stamps = data.index.to_timestamp() if hasattr(data.index, "to_timestamp") else data.index
        data = data.set_axis(stamps).rename_axis(time_col).to_frame(target_col).reset_index()
    kind = kind_of(data)
    table = Table(kind, id_col, time_col, has_id=True, indexed=indexed)
    if kind == "list":
        return [_with_freq({"id": "series_0", "target": _values(data)}, freq)], table
    if kind == "dict":
        found = [
            _with_freq({"id": str(name), "target": _values(values)}, freq)
            for name, values in data.items()
        ]
        return found, table
    if kind == "series":
        return [_with_freq(dict(one), freq) for one in data], table
    columns = columns_of(data, kind)
    if target_col not in columns:
        raise InvalidRequest(
            f"data: expected a column {target_col!r}, got {', '.join(columns) or 'none'}"
        )
    rows = _rows_by_id(columns, id_col, time_col)
    table = table._replace(
        has_id=id_col in columns,
        ids=tuple(rows),
        times=_type_of(data, kind, time_col) if time_col in columns else None,
    )
    known = columns_of(future, kind_of(future)) if future is not None else {}
    ahead = [name for name in known if name not in (id_col, time_col)]
    past = [name for name in covariates if name not in ahead]
    for name in (*past, *ahead):
        if name not in columns:
            raise InvalidRequest(f"data: expected the covariate {name!r} as a column")
    later = _rows_by_id(known, id_col, time_col) if known else {}
    series = []
    for name, indices in rows.items():
        one: dict[str, Any] = {
            "id": str(name),
            "target": [_number(columns[target_col][i]) for i in indices],
        }
        if time_col in columns:
            stamps = [columns[time_col][i] for i in indices]
            if not all(isinstance(stamp, (int, float)) for stamp in stamps):
                one["timestamps"] = [_stamp(stamp) for stamp in stamps]
                table = table._replace(zone=_zone(stamps[0]))
            elif stamps:
                step = stamps[-1] - stamps[-2] if len(stamps) > 1 else 1
                table = table._replace(last=(*table.last, (stamps[-1], step)))
        if past:
            one["past_covariates"] = {c: [_value(columns[c][i]) for i in indices] for c in past}
        if ahead:
            one["future_covariates"] = {
                c: [_value(columns[c][i]) for i in indices]
                + [_value(known[c][i]) for i in later.get(name, ())]
                for c in ahead
            }
        series.append(_with_freq(one, freq))
    return series, table


def _with_freq(series: dict[str, Any], freq: str | None) -> dict[str, Any]:
    if freq is not None:
        series["freq"] = freq
    return series


def _rows_by_id(
    columns: Mapping[str, list[Any]], id_col: str, time_col: str
) -> dict[Any, list[int]]:
    """The rows of each series, oldest first."""
    length = len(next(iter(columns.values()), ()))
    rows: dict[Any, list[int]] = {}
    for index, name in enumerate(columns.get(id_col) or ["series_0"] * length):
        rows.setdefault(name, []).append(index)
    times = columns.get(time_col)
    if times is not None:
        for indices in rows.values():
            with contextlib.suppress(TypeError):  # times of several kinds: the daemon says so
                indices.sort(key=times.__getitem__)
    return rows


def _type_of(data: Any, kind: str, column: str) -> Any:
    """The type of a column."""
    if kind == "pyarrow":
        return data.schema.field(column).type
    if kind == "polars":
        return data.schema[column]
    return data[column].dtype if column in data else data.index.dtype


def _zone(stamp: Any) -> str | None:
    """The name of a time's zone, unless it has none or a mere offset."""
    from tollama.core import calendar

    name = str(getattr(stamp, "tzinfo", None) or "")
    try:
        calendar.zone(name)
    except InvalidRequest:
        return None
    return name


def _number(value: Any) -> float | None:
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    if type(value) in (int, float):
        return value  # type: ignore[no-any-return]
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidRequest(f"data: expected numbers, got {value!r}") from None


def _value(value: Any) -> Any:
    return value if isinstance(value, str) else _number(value)


def _stamp(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (datetime, date)):
        text = value.isoformat()
        return text.removesuffix("T00:00:00")
    raise InvalidRequest(f"data: expected times, got {type(value).__name__}")


def to_rows(
    response: Mapping[str, Any], table: Table, columns: Mapping[str, str], title: str
) -> dict[str, list[Any]]:
    """A forecast as columns in the long form; `columns` names each quantile key's column."""
    found: dict[str, list[Any]] = {}
    if table.has_id:
        found[table.id_col] = []
    found[table.time_col] = []
    found[title] = []
    for name in columns.values():
        found[name] = []
    for index, forecast in enumerate(response["forecasts"]):
        mean = forecast["mean"]
        if table.has_id:
            found[table.id_col] += [table.ids[index]] * len(mean)
        last, step = table.last[index] if table.last else (0, 1)
        found[table.time_col] += forecast.get("timestamps") or [
            last + step * (at + 1) for at in range(len(mean))
        ]
        found[title] += mean
        for key, name in columns.items():
            found[name] += forecast["quantiles"][key]
    return found


def pick(table: Any, horizon: int, steps: Iterable[int]) -> Any:
    """The rows of some steps, counted from 0, in a table with `horizon` rows a series."""
    wanted = [first + step for first in range(0, len(table), horizon) for step in steps]
    if type(table).__module__.startswith("pandas"):
        return table.iloc[wanted]
    return table.take(wanted) if hasattr(table, "take") else table[wanted]


def give_back(columns: dict[str, list[Any]], table: Table) -> Any:
    """Columns as a table of the kind that was given."""
    times = columns[table.time_col]
    dated = bool(times) and isinstance(times[0], str)
    if table.kind == "pandas":
        return _pandas(columns, table, dated)
    if dated:
        from tollama.core.calendar import parse_timestamps

        times = list(parse_timestamps(times))
        if str(table.times).lower().startswith("date3") or str(table.times) == "Date":
            times = [time.date() for time in times]
        columns = {**columns, table.time_col: times}
    if table.kind == "polars":
        import polars

        frame = polars.DataFrame(columns)
        if dated and isinstance(table.times, polars.Datetime):
            own = polars.col(table.time_col)
            if table.times.time_zone and table.zone:
                own = own.dt.convert_time_zone(table.times.time_zone)
            frame = frame.with_columns(own.dt.cast_time_unit(table.times.time_unit))
        return frame
    import pyarrow

    found = pyarrow.table(columns)
    if dated and pyarrow.types.is_timestamp(table.times):
        at = found.column_names.index(table.time_col)
        found = found.set_column(at, table.time_col, found.column(at).cast(table.times))
    return found


def _pandas(columns: dict[str, list[Any]], table: Table, dated: bool) -> Any:
    import pandas

    frame = pandas.DataFrame(columns)
    if dated:
        stamps = pandas.to_datetime(frame[table.time_col], utc=table.zone is not None)
        if table.zone is not None:
            stamps = stamps.dt.tz_convert(table.zone)
        frame[table.time_col] = stamps
    if not table.indexed:
        return frame
    frame = frame.set_index(table.time_col).rename_axis(None)
    return frame.iloc[:, 0] if len(frame.columns) == 1 else frame
