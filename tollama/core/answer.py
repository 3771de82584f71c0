"""The JSON of an answer: written by the runner, checked by the daemon, joined from slices.

The check runs at C speed and the bytes are passed on as they came. Every violation is a BadForecast
that names the field, because a wrong forecast must never look like a right one.
"""

from __future__ import annotations

import json
from operator import gt

from tollama.core import fields, protocol, splice
from tollama.core.errors import BadForecast, InvalidRequest, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tollama.core.schemas import ForecastRequest, ForecastResponse


def level_key(level: float) -> str:
    """A quantile level as a JSON key: the shortest text that reads back to the number."""
    return repr(level)


def to_json(
    request: ForecastRequest,
    response: ForecastResponse,
    *,
    warnings: list[str],
    scores: dict[str, Any] | None,
) -> dict[str, Any]:
    """A model's response as the wire has it, with what the request already knows filled in."""
    if len(response.forecasts) != len(request.series):
        raise BadForecast(
            f"forecasts: expected {len(request.series)}, one per series, "
            f"got {len(response.forecasts)}"
        )
    forecasts = []
    for series, forecast in zip(request.series, response.forecasts, strict=True):
        levels = None
        if request.quantiles:
            found = forecast.quantiles or {}
            missing = [q for q in request.quantiles if q not in found]
            if missing:
                raise BadForecast(f"forecast of {shown(series.id)}: no quantile {missing[0]}")
            levels = {level_key(q): found[q] for q in request.quantiles}
        item: dict[str, Any] = {
            "id": series.id,
            "freq": series.freq,
            "start_timestamp": series.next_timestamp,
            "mean": forecast.mean,
            "quantiles": levels,
        }
        if series.future_timestamps is not None:
            item["timestamps"] = series.future_timestamps
        forecasts.append(item)
    answer: dict[str, Any] = {
        "model": request.model,
        "forecasts": forecasts,
        "usage": response.usage,
        "warnings": [*warnings, *response.warnings],
    }
    if scores is not None:
        answer["metrics"] = scores
    return answer


def check(value: object, request: ForecastRequest, first: int, last: int, *, runner: str) -> None:
    """Raise BadForecast unless `value` answers series [first, last) of the request.

    Checked: count, ids, lengths, finite numbers, quantile keys and their order.
    """
    series = request.series[first:last]
    if not isinstance(value, dict) or not isinstance(value.get("forecasts"), list):
        raise BadForecast(f"runner {runner}: expected an object with a list of forecasts")
    forecasts = value["forecasts"]
    if len(forecasts) != len(series):
        raise BadForecast(
            f"runner {runner}: forecasts: expected {len(series)}, one per series, "
            f"got {len(forecasts)}"
        )
    keys = [level_key(q) for q in request.quantiles]
    for index, (one, forecast) in enumerate(zip(series, forecasts, strict=True), first):
        where = f"runner {runner}: forecasts[{index}]"
        if not isinstance(forecast, dict) or forecast.get("id") != one.id:
            raise BadForecast(f"{where}.id: expected {shown(one.id)}")
        rows = len(one.target) if one.multivariate else 0
        mean = _rows(forecast.get("mean"), rows, request.horizon, f"{where}.mean")
        del mean
        levels = forecast.get("quantiles")
        if not keys:
            if levels is not None:
                raise BadForecast(f"{where}.quantiles: expected null, none were asked for")
            continue
        if not isinstance(levels, dict) or list(levels) != keys:
            raise BadForecast(f"{where}.quantiles: expected the keys {', '.join(keys)}")
        below: list[list[Any]] | None = None
        for key in keys:
            above = _rows(levels[key], rows, request.horizon, f"{where}.quantiles.{key}")
            if below is not None:
                for low, high in zip(below, above, strict=True):
                    if any(map(gt, low, high)):
                        raise BadForecast(f"{where}.quantiles.{key}: crosses the quantile below it")
            below = above


def _rows(value: object, rows: int, horizon: int, where: str) -> list[list[Any]]:
    if not isinstance(value, list):
        raise BadForecast(f"{where}: expected a list, got {shown(value)}")
    found = value if rows else [value]
    if rows and len(found) != rows:
        raise BadForecast(f"{where}: expected {rows} rows, got {len(found)}")
    for row in found:
        if not isinstance(row, list) or len(row) != horizon:
            size = len(row) if isinstance(row, list) else shown(row)
            raise BadForecast(f"{where}: expected {horizon} values, got {size}")
        try:
            fields.numbers(row, ())
        except InvalidRequest as error:
            (loc, text) = error.problems()[0]
            raise BadForecast(f"{where}{list(loc)}: {text}") from None
    return found


def join(model: str, bodies: Sequence[splice.Body]) -> bytes:
    """One answer from those of consecutive slices of a request; forecasts pass as they were
    written.

    Warnings are concatenated, `usage` is the first slice's with its counts added up, and scores are
    averaged anew over all series.
    """
    parts = [body.value for body in bodies]
    answer: dict[str, Any] = {
        "usage": _join_usage([part.get("usage") for part in parts]),
        "warnings": [text for part in parts for text in part.get("warnings") or ()],
    }
    scored = [part["metrics"] for part in parts if isinstance(part.get("metrics"), dict)]
    if scored:
        answer["metrics"] = join_scores([row for part in scored for row in part["series"]])
    forecasts = ",".join(filter(None, (body.items_text() for body in bodies)))
    head = f'{{"model":{json.dumps(model)},"forecasts":[{forecasts}],'
    return head.encode() + protocol.dumps(answer)[1:]


def join_scores(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Scores by series and their means over the series that have one."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "id"))
    overall: dict[str, float | None] = {}
    for name in names:
        found = [row[name] for row in rows if row.get(name) is not None]
        overall[name] = sum(found) / len(found) if found else None
    return {"overall": overall, "series": rows}


def _join_usage(parts: list[Any]) -> Any:
    found = [part for part in parts if isinstance(part, dict)]
    if not found:
        return None
    usage = dict(found[0])
    for name, value in usage.items():
        if type(value) is int and name.endswith(("_count", "_tokens")):
            usage[name] = sum(part.get(name, 0) for part in found)
        elif type(value) is list:
            usage[name] = [item for part in found for item in part.get(name) or ()]
    return usage


def cut(raw: bytes) -> splice.Body:
    """A runner's result of which `join` will want the forecasts; raises BadForecast as `loads`."""
    try:
        return splice.split(raw, "forecasts")
    except InvalidRequest as error:
        raise BadForecast(f"the runner's answer is not JSON: {error.message[:80]}") from None


def loads(raw: bytes) -> Any:
    """A runner's result as a value; raises BadForecast when it is not JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadForecast(f"the runner's answer is not JSON: {str(error)[:80]}") from None
