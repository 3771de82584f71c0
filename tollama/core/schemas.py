"""The forecast request and answer as frozen dataclasses; both sides of the pipe use them.

`ForecastRequest.parse` checks what a 400 needs and rebuilds nothing: it reports every bad field
together, long lists at C speed. What can be derived (frequency, gaps, future timestamps) is filled
in by completion.py inside the runner.

Not covered: the check of a runner's answer (answer.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tollama.core import calendar, durations, fields, readers
from tollama.core.errors import InvalidRequest, Loc, shown
from tollama.core.fields import Fields

MAX_HORIZON = 100_000
MAX_OUTPUT_VALUES = 20_000_000


@dataclass(frozen=True, slots=True)
class Series:
    """One history to forecast: `target` is oldest first, null marks a missing value."""

    id: str = field(metadata={"doc": "name of the series, echoed; default series_0, series_1, ..."})
    target: list[Any] = field(
        metadata={"doc": "n numbers or nulls, or D lists of n for a multivariate series"}
    )
    freq: str | None = field(
        default=None, metadata={"doc": "step: h, D, B, W-SUN, MS, QS, YS, 15min ..."}
    )
    timestamps: list[str] | None = field(
        default=None, metadata={"doc": "n ISO 8601 times, strictly increasing"}
    )
    start: str | None = field(
        default=None, metadata={"doc": "ISO 8601 time of the first value, with freq"}
    )
    past_covariates: dict[str, list[Any]] = field(
        default_factory=dict, metadata={"doc": "name to n numbers, or n strings (categorical)"}
    )
    future_covariates: dict[str, list[Any]] = field(
        default_factory=dict, metadata={"doc": "name to horizon values, or n + horizon values"}
    )
    static_covariates: dict[str, Any] = field(
        default_factory=dict, metadata={"doc": "name to one value of the series"}
    )
    actuals: list[Any] | None = field(
        default=None, metadata={"doc": "horizon true values, to score the forecast by `metrics`"}
    )
    # Derived by completion.complete, never read from a request.
    season_length: int = 1
    next_timestamp: str | None = None
    future_timestamps: list[str] | None = None

    @property
    def length(self) -> int:
        """Number of time steps in the history."""
        return len(self.target[0]) if self.multivariate else len(self.target)

    @property
    def multivariate(self) -> bool:
        """Whether the target is D lists of equal length."""
        return bool(self.target) and type(self.target[0]) is list

    @classmethod
    def parse(cls, value: object, loc: Loc, *, number: int, horizon: int | None) -> Series:
        """Read one series; `number` names it when it has no id, `horizon` checks covariates."""
        with Fields(value, loc) as f:
            given = f.given(_SERIES)
            name = given.pop("id", None)
            if name is None:
                name = f"series_{number}"
            series = cls(name, given.pop("target", []), **given)
            if "target" not in f.value or f.value["target"] is None:
                f.reject("target", "this field is required")
            elif not f.problems:
                series._check_lengths(f, horizon)
        return series

    def _check_lengths(self, f: Fields, horizon: int | None) -> None:
        n = self.length
        if self.timestamps is not None:
            if len(self.timestamps) != n:
                f.reject(
                    "timestamps",
                    f"expected {n} timestamps, one per target value, got {len(self.timestamps)}",
                )
            else:
                _check_increasing(self.timestamps, f)
            if self.start is not None:
                f.reject("start", "expected either start or timestamps, got both")
        elif self.start is not None and self.freq is None:
            f.reject("freq", "a series with start needs a freq")
        for name, values in self.past_covariates.items():
            if len(values) != n:
                f.problems.append(
                    (
                        (*f.loc, "past_covariates", name),
                        f"expected {n} values, one per target value, got {len(values)}",
                    )
                )
        if horizon is None:
            return
        for name, values in self.future_covariates.items():
            if len(values) not in (horizon, n + horizon):
                f.problems.append(
                    (
                        (*f.loc, "future_covariates", name),
                        f"expected {horizon} values (the horizon) or {n + horizon} "
                        f"(history and horizon), got {len(values)}",
                    )
                )
        if self.actuals is not None:
            if self.multivariate != (bool(self.actuals) and type(self.actuals[0]) is list):
                f.reject("actuals", "expected the same shape as target")
            else:
                rows = self.actuals if self.multivariate else [self.actuals]
                if any(len(row) != horizon for row in rows):
                    f.reject("actuals", f"expected {horizon} values, one per step of the horizon")


@dataclass(frozen=True, slots=True)
class ForecastRequest:
    """What POST /api/forecast and /v1/forecast take."""

    model: str = field(metadata={"doc": "name of an installed model"})
    horizon: int = field(metadata={"doc": "number of future steps, 1 to 100,000"})
    series: tuple[Series, ...] = field(metadata={"doc": "the histories, at least one"})
    quantiles: tuple[float, ...] = field(
        default=(), metadata={"doc": "probability levels in (0, 1), answered ascending"}
    )
    options: dict[str, Any] = field(
        default_factory=dict, metadata={"doc": "options of the model, see /api/show"}
    )
    timeout: float | None = field(
        default=None, metadata={"doc": "seconds that the caller is willing to wait"}
    )
    metrics: tuple[str, ...] = field(
        default=(), metadata={"doc": "scores to compute from each series' actuals"}
    )
    keep_alive: Any = field(
        default=None, metadata={"doc": "how long the model stays loaded: seconds or '5m'"}
    )
    stream: bool | None = field(
        default=None, metadata={"doc": "answer as NDJSON progress lines (default true on /api)"}
    )

    @classmethod
    def parse(
        cls,
        value: object,
        *,
        offset: int = 0,
        defaults: dict[str, Any] | None = None,
        series_required: bool = True,
    ) -> ForecastRequest:
        """Read a request; raises InvalidRequest with every bad field.

        `offset` is the number of the first series when the value is a slice of a larger request,
        `defaults` are a preset's fields for what the request leaves out.
        """
        if defaults and isinstance(value, dict):
            value = with_defaults(value, defaults)
        with Fields(value) as f:
            horizon = f.take("horizon", fields.integer(1, MAX_HORIZON))
            known_horizon = horizon if type(horizon) is int else None
            request = cls(
                model=f.take("model", readers.model),
                horizon=horizon,
                series=_series(f, offset, known_horizon, series_required),
                **f.given(_REQUEST),
            )
            if known_horizon is not None and not f.problems:
                rows = sum(len(s.target) if s.multivariate else 1 for s in request.series)
                values = rows * known_horizon * (1 + len(request.quantiles))
                if values > MAX_OUTPUT_VALUES:
                    f.reject(
                        "horizon",
                        f"expected at most {MAX_OUTPUT_VALUES:,} output values (series x horizon x "
                        f"(1 + quantiles)), got {values:,}; split the request",
                    )
        return request


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of one series, as a model returns it.

    `mean` has `horizon` numbers (or D lists of them), each quantile likewise; None = none asked.
    """

    id: str
    mean: list[Any]
    quantiles: dict[float, list[Any]] | None = None


