"""Anomalies: values outside the interval that a model forecast for them, from the values before
them.

Rolling origins: the checked part of a series is cut into blocks, each is forecast from what lies
before it (a block is one step with `step` = 1), and a value outside the interval at `level` is
flagged. The score is the distance from the forecast in units of the interval's half-width on that
side: above 1 is outside.

Not covered: which model suits (backtest.py), and flags for values that are missing (they have
none).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tollama.core import answer, calendar, fields, names, protocol, schemas, splice
from tollama.core.errors import InvalidRequest
from tollama.core.schemas import Series
from tollama.daemon import backtest
from tollama.daemon.forecasting import Client, Forecasting
from tollama.daemon.grid import on_grid
from tollama.daemon.wire import part, read

MAX_BLOCKS = 50
MIN_HISTORY = 8


def _level(value: object, loc: Any) -> float:
    number = fields.finite(value, loc)
    if not 0 < number < 1:
        raise fields.fail(loc, f"expected a number between 0 and 1 such as 0.99, got {number}")
    return number


@dataclass(eq=False, repr=False, match_args=False)
class AnomaliesBody:
    """What POST /api/anomalies takes."""

    series: list[Any] = part(backtest._series_list, "the histories to check, as for a forecast")
    model: str = part(names.reader, "the model that forecasts (default auto)", "auto")
    level: float = part(_level, "probability of the interval, in (0, 1)", 0.99)
    detection_size: int | None = part(
        fields.integer(1), "values to check at the end of each series (default: all it can)", None
    )
    step: int | None = part(
        fields.integer(1, schemas.MAX_HORIZON), "values forecast at once (default: by length)", None
    )
    options: dict[str, Any] | None = part(fields.json_object, "options for the model", None)
    timeout: float | None = part(fields.positive, "seconds per block", None)


def parse(raw: bytes) -> tuple[AnomaliesBody, list[Series]]:
    """A body and its series, checked; raises InvalidRequest with every bad field."""
    body = read(AnomaliesBody, splice.parse(raw))
    problems: list[tuple[Any, str]] = []
    found: list[Series] = []
    for index, one in enumerate(body.series):
        try:
            series = on_grid(
                Series.parse(one, ("series", index), number=index, horizon=None),
                ("series", index),
                body.options,
            )
        except InvalidRequest as error:
            problems += error.problems()
            continue
        if series.multivariate:
            problems.append((("series", index, "target"), "expected one target, got several"))
        found.append(series)
    if problems:
        raise InvalidRequest.of(problems)
    schemas.duplicate_ids(found)
    return body, found


def blocks(length: int, size: int | None, step: int | None, season: int) -> list[tuple[int, int]]:
    """The checked part of a series as spans [first, last); what lies before is only learnt."""
    learn = min(max(2 * season, MIN_HISTORY), max(length // 2, 1))
    first = max(learn, length - size) if size else learn
    if first >= length:
        return []
    step = step or max(1, -(-(length - first) // MAX_BLOCKS))
    return [(at, min(at + step, length)) for at in range(first, length, step)]


def run(
    forecasting: Forecasting,
    body: AnomaliesBody,
    series: list[Series],
    *,
    request_id: str,
    client: Client,
) -> dict[str, Any]:
    """Every series with its bounds, flags and scores."""
    low, high = (1 - body.level) / 2, (1 + body.level) / 2
    items = []
    warnings: dict[str, None] = {}
    for one in series:
        season = _season(one, body.options)
        spans = blocks(one.length, body.detection_size, body.step, season)
        if not spans:
            warnings[f"{one.id}: too short to check"] = None
        found: list[dict[str, Any]] = []
        # A window of blocks in flight: the scheduler batches them, memory stays bounded.
        for batch in _batches(spans, 16):
            running = [
                _start(forecasting, body, one, span, (low, high), request_id, client)
                for span in batch
            ]
            try:
                for span, call in zip(batch, running, strict=True):
                    value = answer.loads(call.answer().body)
                    warnings.update(dict.fromkeys(value["warnings"]))
                    found += _judge(one, span, value["forecasts"][0], low, high)
            finally:
                for call in running:
                    call.cancel()
        items.append(
            {
                "id": one.id,
                "first": spans[0][0] if spans else one.length,
                "points": found,
                "anomalies": sum(point["anomaly"] for point in found),
            }
        )
    return {
        "model": body.model,
        "level": body.level,
        "series": items,
        "warnings": list(warnings),
    }


def _season(series: Series, options: dict[str, Any] | None) -> int:
    asked = (options or {}).get("season_length")
    if isinstance(asked, int):
        return asked
    freq = calendar.parse_freq(series.freq) if series.freq else None
    if freq is None and series.timestamps:
        freq = calendar.infer(calendar.parse_timestamps(series.timestamps))
    return calendar.season_length(freq)


def _batches(spans: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for at in range(0, len(spans), size):
        yield spans[at : at + size]


def _start(
    forecasting: Forecasting,
    body: AnomaliesBody,
    series: Series,
    span: tuple[int, int],
    levels: tuple[float, float],
    request_id: str,
    client: Client,
) -> Any:
    first, last = span
    seen = backtest.cut(series, first, last - first)
    del seen["actuals"]
    request: dict[str, Any] = {
        "model": body.model,
        "horizon": last - first,
        "quantiles": list(levels),
        "series": [seen],
    }
    if body.options:
        request["options"] = body.options
    if body.timeout:
        request["timeout"] = body.timeout
    return forecasting.start(protocol.dumps(request), request_id=request_id, client=client)


def _judge(
    series: Series, span: tuple[int, int], forecast: dict[str, Any], low: float, high: float
) -> list[dict[str, Any]]:
    lower = forecast["quantiles"][answer.level_key(low)]
    upper = forecast["quantiles"][answer.level_key(high)]
    points = []
    for offset, index in enumerate(range(*span)):
        value, mean = series.target[index], forecast["mean"][offset]
        half = upper[offset] - mean if value is not None and value > mean else mean - lower[offset]
        score = None
        if value is not None:
            score = abs(value - mean) / half if half > 0 else (0.0 if value == mean else None)
        outside = value is not None and not lower[offset] <= value <= upper[offset]
        points.append(
            {
                "index": index,
                "timestamp": series.timestamps[index] if series.timestamps else None,
                "value": value,
                "mean": mean,
                "lower": lower[offset],
                "upper": upper[offset],
                "anomaly": outside,
                "score": score,
            }
        )
    return points
