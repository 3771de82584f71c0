"""Start, stop, kill: nothing is left behind and nothing that was promised is lost."""

import json
import os
import signal
import socket
import threading
import time

import pytest

SLOW = {"model": "auto", "horizon": 24, "series": []}


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)  # polling, with a bound
    raise AssertionError("it did not come to pass")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def runner_pids(daemon):
    runners = daemon.json("GET", "/api/info")["runners"]
    return [pid for runner in runners for pid in runner["pids"]]


def forecast(daemon, model="auto", count=1, **changes):
    series = [
        {"id": f"s{i}", "target": [float((j * 7 + i) % 23) for j in range(400)]}
        for i in range(count)
    ]
    return daemon.request(
        "POST", "/v1/forecast", {"model": model, "horizon": 12, "series": series, **changes}
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_zero(start, number):
    daemon = start()
    assert forecast(daemon)[0] == 200
    pids = runner_pids(daemon)
    assert pids
    daemon.process.send_signal(number)
    assert daemon.process.wait(20) == 0
    wait_for(lambda: not any(map(alive, pids)))


def test_a_running_request_ends_before_the_daemon_does(start):
    daemon = start()
    forecast(daemon)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(forecast(daemon, count=60)))
    thread.start()
    wait_for(lambda: any(m["running"] for m in daemon.json("GET", "/api/ps")["models"]))
    daemon.process.terminate()
    assert daemon.process.wait(30) == 0
    thread.join(30)
    assert answers[0][0] == 200


SLEEPER = """
import time
from tollama.core import fields
from tollama.core.runner_sdk import Forecast, ForecastResponse, Runner, serve

class Sleeper(Runner):
    name = "sleeper"
    options = {"seconds": fields.finite}

    def forecast(self, request):
        time.sleep(request.options.get("seconds", 0))
        return ForecastResponse([Forecast(s.id, [1.0] * request.horizon) for s in request.series])

serve(Sleeper())
"""


@pytest.fixture
def sleeper(tmp_path):
    """A folder with a family of one's own, whose model takes as long as it is asked to."""
    folder = tmp_path / "families" / "sleeper"
    (folder / "sleeper_family").mkdir(parents=True)
    (folder / "sleeper_family" / "__main__.py").write_text(SLEEPER)
    model = {"name": "sleeper", "source": {"type": "builtin"}}
    family = {
        "family": "sleeper",
        "protocol": 1,
        "module": "sleeper_family",
        "batch": {"max_series": 16, "max_tokens": 1000},
        "models": [model],
    }
    (folder / "runner.json").write_text(json.dumps(family))
    return str(folder.parent)


def sleep(seconds, **changes):
    series = [{"target": [1]}]
    options = {"seconds": seconds}
    return {"model": "sleeper", "horizon": 1, "series": series, "options": options, **changes}


def test_a_request_that_does_not_end_in_time_is_told_so_when_the_daemon_stops(start, sleeper):
    daemon = start(TOLLAMA_RUNNERS=sleeper)
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(daemon.request("POST", "/v1/forecast", sleep(600)))
    )
    thread.start()
    wait_for(lambda: any(m["running"] for m in daemon.json("GET", "/api/ps")["models"]))
    pids = runner_pids(daemon)
    assert daemon.stop(timeout=30) == 0
    thread.join(10)
    status, _, data = answers[0]
    assert (status, json.loads(data)["code"]) == (503, "unavailable")
    wait_for(lambda: not any(map(alive, pids)))


def test_a_runner_does_not_go_on_for_a_client_that_has_gone(start, sleeper):
    daemon = start(TOLLAMA_RUNNERS=sleeper)
    data = json.dumps(sleep(600)).encode()
    head = f"POST /v1/forecast HTTP/1.1\r\nHost: x.localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection((daemon.host, daemon.port)) as client:
        client.sendall(head.encode() + data)
        wait_for(lambda: any(m["running"] for m in daemon.json("GET", "/api/ps")["models"]))
        pids = runner_pids(daemon)
    wait_for(lambda: not any(map(alive, pids)), 30)
    assert daemon.request("POST", "/v1/forecast", sleep(0))[0] == 200


