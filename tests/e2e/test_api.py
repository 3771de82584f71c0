"""Every route of the contract against the built file's daemon."""

import json
import re

import pytest

SERIES = [{"id": "a", "freq": "MS", "start": "2024-01-01", "target": [1, 2, 3, 4, 5, 6, 7, 8]}]


def body(**changes):
    return {"model": "seasonal-naive", "horizon": 3, "series": SERIES, **changes}


def test_version_is_answered_to_get_and_head(daemon):
    version = daemon.json("GET", "/api/version")["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", version)
    assert daemon.ready_line == f"tollama {version} listening on {daemon.url}"
    status, headers, data = daemon.request("HEAD", "/api/version")
    assert (status, data) == (200, b"")
    assert int(headers["Content-Length"]) > 0


def test_the_root_says_that_it_runs(daemon):
    assert daemon.request("GET", "/")[2] == b"tollama is running"
    assert daemon.request("HEAD", "/")[0] == 200


@pytest.mark.parametrize("path", ["/v1/health", "/health/live", "/health/ready"])
def test_health_is_ok(daemon, path):
    assert daemon.json("GET", path) == {"status": "ok"}


def test_tags_list_built_in_models_by_name(daemon):
    models = daemon.json("GET", "/api/tags")["models"]
    names = [m["name"] for m in models]
    assert names == sorted(names, key=str.lower)
    assert {"auto", "theta", "naive"} <= set(names)
    for model in models:
        assert set(model) >= {"name", "model", "modified_at", "size", "digest", "details"}
        assert re.fullmatch("[0-9a-f]{64}", model["digest"])
        assert set(model["details"]) >= {
            "format", "family", "families", "parameter_size", "quantization_level",
        }  # fmt: skip


def test_show_tells_what_a_model_can(daemon):
    shown = daemon.json("POST", "/api/show", {"model": "auto"})
    assert shown["family"] == "stats"
    assert shown["model_info"] is not None
    assert "forecast" in shown["capabilities"]
    assert shown["modelfile"].startswith("FROM auto")
    assert shown["snapshot_path"] is None


@pytest.mark.parametrize(
    ("method", "path", "value", "status", "code"),
    [
        ("POST", "/api/show", {"model": "nothing"}, 404, "model_not_found"),
        ("POST", "/api/show", {}, 400, "invalid_request"),
        ("POST", "/api/show", {"model": "../x"}, 400, "invalid_request"),
        ("POST", "/api/show", {"model": "auto:7b"}, 400, "invalid_request"),
        ("DELETE", "/api/delete", {"model": "auto"}, 400, "invalid_request"),
        ("DELETE", "/api/delete", {"model": "nothing"}, 404, "model_not_found"),
        ("POST", "/api/copy", {"source": "nothing", "destination": "x"}, 404, "model_not_found"),
        ("POST", "/api/pull", {"model": "nothing-known"}, 404, "model_not_found"),
        ("POST", "/api/pull", {}, 400, "invalid_request"),
        ("POST", "/api/pull", {"model": "mock", "max_workers": "4"}, 400, "invalid_request"),
        ("POST", "/v1/models/pull", {"name": "nothing-known"}, 404, "model_not_found"),
        ("DELETE", "/v1/models/nothing", None, 404, "model_not_found"),
        ("POST", "/api/generate", {"model": "auto", "prompt": "hi"}, 400, "invalid_request"),
        ("POST", "/v1/forecast", {"model": "nothing", "horizon": 1}, 400, "invalid_request"),
        ("POST", "/v1/forecast", body(model="nothing"), 404, "model_not_found"),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("PUT", "/api/tags", {}, 405, "method_not_allowed"),
        ("DELETE", "/api/pull", {"model": "mock"}, 404, "not_found"),
    ],
)
def test_errors_have_status_code_and_text(daemon, method, path, value, status, code):
    found = daemon.json(method, path, value, status=status)
    assert found["code"] == code
    assert isinstance(found["error"], str)
    assert found["error"]
    assert "detail" in found


def test_a_wrong_method_names_the_right_ones(daemon):
    _, headers, _ = daemon.request("DELETE", "/api/version")
    assert headers["Allow"] == "GET, HEAD"


def test_the_request_id_is_echoed(daemon):
    assert daemon.request("GET", "/api/version", X_Request_ID="abc-1")[1]["X-Request-ID"] == "abc-1"
    assert daemon.request("GET", "/nowhere")[1]["X-Request-ID"]


