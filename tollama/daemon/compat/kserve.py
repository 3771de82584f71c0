"""KServe's time series protocol: POST /v1/timeseries/forecast.

    {"model", "inputs": [{"type", "name", "series", "frequency", "start_timestamp"}],
     "options": {"horizon", "quantiles"}, "metadata"}
    -> {"id", "created_at", "status", "model", "error", "outputs": [...], "usage"}

The protocol does not say how a multivariate series lies in its lists: here as everywhere in
tollama, one list a variable, in the answer too.

Not covered: KServe's inference protocol (/v2/models/NAME/infer), whose tensors are not forecasts.
"""

from __future__ import annotations

import json
import time
from typing import Any

from tollama.core import calendar, fields, names, readers, schemas
from tollama.core.errors import InvalidRequest, Loc, TollamaError, dotted
from tollama.core.fields import Fields
from tollama.daemon.http_message import Reply

UNIVARIATE, MULTIVARIATE = "univariate_time_series", "multivariate_time_series"
# The protocol's letters mean the first day of a month and longer, as people stamp them.
FREQUENCIES = {"S": "s", "T": "min", "H": "h", "D": "D", "W": "W", "M": "MS", "Q": "QS", "Y": "YS"}


def to_request(body: object) -> dict[str, Any]:
    """A body as a native request; raises InvalidRequest with its own field names."""
    with Fields(body, lenient=True) as f:
        model = f.take("model", names.reader)
        items = f.take("inputs", fields.json_list)
        options = f.take("options", fields.json_object, {})
        horizon = 0
        quantiles: tuple[float, ...] = ()
        with Fields(options, ("options",), lenient=True) as o:
            horizon = o.take("horizon", fields.integer(1, schemas.MAX_HORIZON))
            quantiles = o.take("quantiles", readers.quantiles, ())
        series: list[dict[str, Any]] = []
        if isinstance(items, list):
            if not items:
                f.reject("inputs", "expected at least one input, got an empty list")
            for index, item in enumerate(items):
                try:
                    series.append(_series(item, ("inputs", index)))
                except InvalidRequest as error:
                    f.problems += error.problems()
    return {
        "model": model,
        "horizon": horizon,
        "quantiles": list(quantiles),
        "series": series,
    }


def _series(value: object, loc: Loc) -> dict[str, Any]:
    with Fields(value, loc, lenient=True) as f:
        kind = f.take("type", fields.choice(UNIVARIATE, MULTIVARIATE), UNIVARIATE)
        f.take("name", fields.string, None)
        values = f.take("series", fields.json_list)
        freq = f.take("frequency", _frequency, None)
        start = f.take("start_timestamp", fields.nonempty, None)
        if start is not None and freq is None and not f.problems:
            f.reject("frequency", "this field is required with start_timestamp")
        if isinstance(values, list) and not f.problems:
            several = bool(values) and isinstance(values[0], list)
            if several != (kind == MULTIVARIATE):
                wanted = "lists of numbers, one a variable," if kind == MULTIVARIATE else "numbers"
                f.reject("series", f"expected {wanted} for {kind}")
    found: dict[str, Any] = {"target": values}
    if freq:
        found["freq"] = freq
    if start:
        found["start"] = start
    return found


def _frequency(value: object, loc: Loc) -> str:
    text = fields.nonempty(value, loc)
    text = FREQUENCIES.get(text, text)
    try:
        calendar.parse_freq(text)
    except InvalidRequest as error:
        raise fields.fail(loc, error.message) from None
    return text


def from_response(body: dict[str, Any], answer: dict[str, Any], request_id: str) -> dict[str, Any]:
    """A native answer as the protocol's."""
    outputs = []
    points, steps = 0, 0
    for index, (item, forecast) in enumerate(zip(body["inputs"], answer["forecasts"], strict=True)):
        kind = item.get("type") or UNIVARIATE
        outputs.append(
            {
                "type": "time_series_forecast",
                "id": f"{request_id}-{index}",
                "status": "completed",
                "error": None,
                "content": [
                    {
                        "type": kind,
                        "name": item.get("name") or forecast["id"],
                        "mean_forecast": forecast["mean"],
                        "frequency": item.get("frequency"),
                        "start_timestamp": forecast.get("start_timestamp") or "",
                        "quantiles": forecast["quantiles"],
                    }
                ],
            }
        )
        several = kind == MULTIVARIATE
        points += len(item["series"][0]) if several else len(item["series"])
        steps += len(forecast["mean"][0]) if several else len(forecast["mean"])
    return {
        "id": request_id,
        "created_at": int(time.time()),
        "status": "completed",
        "model": answer["model"],
        "error": None,
        "outputs": outputs,
        "usage": {
            "prompt_tokens": points,
            "completion_tokens": steps,
            "total_tokens": points + steps,
        },
        "warnings": answer.get("warnings") or [],
    }


def error_reply(error: TollamaError) -> Reply:
    """An error in the protocol's form."""
    param = None
    if isinstance(error, InvalidRequest):
        loc = error.problems()[0][0]
        param = dotted(loc) if loc else None
    value = {
        "code": str(error.status),
        "message": error.message,
        "param": param,
        "type": error.code,
    }
    headers = []
    if error.retry_after is not None:
        headers.append(("Retry-After", str(max(1, round(error.retry_after)))))
    return Reply(error.status, json.dumps({"error": value}).encode(), headers=tuple(headers))
