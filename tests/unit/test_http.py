"""The HTTP front over real sockets: requests and their answers."""

from __future__ import annotations

import json
import threading

import pytest
from http_probe import PATIENCE, Route, Wire, serving, until

from tollama.core.errors import InvalidRequest, QueueFull, TollamaError, Unavailable
from tollama.daemon.http import Reply, Request, Server


@pytest.fixture(scope="module")
def server():  # type: ignore[no-untyped-def]
    with serving() as running:
        yield running


@pytest.fixture
def wire(server: Server):  # type: ignore[no-untyped-def]
    with Wire(server) as client:
        yield client


def test_get_answers_with_its_headers(wire: Wire) -> None:
    answer = wire.get("/", "X-Test: 1")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["date"].endswith("GMT")
    assert "connection" not in answer.headers
    assert answer.json["headers"] == {"host": "localhost", "x-test": "1"}
    assert answer.json["client"] == "127.0.0.1"
    assert answer.json["is_loopback"] is True


def test_path_and_query_are_split_before_they_are_decoded() -> None:
    with serving({("GET", "*"): Route(lambda r: Reply(body=json.dumps(
        [r.path, r.raw_path, r.query]).encode()))}) as server, Wire(server) as wire:  # fmt: skip
        assert wire.get("/a%3Fb%2Fc%20d?x=1&y=%C3%A4&x=2&empty=").json == [
            "/a?b/c d", "/a%3Fb%2Fc%20d", {"x": "2", "y": "ä", "empty": ""},
        ]  # fmt: skip
        for target in ("/?x=%ff", "/?" + "&".join("a=1" for _ in range(99))):
            assert wire.get(target).status == 400, target
        for target in ("/%ff", "/a%00b", "/%0d%0a"):
            with Wire(server) as other:
                assert other.get(target).status == 400, target


def test_keep_alive_serves_many_requests_on_one_connection(wire: Wire) -> None:
    for n in range(50):
        assert wire.post(b"%d" % n).body == b"%d" % n


def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    one = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"
    wire.send("".join(f"{one}{n:03}" for n in range(200)))
    assert [wire.answer().body for _ in range(200)] == [b"%03d" % n for n in range(200)]


def test_empty_lines_before_a_request_are_skipped(wire: Wire) -> None:
    wire.send("\r\n\r\n")
    assert wire.get().status == 200
    wire.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na\r\n")
    assert wire.answer().body == b"a"
    assert wire.get().status == 200


def test_connection_close_is_honoured(wire: Wire) -> None:
    answer = wire.get("/", "Connection: close")
    assert answer.headers["connection"] == "close"
    assert wire.closed()


