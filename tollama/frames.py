"""Tables and lists in, series out; forecasts in, the same kind of table out.

Known: a list of numbers, a dict of lists, a list of request series, and tables of pandas, polars or
PyArrow in the long form of statsforecast (unique_id, ds, y, further columns are covariates when
they are asked for). Nothing of these packages is imported unless a table of theirs was given.

Not covered: calling the daemon (client.py) and files (cli/data.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from tollama.core.errors import InvalidRequest

KINDS = ("pandas", "polars", "pyarrow")


class Table(NamedTuple):
    """What is needed to give the same kind of table back."""

    kind: str  # "list", "dict", "series", "pandas", "polars" or "pyarrow"
    id_col: str
    time_col: str
    has_id: bool


def kind_of(data: Any) -> str:
    """Which of the known kinds `data` is; raises InvalidRequest for anything else."""
    module = type(data).__module__.partition(".")[0]
    if module in KINDS:
        return module
    if isinstance(data, Mapping):
        return "dict"
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return "series" if data and isinstance(data[0], Mapping) else "list"
    if module == "numpy":
        return "list"
    raise InvalidRequest(
        "data: expected a list of numbers, a dict of lists, a list of series, or a table of "
        f"pandas, polars or PyArrow, got {type(data).__name__}"
    )


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
    kind = kind_of(data)
    table = Table(kind, id_col, time_col, has_id=True)
    if kind == "list":
        values = [_number(v) for v in (data.tolist() if hasattr(data, "tolist") else data)]
        return [_with_freq({"id": "series_0", "target": values}, freq)], table
    if kind == "dict":
        found = [
            _with_freq({"id": str(name), "target": [_number(v) for v in values]}, freq)
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
    table = table._replace(has_id=id_col in columns)
    rows = _rows_by_id(columns, id_col)
    known = columns_of(future, kind_of(future)) if future is not None else {}
    ahead = [name for name in known if name not in (id_col, time_col)]
    past = [name for name in covariates if name not in ahead]
    for name in (*past, *ahead):
        if name not in columns:
            raise InvalidRequest(f"data: expected the covariate {name!r} as a column")
    later = _rows_by_id(known, id_col) if known else {}
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


def _rows_by_id(columns: Mapping[str, list[Any]], id_col: str) -> dict[Any, list[int]]:
    length = len(next(iter(columns.values()), ()))
    if id_col not in columns:
        return {"series_0": list(range(length))}
    rows: dict[Any, list[int]] = {}
    for index, name in enumerate(columns[id_col]):
        rows.setdefault(name, []).append(index)
    return rows


def _number(value: Any) -> float | None:
    if value is None or value != value:  # NaN and NaT differ from themselves
        return None
    return value if type(value) in (int, float) else float(value)


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
    for forecast in response["forecasts"]:
        mean = forecast["mean"]
        if table.has_id:
            found[table.id_col] += [forecast["id"]] * len(mean)
        found[table.time_col] += forecast.get("timestamps") or list(range(1, len(mean) + 1))
        found[title] += mean
        for key, name in columns.items():
            found[name] += forecast["quantiles"][key]
    return found


def give_back(columns: dict[str, list[Any]], table: Table) -> Any:
    """Columns as a table of the kind that was given."""
    times = columns[table.time_col]
    dated = bool(times) and isinstance(times[0], str)
    if table.kind == "pandas":
        import pandas

        frame = pandas.DataFrame(columns)
        if dated:
            frame[table.time_col] = pandas.to_datetime(frame[table.time_col])
        return frame
    if dated:
        from tollama.core.calendar import parse_timestamps

        columns = {**columns, table.time_col: list(parse_timestamps(times))}
    if table.kind == "polars":
        import polars

        return polars.DataFrame(columns)
    import pyarrow

    return pyarrow.table(columns)
