"""Errors in each dialect's form: every class of the tree, known paths and unknown ones."""

import json

import pytest

from tollama.core.errors import BY_CODE, BadHttp, InvalidRequest, MethodNotAllowed, QueueFull
from tollama.daemon.compat import errors
from tollama.daemon.http_message import Request
from tollama.daemon.http_parser import Headers

RETRIED_BY_NIXTLA = {408, 409, 429, 502, 503, 504}
TRANSIENT = {"unavailable", "queue_full", "rate_limited", "daemon_unreachable"}


def asked(path):
    return Request("POST", path, Headers(), client="here", is_loopback=True, line=None)


def reply(path, error):
    found = errors.error_reply(asked(path), error)
    return found.status, json.loads(found.body), dict(found.headers)


@pytest.mark.parametrize("code", BY_CODE)
def test_nixtla_repeats_only_what_may_work_in_a_moment(code):
    status, body, _ = reply("/v2/forecast", BY_CODE[code]("it broke"))
    assert (status in RETRIED_BY_NIXTLA) == (code in TRANSIENT)
    assert status >= 400 and body["code"] == code
    assert body["detail"].startswith("it broke")


@pytest.mark.parametrize("code", BY_CODE)
def test_sagemaker_types_every_error(code):
    status, body, headers = reply("/endpoints/x/invocations", BY_CODE[code]("it broke"))
    kind = headers["x-amzn-ErrorType"]
    assert body["Message"] == "it broke"
    assert (
        status
        == {
            "ValidationError": 400,
            "ModelError": 424,
            "ServiceUnavailable": 503,
            "ThrottlingException": 429,
            "InternalFailure": 500,
            "AccessDeniedException": status,
        }[kind]
    )
    assert ("OriginalStatusCode" in body) == (kind == "ModelError")


@pytest.mark.parametrize("code", BY_CODE)
def test_kserve_has_code_message_param_and_type(code):
    cls = BY_CODE[code]
    status, body, _ = reply("/v1/timeseries/forecast", cls("it broke"))
    assert status == cls.status
    assert body == {
        "error": {"code": str(status), "message": "it broke", "param": None, "type": code}
    }


def test_bad_fields_are_listed():
    error = InvalidRequest.of([(("series", "y", 3), "expected a number"), (("h",), "too long")])
    status, body, _ = reply("/v2/forecast", error)
    assert status == 422 and [one["loc"][-1] for one in body["detail"]] == [3, "h"]
    assert reply("/v1/timeseries/forecast", error)[1]["error"]["param"] == "series.y[3]"


@pytest.mark.parametrize("path", ["/v2/forecast", "/invocations", "/v1/timeseries/forecast"])
def test_when_to_come_back_is_said(path):
    assert reply(path, QueueFull("full", retry_after=2.4))[2]["Retry-After"] == "2"


def test_other_methods_are_named():
    error = MethodNotAllowed("/v2/forecast takes POST, not GET", detail="POST")
    status, body, headers = reply("/v2/forecast", error)
    assert status == 405 and headers["Allow"] == "POST" and "takes POST" in body["detail"]


@pytest.mark.parametrize("path", ["/api/forecast", "/v1/forecast", "/v1/models", "/", "/v2"])
def test_native_paths_keep_the_native_form(path):
    _, body, _ = reply(path, InvalidRequest("no"))
    assert set(body) == {"error", "code", "detail"} and body["error"] == "no"


def test_a_request_that_could_not_be_read_has_the_native_form():
    found = errors.error_reply(None, BadHttp("no", status=431))
    assert found.status == 431 and json.loads(found.body)["error"] == "no"