def test_http_10_closes_unless_it_asks_to_be_kept(server: Server) -> None:
    with Wire(server) as wire:
        wire.send("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        assert wire.answer().headers["connection"] == "keep-alive"
        wire.send("GET / HTTP/1.0\r\n\r\n")
        assert wire.answer().headers["connection"] == "close"
        assert wire.closed()


def test_request_in_single_bytes_is_understood(wire: Wire) -> None:
    for byte in b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody":
        wire.send(bytes([byte]))
    assert wire.answer().body == b"body"


def test_head_is_get_without_a_body(server: Server, wire: Wire) -> None:
    answer = wire.get(method="HEAD")
    assert answer.status == 200
    assert int(answer.headers["content-length"]) > 100
    assert wire.get().status == 200
    missing = wire.get("/missing", method="HEAD")
    assert missing.status == 404
    assert wire.get().status == 200


def test_options_tells_the_methods(wire: Wire) -> None:
    answer = wire.get(method="OPTIONS")
    assert answer.status == 204
    assert answer.headers["allow"] == "GET, POST, HEAD, OPTIONS"
    assert "content-length" not in answer.headers
    assert wire.get("*", method="OPTIONS").status == 204
    assert wire.get("/missing", method="OPTIONS").status == 404


def test_unknown_paths_and_methods(wire: Wire) -> None:
    answer = wire.post(b"a body that is read and dropped", target="/missing")
    assert answer.status == 404
    assert answer.json == {
        "error": "no such path: /missing", "code": "not_found", "detail": "no such path: /missing",
    }  # fmt: skip
    answer = wire.post(b"{}", method="DELETE")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
    assert wire.get().status == 200  # still the same connection


def test_request_id_is_echoed_or_made(server: Server, wire: Wire) -> None:
    answer = wire.get("/", "X-Request-ID: abc-123")
    assert answer.headers["x-request-id"] == answer.json["id"] == "abc-123"
    assert wire.get("/", "X-Request-ID: a b\x85c\td").headers["x-request-id"] == "abcd"
    assert wire.get("/", f"X-Request-ID: {'a' * 300}").headers["x-request-id"] == "a" * 128
    made = {wire.get().headers["x-request-id"] for _ in range(3)}
    made.add(wire.get("/", "X-Request-ID: \x85").headers["x-request-id"])
    made.add(wire.get("/missing").headers["x-request-id"])
    assert len(made) == 5
    assert all(made)
    assert wire.send("nonsense\r\n\r\n").answer().headers["x-request-id"]


def test_large_bodies_go_both_ways(wire: Wire) -> None:
    body = bytes(range(256)) * 20_000
    sender = threading.Thread(target=lambda: wire.send(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    ))  # fmt: skip
    sender.start()
    assert wire.answer().body == body
    sender.join(PATIENCE)
    assert wire.get().status == 200


def test_slow_reader_of_a_large_answer_gets_it_all_and_holds_no_thread() -> None:
    big = b"x" * 30_000_000
    routes = {("GET", "/big"): Route(lambda r: Reply(body=big))}
    with serving(routes) as server, Wire(server) as slow, Wire(server) as other:
        slow.send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert other.get().status == 200
        assert other.get().status == 200
        threads = server.loop.crew.threads
        assert threads <= 2
        assert slow.answer().body == big
        assert slow.get().status == 200


@pytest.mark.parametrize("cut", [1, 3, 7, 1000])
def test_chunked_request_body(wire: Wire, cut: int) -> None:
    body = b"Hello, World!" * 50
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = [body[i : i + 13] for i in range(0, len(body), 13)]
    data = head + b"".join(b"%X\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    for i in range(0, len(data), cut):
        wire.send(data[i : i + cut])
    assert wire.answer().body == body
    assert wire.get().status == 200


def test_bad_chunks_are_refused(wire: Wire) -> None:
    wire.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
    answer = wire.answer()
    assert (answer.status, answer.json["code"]) == (400, "bad_http")
    assert wire.closed()


def test_expect_continue_is_answered_before_the_body(wire: Wire) -> None:
    head = "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n"
    assert wire.send(head).answer().status == 100
    assert wire.send("body").answer().body == b"body"
    wire.send(head + "body")  # a client that does not wait is not told to go on
    assert wire.answer().status == 200


def test_expect_continue_is_refused_without_the_body(server: Server) -> None:
    for target, extra, status in (
        ("/missing", "", 404),
        ("/", "Content-Encoding: gzip\r\n", 415),
        ("/", "Expect: tea\r\n", 417),
    ):
        with Wire(server) as wire:
            expect = "" if "Expect" in extra else "Expect: 100-continue\r\n"
            wire.send(f"POST {target} HTTP/1.1\r\nHost: localhost\r\n{expect}{extra}"
                      "Content-Length: 4\r\n\r\n")  # fmt: skip
            if status == 417:
                wire.send("body")
            answer = wire.answer()
            assert answer.status == status
            if status != 417:
                assert wire.closed()


def test_content_encoding_needs_a_route_that_decodes() -> None:
    routes = {("POST", "/z"): Route(lambda r: Reply(body=r.body), encodings=("gzip",))}
    with serving(routes) as server, Wire(server) as wire:
        assert wire.post(b"x", "Content-Encoding: gzip").status == 415
        assert wire.post(b"x", "Content-Encoding: identity").status == 200
        assert wire.post(b"x", "Content-Encoding: GZIP", target="/z").status == 200
        assert wire.post(b"x", "Content-Encoding: br", target="/z").status == 415


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        ("GET / HTTP/1.1\nHost: localhost\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\n\r\n", 505),
        ("\x16\x03\x01\x02", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", 411),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
         "Content-Length: 3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_bad_requests_are_refused(wire: Wire, data: str, status: int) -> None:
    answer = wire.send(data).answer()
    assert answer.status == status
    assert set(answer.json) == {"error", "code", "detail"}
    if status != 403:
        assert answer.headers["connection"] == "close"
        assert wire.closed()


def test_smuggled_request_is_never_served(server: Server, wire: Wire) -> None:
    seen = len(server.records)  # type: ignore[attr-defined]
    wire.send(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    assert wire.answer().status == 400
    assert wire.closed()
    assert len(server.records) == seen + 1  # type: ignore[attr-defined]


def test_origin_decides_what_a_page_may_do() -> None:
    with serving(origins=("https://app.example",)) as server, Wire(server) as wire:
        json_type = "Content-Type: application/json; charset=utf-8"
        for origin in ("http://localhost:3000", "https://app.example"):
            answer = wire.post(b"{}", f"Origin: {origin}", json_type)
            assert answer.status == 200
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["vary"] == "Origin"
            missing = wire.get("/missing", f"Origin: {origin}")
            assert (missing.status, missing.headers.get("access-control-allow-origin")) == (
                404,
                origin,
            )
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            answer = wire.post(b"{}", "Origin: https://app.example", f"Content-Type: {kind}")
            assert answer.status == 415
        assert wire.post(b"{}", "Origin: https://app.example").status == 415
        assert wire.post(b"{}", "Content-Type: text/plain").status == 200  # no page
        for answer in (
            wire.get("/", "Origin: https://evil.example"),
            wire.get("/", "Origin: null"),
            wire.post(b"{}", "Origin: https://evil.example", json_type),
            wire.get("/", "Origin: https://evil.example", method="OPTIONS"),
        ):
            assert answer.status == 403
            assert "access-control-allow-origin" not in answer.headers


def test_preflight_of_an_allowed_page(wire: Wire) -> None:
    answer = wire.get(
        "/", "Origin: http://localhost:1", "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: content-type, x-request-id", method="OPTIONS",
    )  # fmt: skip
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "http://localhost:1"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "content-type, x-request-id"


def fails(error: Exception) -> Route:
    def handler(request: Request) -> Reply:
        raise error

    return Route(handler)


def test_errors_of_handlers_become_answers() -> None:
    routes = {
        ("POST", "/invalid"): fails(InvalidRequest.of([(("series", 0), "bad\ud800")])),
        ("GET", "/full"): fails(QueueFull("queue is full", retry_after=2.4)),
        ("GET", "/bug"): fails(KeyError("secret thing")),
        ("GET", "/split"): Route(lambda r: Reply(headers=(("X-A", "b\r\nSet-Cookie: c"),))),
    }
    with serving(routes) as server, Wire(server) as wire:
        answer = wire.post(b"{}", target="/invalid")
        assert answer.status == 400
        assert answer.json["detail"][0]["loc"] == ["body", "series", 0]
        answer = wire.get("/full")
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert answer.json["code"] == "queue_full"
        answer = wire.get("/bug", "X-Request-ID: find-me")
        assert answer.status == 500
        assert answer.json["code"] == "internal"
        assert "find-me" in answer.json["error"]
        assert b"secret" not in answer.body
        records = server.records  # type: ignore[attr-defined]
        until(lambda: any("secret thing" in r.get("traceback", "") for r in list(records)))
        answer = wire.get("/split")
        assert answer.status == 500
        assert "set-cookie" not in answer.headers


def test_broken_reply_does_not_hang_the_client() -> None:
    routes = {("GET", "/none"): Route(lambda r: None)}  # type: ignore[arg-type, return-value]
    with serving(routes) as server:
        with Wire(server) as wire:
            assert wire.get("/none").status == 500
        with Wire(server) as wire:
            assert wire.get().status == 200


def test_dialect_shapes_its_own_errors() -> None:
    def shape(request: Request | None, error: TollamaError) -> Reply:
        if request is not None and request.path == "/worse":
            raise RuntimeError("even this fails")
        return Reply(error.status + 1, b"mine", content_type="text/plain", headers=(("X-A", "b"),))

    with serving(error_reply=shape) as server, Wire(server) as wire:
        answer = wire.get("/missing")
        assert (answer.status, answer.body, answer.headers["x-a"]) == (405, b"mine", "b")
        assert wire.get("/worse").status == 500
        assert wire.send("nonsense\r\n\r\n").answer().body == b"mine"


def test_every_request_is_logged_once() -> None:
    def log_fails(record: dict[str, object]) -> None:
        raise ValueError("no log")

    with serving() as server, Wire(server) as wire:
        wire.post(b"12345", "X-Request-ID: one", target="/?token=secret")
        wire.get("/missing")
        wire.send("nonsense\r\n\r\n").answer()
        records = server.records  # type: ignore[attr-defined]
        until(lambda: len(records) == 3)
        first, second, third = records
        assert first["ms"] >= 0
        assert first["bytes_out"] > 5
        picked = ("id", "method", "path", "status", "bytes_in", "client")
        assert [first[key] for key in picked] == ["one", "POST", "/", 200, 5, "127.0.0.1"]
        assert (second["path"], second["status"], second["code"]) == ("/missing", 404, "not_found")
        assert (third["path"], third["status"], third["code"]) == (None, 400, "bad_http")


def test_log_that_fails_harms_no_request(capfd: pytest.CaptureFixture[str]) -> None:
    def log(record: dict[str, object]) -> None:
        raise ValueError("no log today")

    with serving(log=log) as server, Wire(server) as wire:
        assert wire.get().status == 200
        assert wire.get().status == 200
    assert "no log today" in capfd.readouterr().err


def test_resolver_that_fails_is_a_500() -> None:
    def resolve(method: str, path: str) -> Route:
        raise ZeroDivisionError

    with serving() as server, Wire(server) as wire:
        server.resolve = resolve
        assert wire.get().status == 500
        assert wire.get().status == 500


def test_retry_after_is_a_whole_second_at_least() -> None:
    route = fails(Unavailable("soon", retry_after=0.1))
    with serving({("GET", "/u"): route}) as server, Wire(server) as wire:
        assert wire.get("/u").headers["retry-after"] == "1"
