"""daemon/http_stream.py over real sockets: answers and bodies that flow."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

import pytest
from http_probe import PATIENCE, Route, Wire, serving, until

from tollama.core.errors import DeadlineExceeded, InvalidRequest
from tollama.daemon.http import Reply, Request

NDJSON = "Content-Type: application/x-ndjson"


def stream(*items: bytes | Exception) -> Route:
    def produce() -> Iterator[bytes]:
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item

    return Route(lambda r: Reply(content_type="application/x-ndjson", stream=produce()))


def count_lines(request: Request) -> Reply:
    return Reply(body=b"%d" % sum(1 for _ in request.lines(1000)))


def answer_lines(request: Request) -> Reply:
    def produce() -> Iterator[bytes]:
        for line in request.lines(100_000):
            yield b"<" + line + b">\n"

    return Reply(content_type="application/x-ndjson", stream=produce())


READERS = {
    ("POST", "/count"): Route(count_lines, stream_body=True),
    ("POST", "/lines"): Route(answer_lines, stream_body=True),
}


def test_items_are_sent_as_chunks_and_the_connection_is_kept() -> None:
    with serving({("GET", "/s"): stream(b"a\n", b"", b"b\n")}) as server, Wire(server) as wire:
        for _ in range(2):
            answer = wire.get("/s")
            assert answer.headers["transfer-encoding"] == "chunked"
            assert "content-length" not in answer.headers
            assert answer.body == b"a\nb\n"
        assert wire.get().status == 200
        assert server.records[0]["status"] == 200  # type: ignore[attr-defined]


def test_items_arrive_before_the_next_one_is_made() -> None:
    go = threading.Semaphore(0)

    def produce() -> Iterator[bytes]:
        for n in range(3):
            yield b"%d\n" % n
            go.acquire(timeout=PATIENCE)

    route = Route(lambda r: Reply(stream=produce()))
    with serving({("GET", "/s"): route}) as server, Wire(server) as wire:
        wire.send("GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.head()[0] == 200
        for n in range(3):
            assert wire.chunk() == b"%d\n" % n
            go.release()
        assert wire.chunk() == b""


def test_http_10_gets_the_items_bare_and_the_end_by_closing() -> None:
    with serving({("GET", "/s"): stream(b"a\n", b"b\n")}) as server, Wire(server) as wire:
        answer = wire.send("GET /s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").answer()
        assert answer.headers["connection"] == "close"
        assert "transfer-encoding" not in answer.headers
        assert answer.body == b"a\nb\n"


def test_empty_stream_is_an_empty_body() -> None:
    with serving({("GET", "/s"): stream()}) as server, Wire(server) as wire:
        assert wire.get("/s").body == b""
        assert wire.get("/s").body == b""


def test_head_of_a_stream_makes_no_item() -> None:
    made: list[int] = []

    def produce() -> Iterator[bytes]:
        made.append(1)
        yield b"a"

    route = Route(lambda r: Reply(stream=produce()))
    with serving({("HEAD", "/s"): route, ("GET", "/s"): route}) as server, Wire(server) as wire:
        assert wire.get("/s", method="HEAD").status == 200
        assert wire.get().status == 200
        assert not made


def test_error_before_the_first_item_is_a_plain_error() -> None:
    routes = {
        ("GET", "/known"): stream(InvalidRequest("bad field")),
        ("GET", "/bug"): stream(KeyError("secret")),
    }
    with serving(routes) as server, Wire(server) as wire:
        answer = wire.get("/known")
        assert (answer.status, answer.json["error"]) == (400, "bad field")
        answer = wire.get("/bug")
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert wire.get().status == 200


def test_error_after_the_first_item_is_the_last_line() -> None:
    routes = {
        ("GET", "/known"): stream(b"1\n", DeadlineExceeded("too late")),
        ("GET", "/bug"): stream(b"1\n", OSError("secret")),
    }
    with serving(routes) as server, Wire(server) as wire:
        answer = wire.get("/known")
        assert answer.status == 200
        _first, last = answer.body.splitlines()
        assert last == b'{"error":"too late","code":"deadline_exceeded","detail":"too late"}'
        answer = wire.get("/bug")
        assert json.loads(answer.body.splitlines()[1])["code"] == "internal"
        assert b"secret" not in answer.body
        assert wire.get().status == 200
        records = server.records  # type: ignore[attr-defined]
        assert records[0]["code"] == "deadline_exceeded"
        assert "secret" in records[1]["traceback"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_hangs_up_closes_the_generator(how: str) -> None:
    closed = threading.Event()

    def produce() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.set()

    route = Route(lambda r: Reply(stream=produce()))
    with serving({("GET", "/s"): route}) as server:
        with Wire(server) as wire:
            wire.send("GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert wire.head()[0] == 200
            assert wire.chunk()
            if how == "reset":
                wire.reset()
        assert closed.wait(PATIENCE)
        until(lambda: not server.loop.connections)
        assert server.records[0]["error"]  # type: ignore[attr-defined]


def test_client_that_stops_reading_closes_the_generator() -> None:
    closed = threading.Event()

    def produce() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            closed.set()

    route = Route(lambda r: Reply(stream=produce()))
    limits = {"send_s": 0.2, "rate": 1_000_000_000}
    with serving({("GET", "/s"): route}, limits=limits) as server, Wire(server) as wire:
        wire.send("GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert closed.wait(PATIENCE)
        until(lambda: not server.loop.connections)


def test_streams_do_not_keep_others_from_being_served() -> None:
    opened = threading.Event()

    def produce() -> Iterator[bytes]:
        yield b"first\n"
        opened.wait(PATIENCE)
        yield b"last\n"

    route = Route(lambda r: Reply(stream=produce()))
    with serving({("GET", "/s"): route}) as server:
        wires = [Wire(server) for _ in range(50)]
        for wire in wires:
            wire.send("GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for wire in wires:
            assert wire.head()[0] == 200
            assert wire.chunk() == b"first\n"
        with Wire(server) as other:
            assert other.get().status == 200
        opened.set()
        for wire in wires:
            assert wire.chunk() == b"last\n"
            assert wire.chunk() == b""
            assert wire.get().status == 200
            wire.sock.close()


def test_streams_over_the_limit_are_told_so() -> None:
    opened = threading.Event()
    closed: list[int] = []

    def produce() -> Iterator[bytes]:
        try:
            yield b"first\n"
            opened.wait(PATIENCE)
        finally:
            closed.append(1)

    route = Route(lambda r: Reply(stream=produce()))
    with (
        serving({("GET", "/s"): route}, limits={"workers": 1}) as server,
        Wire(server) as first,
        Wire(server) as second,
    ):
        first.send("GET /s HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert first.head()[0] == 200
        assert first.chunk()
        answer = second.get("/s")
        assert (answer.status, answer.json["code"]) == (503, "queue_full")
        assert second.get().status == 200
        opened.set()
        assert first.chunk() == b""


@pytest.mark.parametrize("chunked", [False, True])
def test_body_is_read_line_by_line(chunked: bool) -> None:
    body = b"one\r\ntwo\n\nfour without end"
    with serving(READERS) as server, Wire(server) as wire:
        for _ in range(2):
            if chunked:
                head = f"POST /lines HTTP/1.1\r\nHost: localhost\r\n{NDJSON}\r\n"
                wire.send(f"{head}Transfer-Encoding: chunked\r\n\r\n")
                for i in range(0, len(body), 5):
                    part = body[i : i + 5]
                    wire.send(b"%x\r\n%b\r\n" % (len(part), part))
                wire.send("0\r\n\r\n")
                answer = wire.answer()
            else:
                answer = wire.post(body, NDJSON, target="/lines")
            assert answer.body == b"<one>\n<two>\n<>\n<four without end>\n"
        assert wire.post(b"", NDJSON, target="/count").body == b"0"
        assert wire.get().status == 200


def test_other_bodies_of_such_a_route_are_read_whole() -> None:
    with serving(READERS) as server, Wire(server) as wire:
        answer = wire.post(b"a\nb", "Content-Type: application/json", target="/lines")
        assert answer.body == b"<a>\n<b>\n"


def test_answers_flow_while_the_body_is_still_sent() -> None:
    with serving(READERS) as server, Wire(server) as wire:
        wire.send(f"POST /lines HTTP/1.1\r\nHost: localhost\r\n{NDJSON}\r\n"
                  "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        assert wire.answer().status == 100
        wire.send("3\r\nhi\n\r\n")
        assert wire.head()[0] == 200
        assert wire.chunk() == b"<hi>\n"
        wire.send("4\r\nyou\n\r\n0\r\n\r\n")
        assert wire.chunk() == b"<you>\n"
        assert wire.chunk() == b""
        assert wire.get().status == 200


def test_client_that_reads_only_after_it_has_sent_all_gets_its_answer() -> None:
    line = b"x" * 50_000 + b"\n"
    with serving(READERS) as server, Wire(server) as wire:
        wire.send(f"POST /lines HTTP/1.1\r\nHost: localhost\r\n{NDJSON}\r\n"
                  f"Content-Length: {len(line) * 600}\r\n\r\n")  # fmt: skip
        for _ in range(600):  # 30 MB: far more than the sockets hold
            wire.send(line)
        assert len(wire.answer().body) == (len(line) + 2) * 600
        assert wire.get().status == 200


def test_handler_that_does_not_read_its_body_closes() -> None:
    routes = {
        ("POST", "/no"): Route(lambda r: Reply(body=b"no"), stream_body=True),
        ("POST", "/nostream"): Route(lambda r: Reply(stream=iter([b"no"])), stream_body=True),
    }
    with serving(routes) as server:
        for target in ("/no", "/nostream"):
            with Wire(server) as wire:
                wire.send(f"POST {target} HTTP/1.1\r\nHost: localhost\r\n{NDJSON}\r\n"
                          "Content-Length: 3000000\r\n\r\n")  # fmt: skip
                wire.send(b"x" * 3_000_000)
                assert wire.answer().body == b"no"
                assert wire.closed()


def test_lines_over_their_limit_are_refused() -> None:
    with serving(READERS) as server:
        for body in (b"a" * 1001 + b"\nb", b"a" * 1001):
            with Wire(server) as wire:
                answer = wire.post(body, NDJSON, target="/count")
                assert (answer.status, answer.json["code"]) == (413, "too_large")


def test_streamed_body_has_the_routes_bound_only() -> None:
    routes = {**READERS, ("POST", "/few"): Route(count_lines, stream_body=True, max_body=20)}
    with serving(routes, limits={"max_body": 10}) as server:
        with Wire(server) as wire:
            assert wire.post(b"abc\n" * 100, NDJSON, target="/count").body == b"100"
            assert wire.post(b"abc\n" * 6, NDJSON, target="/few").status == 413
        with Wire(server) as wire:
            wire.send(f"POST /few HTTP/1.1\r\nHost: localhost\r\n{NDJSON}\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n15\r\n")  # fmt: skip
            assert wire.answer().status == 413


def test_body_that_stops_is_given_up() -> None:
    head = f"POST /count HTTP/1.1\r\nHost: localhost\r\n{NDJSON}\r\n"
    with serving(READERS, limits={"body_s": 0.2, "rate": 10**9}) as server:
        with Wire(server) as wire:
            wire.send(head + "Content-Length: 100\r\n\r\nabc\n")
            assert wire.answer().status == 408
            assert wire.closed()
        with Wire(server) as wire:
            wire.send(head + "Expect: 100-continue\r\nContent-Length: 100\r\n\r\n")
            assert wire.answer().status == 100  # it has begun to read
            wire.reset()
        records = server.records  # type: ignore[attr-defined]
        until(lambda: records[-1]["code"] == "cancelled")
        until(lambda: not server.loop.connections)


def test_bad_chunk_in_a_streamed_body() -> None:
    with serving(READERS) as server, Wire(server) as wire:
        wire.send(f"POST /lines HTTP/1.1\r\nHost: localhost\r\n{NDJSON}\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n2\r\na\n\r\nzz\r\n")  # fmt: skip
        said = wire.rest()
        assert b"bad_http" in said


def test_full_disk_while_a_body_is_put_aside_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import io
    import tempfile

    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **options: Full())
    line = b"x" * 50_000 + b"\n"
    with serving(READERS) as server, Wire(server) as wire:
        wire.send(f"POST /lines HTTP/1.1\r\nHost: localhost\r\n{NDJSON}\r\n"
                  f"Content-Length: {len(line) * 600}\r\n\r\n")  # fmt: skip
        with contextlib.suppress(ConnectionError):
            for _ in range(600):
                wire.send(line)
        records = server.records  # type: ignore[attr-defined]
        until(lambda: records)
        assert "no space left" in records[0]["error"]
