"""The HTTP front against clients that are slow, large, many or gone: every bound has its test."""

from __future__ import annotations

import contextlib
import gc
import resource
import socket
import threading
import time
from typing import Any

import pytest
from http_probe import PATIENCE, Route, Wire, serving, until

from tollama.daemon.http import Reply, Request, Server

HEAD = "POST / HTTP/1.1\r\nHost: localhost\r\n"


def dribble(wire: Wire, data: bytes, pace: float = 0.02) -> bytes:
    """Send a byte at a time until the server answers or closes; what it said."""
    wire.sock.settimeout(pace)
    for byte in data:
        with contextlib.suppress(ConnectionError):
            wire.sock.send(bytes([byte]))
        try:
            if not wire._more():
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
        break
    wire.sock.settimeout(PATIENCE)
    said = bytes(wire.buffer)
    wire.buffer.clear()
    return said + wire.rest()


def test_head_that_dribbles_is_cut_off() -> None:
    with serving(limits={"headers_s": 0.3}) as server, Wire(server) as wire:
        said = dribble(wire, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 5000)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"Connection: close" in said


def test_head_that_dribbles_on_a_kept_connection_is_cut_off() -> None:
    with serving(limits={"headers_s": 0.3}) as server, Wire(server) as wire:
        assert wire.get().status == 200
        assert dribble(wire, b"GET / HTTP/1.1\r\nX: " + b"a" * 5000).startswith(b"HTTP/1.1 408 ")


def test_empty_lines_for_ever_are_cut_off() -> None:
    with serving(limits={"headers_s": 0.3, "idle_s": 0.5}) as server, Wire(server) as wire:
        assert wire.get().status == 200
        assert dribble(wire, b"\r\n" * 5000)[:13] in (b"", b"HTTP/1.1 408 ")  # if cut after a \r


def test_body_that_dribbles_is_cut_off() -> None:
    limits = {"body_s": 0.3, "rate": 1_000_000}
    for framing in ("Content-Length: 5000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nFFF\r\n"):
        with serving(limits=limits) as server, Wire(server) as wire:
            wire.send(HEAD + framing)
            assert dribble(wire, b"a" * 5000).startswith(b"HTTP/1.1 408 ")


def test_connection_that_says_nothing_is_closed() -> None:
    with serving(limits={"headers_s": 0.1, "idle_s": 0.2}) as server:
        with Wire(server) as silent:
            assert silent.closed()
        with Wire(server) as kept:
            assert kept.get().status == 200
            assert kept.closed()


def test_half_a_request_and_an_end_harm_nobody() -> None:
    with serving() as server:
        for data in ("G", "GET / HT", HEAD, HEAD + "Content-Length: 9\r\n\r\nabc",
                     HEAD + "Transfer-Encoding: chunked\r\n\r\n5\r\nab"):  # fmt: skip
            with Wire(server) as wire:
                wire.send(data)
                wire.sock.shutdown(socket.SHUT_WR)
                assert wire.closed()
            with Wire(server) as wire:
                wire.send(data)
                wire.reset()
        until(lambda: not server.loop.connections, "connections are forgotten")
        with Wire(server) as wire:
            assert wire.get().status == 200
        assert all(r["status"] == 200 for r in server.records)  # type: ignore[attr-defined]


def test_reset_in_the_middle_of_an_answer_is_survived_and_logged() -> None:
    big = Route(lambda r: Reply(body=b"x" * 30_000_000))
    with serving({("GET", "/big"): big}) as server:
        with Wire(server) as wire:
            wire.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert wire.take(1000)
            wire.reset()
        records = server.records  # type: ignore[attr-defined]
        until(lambda: records)
        assert records[0]["error"] == "the client went away"
        until(lambda: not server.loop.connections)
        with Wire(server) as wire:
            assert wire.get().status == 200


def test_client_that_does_not_read_is_cut_off() -> None:
    big = Route(lambda r: Reply(body=b"x" * 30_000_000))
    limits = {"send_s": 0.2, "rate": 1_000_000_000}
    with serving({("GET", "/big"): big}, limits=limits) as server, Wire(server) as wire:
        wire.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        records = server.records  # type: ignore[attr-defined]
        until(lambda: records)
        assert "in time" in records[0]["error"]
        until(lambda: not server.loop.connections)
        assert len(wire.rest()) < 30_000_000


