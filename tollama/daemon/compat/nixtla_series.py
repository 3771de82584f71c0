"""Nixtla's panel of series: many histories in one flat list, read, cut into windows, asked for.

    y            every series' values one after the other, null where one is missing
    sizes        how many belong to each
    X            [feature][row], features known ahead first, then historic ones
    X_future     [feature known ahead][series * h]
    categorical_exog, hist_exog    rows of X that hold strings; that are historic

Ids are not sent and no timestamps come back. Everything that nixtla asks for is a list of windows
(this series, seen up to here, forecast so far): `requests` turns them into native requests,
`forecasts` puts the answers back in their places.

Not covered: what each endpoint makes of the forecasts (nixtla.py, nixtla_windows.py ...).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tollama.core import calendar, fields, names
from tollama.core.errors import InvalidRequest, Loc
from tollama.core.fields import Fields

# A native request of a panel: so many windows or values at most, so that one answer stays small and
# writing the request keeps nobody from the interpreter's lock for long.
MAX_WINDOWS = 512
MAX_VALUES = 50_000

Forecasts = list[dict[str, Any]]


class Panel(NamedTuple):
    """The series of a body. `known` reaches over the horizon in a forecast, else to the end."""

    model: str
    freq: str | None
    starts: list[str] | None
    targets: list[list[float | None]]
    known: list[dict[str, list[Any]]]
    past: list[dict[str, list[Any]]]
    features: list[str]
    joint: bool  # all series are one multivariate target

    @property
    def rows(self) -> list[int]:
        """The first row of each series in y."""
        firsts, at = [], 0
        for target in self.targets:
            firsts.append(at)
            at += len(target)
        return firsts


class Window(NamedTuple):
    """A forecast to make: series by number, values seen, steps, and which features count."""

    series: int
    cutoff: int
    horizon: int
    features: frozenset[str] | None = None


class Columns(NamedTuple):
    """The lists of a body, one a series: targets, features, and the features' future."""

    targets: list[list[float | None]]
    features: list[list[list[Any]]]
    future: list[list[list[Any]]]
    categorical: set[int]
    starts: list[str] | None


def read_columns(
    value: object, loc: Loc, *, horizon: int | None = None, joint: bool = False
) -> Columns:
    """The `series` object of a body; with `horizon` it may have X_future."""
    with Fields(value, loc, lenient=True) as s:
        y = s.take("y", fields.numbers_or_null)
        sizes = s.take("sizes", _sizes)
        x = s.take("X", fields.json_list, [])
        x_future = s.take("X_future", fields.json_list, []) if horizon else []
        categorical = s.take("categorical_exog", _indices, [])
        starts = s.take("start_datetime", fields.strings, None)
        if not s.problems:
            x, x_future = _as_text(x, categorical), _as_text(x_future, categorical)
            _check(s, y, sizes, x, x_future, horizon, joint, starts)
    return Columns(
        _split(y, sizes),
        [_split(row, sizes) for row in x],
        [_split(row, [horizon or 0] * len(sizes)) for row in x_future],
        set(categorical),
        starts,
    )


def read_panel(f: Fields, *, horizon: int | None = None, historic: bool = False) -> Panel:
    """The panel of a body whose fields are being read.

    With `horizon` the body may have X_future, with `historic` it may have hist_exog.
    """
    model = f.take("model", names.reader)
    freq = _freq(f.take("freq", fields.string, None))
    joint = f.take("multivariate", fields.boolean, False)
    late = f.take("hist_exog", _indices, []) if historic else []
    columns = f.take(
        "series", lambda value, loc: read_columns(value, loc, horizon=horizon, joint=joint)
    )
    if not isinstance(columns, Columns):
        return Panel(model, None, None, [], [], [], [], joint)
    labels = [f"x{index}" for index in range(len(columns.features))]
    if horizon is not None:
        ahead = set(range(len(columns.future)))
    else:
        # A categorical feature of the past is not said to be known ahead: it is not used so.
        behind = {*late, *(columns.categorical if historic else ())}
        ahead = set(range(len(labels))) - behind
    known, past = [], []
    for number in range(len(columns.targets)):
        known.append(
            {
                labels[at]: columns.features[at][number]
                + (columns.future[at][number] if horizon is not None else [])
                for at in sorted(ahead)
            }
        )
        past.append(
            {
                label: columns.features[at][number]
                for at, label in enumerate(labels)
                if at not in ahead
            }
        )
    starts = _starts(columns.starts, freq)
    return Panel(model, freq, starts, columns.targets, known, past, labels, joint)


def _sizes(value: object, loc: Loc) -> list[int]:
    sizes = fields.list_of(fields.integer(1))(value, loc)
    if not sizes:
        raise fields.fail(loc, "expected at least one series, got an empty list")
    return sizes


def _indices(value: object, loc: Loc) -> list[int]:
    return fields.list_of(fields.integer(0))(value, loc)


def _as_text(rows: list[Any], categorical: list[int]) -> list[Any]:
    """Rows with the categorical ones as strings: a category may be sent as a number."""
    return [
        [v if v is None or type(v) is str else str(v) for v in row]
        if index in categorical and isinstance(row, list)
        else row
        for index, row in enumerate(rows)
    ]


