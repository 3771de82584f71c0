"""daemon/metrics.py and metrics_text.py: what is counted, and that Prometheus reads it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fake_runner import Bench, eventually, launch, results
from prometheus_client.parser import text_string_to_metric_families

from tollama.core.errors import BY_CODE, Cancelled, DiskFull, QueueFull
from tollama.daemon import metrics, metrics_text
from tollama.daemon.metrics import MODELS, Metrics
from tollama.daemon.routes import ROUTES
from tollama.daemon.service import Service


@pytest.fixture
def service(tmp_path: Path):
    made = Service(home=str(tmp_path), environ={})
    yield made
    made.close(0)


def scraped(service: Service) -> dict[str, float]:
    """Every sample as the official parser reads it: {"name{label=value,...}": value}."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics_text.text(service).decode()):
        assert family.documentation, family.name
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found, key
            found[key] = sample.value
    return found


def watched(counts: Metrics):
    """A log that counts, and what it passed on."""
    seen: list[dict] = []
    return counts.watch(seen.append, ROUTES), seen


def record(method: str | None, path: str | None, status: int = 200, ms: float = 3.0, **more):
    return {"method": method, "path": path, "status": status, "ms": ms, **more}


def by_route(service: Service) -> dict[tuple[str, str, str], float]:
    return {
        tuple(part.partition("=")[2] for part in key[:-1].split("{", 1)[1].split(",")): value
        for key, value in scraped(service).items()
        if key.startswith("tollama_http_requests_total{")
    }  # labels are sorted: method, route, status


def test_requests_are_counted_by_pattern_and_logged(service):
    log, seen = watched(service.metrics)
    log(record("GET", "/api/version"))
    log(record("GET", "/api/version"))
    log(record("DELETE", "/v1/models/a"))
    log(record("DELETE", "/v1/models/b", 404))
    log(record("GET", "/hub/x/y/z"))
    assert len(seen) == 5
    assert by_route(service) == {
        ("GET", "/api/version", "200"): 2,
        ("DELETE", "/v1/models/{name}", "200"): 1,
        ("DELETE", "/v1/models/{name}", "404"): 1,
        ("GET", "/hub/{path}", "200"): 1,
    }


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/nothing/here", "other"),
        ("GET", "/v1/models/", "other"),
        ("GET", None, "other"),
        ("GET", "/api%2Fversion", "/api/version"),
        ("GET", "/v1/models/a", "/v1/models/{name}"),
        ("POST", "/api/version", "/api/version"),
        ("GET", "/v2/forecast/jobs/1", "/v2/forecast/jobs/{job}"),
        ("POST", "/v2/async/jobs/1/cancel", "/v2/async/jobs/{job}/cancel"),
        ("DELETE", "/v2/finetuned_models/1", "/v2/finetuned_models/{id}"),
    ],
)
def test_a_path_is_never_a_label(service, method, path, route):
    log, _ = watched(service.metrics)
    log(record(method, path))
    assert list(by_route(service)) == [(method, route, "200")]


def test_labels_are_bounded_whatever_is_asked(service):
    log, _ = watched(service.metrics)
    for number in range(300):
        log(record("GET", f"/scan/{number}", 404))
        log(record("GET", f"/web/{number}", 404))
        log(record(f"VERB{number}", f"/{number}", 405))
        log(record(None, None, 400))
    assert by_route(service) == {
        ("GET", "other", "404"): 300,
        ("GET", "/web/{path}", "404"): 300,
        ("other", "other", "405"): 300,
        ("other", "other", "400"): 300,
    }


def test_every_route_is_its_own_label(service):
    log, _ = watched(service.metrics)
    for route in ROUTES:
        log(record(route.method, route.path.replace("{", "").replace("}", "")))
    assert set(by_route(service)) == {(r.method, r.path, "200") for r in ROUTES}


def test_latencies_of_all_statuses_are_in_one_cumulative_histogram(service):
    log, _ = watched(service.metrics)
    for ms, status in ((0.4, 200), (0.5, 200), (3.0, 503), (999999.0, 200)):
        log(record("POST", "/v1/forecast", status, ms))
    found = scraped(service)
    name = "tollama_http_request_duration_seconds"
    at = "method=POST,route=/v1/forecast"
    assert found[f"{name}_bucket{{le=0.0005,{at}}}"] == 2  # a bound belongs to its own bucket
    assert found[f"{name}_bucket{{le=0.0025,{at}}}"] == 2
    assert found[f"{name}_bucket{{le=0.005,{at}}}"] == 3
    assert found[f"{name}_bucket{{le=300.0,{at}}}"] == 3
    assert found[f"{name}_bucket{{le=+Inf,{at}}}"] == found[f"{name}_count{{{at}}}"] == 4
    assert found[f"{name}_sum{{{at}}}"] == pytest.approx(1000.0029)


