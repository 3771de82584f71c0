"""GET /metrics of a real daemon, read by Prometheus' own parser."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

SERIES = [{"id": "a", "freq": "MS", "start": "2024-01-01", "target": [1, 2, 3, 4, 5, 6, 7, 8]}]
REQUEST = {"model": "seasonal-naive", "horizon": 3, "series": SERIES}
MODEL = {"model": "seasonal-naive", "family": "stats"}


def scrape(daemon, **headers):
    """{(name, labels): value} of all samples."""
    status, found, data = daemon.request("GET", "/metrics", **headers)
    assert status == 200
    assert found["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(data.decode())
        for sample in family.samples
    }


def value(found, name, **labels):
    return found[name, frozenset(labels.items())]


def test_what_a_daemon_does_is_counted_and_outlives_the_model(start):
    daemon = start()
    daemon.json("POST", "/v1/forecast", REQUEST)
    daemon.lines("POST", "/api/forecast", REQUEST)
    daemon.json("POST", "/v1/forecast", {**REQUEST, "model": "nothing"}, status=404)
    daemon.json("POST", "/v1/forecast", {"model": "auto"}, status=400)
    daemon.json("GET", "/no/such/path", status=404)
    daemon.json("POST", "/api/pull", {"model": "mock", "stream": False})
    first = scrape(daemon)

    for status, count in (("200", 1), ("400", 1), ("404", 1)):
        found = value(
            first, "tollama_http_requests_total", route="/v1/forecast", method="POST", status=status
        )
        assert found == count
    assert value(first, "tollama_http_requests_total", route="other", method="GET", status="404")
    assert value(first, "tollama_model_jobs_total", outcome="ok", **MODEL) == 2
    assert value(first, "tollama_model_run_seconds_count", **MODEL) == 2
    assert value(first, "tollama_model_run_seconds_sum", **MODEL) > 0
    assert value(first, "tollama_model_queue_seconds_count", **MODEL) == 2
    assert value(first, "tollama_model_batch_jobs_sum", **MODEL) == 2
    assert value(first, "tollama_model_replicas", **MODEL) == 1
    assert value(first, "tollama_model_queued_jobs", **MODEL) == 0
    assert value(first, "tollama_model_resident_memory_bytes", **MODEL) > 1e6
    assert value(first, "tollama_pulls_total", outcome="success") == 1
    assert value(first, "tollama_http_connections") == 1
    assert value(first, "tollama_http_in_flight_bytes") == 0
    assert {dict(labels)["model"] for name, labels in first if "_model_" in name} == {
        "seasonal-naive"
    }

    daemon.json("POST", "/api/generate", {"model": "seasonal-naive", "keep_alive": 0})
    second = scrape(daemon)
    assert value(second, "tollama_model_replicas", **MODEL) == 0
    assert value(second, "tollama_model_resident_memory_bytes", **MODEL) == 0
    for key, before in first.items():
        if key[0].endswith(("_total", "_count", "_sum", "_bucket")):
            assert second[key] >= before, key
    assert value(
        second, "tollama_http_requests_total", route="/metrics", method="GET", status="200"
    ) == 1  # fmt: skip


def test_streams_count_like_whole_answers(start):
    daemon = start()
    lines = [{k: v for k, v in REQUEST.items() if k != "series"}, *SERIES]
    import json

    body = "\n".join(json.dumps(line) for line in lines).encode()
    daemon.lines("POST", "/api/forecast", body, Content_Type="application/x-ndjson")
    daemon.json(
        "POST", "/api/backtest", {"models": ["seasonal-naive"], "horizon": 2, "series": SERIES}
    )
    found = scrape(daemon)
    assert value(found, "tollama_model_jobs_total", outcome="ok", **MODEL) >= 2
    assert value(found, "tollama_model_run_seconds_count", **MODEL) >= 2


@pytest.mark.parametrize("given", [None, "wrong-key-123", "forecast-key"])
def test_it_needs_a_key_where_there_are_keys(start, given):
    daemon = start(TOLLAMA_API_KEYS="forecast:forecast-key")
    headers = {"Authorization": f"Bearer {given}"} if given else {}
    status, _, _ = daemon.request("GET", "/metrics", **headers)
    assert status == (200 if given == "forecast-key" else 401)
    assert daemon.request("HEAD", "/metrics", **headers)[0] == status
