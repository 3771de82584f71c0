"""SIGTERM in every state of a daemon: it ends in time with 0, tells whoever waits, leaves nothing.

tests/e2e/test_lifecycle.py has it for the built .pyz at rest and at work, tests/e2e/test_pull.py in
the middle of a download.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import sys
import threading
import time

import pytest
from fake_hub import FakeHub
from faults.daemons import ACTOR, PATIENCE, ROOT, Daemon, family, forecast, gone
from http_probe import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

GOLDEN = ROOT / "runners" / "numpy" / "tests" / "golden" / "chronos2" / "config.json"


@pytest.fixture
def start(tmp_path):
    folder = family(tmp_path / "families", "actor", ACTOR)
    started = []

    def begin(**environ: str) -> Daemon:
        started.append(Daemon(tmp_path / "home", TOLLAMA_RUNNERS=folder, **environ))
        return started[-1]

    yield begin
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()


class Asking:
    """A request on a thread: its answer when it has come."""

    def __init__(self, daemon: Daemon, path: str, body: object) -> None:
        self.answer: tuple[int, object] | None = None
        self.thread = threading.Thread(target=self._run, args=(daemon, path, body))
        self.thread.start()

    def _run(self, daemon: Daemon, path: str, body: object) -> None:
        with contextlib.suppress(ConnectionError):  # where it ends at once
            self.answer = daemon.ask("POST", path, body)

    def end(self) -> tuple[int, object]:
        self.thread.join(PATIENCE)
        assert self.answer is not None, "no answer at all"
        return self.answer


def ends(daemon: Daemon) -> None:
    """SIGTERM was sent, or is now: the exit code is 0, and no child is left."""
    children = daemon.children()
    began = time.monotonic()
    assert daemon.end() == 0
    assert time.monotonic() - began < PATIENCE
    until(lambda: all(map(gone, children)), "the end of its runners")
    assert not [line for line in daemon.log if "Traceback" in line]


def test_idle(start):
    ends(start())


def test_with_a_connection_that_says_nothing_and_one_in_the_middle_of_a_head(start):
    daemon = start()
    with socket.create_connection(daemon.address), socket.create_connection(daemon.address) as half:
        half.sendall(b"POST /v1/forecast HTTP/1.1\r\nHost: lo")
        ends(daemon)


def test_loading(start, tmp_path):
    daemon = start(CUDA_GATE=str(tmp_path / "never"))
    asking = Asking(daemon, "/v1/forecast", forecast("actor"))
    until(daemon.children, "a runner that loads")
    ends(daemon)
    status, found = asking.end()
    assert status == 503, found


def test_running_and_queued(start, tmp_path):
    gate = tmp_path / "gate"
    daemon = start(TOLLAMA_REPLICAS="1")
    body = forecast("actor", options={"gate": str(gate)})
    running = Asking(daemon, "/v1/forecast", body)
    until(daemon.running, "a request that runs")
    # Of other options, so that they do not run together.
    queued = [
        Asking(daemon, "/v1/forecast", forecast("actor", options={"seconds": n / 1000}))
        for n in range(3)
    ]
    queue = lambda: daemon.ask("GET", "/api/ps")[1]["models"][0]["queue_depth"]  # noqa: E731
    until(lambda: queue() >= 3, "requests that wait")
    daemon.process.terminate()
    until(lambda: any("stopping" in line for line in daemon.log), "the drain")
    gate.touch()
    # Both end well, since there is time.
    assert running.end()[0] == 200
    assert {asking.end()[0] for asking in queued} <= {200, 503}
    ends(daemon)


def test_streaming(start, tmp_path):
    gate = tmp_path / "gate"
    daemon = start()
    body = forecast("actor", options={"gate": str(gate), "stream_series": True})
    data = json.dumps(body).encode()
    head = f"POST /api/forecast HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(daemon.address, timeout=PATIENCE) as sock:
        sock.sendall(head.encode() + data)
        found = b""
        while b"running forecast" not in found:
            found += sock.recv(4096)
        until(daemon.running, "a request that runs")
        daemon.process.terminate()
        until(lambda: any("stopping" in line for line in daemon.log), "the drain")
        gate.touch()
        while piece := sock.recv(4096):
            found += piece
    assert b'"done":true' in found
    assert found.endswith(b"0\r\n\r\n")
    ends(daemon)


def test_in_the_middle_of_a_stream_that_is_sent(start):
    daemon = start()
    head = b"POST /api/forecast HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    head += b"Content-Type: application/x-ndjson\r\n\r\n"
    line = b'{"model":"naive","horizon":1}\n{"id":"a","target":[1]}\n'
    with socket.create_connection(daemon.address, timeout=PATIENCE) as sock:
        sock.sendall(head + b"%x\r\n%s\r\n" % (len(line), line))
        until(daemon.children, "a runner")
        ends(daemon)


def test_pulling(start):
    with FakeHub() as hub:
        files = {
            "config.json": GOLDEN.read_bytes(),
            "model.safetensors": random.Random(1).randbytes(2_000_000),
        }
        hub.add("amazon/chronos-2", files)
        hub.pace = (500_000, threading.Event())
        daemon = start(HF_ENDPOINT=hub.url)
        asking = Asking(daemon, "/api/pull", {"model": "chronos2"})
        try:
            until(lambda: any(r.path.endswith("safetensors") for r in hub.requests), "a download")
            ends(daemon)
        finally:
            hub.pace[1].set()
        _, last = asking.end()
        assert last["code"] in ("cancelled", "unavailable"), last


def test_draining_already(start, tmp_path):
    """A second signal means now."""
    daemon = start()
    asking = Asking(
        daemon, "/v1/forecast", forecast("actor", options={"gate": str(tmp_path / "never")})
    )
    until(daemon.running, "a request that runs")
    children = daemon.children()
    daemon.process.terminate()
    until(lambda: any("stopping" in line for line in daemon.log), "the drain")
    daemon.process.terminate()
    assert daemon.process.wait(PATIENCE) == 0
    until(lambda: all(map(gone, children)), "the end of its runners")
    asking.thread.join(PATIENCE)
    daemon.end()