def test_a_forecast_streams_status_lines_and_the_answer(daemon):
    lines = daemon.lines("POST", "/api/forecast", body(quantiles=[0.9, 0.1]))
    assert lines[-2] == {"status": "running forecast"}
    assert lines[-1]["done"] is True
    response = lines[-1]["response"]
    assert response["model"] == "seasonal-naive"
    (forecast,) = response["forecasts"]
    assert forecast["id"] == "a"
    assert forecast["freq"] == "MS"
    assert forecast["start_timestamp"] == "2024-09-01"
    assert list(forecast["quantiles"]) == ["0.1", "0.9"]
    assert len(forecast["mean"]) == 3


def test_the_same_forecast_comes_in_one_answer(daemon):
    one = daemon.json("POST", "/api/forecast", body(stream=False))
    other = daemon.json("POST", "/v1/forecast", body())
    assert one == other
    assert one["forecasts"][0]["quantiles"] is None


def test_series_come_one_by_one_when_asked_for(daemon):
    many = [{"id": f"s{i}", "target": [i, i + 1, i]} for i in range(40)]
    lines = daemon.lines(
        "POST", "/api/forecast", body(series=many, options={"stream_series": True})
    )
    ids = [line["forecast"]["id"] for line in lines if "forecast" in line]
    assert sorted(ids) == sorted(s["id"] for s in many)
    assert [f["id"] for f in lines[-1]["response"]["forecasts"]] == [s["id"] for s in many]


def test_a_thousand_series_come_back_in_order(daemon):
    many = [{"id": f"ü{i}", "target": [i, None, i + 1, i + 2]} for i in range(1000)]
    found = daemon.json("POST", "/v1/forecast", body(model="naive", series=many))
    assert [f["id"] for f in found["forecasts"]] == [s["id"] for s in many]
    assert [f["mean"][0] for f in found["forecasts"]] == [i + 2 for i in range(1000)]


def test_a_series_of_a_hundred_thousand_points_is_forecast(daemon):
    target = [float(i % 24) for i in range(100_000)]
    found = daemon.json(
        "POST", "/v1/forecast", body(model="auto", series=[{"freq": "h", "target": target}])
    )
    assert len(found["forecasts"][0]["mean"]) == 3


def test_all_bad_fields_are_reported_together(daemon):
    bad = {"model": "auto", "horizon": 0, "serie": [], "series": [{"target": [1, "x", None]}]}
    found = daemon.json("POST", "/v1/forecast", bad, status=400)
    assert {tuple(d["loc"]) for d in found["detail"]} == {
        ("body", "horizon"),
        ("body", "serie"),
        ("body", "series", 0, "target", 1),
    }


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"nope", b"\xff\xfe", b"[" * 50_000, b'{"model":1e999}', b"null", b'"x"'],
)
@pytest.mark.parametrize("path", ["/v1/forecast", "/api/forecast", "/api/show", "/api/pull"])
def test_a_malformed_body_is_a_400(daemon, path, data):
    status, _, answer = daemon.request("POST", path, data)
    assert status == 400, answer
    assert json.loads(answer)["code"] == "invalid_request"


@pytest.mark.parametrize("model", ["../x", "auto:7b", "", 5, "a/b"])
def test_a_bad_model_name_is_reported_with_the_other_fields(daemon, model):
    found = daemon.json("POST", "/v1/forecast", body(model=model, horizon=0), status=400)
    assert [d["loc"] for d in found["detail"]] == [["body", "horizon"], ["body", "model"]]


@pytest.mark.parametrize(
    ("field", "value", "loc"),
    [
        ("static_covariates", '{"a":[1,{"b":NaN}]}', ["a", 1, "b"]),
        ("static_covariates", '{"a":1e999}', ["a"]),
        ("static_covariates", '{"a":"\\ud800"}', ["a"]),
        ("past_covariates", '{"p":["x","\\udc00"]}', ["p", 1]),
        ("past_covariates", '{"\\udc00":[1,2]}', []),
        ("freq", '"\\ud800"', []),
        ("id", '"\\ud800"', []),
    ],
)
def test_what_json_cannot_carry_is_refused_wherever_it_is(daemon, field, value, loc):
    series = f'{{"target":[1,2],"{field}":{value}}}'
    raw = f'{{"model":"naive","horizon":1,"series":[{series}]}}'
    status, _, answer = daemon.request("POST", "/v1/forecast", raw.encode())
    assert status == 400, answer
    assert json.loads(answer)["detail"][0]["loc"] == ["body", "series", 0, field, *loc]


def test_errors_of_all_series_come_together_though_they_are_cut_into_slices(daemon):
    series = [{"id": f"s{i}", "target": [1, 2]} for i in range(100)]
    series[3]["target"] = [[1], [2]]
    series[97]["target"] = [[1], [2]]
    found = daemon.json("POST", "/v1/forecast", body(series=series), status=400)
    assert found["code"] == "unsupported"
    assert [d["loc"][2] for d in found["detail"]] == [3, 97]
    series = [{"target": [1, 2]} for _ in range(100)]
    off_grid = {"target": [1, 2], "freq": "MS", "timestamps": ["2024-01-05", "2024-02-07"]}
    series[3] = series[97] = off_grid
    found = daemon.json("POST", "/v1/forecast", body(series=series), status=400)
    assert {d["loc"][2] for d in found["detail"]} == {3, 97}


