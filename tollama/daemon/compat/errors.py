"""Errors in the shape of the dialect whose path was asked, known or not.

Not covered: the native shape (daemon/http_message.py).
"""

from __future__ import annotations

import json

from tollama.core.errors import ModelNotFound, TollamaError
from tollama.daemon import http_message
from tollama.daemon.compat import kserve, sagemaker
from tollama.daemon.http_message import Reply, Request

NIXTLA = ("/v2/", "/validate_api_key", "/usage", "/model_params")
SAGEMAKER = ("/endpoints/", "/invocations", "/ping")
KSERVE = ("/v1/timeseries/",)

# Nixtla's client repeats 408, 409, 429, 502, 503 and 504 for minutes: what will fail again gets
# another status.
PERMANENT = {
    "runtime_missing": 501,
    "runner_crashed": 500,
    "deadline_exceeded": 500,
    "license_required": 422,
}


def error_reply(request: Request | None, error: TollamaError) -> Reply:
    """An error as a whole answer, in the form that the asking client reads."""
    path = request.path if request is not None else ""
    if path.startswith(NIXTLA):
        return nixtla_reply(error)
    if path.startswith(SAGEMAKER):
        return sagemaker.error_reply(error)
    if path.startswith(KSERVE):
        return kserve.error_reply(error)
    return http_message.error_reply(request, error)


def nixtla_reply(error: TollamaError) -> Reply:
    """An error as {"detail": ...}: the text, or a list of bad fields with 422."""
    message, detail = error.message, error.detail
    if isinstance(error, ModelNotFound):
        message += "; any model may have this name here: tollama cp auto NAME"
        detail = None
    value = {"detail": detail if detail is not None else message, "error": message}
    headers: list[tuple[str, str]] = []
    if error.retry_after is not None:
        headers.append(("Retry-After", str(max(1, round(error.retry_after)))))
    if error.code == "method_not_allowed" and isinstance(error.detail, str):
        headers.append(("Allow", error.detail))
        value["detail"] = message
    body = json.dumps({**value, "code": error.code}, ensure_ascii=False)
    return Reply(nixtla_status(error), body.encode("utf-8", "replace"), headers=tuple(headers))


def nixtla_status(error: TollamaError) -> int:
    """The status that makes nixtla's client do the right thing."""
    if error.code in PERMANENT:
        return PERMANENT[error.code]
    if error.code in ("invalid_request", "unsupported"):
        return 422
    return 500 if error.status == 502 else error.status
