"""daemon/http.py: where it listens, how it starts and ends; TLS, Unix sockets, IPv6."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_probe import PATIENCE, Route, Wire, echo, serving, until

from tollama.daemon.http import Limits, Reply, Request, Server


class Held:
    """A handler that waits until it is let go."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.go = threading.Event()

    def __call__(self, request: Request) -> Reply:
        with request.blocking():
            self.inside.set()
            self.go.wait(PATIENCE)
        return Reply(body=b"done")


def drained(server: Server, timeout: float) -> tuple[threading.Thread, list[bool]]:
    result: list[bool] = []
    thread = threading.Thread(target=lambda: result.append(server.drain(timeout)))
    thread.start()
    until(lambda: server.draining)
    return thread, result


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_drain_lets_running_requests_end() -> None:
    held = Held()
    with serving({("GET", "/held"): Route(held)}) as server:
        with Wire(server) as wire, Wire(server) as idle, Wire(server) as half:
            assert idle.get().status == 200
            wire.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n")
            half.send("GET / HTTP/1.1\r\nHost: local")
            assert held.inside.wait(PATIENCE)
            until(lambda: sum(bool(c.buffer) for c in list(server.loop.connections)) == 1)
            thread, result = drained(server, PATIENCE)
            assert idle.closed()
            until(lambda: refused(server.address))
            half.send("host\r\n\r\n")  # begun before: it is served
            answer = half.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert not result
            held.go.set()
            answer = wire.answer()
            assert (answer.body, answer.headers["connection"]) == (b"done", "close")
            assert wire.closed()
            thread.join(PATIENCE)
            assert result == [True]
        assert server.loop.crew.threads == 0


def test_drain_lets_a_stream_end() -> None:
    go = threading.Event()

    def produce() -> Iterator[bytes]:
        yield b"1\n"
        go.wait(PATIENCE)
        yield b"2\n"

    with (
        serving({("GET", "/s"): Route(lambda r: Reply(stream=produce()))}) as server,
        Wire(server) as wire,
    ):
        wire.send("GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.head()
        assert wire.chunk() == b"1\n"
        thread, result = drained(server, PATIENCE)
        go.set()
        assert wire.chunk() == b"2\n"
        assert wire.chunk() == b""
        thread.join(PATIENCE)
        assert result == [True]


def test_drain_is_bounded() -> None:
    held = Held()
    with serving({("GET", "/held"): Route(held)}) as server, Wire(server) as wire:
        wire.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert held.inside.wait(PATIENCE)
        thread, result = drained(server, 0.05)
        assert wire.closed()
        held.go.set()
        thread.join(PATIENCE)
        assert result == [False]


def test_second_drain_stops_at_once() -> None:
    held = Held()
    with serving({("GET", "/held"): Route(held)}) as server, Wire(server) as wire:
        wire.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert held.inside.wait(PATIENCE)
        thread, result = drained(server, 10 * PATIENCE)
        second = threading.Thread(target=server.drain)
        second.start()
        assert wire.closed()
        held.go.set()
        second.join(PATIENCE)
        thread.join(PATIENCE)
        assert result == [False]


def test_server_that_never_served_can_end() -> None:
    server = Server(lambda method, path: Route(echo))
    assert server.drain() is False
    assert refused(server.address)
    server.stop()


def test_server_that_was_stopped_before_it_serves_ends_at_once() -> None:
    server = Server(lambda method, path: Route(echo))
    server.drain()
    server.serve_forever()
    assert refused(server.address)


def test_serve_forever_ends_after_stop() -> None:
    ready: list[Server] = []
    server = Server(lambda method, path: Route(echo), on_ready=ready.append)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    until(lambda: ready)
    with Wire(server) as wire:
        assert wire.get().status == 200
    server.shutdown()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_port_in_use_is_an_error() -> None:
    with serving() as server, pytest.raises(OSError, match="in use"):
        Server(lambda method, path: Route(echo), port=server.address[1])


def test_port_can_be_used_again_at_once() -> None:
    with serving() as server, Wire(server) as wire:
        port = server.address[1]
        wire.get("/", "Connection: close")
    with serving(port=port) as server, Wire(server) as wire:
        assert wire.get().status == 200


def test_ipv6() -> None:
    try:
        probe = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    probe.close()
    with serving(host="::1") as server:
        host, port = server.address
        assert host == "::1"
        with Wire(server) as wire:
            answer = wire.send(f"GET / HTTP/1.1\r\nHost: [::1]:{port}\r\n\r\n").answer()
            assert answer.status == 200
            assert answer.json["client"] == "::1"
            assert answer.json["is_loopback"] is True


def unix(path: Path) -> Wire:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    sock.connect(str(path))
    return Wire(sock)


def test_unix_socket_beside_tcp_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for host in ("127.0.0.1", None):
        with serving(host=host, unix_socket=str(path)) as server:
            assert path.stat().st_mode & 0o777 == 0o600
            with unix(path) as wire:
                answer = wire.send("GET / HTTP/1.1\r\nHost: docker\r\n\r\n").answer()
                assert (answer.json["client"], answer.json["is_loopback"]) == ("unix", True)
            if host is not None:
                with Wire(server) as wire:
                    assert wire.get().status == 200
        assert not path.exists()


def test_unix_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    with serving(host=None, unix_socket=str(path)), unix(path) as wire:
        assert wire.get().status == 200
        with pytest.raises(OSError, match="another server"):
            Server(lambda method, path: Route(echo), host=None, unix_socket=str(path))
        assert path.exists()
    path.write_text("not a socket")
    with pytest.raises(OSError, match="expected a socket"):
        Server(lambda method, path: Route(echo), host=None, unix_socket=str(path))
    assert path.read_text() == "not a socket"


def test_server_without_an_address_is_an_error() -> None:
    with pytest.raises(ValueError, match="host"):
        Server(lambda method, path: Route(echo), host=None)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", key, "-out", cert],
            check=True, capture_output=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no openssl to make a certificate: {error}")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_2
    server.load_cert_chain(cert, key)
    client = ssl.create_default_context(cafile=str(cert))
    return server, client


def tls(server: Server, context: ssl.SSLContext) -> Wire:
    sock = socket.create_connection(server.address, timeout=PATIENCE)
    return Wire(context.wrap_socket(sock, server_hostname="localhost"))


def big_stream(request: Request) -> Reply:
    return Reply(stream=iter([b"x" * 500_000] * 10))


def test_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    routes = {
        ("GET", "/s"): Route(big_stream),
        ("POST", "/lines"): Route(
            lambda r: Reply(stream=(line + b"\n" for line in r.lines(10**6))), stream_body=True
        ),
    }
    with serving(routes, ssl_context=contexts[0]) as server, tls(server, contexts[1]) as wire:
        assert wire.get().json["client"] == "127.0.0.1"
        body = os.urandom(200_000)
        for size in (1, 16_384, 16_385, 70_000, 200_000):
            assert wire.post(body[:size]).body == body[:size]
        assert len(wire.get("/s").body) == 5_000_000
        answer = wire.post(b"a\nb\n", "Content-Type: application/x-ndjson", target="/lines")
        assert answer.body == b"a\nb\n"
        wire.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 30)
        assert [wire.answer().status for _ in range(30)] == [200] * 30
        assert wire.get("/", "Origin: https://localhost:1").status == 200