def test_counts_from_many_threads_are_all_there(service):
    log, _ = watched(service.metrics)

    def work():
        for _ in range(2000):
            log(record("GET", "/api/ps"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert by_route(service) == {("GET", "/api/ps", "200"): 8000}


def test_an_idle_daemon_names_every_metric_and_counts_zero(service):
    text = metrics_text.text(service).decode()
    assert text.endswith("\n")
    for family in text_string_to_metric_families(text):
        assert family.type in ("counter", "gauge", "histogram"), family.name
        assert family.name.startswith(("tollama_", "process_")), family.name
    found = scraped(service)
    assert found["tollama_pulls_total{outcome=success}"] == 0
    assert found["process_resident_memory_bytes"] > 1e6
    assert found["process_start_time_seconds"] == pytest.approx(service.started_at, abs=0.01)


def test_labels_are_escaped(service):
    service.metrics.meter(launch('a"b\\c\nd'))
    [key] = [key for key in scraped(service) if key.startswith("tollama_model_loads_total")]
    assert key == 'tollama_model_loads_total{family=fake,model=a"b\\c\nd}'


# Models


def of(bench: Bench, model: str = "m") -> metrics.Meter:
    return bench.scheduler.metrics.meter(launch(model))


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.scheduler.close(0)


def test_queue_and_run_time_are_apart(bench):
    process, first = bench.busy("a")
    second = bench.submit("b")
    bench.clock.now += 2.0
    process.finish()
    results(first)
    eventually(lambda: len(process.batches) == 2)
    bench.clock.now += 7.0
    process.finish()
    results(second)
    meter = of(bench)
    assert (sum(meter.queue.counts), meter.queue.sum) == (2, 2.0)
    assert (sum(meter.run.counts), meter.run.sum) == (2, 9.0)
    assert meter.busy == 9.0
    assert {code: count for code, count in meter.jobs.items() if count} == {"ok": 2}


def test_batches_are_counted_by_their_jobs(bench):
    process, first = bench.busy("a")
    others = [bench.submit("b"), bench.submit("c"), bench.submit("d")]
    process.finish()
    eventually(lambda: len(process.batches) == 2)
    process.finish()
    for call in (first, *others):
        results(call)
    meter = of(bench)
    assert meter.batches.counts[:3] == [1, 0, 1]  # one job; three of at most four
    assert meter.batches.sum == 4


def test_outcomes_have_the_codes_of_errors(bench):
    process, _ = bench.busy("a")
    waiting = bench.submit("b")
    waiting.cancel()
    assert of(bench).jobs["cancelled"] == 1
    bench.scheduler.max_queue = 1
    bench.submit("c")
    with pytest.raises(QueueFull):
        bench.submit("d")
    assert of(bench).jobs["queue_full"] == 1
    process.die()
    eventually(lambda: of(bench).restarts == 1)


def test_what_alerts_ask_for_is_there_before_it_happens(service):
    service.metrics.meter(launch())
    found = scraped(service)
    for code in ("queue_full", "deadline_exceeded", "runner_crashed"):
        assert code in BY_CODE
        assert found[f"tollama_model_jobs_total{{family=fake,model=m,outcome={code}}}"] == 0


def test_counts_outlive_the_model_and_go_on(bench):
    process, call = bench.busy("a")
    process.finish()
    results(call)
    before = of(bench)
    assert bench.scheduler.unload("m")
    assert not bench.scheduler.lanes()
    process, call = bench.busy("b")
    process.finish()
    results(call)
    assert of(bench) is before
    assert (before.loads, before.jobs["ok"]) == (2, 2)


def test_a_load_without_a_request_is_no_request(bench):
    bench.scheduler.load(launch())
    meter = of(bench)
    assert (meter.loads, sum(meter.run.counts), sum(meter.jobs.values())) == (1, 0, 0)


def test_models_beyond_the_limit_share_their_counts():
    counts = Metrics()
    for number in range(MODELS):
        counts.meter(launch(f"m{number}"))
    rest = counts.meter(launch("one more"))
    assert rest is counts.meter(launch("and one more"))
    assert rest is not counts.meter(launch("m0"))
    assert len(counts.meters()) == MODELS + 1


def test_families_of_one_model_are_apart_without_their_key():
    counts = Metrics()
    counts.meter(launch("chronos2@torch", family="torch"))
    counts.meter(launch("chronos2", family="numpy"))
    assert [labels for labels, _ in counts.meters()] == [
        {"model": "chronos2", "family": "numpy"},
        {"model": "chronos2", "family": "torch"},
    ]


# Pulls


def test_pulls_are_counted_by_outcome_with_their_bytes():
    counts = Metrics()
    shown: list[dict] = []

    def good(on_event, cancelled):
        for done in (10, 10, 25):
            on_event({"status": "downloading", "completed_bytes": done})
        on_event({"status": "success"})

    def full(on_event, cancelled):
        on_event({"status": "downloading", "completed_bytes": 7})
        raise DiskFull("no space")

    def stopped(on_event, cancelled):
        cancelled.set()
        raise Cancelled("ended")

    def broken(on_event, cancelled):
        raise ValueError("a defect")

    for work, error in ((good, None), (full, DiskFull), (stopped, Cancelled), (broken, ValueError)):
        counted = counts.pull(work)
        if error is None:
            counted(shown.append, threading.Event())
        else:
            with pytest.raises(error):
                counted(shown.append, threading.Event())
    assert len(shown) == 5
    assert counts.pull_bytes == 32
    assert counts.pulls == {"success": 1, "disk_full": 1, "cancelled": 1, "internal": 1}


def test_every_metric_is_documented(service):
    page = (Path(__file__).resolve().parents[2] / "docs" / "deploy.md").read_text()
    for family in text_string_to_metric_families(metrics_text.text(service).decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        assert f"`{name}`" in page, name
