"""KServe's time series protocol: no client is published for it, so plain requests."""

from __future__ import annotations


def body(values, **more):
    one = {
        "type": "univariate_time_series",
        "name": "air",
        "series": values,
        "frequency": "M",
        "start_timestamp": "1949-01-01T00:00:00Z",
        **more,
    }
    return {"model": "auto", "inputs": [one], "options": {"horizon": 12, "quantiles": [0.1, 0.9]}}


def test_values_equal_the_native_ones(daemon, passengers):
    values = passengers[1]
    found = daemon.call("POST", "/v1/timeseries/forecast", body(values))
    native = daemon.forecast(values, 12, quantiles=[0.1, 0.9])
    [output] = found["outputs"]
    [content] = output["content"]
    assert content["mean_forecast"] == native["mean"]
    assert content["quantiles"] == native["quantiles"]
    assert content["name"] == "air" and content["frequency"] == "M"
    assert content["start_timestamp"].startswith("1961-01-01")
    assert found["status"] == output["status"] == "completed" and found["error"] is None
    assert found["usage"] == {"prompt_tokens": 144, "completion_tokens": 12, "total_tokens": 156}


def test_words_for_frequencies_and_no_options(daemon, passengers):
    request = body(passengers[1], frequency="month")
    del request["options"]["quantiles"]
    [output] = daemon.call("POST", "/v1/timeseries/forecast", request)["outputs"]
    assert output["content"][0]["quantiles"] is None
    assert output["content"][0]["mean_forecast"] == daemon.forecast(passengers[1], 12)["mean"]


def test_a_multivariate_series(daemon):
    daemon.call("POST", "/api/pull", {"model": "mock", "stream": False})
    request = body([[1, 2, 3], [4, 5, 6]], type="multivariate_time_series")
    request["model"] = "mock"
    [output] = daemon.call("POST", "/v1/timeseries/forecast", request)["outputs"]
    assert output["content"][0]["mean_forecast"] == [[3] * 12, [6] * 12]


def test_errors_have_the_form_of_the_protocol(daemon, passengers):
    found = daemon.call(
        "POST", "/v1/timeseries/forecast", body(passengers[1], frequency="x"), status=400
    )["error"]
    assert found["code"] == "400" and found["type"] == "invalid_request"
    assert found["param"] == "inputs[0].frequency"
    wrong = {**body(passengers[1]), "model": "nowhere"}
    found = daemon.call("POST", "/v1/timeseries/forecast", wrong, status=404)["error"]
    assert found["type"] == "model_not_found" and found["param"] is None
    found = daemon.call("POST", "/v1/timeseries/nowhere", {}, status=404)["error"]
    assert found["type"] == "not_found"
