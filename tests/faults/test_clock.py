"""A wall clock that jumps by a year while the daemon works: timers do not care."""

from __future__ import annotations

import os
import sys
import time

import pytest
from faults.daemons import ACTOR, Daemon, family, forecast
from http_probe import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

YEAR = 365 * 86_400
# time.time() is off by what a file says, from its next call on.
JUMP = """
import os, time
_real, _file = time.time, os.environ["JUMP_FILE"]
def _jumped():
    try:
        with open(_file) as file:
            return _real() + float(file.read() or 0)
    except FileNotFoundError:
        return _real()
time.time = _jumped
"""


@pytest.fixture(params=[YEAR, -YEAR])
def jump(request, tmp_path):
    """A daemon with the family actor, and a function that moves its clock."""
    file = tmp_path / "jump"
    folder = family(tmp_path / "families", "actor", ACTOR)
    daemon = Daemon(
        tmp_path / "home", boot=JUMP, TOLLAMA_RUNNERS=folder, JUMP_FILE=str(file),
        TOLLAMA_REPLICAS="1",
    )  # fmt: skip

    def now() -> None:
        file.with_suffix(".new").write_text(str(request.param))
        os.replace(file.with_suffix(".new"), file)

    yield daemon, now
    assert daemon.end() == 0


def test_a_jump_neither_unloads_a_model_nor_keeps_it(jump):
    daemon, now = jump
    assert daemon.ask("POST", "/v1/forecast", forecast(keep_alive="1h"))[0] == 200
    pids = daemon.children()
    assert pids
    now()
    assert daemon.ask("POST", "/v1/forecast", forecast("actor", keep_alive="200ms"))[0] == 200
    # Its timer runs by another clock, and the other model's has not.
    until(lambda: len(daemon.ask("GET", "/api/ps")[1]["models"]) == 1, "the unloading of actor")
    assert daemon.ask("GET", "/api/ps")[1]["models"][0]["name"] == "naive"
    assert daemon.children() == pids
    assert daemon.ask("POST", "/v1/forecast", forecast())[0] == 200


def test_a_jump_neither_cuts_a_request_off_nor_lets_it_run_for_ever(jump):
    import threading

    daemon, now = jump
    found = []
    body = forecast("actor", timeout=30, options={"seconds": 0.5})
    assert daemon.ask("POST", "/v1/forecast", {**body, "options": {}})[0] == 200
    thread = threading.Thread(target=lambda: found.append(daemon.ask("POST", "/v1/forecast", body)))
    thread.start()
    until(daemon.running, "a request that runs")
    now()
    thread.join(30)
    assert found[0][0] == 200
    began = time.monotonic()
    late = forecast("actor", timeout=0.2, options={"seconds": 100})
    assert daemon.ask("POST", "/v1/forecast", late)[1]["code"] == "deadline_exceeded"
    assert time.monotonic() - began < 15
    status, info = daemon.ask("GET", "/api/info")
    assert status == 200
    assert info["daemon"]["uptime_seconds"] >= 0