def test_tls_client_that_goes_is_noticed(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    if not hasattr(__import__("select"), "POLLRDHUP"):
        pytest.skip("this system cannot tell")
    inside, seen = threading.Event(), threading.Event()

    def handler(request: Request) -> Reply:
        assert not request.disconnected()
        inside.set()
        with request.blocking():
            until(request.disconnected)
        seen.set()
        return Reply()

    routes = {("GET", "/ask"): Route(handler)}
    with serving(routes, ssl_context=contexts[0]) as server:
        with tls(server, contexts[1]) as wire:
            wire.send("GET /ask HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert inside.wait(PATIENCE)
        assert seen.wait(PATIENCE)


def test_tls_handshake_that_hangs_blocks_nobody_and_is_cut_off(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    with serving(ssl_context=contexts[0], limits={"headers_s": 0.3}) as server:
        with Wire(server) as silent, Wire(server) as half, Wire(server) as plain:
            half.send(b"\x16\x03\x01\x02\x00\x01\x00")
            with tls(server, contexts[1]) as wire:
                assert wire.get().status == 200
            plain.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            plain.rest()
            assert silent.closed()
            half.rest()
        until(lambda: not server.loop.connections)


def test_old_tls_is_refused(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with serving(ssl_context=contexts[0]) as server, pytest.raises((ssl.SSLError, OSError)):
        tls(server, old)


SCRIPT = """
import signal, sys, threading
from tollama.daemon.http import Reply, Server
from http_probe import Route

def slow(request):
    print("inside", flush=True)
    with request.blocking():
        go.wait(20)
    return Reply(body=b"done")

go = threading.Event()
server = Server(
    lambda method, path: Route(slow), on_ready=lambda s: print(s.address[1], flush=True)
)

def stop(number, frame):
    go.set()
    print(server.drain(20), flush=True)

signal.signal(signal.SIGTERM, stop)
server.serve_forever()
print("ended", flush=True)
"""


def test_drain_in_a_signal_handler_of_the_main_thread() -> None:
    root = Path(__file__).parents[2]
    environ = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, env=environ, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with Wire(("127.0.0.1", port)) as wire:
            wire.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert process.stdout.readline() == "inside\n"
            process.send_signal(signal.SIGTERM)
            assert wire.answer().body == b"done"
        assert process.stdout.read() == "True\nended\n"
        assert process.wait(PATIENCE) == 0


def test_limits_have_the_promised_defaults() -> None:
    limits = Limits()
    assert limits.max_connections == 1024
    assert (limits.max_head, limits.max_headers) == (16 * 1024, 64)
    assert (limits.max_body, limits.max_in_flight) == (64 * 2**20, 512 * 2**20)
    assert (limits.headers_s, limits.body_s) == (10, 30)
