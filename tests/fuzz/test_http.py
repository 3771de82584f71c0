"""Bytes on the wire of a real daemon: heads, framing, bodies, pipelines, in any cut."""

from __future__ import annotations

import hashlib
import sys

import pytest
from fuzz.daemons import Daemon, answers, keeps_to_the_contract, settled
from fuzz.harness import explore, seeds_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# Beyond the pages that the first requests bring in.
GROWTH_KIB = 16 << 10


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    running = Daemon(tmp_path_factory.mktemp("fuzz") / "home", TOLLAMA_REQUEST_TIMEOUT="10")
    yield running
    running.stop()


TOKENS = (
    b"\r\n\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Host: localhost\r\n", b"Host: evil.example\r\n",
    b"Origin: http://evil.example\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
    b"Content-Encoding: gzip\r\n", b"HTTP/1.0", b"HTTP/2.0", b"GET / HTTP/1.1\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"/../", b"/%2e%2e/", b"/api/forecast", b"/hub/a/b",
    b"*",
    b"X-Request-ID: \x01\r\n", b"OPTIONS", b"HEAD", b"PATCH", b"x" * 9000, b"a: b\r\n" * 70,
    b"Content-Type: application/x-ndjson\r\n",
)  # fmt: skip


def test_any_bytes_get_answers_or_nothing_and_never_a_defect(daemon):
    count = 0

    def target(data: bytes) -> None:
        nonlocal count
        count += 1
        digest = hashlib.sha256(data).digest()
        cuts = tuple(value % (len(data) + 1) for value in digest[: digest[-1] % 4])
        for answer in answers(daemon.send(data, cuts, quiet=0.05), whole=False):
            keeps_to_the_contract(answer, nixtla=b"/v2/" in data)
        if count % 50 == 0:
            daemon.alive()

    for data in seeds_of("http"):
        target(data)
    before = daemon.rss()
    explore("http", target, tokens=TOKENS, examples=400)
    daemon.alive()
    assert settled(daemon.rss, before + GROWTH_KIB) <= before + GROWTH_KIB


BODIES = {
    "/api/forecast": "application/json",
    "/v1/forecast": "application/json",
    "/api/backtest": "application/json",
    "/api/anomalies": "application/json",
    "/api/embed": "application/json",
    "/api/generate": "application/json",
    "/api/show": "application/json",
    "/api/create": "application/json",
    "/v2/forecast": "application/json",
    "/v2/cross_validation": "application/json",
    "/v2/anomaly_detection": "application/json",
    "/invocations": "application/json",
    "/v1/timeseries/forecast": "application/json",
}


def test_any_body_is_answered_or_refused_in_the_contracts_shape(daemon):
    paths = sorted(BODIES)

    def target(data: bytes) -> None:
        digest = hashlib.sha256(data).digest()
        for number in digest[:2]:
            path = paths[number % len(paths)]
            answer = daemon.ask("POST", path, data, BODIES[path])
            keeps_to_the_contract(answer, nixtla=path.startswith("/v2/"))

    tokens = (b'"model":"naive"', b'"series":', b'"horizon":', b'"h":3', b'"freq":"D"',
              b'"y":[1,2]',
              b'"instances":', b'"target":[1]', b'"start":"2024-01-01"', b'"prediction_length":2',
              b'"level":[80]', b'"windows":2', b'"options":{"season_length":4}')  # fmt: skip
    explore("dialects", target, tokens=tokens, examples=150)
    daemon.alive()


def test_any_stream_of_series_is_answered_line_by_line(daemon):
    def target(data: bytes) -> None:
        answer = daemon.ask("POST", "/api/forecast", data, "application/x-ndjson")
        keeps_to_the_contract(answer)

    tokens = (
        b'\n{"target":[1]}\n',
        b'{"model":"naive","horizon":2}\n',
        b"\n\n",
        b"\r\n",
        b'"id":"a"',
    )
    explore("bulk", target, tokens=tokens, examples=120)
    daemon.alive()