def test_an_error_that_comes_at_once_has_its_status_also_in_a_stream(daemon):
    daemon.json("POST", "/v1/forecast", body())
    for bad in (
        body(options={"season_lenght": 4}),
        body(series=[{"target": [[1], [2]]}]),
        body(
            series=[{"target": [1], "past_covariates": {"p": [1]}}],
            options={"covariates_mode": "strict"},
        ),
    ):
        assert daemon.json("POST", "/api/forecast", bad, status=400)["detail"]


def test_equal_ids_are_reported_with_the_other_fields(daemon):
    series = [{"id": "a", "target": [1]}, {"id": "a", "target": [2]}, {"target": ["x"]}]
    found = daemon.json("POST", "/v1/forecast", body(series=series), status=400)
    assert [d["loc"][2:] for d in found["detail"]] == [[1, "id"], [2, "target", 0]]


def test_scores_need_something_to_score(daemon):
    found = daemon.json("POST", "/v1/forecast", body(metrics=["mae"]), status=400)
    assert found["detail"][0]["loc"] == ["body", "metrics"]


def test_values_that_are_not_finite_are_found_with_their_path(daemon):
    raw = json.dumps(body(series=[{"target": [1.0, float("nan")]}])).encode()
    status, _, answer = daemon.request("POST", "/v1/forecast", raw)
    assert status == 400
    assert "series[0].target[1]: expected a finite number or null, got nan" in answer.decode()


def test_an_unknown_option_is_refused_with_a_hint(daemon):
    found = daemon.json("POST", "/v1/forecast", body(options={"season_lenght": 4}), status=400)
    assert "did you mean 'season_length'" in found["error"]


def test_covariates_are_dropped_with_a_warning_or_refused(daemon):
    series = [{"target": [1, 2, 3], "past_covariates": {"p": [1, 2, 3]}}]
    found = daemon.json("POST", "/v1/forecast", body(series=series))
    assert any("'p'" in w for w in found["warnings"])
    strict = body(series=series, options={"covariates_mode": "strict"})
    assert daemon.json("POST", "/v1/forecast", strict, status=400)["code"] == "unsupported"


def test_metrics_score_the_forecast(daemon):
    series = [{"id": "a", "target": [1, 2, 3, 4], "actuals": [4, 4, 4]}]
    found = daemon.json(
        "POST", "/v1/forecast", body(model="naive", series=series, metrics=["mae", "rmse"])
    )
    assert found["metrics"]["overall"] == {"mae": 0.0, "rmse": 0.0}


def test_timestamps_come_when_asked_for(daemon):
    found = daemon.json("POST", "/v1/forecast", body(options={"timestamps": True}))
    assert found["forecasts"][0]["timestamps"] == ["2024-09-01", "2024-10-01", "2024-11-01"]


def test_generate_loads_and_unloads(daemon):
    found = daemon.json("POST", "/api/generate", {"model": "drift", "keep_alive": "10m"})
    assert (found["done"], found["done_reason"]) == (True, "load")
    loaded = {m["name"]: m for m in daemon.json("GET", "/api/ps")["models"]}
    assert loaded["drift"]["expires_at"].endswith("Z")
    assert loaded["drift"]["size"] > 1_000_000
    found = daemon.json("POST", "/api/generate", {"model": "drift", "keep_alive": 0})
    assert found["done_reason"] == "unload"
    assert "drift" not in {m["name"] for m in daemon.json("GET", "/api/ps")["models"]}


def test_keep_alive_forever_has_no_expiry(daemon):
    daemon.json("POST", "/v1/forecast", body(model="ses", keep_alive=-1))
    loaded = {m["name"]: m for m in daemon.json("GET", "/api/ps")["models"]}
    assert loaded["ses"]["expires_at"] is None
    daemon.json("POST", "/v1/forecast", body(model="ses", keep_alive=0))


def test_mock_is_pulled_copied_and_deleted(daemon):
    lines = daemon.lines("POST", "/api/pull", {"model": "mock"})
    assert [line["status"] for line in lines] == [
        "pulling manifest",
        "writing manifest",
        "success",
    ]
    last = daemon.json("POST", "/api/pull", {"model": "mock", "stream": False})
    assert last["status"] == "success"
    daemon.json("POST", "/api/copy", {"source": "mock", "destination": "Mine"})
    found = daemon.json("POST", "/v1/forecast", body(model="mine", series=[{"target": [1, 7]}]))
    assert found["forecasts"][0]["mean"] == [7, 7, 7]
    assert daemon.json("DELETE", "/api/delete", {"model": "mine"}) == {
        "deleted": True,
        "model": "Mine",
    }
    assert daemon.json("DELETE", "/v1/models/mock") == {"deleted": True, "model": "mock"}


