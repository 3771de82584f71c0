"""Clients that are many, odd or rude, against a real daemon that serves another one all the while.

tests/unit/test_http_limits.py has the same faults one by one, inside of one process.
"""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import struct
import sys

import pytest
from faults.daemons import Daemon, forecast
from http_probe import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

IDLE = 10_000


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    # One replica: a second one would hold pipes of its own.
    home = tmp_path_factory.mktemp("clients") / "home"
    running = Daemon(home, TOLLAMA_REPLICAS="1")
    yield running
    assert running.end() == 0


def request(body: bytes, *headers: str, path: str = "/v1/forecast") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join((*lines, "", "")).encode() + body


BODY = json.dumps(forecast(value=7.0)).encode()


def fine(daemon: Daemon) -> bool:
    status, found = daemon.ask("POST", "/v1/forecast", forecast(value=3.5))
    return status == 200 and found["forecasts"][0]["mean"] == [3.5]


def held(daemon: Daemon) -> int:
    import os

    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def test_ten_thousand_idle_clients_do_not_keep_another_from_being_served(daemon):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = IDLE if hard == resource.RLIM_INFINITY else min(IDLE, hard - 500)
    assert fine(daemon)
    before = held(daemon)
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 400), hard))
        busy = stack.enter_context(socket.create_connection(daemon.address, timeout=60))

        def served() -> None:
            busy.sendall(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert busy.recv(4096).startswith(b"HTTP/1.1 200 ")

        served()
        socks = []
        for number in range(count):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(60)
            with contextlib.suppress(ConnectionError):
                sock.connect(daemon.address)
            socks.append(sock)
            if number % 500 == 0:
                served()
        until(lambda: held(daemon) <= before + 1100, "no more than 1,024 connections held")
        served()
        kept = told = 0
        for sock in socks:
            sock.setblocking(False)
            try:
                said = sock.recv(1000)
            except BlockingIOError:
                kept += 1
            except OSError:
                continue
            else:
                assert said == b"" or said.startswith(b"HTTP/1.1 503 ")
                told += bool(said)
        assert kept < 1024
        assert told > 1000
        assert daemon.peak_mib() < 150
    until(lambda: held(daemon) <= before + 2, "every descriptor given back")
    assert fine(daemon)


RUDE = {
    "half a head": b"POST /v1/forecast HTTP/1.1\r\nHost: loc",
    "half a body": request(BODY)[:-20],
    "half a chunk": b"POST /v1/forecast HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n400\r\n{",
    "a whole request": request(BODY),
    "a stream": request(BODY, path="/api/forecast"),
    "a pipeline": request(BODY) * 50,
    "a huge head": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"x: y\r\n" * 20_000,
    "a huge target": b"GET /" + b"x" * 200_000,
}


@pytest.mark.parametrize("what", RUDE)
@pytest.mark.parametrize("how", ["reset", "close"])
def test_clients_that_break_off_leave_nothing_behind(daemon, what, how):
    assert fine(daemon)
    before = held(daemon)
    for _ in range(30):
        with socket.create_connection(daemon.address, timeout=30) as sock:
            with contextlib.suppress(OSError):
                sock.sendall(RUDE[what])
            if how == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert fine(daemon)
    until(lambda: held(daemon) <= before + 1, "every descriptor given back")


def test_pipelined_requests_are_answered_in_order(daemon):
    bodies = [json.dumps(forecast(value=float(number))).encode() for number in range(40)]
    with socket.create_connection(daemon.address, timeout=60) as sock:
        sock.sendall(b"".join(map(request, bodies)) + request(BODY, "Connection: close"))
        data = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    found = [float(part.partition(b'"mean":[')[2].partition(b"]")[0])
             for part in data.split(b"HTTP/1.1 200 OK")[1:]]  # fmt: skip
    assert found == [*map(float, range(40)), 7.0]


def test_a_dribbled_request_is_answered(daemon):
    with socket.create_connection(daemon.address, timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request(BODY, "Connection: close"):
            sock.sendall(bytes((byte,)))
        assert b'"mean":[7.0]' in b"".join(iter(lambda: sock.recv(1 << 16), b""))
