"""SageMaker's runtime with the JSON of Chronos-2's endpoint, as boto3's sagemaker-runtime sends it.

    POST /endpoints/NAME/invocations    NAME is a model; a TargetModel header names another
    POST /invocations, GET /ping        what a container answers

    {"inputs": [{"target", "item_id", "start", "past_covariates", "future_covariates"}],
     "parameters": {"prediction_length", "quantile_levels", "freq", "cross_learning"}}
    -> {"predictions": [{"mean", "0.1", ..., "item_id", "start"}]}

`application/jsonlines` has one such body a line, and its answer one a line. Signatures are not
checked: that is what API keys are for.

Not covered: response streams, asynchronous inference, content types of other containers.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from tollama.core import calendar, fields, readers, schemas, splice
from tollama.core.errors import InvalidRequest, Loc, NotFound, TollamaError, shown
from tollama.core.fields import Fields
from tollama.daemon.http_message import Reply, Request

JSON_LINES = ("application/jsonlines", "application/x-jsonlines", "application/jsonl")
MIN_OBSERVATIONS = 5
DEFAULT_QUANTILES: tuple[float, ...] = (0.1, 0.5, 0.9)


def endpoint(raw_path: str) -> str:
    """The name in /endpoints/NAME/invocations; it is decoded after the path is cut."""
    parts = raw_path.split("/")
    if len(parts) != 4 or parts[3] != "invocations" or not parts[2]:
        raise NotFound(f"no such path: {raw_path[:100]}; known is /endpoints/NAME/invocations")
    return unquote(parts[2])


def payloads(request: Request) -> tuple[list[Any], bool]:
    """The bodies of a request, and whether they came as JSON lines."""
    kind = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind not in JSON_LINES:
        return [splice.parse(request.body)], False
    lines = [line for line in request.body.splitlines() if line.strip()]
    if not lines:
        raise InvalidRequest("the body is empty, expected one JSON object a line")
    bodies = []
    for number, line in enumerate(lines, 1):
        try:
            bodies.append(splice.parse(line))
        except InvalidRequest as error:
            error.message = f"line {number}: {error.message}"
            raise
    return bodies, True


def to_request(model: str, body: object) -> dict[str, Any]:
    """A body as a native request; raises InvalidRequest with its own field names."""
    with Fields(body, lenient=True) as f:
        items = f.take("inputs", fields.json_list)
        parameters = f.take("parameters", fields.json_object, {})
        horizon, quantiles, freq, together = 1, DEFAULT_QUANTILES, None, False
        with Fields(parameters, ("parameters",), lenient=True) as p:
            horizon = p.take("prediction_length", fields.integer(1, schemas.MAX_HORIZON), 1)
            quantiles = p.take("quantile_levels", readers.quantiles, DEFAULT_QUANTILES)
            freq = p.take("freq", _freq, None)
            together = p.take("cross_learning", fields.boolean, False)
        series: list[dict[str, Any]] = []
        if isinstance(items, list):
            if not items:
                f.reject("inputs", "expected at least one input, got an empty list")
            for index, item in enumerate(items):
                try:
                    series.append(_series(item, ("inputs", index), horizon, freq))
                except InvalidRequest as error:
                    f.problems += error.problems()
            _check_ids(f, items)
    found: dict[str, Any] = {
        "model": model,
        "horizon": horizon,
        "quantiles": list(quantiles),
        "series": series,
    }
    if together:
        found["options"] = {"cross_learning": True}
    return found


def _freq(value: object, loc: Loc) -> str:
    text = fields.nonempty(value, loc)
    try:
        calendar.parse_freq(text)
    except InvalidRequest as error:
        raise fields.fail(loc, error.message) from None
    return text


def _series(value: object, loc: Loc, horizon: int, freq: str | None) -> dict[str, Any]:
    with Fields(value, loc, lenient=True) as f:
        target = f.take("target", fields.json_list)
        f.take("item_id", _item_id, None)
        start = f.take("start", fields.nonempty, None)
        past = f.take("past_covariates", fields.json_object, {})
        future = f.take("future_covariates", fields.json_object, {})
        if freq is not None and start is None:
            f.reject("start", "this field is required with parameters.freq")
        if start is not None and freq is None:
            f.reject("start", "parameters.freq is required with start")
        if isinstance(target, list):
            n = len(target[0]) if target and isinstance(target[0], list) else len(target)
            if n < MIN_OBSERVATIONS:
                f.reject("target", f"expected at least {MIN_OBSERVATIONS} observations, got {n}")
            _check_covariates(f, past, future, n, horizon)
    found: dict[str, Any] = {"target": target}
    if start is not None:
        found.update(start=start, freq=freq)
    known = {name: past[name] + values for name, values in future.items()}
    only = {name: values for name, values in past.items() if name not in future}
    if known:
        found["future_covariates"] = known
    if only:
        found["past_covariates"] = only
    return found


def _check_covariates(
    f: Fields, past: dict[str, Any], future: dict[str, Any], n: int, horizon: int
) -> None:
    for kind, given, length in (
        ("past_covariates", past, n),
        ("future_covariates", future, horizon),
    ):
        for name, values in given.items():
            loc: Loc = (*f.loc, kind, name)
            if not isinstance(values, list):
                f.problems.append((loc, f"expected a list, got {shown(values)}"))
            elif len(values) != length:
                f.problems.append((loc, f"expected {length} values, got {len(values)}"))
            elif kind == "future_covariates" and name not in past:
                f.problems.append((loc, "expected the same name in past_covariates"))


def _item_id(value: object, loc: Loc) -> object:
    if type(value) not in (str, int):
        raise fields.fail(loc, f"expected a string, got {shown(value)}")
    return value


def _check_ids(f: Fields, items: list[Any]) -> None:
    seen: dict[Any, int] = {}
    for index, item in enumerate(items):
        name = item.get("item_id") if isinstance(item, dict) else None
        if type(name) not in (str, int):
            continue
        if name in seen:
            f.problems.append(
                (
                    ("inputs", index, "item_id"),
                    f"expected a different item_id for each input, got {shown(name)} as in "
                    f"inputs[{seen[name]}]",
                )
            )
        else:
            seen[name] = index


def from_response(body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """A native answer as that of the endpoint, ids and starts echoed."""
    predictions = []
    for item, forecast in zip(body["inputs"], answer["forecasts"], strict=True):
        one = {"mean": forecast["mean"], **(forecast["quantiles"] or {})}
        if item.get("item_id") is not None:
            one["item_id"] = item["item_id"]
        if forecast.get("start_timestamp") and item.get("start") is not None:
            one["start"] = forecast["start_timestamp"]
        predictions.append(one)
    found: dict[str, Any] = {"predictions": predictions}
    if answer.get("warnings"):
        found["warnings"] = answer["warnings"]
    return found


def error_reply(error: TollamaError) -> Reply:
    """An error as SageMaker's runtime types it: the caller's, the model's, or a busy service's."""
    if error.status in (400, 404, 405, 409, 411, 413, 414, 415, 422):
        kind, status = "ValidationError", 400
    elif error.status in (401, 403):
        kind, status = "AccessDeniedException", error.status
    elif error.status == 429:
        kind, status = "ThrottlingException", 429
    elif error.status == 503 and error.code != "runtime_missing":
        kind, status = "ServiceUnavailable", 503
    elif error.status in (502, 503, 504):
        kind, status = "ModelError", 424
    else:
        kind, status = "InternalFailure", 500
    value: dict[str, Any] = {"Message": error.message, "code": error.code}
    if kind == "ModelError":
        value["OriginalStatusCode"] = error.status
        value["OriginalMessage"] = error.message
    headers = [("x-amzn-ErrorType", kind)]
    if error.retry_after is not None:
        headers.append(("Retry-After", str(max(1, round(error.retry_after)))))
    return Reply(status, json.dumps(value).encode(), headers=tuple(headers))