def test_the_registry_shows_licences_and_what_is_installed(daemon):
    found = daemon.json("GET", "/v1/models")
    available = {m["name"]: m for m in found["available"]}
    assert available["auto"]["builtin"]
    assert available["auto"]["installed"]
    assert available["mock"]["source"]["type"] == "local"


def test_info_has_every_section(daemon):
    found = daemon.json("GET", "/api/info")
    assert set(found) >= {
        "daemon", "paths", "config", "env", "pull_defaults", "models", "runners",
    }  # fmt: skip
    assert found["daemon"]["host_binding"].endswith(str(daemon.port))
    assert set(found["pull_defaults"]["offline"]) == {"value", "source"}
    assert {"family", "command", "installed", "running", "pid", "started_at", "last_used_at",
            "restarts", "last_error"} <= set(found["runners"][0])  # fmt: skip


def test_openapi_describes_exactly_the_routes(daemon):
    from tollama.daemon.routes import ROUTES

    document = daemon.json("GET", "/openapi.json")
    described = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert described == {(route.method, route.path) for route in ROUTES}
    text = json.dumps(document)
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in document["components"]["schemas"]


def test_a_foreign_host_and_a_foreign_origin_are_refused(daemon):
    assert daemon.request("GET", "/api/tags", Host="evil.example")[0] == 403
    assert daemon.request("GET", "/api/tags", Origin="http://evil.example")[0] == 403
    assert daemon.request("GET", "/api/tags", Origin=daemon.url)[0] == 200


def test_one_connection_serves_many_requests(daemon):
    import http.client

    connection = http.client.HTTPConnection(daemon.host, daemon.port, timeout=30)
    for _ in range(5):
        connection.request("POST", "/v1/forecast", json.dumps(body()))
        response = connection.getresponse()
        assert response.status == 200
        response.read()
    connection.close()


def test_a_backtest_ranks_models(daemon):
    target = [float((i % 12) * 3 + i) for i in range(60)]
    found = daemon.json(
        "POST",
        "/api/backtest",
        {
            "models": ["naive", "seasonal-naive"],
            "horizon": 6,
            "windows": 3,
            "series": [{"id": "a", "freq": "MS", "start": "2020-01-01", "target": target}],
        },
    )
    assert found["winner"] == "seasonal-naive"
    assert found["windows"] == 3
    assert [c["series"][0]["seen"] for c in found["cutoffs"]] == [42, 48, 54]
    assert found["leaderboard"][1]["skill"]["mase"] < 0


def test_what_comes_after_a_cutoff_changes_nothing_before_it(daemon):
    def forecasts(target):
        found = daemon.json(
            "POST",
            "/api/backtest",
            {
                "models": ["auto"],
                "horizon": 4,
                "windows": 2,
                "forecasts": True,
                "series": [{"id": "a", "target": target}],
            },
        )
        return found["forecasts"]["auto"]

    target = [float((i * 7) % 11 + i) for i in range(40)]
    changed = target[:36] + [1e6] * 4
    assert forecasts(target)[0] == forecasts(changed)[0]


def test_a_backtest_meets_values_of_the_same_day_over_gaps(daemon):
    days = [day for day in range(1, 31) if day not in (9, 26, 27)]
    found = daemon.json(
        "POST",
        "/api/backtest",
        {
            "models": ["drift"],
            "horizon": 4,
            "windows": 2,
            "metrics": ["mae", "rmse"],
            "series": [
                {
                    "id": "a",
                    "freq": "D",
                    "timestamps": [f"2024-01-{day:02}" for day in days],
                    "target": [float(day) for day in days],
                }
            ],
        },
    )
    assert found["ranked_by"] == "mae"
    assert found["leaderboard"][0]["metrics"]["mae"] < 1e-9
    assert found["cutoffs"][1]["series"][0] == {"id": "a", "seen": 26, "timestamp": "2024-01-26"}


def test_an_anomaly_is_found_where_it_is(daemon):
    target = [float(i % 7) + (0.1 if i % 2 else 0.0) for i in range(70)]
    target[60] = 100.0
    found = daemon.json(
        "POST",
        "/api/anomalies",
        {
            "model": "seasonal-naive",
            "series": [{"id": "a", "freq": "D", "target": target}],
            "step": 1,
            "detection_size": 14,
            "level": 0.99,
        },
    )
    (series,) = found["series"]
    flagged = [p["index"] for p in series["points"] if p["anomaly"]]
    assert 60 in flagged
    assert series["first"] == 56