@dataclass(frozen=True, slots=True)
class ForecastResponse:
    """What a model returns for a request: one forecast per series, in order."""

    forecasts: list[Forecast]
    usage: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)


def with_defaults(value: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A request with a preset's fields where it has none; options are merged by name."""
    merged = {**defaults, **{k: v for k, v in value.items() if v is not None}}
    options = value.get("options")
    if isinstance(options, dict) and isinstance(defaults.get("options"), dict):
        merged["options"] = {**defaults["options"], **options}
    return merged


# The optional fields, and what reads each.
_SERIES = {
    "id": fields.string,
    "target": readers.target,
    "freq": readers.freq,
    "timestamps": fields.strings,
    "start": readers.timestamp,
    "past_covariates": readers.covariates,
    "future_covariates": readers.covariates,
    "static_covariates": fields.plain_object,
    "actuals": readers.target,
}
_REQUEST = {
    "quantiles": readers.quantiles,
    "options": readers.options,
    "timeout": fields.positive,
    "metrics": readers.metrics,
    "keep_alive": durations.keep_alive,
    "stream": fields.boolean,
}


def _series(f: Fields, offset: int, horizon: int | None, required: bool) -> tuple[Series, ...]:
    found: list[Series] = []
    problems: list[tuple[Loc, str]] = []

    def read(value: object, loc: Loc) -> tuple[Series, ...]:
        items = fields.json_list(value, loc)
        if not items:
            raise fields.fail(loc, "expected at least one series, got an empty list")
        seen: dict[str, int] = {}
        for index, item in enumerate(items, offset):
            try:
                one = Series.parse(item, (*loc, index), number=index, horizon=horizon)
            except InvalidRequest as error:
                problems.extend(error.problems())
            else:
                found.append(one)
                if seen.setdefault(one.id, index) != index:
                    problems.append(_repeated(one.id, index, seen[one.id]))
            if len(problems) > 200:
                break
        if problems:
            raise InvalidRequest.of(problems)
        return tuple(found)

    if not required:
        return f.take("series", read, ())
    return f.take("series", read)


def duplicate_ids(series: list[Series]) -> None:
    """Raise InvalidRequest when two series share an id."""
    seen: dict[str, int] = {}
    problems = [
        _repeated(one.id, index, seen[one.id])
        for index, one in enumerate(series)
        if seen.setdefault(one.id, index) != index
    ]
    if problems:
        raise InvalidRequest.of(problems)


def _repeated(name: str, index: int, first: int) -> tuple[Loc, str]:
    return (
        ("series", index, "id"),
        f"expected a different id for each series, got {shown(name)} as in series[{first}]",
    )


def _check_increasing(texts: list[str], f: Fields) -> None:
    loc: Loc = (*f.loc, "timestamps")
    try:
        stamps = calendar.parse_timestamps(texts)
        bad = calendar.is_increasing(stamps)
    except InvalidRequest as error:
        f.problems += [((*loc, *path), text) for path, text in error.problems()[:20]]
        return
    if bad is not None:
        f.problems.append(
            (
                (*loc, bad),
                f"expected strictly increasing timestamps, got {shown(texts[bad])} "
                f"after {shown(texts[bad - 1])}",
            )
        )