def test_a_deadline_holds_though_the_runner_computes_on(start, sleeper):
    daemon = start(TOLLAMA_RUNNERS=sleeper)
    assert daemon.request("POST", "/v1/forecast", sleep(600, timeout=0.2))[0] == 504
    assert daemon.request("POST", "/v1/forecast", sleep(0))[0] == 200


def test_killing_the_daemon_leaves_no_runner(start):
    daemon = start()
    forecast(daemon)
    pids = runner_pids(daemon)
    daemon.process.kill()
    daemon.process.wait(10)
    wait_for(lambda: not any(map(alive, pids)))


def test_killing_a_runner_does_not_lose_the_request(start):
    daemon = start()
    forecast(daemon)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(forecast(daemon, count=60)))
    thread.start()
    wait_for(lambda: any(m["running"] for m in daemon.json("GET", "/api/ps")["models"]))
    for pid in runner_pids(daemon):
        os.kill(pid, signal.SIGKILL)
    thread.join(60)
    status, _, data = answers[0]
    assert status in (200, 503), data
    if status == 503:
        assert json.loads(data)["code"] == "runner_crashed"
    assert forecast(daemon)[0] == 200


def test_a_model_is_unloaded_when_its_time_is_over(start):
    daemon = start()
    forecast(daemon, keep_alive="200ms")
    wait_for(lambda: daemon.json("GET", "/api/ps")["models"] == [])


def test_the_least_recently_used_model_makes_room(start):
    daemon = start(TOLLAMA_MAX_LOADED_MODELS="2")
    for model in ("naive", "drift", "ses"):
        assert forecast(daemon, model)[0] == 200
    assert {m["name"] for m in daemon.json("GET", "/api/ps")["models"]} == {"drift", "ses"}


def test_preloaded_models_are_there_when_the_daemon_is_ready(start):
    daemon = start(TOLLAMA_PRELOAD="theta")
    wait_for(lambda: daemon.request("GET", "/health/ready")[0] == 200)
    assert {m["name"] for m in daemon.json("GET", "/api/ps")["models"]} == {"theta"}


def test_a_preload_that_fails_keeps_the_daemon_unready(start):
    daemon = start(TOLLAMA_PRELOAD="nothing")
    status, _, data = daemon.request("GET", "/health/ready")
    found = wait_for(lambda: b"could not be loaded" in daemon.request("GET", "/health/ready")[2])
    assert found
    assert daemon.request("GET", "/health/live")[0] == 200
    assert status == 503, data


def test_the_request_log_has_sizes_and_no_values(start):
    daemon = start(TOLLAMA_LOG_FORMAT="json")
    daemon.request(
        "POST",
        "/v1/forecast",
        {"model": "naive", "horizon": 1, "series": [{"id": "secret-id", "target": [987654.25]}]},
        X_Request_ID="abc",
    )
    daemon.stop()
    (line,) = [json.loads(x) for x in daemon.log if '"/v1/forecast"' in x]
    assert line["id"] == "abc"
    assert (line["model"], line["series"], line["points"], line["status"]) == ("naive", 1, 1, 200)
    assert line["run_ms"] >= 0
    assert "987654" not in "\n".join(daemon.log)
    assert "secret-id" not in "\n".join(daemon.log)


def test_a_request_past_its_deadline_is_a_504(start):
    daemon = start()
    forecast(daemon)
    status, _, data = forecast(daemon, count=300, timeout=0.05)
    assert status == 504
    assert json.loads(data)["code"] == "deadline_exceeded"
    assert forecast(daemon)[0] == 200


def test_a_bad_setting_is_said_at_start(tollama):
    found = tollama("serve", check=2, TOLLAMA_MAX_QUEUE="none")
    assert "TOLLAMA_MAX_QUEUE: expected an integer" in found.stderr


def test_a_taken_port_is_said(daemon, tollama):
    found = tollama("serve", "--port", str(daemon.port), check=1)
    assert "choose another with --port" in found.stderr
