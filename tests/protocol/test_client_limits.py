"""What one client may ask for, over real sockets and on the clock of the limiter itself."""

from __future__ import annotations

import os
import threading

import pytest
from http_probe import Route, Wire, serving, until

from tollama.core.errors import BadHttp, TooManyRequests
from tollama.daemon import limits
from tollama.daemon.http_message import Later, Reply
from tollama.daemon.limits import Clients, named


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(limits.time, "monotonic", lambda: self.now)


def admitted(clients, who, count):
    found = 0
    for _ in range(count):
        try:
            clients.enter(who)
        except TooManyRequests:
            continue
        clients.leave(who)
        found += 1
    return found


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_a_bucket_holds_so_many_and_is_refilled_evenly(clock):
    clients = Clients(rate=(60, 60.0), at_once=0)
    assert admitted(clients, "a", 100) == 60
    clock.now += 10
    assert admitted(clients, "a", 100) == 10
    clock.now += 10_000
    assert admitted(clients, "a", 100) == 60


def test_when_to_come_back_is_said_and_holds(clock):
    clients = Clients(rate=(2, 60.0), at_once=0)
    admitted(clients, "a", 2)
    with pytest.raises(TooManyRequests) as found:
        clients.enter("a")
    assert found.value.retry_after == 30
    clock.now += 30
    assert admitted(clients, "a", 5) == 1


def test_clients_do_not_pay_for_each_other(clock):
    clients = Clients(rate=(1, 1.0), at_once=0)
    assert [admitted(clients, who, 3) for who in ("a", "b", "c")] == [1, 1, 1]


def test_only_so_many_run_at_once(clock):
    clients = Clients(rate=None, at_once=2)
    clients.enter("a")
    clients.enter("a")
    with pytest.raises(TooManyRequests, match="2 requests running"):
        clients.enter("a")
    clients.enter("b")
    clients.leave("a")
    clients.enter("a")


def test_a_refused_request_takes_nothing(clock):
    clients = Clients(rate=(5, 1.0), at_once=1)
    clients.enter("a")
    for _ in range(50):
        with pytest.raises(TooManyRequests):
            clients.enter("a")
    clients.leave("a")
    assert admitted(clients, "a", 10) == 4


def test_invented_clients_do_not_grow_the_daemon(clock, monkeypatch):
    monkeypatch.setattr(limits, "KNOWN", 100)
    clients = Clients(rate=(1, 3600.0), at_once=0)
    clients.enter("busy")
    for number in range(1000):
        admitted(clients, str(number), 1)
    assert len(clients._known) <= 100
    assert "busy" in clients._known


def test_addresses_of_one_customer_are_one_client():
    assert named("127.0.0.1") == "127.0.0.1"
    assert named("::ffff:10.0.0.1") == "10.0.0.1"
    assert named("2001:db8:1:2::1") == named("2001:db8:1:2:ffff::9") != named("2001:db8:1:3::1")
    assert named("fe80::1%eth0") == named("fe80::2%eth1")
    assert named("unix") == "unix"


def counted(clients, handler):
    """A handler as routes.py binds it."""

    def limited(request):
        clients.enter("x")
        try:
            reply = handler(request)
        except BaseException:
            clients.leave("x")
            raise
        return clients.until_sent("x", reply)

    return Route(limited)


def running(clients):
    return clients._known.get("x", [0, 0, 0])[2]


def test_a_request_counts_until_its_answer_ends_whatever_it_is():
    clients = Clients(rate=None, at_once=1)
    go = threading.Event()
    waiting = []

    def flows(request):
        def items():
            yield b"first\n"
            with request.blocking():
                go.wait(20)
            yield b"last\n"

        return Reply(stream=items())

    def later(request):
        answer = Later(lambda: Reply(body=b"there"))
        waiting.append(answer)
        return answer

    def broken(request):
        raise BadHttp("no")

    def breaks_off(request):
        def items():
            yield b"a"
            raise BadHttp("no")

        return Reply(stream=items())

    def late_failure(request):
        def finish():
            raise BadHttp("no")

        answer = Later(finish)
        answer.done()
        return answer

    def late_stream(request):
        answer = Later(lambda: Reply(stream=iter([b"x"] * 3)))
        answer.done()
        return answer

    handlers = {"flows": flows, "later": later, "broken": broken, "off": breaks_off,
                "late": late_failure, "stream": late_stream}  # fmt: skip
    routes = {("GET", f"/{name}"): counted(clients, made) for name, made in handlers.items()}
    with serving(routes) as server, Wire(server) as wire, Wire(server) as other:
        for name, status in (("broken", 400), ("off", 200), ("late", 400), ("stream", 200)):
            assert wire.get(f"/{name}").status == status
            assert running(clients) == 0, name
        assert wire.get("/stream", method="HEAD").status == 200
        until(lambda: running(clients) == 0)
        assert wire.get("/flows", method="HEAD").status == 200
        until(lambda: running(clients) == 0)
        wire.send("GET /flows HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.head()
        assert wire.chunk() == b"first\n"
        answer = other.get("/later")
        assert answer.status == 429
        assert answer.headers["retry-after"] == "1"
        assert answer.json["code"] == "rate_limited"
        go.set()
        assert wire.chunk() == b"last\n"
        assert wire.chunk() == b""
        until(lambda: running(clients) == 0)
        other.send("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: waiting)
        assert running(clients) == 1
        waiting.pop().done()
        assert other.answer().body == b"there"
        until(lambda: running(clients) == 0)
        # A client that leaves gives its place back.
        other.send("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: waiting)
        other.sock.close()
        until(lambda: running(clients) == 0)
        go.clear()
        wire.send("GET /flows HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.head()
        wire.reset()
        go.set()
        until(lambda: running(clients) == 0)


def test_connections_of_one_address_are_bounded_and_others_come_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serving(limits={"max_per_client": 3}, unix_socket="t.sock") as server:
        few = [Wire(server) for _ in range(3)]
        assert [wire.get().status for wire in few] == [200] * 3
        with Wire(server) as late:
            answer = late.answer()
            assert answer.status == 429
            assert answer.json["code"] == "rate_limited"
            assert "retry-after" in answer.headers
        assert [wire.get().status for wire in few] == [200] * 3
        import socket

        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(os.path.abspath("t.sock")[-100:] if len(os.getcwd()) > 90 else "t.sock")
        with Wire(sock) as elsewhere:
            assert elsewhere.get().status == 200
        few[0].sock.close()
        until(lambda: len(server.loop.connections) < 3)
        with Wire(server) as again:
            assert again.get().status == 200
        for wire in few:
            wire.sock.close()


def test_without_a_limit_a_route_is_bound_to_nothing_more():
    from tollama.daemon.access import Access
    from tollama.daemon.routes import ROUTES, _bind

    access = Access((), "/nowhere")
    for route in ROUTES:
        opened = route.scope == "open"
        assert _bind(route, None, access, None).__name__ == ("<lambda>" if opened else "checked")
        bound = _bind(route, None, access, Clients(rate=(1, 1.0), at_once=0)).__name__
        assert bound == ("<lambda>" if opened else "limited")