def test_connections_over_the_limit_are_told_so() -> None:
    with serving(limits={"max_connections": 4, "linger_s": 0.2}) as server:
        first = [Wire(server) for _ in range(4)]
        assert [wire.get().status for wire in first] == [200] * 4
        with Wire(server) as late:
            answer = late.get()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.json["code"] == "unavailable"
            assert late.closed()
        assert [wire.get().status for wire in first] == [200] * 4
        for wire in first:
            wire.sock.close()
        until(lambda: not server.loop.connections)
        with Wire(server) as wire:
            assert wire.get().status == 200


def test_two_thousand_idle_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 6000:
        pytest.skip(f"needs 6000 file descriptors, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6000), hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        server = stack.enter_context(serving(limits={"linger_s": 0.2}))
        busy = stack.enter_context(Wire(server))
        idle = []
        for _ in range(2000):
            idle.append(stack.enter_context(Wire(server)))
            if len(idle) % 200 == 0:  # those over the limit get a moment to be told
                assert busy.get().status == 200
        kept = refused = 0
        until(lambda: len(server.loop.connections) <= 1024)
        for wire in idle:
            wire.sock.setblocking(False)
            try:
                said = wire.sock.recv(1000)
            except BlockingIOError:
                kept += 1
            else:
                assert said == b"" or said.startswith(b"HTTP/1.1 503 ")
                refused += bool(said)
        assert kept == 1023
        assert refused > 500
        assert busy.get().status == 200
        assert server.loop.crew.threads <= 3


def test_head_over_its_limits() -> None:
    cases = {
        "GET / HTTP/1.1\r\nHost: localhost\r\n" + "X: " + "a" * 20_000: 431,
        "GET / HTTP/1.1\r\nHost: localhost\r\n" + "X: " + "a" * 20_000 + "\r\n\r\n": 431,
        "GET / HTTP/1.1\r\nHost: localhost\r\n" + "X: a\r\n" * 100 + "\r\n": 431,
        "GET /" + "a" * 20_000: 414,
        "GET /" + "a" * 9_000 + " HTTP/1.1\r\nHost: localhost\r\n\r\n": 414,
        "a" * 20_000: 414,
    }
    with serving() as server:
        for data, status in cases.items():
            with Wire(server) as wire:
                answer = wire.send(data).answer()
                assert (answer.status, answer.json["code"]) == (status, "bad_http")
                assert wire.closed()


def test_large_body_is_refused_before_it_is_read() -> None:
    with serving(limits={"max_body": 100_000}) as server:
        with Wire(server) as wire:
            answer = wire.send(HEAD + "Content-Length: 100001\r\n\r\n").answer()
            assert (answer.status, answer.json["code"]) == (413, "too_large")
            assert wire.closed()
        with Wire(server) as wire:
            wire.send(HEAD + "Transfer-Encoding: chunked\r\n\r\n186A1\r\n")
            assert wire.answer().status == 413
        with Wire(server) as wire:
            assert wire.post(b"x" * 100_000).status == 200


def test_client_that_sends_on_sees_why_it_was_refused() -> None:
    with serving(limits={"max_body": 1000}) as server, Wire(server) as wire:
        body = b"x" * 5_000_000
        wire.send(HEAD + f"Content-Length: {len(body)}\r\n\r\n")
        wire.send(body)  # closing with this unread would reset the connection under the answer
        assert wire.answer().status == 413
        assert wire.closed()


def test_client_that_never_stops_sending_is_cut_off() -> None:
    with serving(limits={"max_body": 1000, "linger_s": 0.2}) as server, Wire(server) as wire:
        wire.send(HEAD + "Content-Length: 100000000000\r\n\r\n")
        end = time.monotonic() + PATIENCE
        with pytest.raises(ConnectionError):
            while time.monotonic() < end:
                wire.send(b"x" * 100_000)
        until(lambda: not server.loop.connections)


def test_route_has_its_own_body_limit() -> None:
    route = Route(lambda r: Reply(body=r.body), max_body=10)
    routes = {("POST", "/small"): route}
    with serving(routes, limits={"max_body": 5}) as server, Wire(server) as wire:
        assert wire.post(b"x" * 10, target="/small").status == 200
        assert wire.post(b"x" * 11, target="/small").status == 413
        assert wire.post(b"x" * 6).status == 413


def test_bodies_in_flight_are_bounded_together() -> None:
    limits = {"max_in_flight": 250_000, "small_body": 1000}
    with serving(limits=limits) as server, Wire(server) as first, Wire(server) as second:
        first.send(HEAD + "Content-Length: 200000\r\n\r\n" + "x")
        until(lambda: server._in_flight == 200_000)
        answer = second.post(b"y" * 100_000)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        with Wire(server) as third:
            assert third.post(b"z" * 1000).status == 200  # small ones are not counted
            third.send(HEAD + "Transfer-Encoding: chunked\r\n\r\n" + "11170\r\n" + "a" * 70_000)
            assert third.answer().status == 503
        first.send("x" * 199_999)
        assert first.answer().status == 200
        until(lambda: server._in_flight == 0)
        with Wire(server) as fourth:
            assert fourth.post(b"y" * 100_000).status == 200
        with Wire(server) as fifth:
            fifth.send(HEAD + "Content-Length: 200000\r\n\r\n" + "x")
            until(lambda: server._in_flight == 200_000)
        until(lambda: server._in_flight == 0, "a client that goes away gives its share back")


def test_accepting_goes_on_after_a_shortage_of_file_descriptors(monkeypatch: Any) -> None:
    import errno

    from tollama.daemon import http_loop

    monkeypatch.setattr(http_loop, "_PAUSE", 0.05)
    with serving() as server:
        real = server._listeners[0]
        failures = [OSError(errno.ECONNABORTED, "gone"), OSError(errno.EMFILE, "too many")]

        class Short:
            """A listener whose first accepts fail, as when the process is out of descriptors."""

            def accept(self) -> Any:
                if failures:
                    raise failures.pop(0)
                return real.accept()

        server.loop._selector.modify(real, http_loop.READ, Short())
        with Wire(server) as wire:
            assert wire.get().status == 200
        assert not failures


def test_nothing_is_left_of_thousands_of_requests() -> None:
    with serving(log=lambda record: None) as server:

        def round_of_requests() -> None:
            with Wire(server) as wire:
                for n in range(300):
                    assert wire.post(b"x" * n).status == 200 if n else wire.get("/no").status == 404
            with Wire(server) as wire:
                assert wire.send("bad\r\n\r\n").answer().status == 400

        round_of_requests()
        until(lambda: not server.loop.connections)
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(5):
            round_of_requests()
        until(lambda: not server.loop.connections)
        gc.collect()
        assert len(gc.get_objects()) - before < 200
        assert len(server.loop._chores) == len(server.loop._ready) == 0


def test_requests_leave_no_reference_cycles() -> None:
    with serving(log=lambda record: None) as server, Wire(server) as wire:
        assert wire.get().status == 200
        gc.collect()
        gc.disable()
        try:
            for _ in range(200):
                assert wire.post(b"abc").status == 200
            # type() and not isinstance(): that would wake lazy objects of other packages.
            left = sum(type(o) is Request for o in gc.get_objects())
        finally:
            gc.enable()
        assert left <= 1


def test_idle_server_does_not_wake_up(monkeypatch: Any) -> None:
    with serving() as server, Wire(server) as wire:
        assert wire.get().status == 200
        until(lambda: server.loop.crew._lookout_sleeps, "the lookout sleeps")
        turns = server.loop.crew._turns
        assert server.loop._next_look > time.monotonic() + 5
        assert wire.get().status == 200  # and is woken again
        assert server.loop.crew._turns > turns


def flood(server: Server, count: int) -> list[int]:
    statuses: list[int] = []

    def one(n: int) -> None:
        with Wire(server) as wire:
            for _ in range(20):
                statuses.append(wire.post(b"%d" % n).status)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return statuses


def test_many_clients_at_once_are_all_served() -> None:
    with serving() as server:
        assert flood(server, 50) == [200] * 1000
        assert server.loop.crew.threads <= 4


def test_defect_in_the_loop_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        real, failures = server.loop._look, [RuntimeError("a defect")]

        def look(now: float) -> None:
            if failures:
                raise failures.pop()
            real(now)

        monkeypatch.setattr(server.loop, "_look", look)
        server.loop._next_look = 0.0
        with Wire(server) as wire:
            assert wire.get().status == 200
        until(lambda: not failures)
    assert "a defect" in capfd.readouterr().err