def _check(
    s: Fields,
    y: list[Any],
    sizes: list[int],
    x: list[Any],
    x_future: list[Any],
    horizon: int | None,
    joint: bool,
    starts: list[str] | None,
) -> None:
    total = sum(sizes)
    if len(y) != total:
        s.reject("y", f"expected {total} values, the sum of sizes, got {len(y)}")
    if starts is not None and len(starts) != len(sizes):
        s.reject("start_datetime", f"expected {len(sizes)} times, one per series")
    if joint and len(set(sizes)) > 1:
        s.reject("sizes", "expected series of equal length with multivariate")
    for name, rows, length in (
        ("X", x, total),
        ("X_future", x_future, len(sizes) * (horizon or 0)),
    ):
        for index, row in enumerate(rows):
            loc: Loc = (*s.loc, name, index)
            try:
                fields.covariate(row, loc)
            except InvalidRequest as error:
                s.problems += error.problems()
                continue
            if len(row) != length:
                s.problems.append((loc, f"expected {length} values, got {len(row)}"))
    if len(x_future) > len(x):
        s.reject("X_future", f"expected at most {len(x)} features as in X, got {len(x_future)}")


def _split(values: list[Any], sizes: list[int]) -> list[list[Any]]:
    parts, at = [], 0
    for size in sizes:
        parts.append(values[at : at + size])
        at += size
    return parts


def _freq(text: str | None) -> str | None:
    """A frequency that we know, or none: code that ran elsewhere must not fail for its name."""
    if not text:
        return None
    try:
        calendar.parse_freq(text)
    except InvalidRequest:
        return None
    return text


def _starts(starts: list[str] | None, freq: str | None) -> list[str] | None:
    if starts is None or freq is None:
        return None
    try:
        calendar.parse_timestamps(starts)
    except InvalidRequest:
        return None
    return starts


def request(
    panel: Panel,
    windows: list[Window],
    quantiles: list[float],
    options: dict[str, Any],
) -> dict[str, Any]:
    """The native request of windows that share a horizon."""
    series = [_series(panel, window) for window in windows]
    if panel.joint:
        series = [_joined(panel, windows, series)]
    found: dict[str, Any] = {
        "model": panel.model,
        "horizon": windows[0].horizon,
        "quantiles": quantiles,
        "series": series,
    }
    if options:
        found["options"] = options
    return found


def _series(panel: Panel, window: Window) -> dict[str, Any]:
    number, cutoff, horizon, chosen = window
    found: dict[str, Any] = {"target": panel.targets[number][:cutoff]}
    if panel.freq:
        found["freq"] = panel.freq
    if panel.starts:
        found["start"] = panel.starts[number]
    past = {k: v[:cutoff] for k, v in panel.past[number].items() if chosen is None or k in chosen}
    known = {
        k: v[: cutoff + horizon]
        for k, v in panel.known[number].items()
        if chosen is None or k in chosen
    }
    if past:
        found["past_covariates"] = past
    if known:
        found["future_covariates"] = known
    return found


def _joined(panel: Panel, windows: list[Window], series: list[dict[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {"target": [one["target"] for one in series]}
    for name in ("freq", "start"):
        if name in series[0]:
            joined[name] = series[0][name]
    for kind in ("past_covariates", "future_covariates"):
        rows = {
            f"{name}.{window.series}": values
            for window, one in zip(windows, series, strict=True)
            for name, values in one.get(kind, {}).items()
        }
        if rows:
            joined[kind] = rows
    return joined


def requests(
    panel: Panel,
    windows: list[Window],
    quantiles: list[float],
    options: dict[str, Any],
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Native requests for all windows, each with the places of its windows; made as they are taken.

    Windows of equal horizon share a request: series are forecast independently of each other.
    """
    groups: dict[Any, list[int]] = {}
    for place, window in enumerate(windows):
        key: Any = (window.horizon, window.features)
        if panel.joint:
            key = (*key, window.cutoff)
        groups.setdefault(key, []).append(place)
    for places in groups.values():
        for part in [places] if panel.joint else _parts(windows, places):
            yield part, request(panel, [windows[p] for p in part], quantiles, options)


def _parts(windows: list[Window], places: list[int]) -> Iterator[list[int]]:
    part: list[int] = []
    values = 0
    for place in places:
        cost = windows[place].cutoff + windows[place].horizon
        if part and (len(part) >= MAX_WINDOWS or values + cost > MAX_VALUES):
            yield part
            part, values = [], 0
        part.append(place)
        values += cost
    if part:
        yield part


def forecasts(
    panel: Panel, count: int, answers: Iterable[tuple[list[int], dict[str, Any]]]
) -> tuple[Forecasts, list[str]]:
    """Each window's `mean` and `quantiles` in the windows' order, and the warnings."""
    found: Forecasts = [{}] * count
    warnings: dict[str, None] = {}
    for places, answer in answers:
        items = answer["forecasts"]
        if panel.joint:
            items = _rows(items[0], len(places))
        for place, item in zip(places, items, strict=True):
            found[place] = item
        warnings.update(dict.fromkeys(answer.get("warnings") or ()))
    return found, list(warnings)


def _rows(item: dict[str, Any], count: int) -> Forecasts:
    """A multivariate forecast as one a row."""
    levels = item["quantiles"]
    return [
        {
            "mean": item["mean"][row],
            "quantiles": levels and {key: values[row] for key, values in levels.items()},
        }
        for row in range(count)
    ]
