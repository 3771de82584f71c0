"""daemon/http_workers.py through the server: requests that wait leave the others alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from http_probe import PATIENCE, Route, Wire, serving, until

from tollama.core.errors import QueueFull
from tollama.daemon.http import Reply, Request, Server
from tollama.daemon.http_workers import Crew


class Gate:
    """A handler that waits until it is opened, saying so to the server or not."""

    def __init__(self, *, says_so: bool) -> None:
        self.opened = threading.Event()
        self.lock = threading.Lock()
        self.inside = 0
        self.says_so = says_so

    def __call__(self, request: Request) -> Reply:
        with self.lock:
            self.inside += 1
        if self.says_so:
            with request.blocking(), request.blocking():
                self.opened.wait(PATIENCE)
        else:
            self.opened.wait(PATIENCE)
        with self.lock:
            self.inside -= 1
        return Reply(body=request.body or b"opened")


def waiting_clients(server: Server, gate: Gate, count: int) -> list[Wire]:
    wires = [Wire(server) for _ in range(count)]
    for n, wire in enumerate(wires):
        wire.send(f"POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n{n:04}")
    until(lambda: gate.inside == count, "all are waiting")
    return wires


def finish(wires: list[Wire], gate: Gate) -> None:
    gate.opened.set()
    for n, wire in enumerate(wires):
        assert wire.answer().body == b"%04d" % n
        assert wire.get().status == 200
        wire.sock.close()


@pytest.mark.parametrize(("says_so", "count"), [(True, 300), (False, 20)])
def test_waiting_requests_do_not_keep_others_from_being_served(says_so: bool, count: int) -> None:
    gate = Gate(says_so=says_so)
    with serving({("POST", "/wait"): Route(gate)}) as server:
        wires = waiting_clients(server, gate, count)
        with Wire(server) as other:
            for _ in range(20):
                assert other.get().status == 200
        finish(wires, gate)


def test_idle_threads_end() -> None:
    gate = Gate(says_so=True)
    with serving({("POST", "/wait"): Route(gate)}, limits={"retire_s": 0.05}) as server:
        finish(waiting_clients(server, gate, 40), gate)
        until(lambda: server.loop.crew.threads <= 2)
        with Wire(server) as wire:
            assert wire.get().status == 200


def test_too_many_waiting_requests_are_told_so() -> None:
    gate = Gate(says_so=True)
    with serving({("POST", "/wait"): Route(gate)}, limits={"workers": 5}) as server:
        wires = waiting_clients(server, gate, 5)
        with Wire(server) as late:
            answer = late.post(b"late", target="/wait")
            assert (answer.status, answer.json["code"]) == (503, "queue_full")
            assert "retry-after" in answer.headers
            assert late.get().status == 200
        gate.inside -= 1  # the late one came in and was sent away
        finish(wires, gate)


def test_handlers_that_hide_their_waiting_do_not_get_threads_without_bound() -> None:
    gate = Gate(says_so=False)
    with serving({("POST", "/wait"): Route(gate)}, limits={"workers": 4}) as server:
        wires = [Wire(server) for _ in range(30)]
        for n, wire in enumerate(wires):
            wire.send(f"POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n{n:04}")
        until(lambda: gate.inside >= 8)
        assert server.loop.crew.threads <= 10
        finish(wires, gate)


def test_no_thread_left_in_the_system_is_a_clear_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(says_so=True)
    with serving({("POST", "/wait"): Route(gate)}) as server:

        def spawn(target: Callable[[], None], name: str) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(server.loop.crew, "_spawn", spawn)
        with Wire(server) as wire:
            answer = wire.post(b"1234", target="/wait")
            assert answer.status == 503
            assert "can't start new thread" in answer.json["error"]
            assert wire.get().status == 200
        monkeypatch.undo()
        gate.inside = 0
        finish(waiting_clients(server, gate, 3), gate)


def test_client_that_has_gone_is_noticed_by_a_handler_that_asks() -> None:
    seen = threading.Event()
    inside = threading.Event()

    def handler(request: Request) -> Reply:
        assert not request.disconnected()
        inside.set()
        with request.blocking():
            until(request.disconnected, "the client is gone")
        seen.set()
        return Reply()

    with serving({("GET", "/ask"): Route(handler)}) as server:
        for leave in (lambda w: w.sock.close(), lambda w: w.reset()):
            seen.clear()
            inside.clear()
            wire = Wire(server).send("GET /ask HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert inside.wait(PATIENCE)
            leave(wire)
            assert seen.wait(PATIENCE)
        until(lambda: not server.loop.connections)


def test_pipelined_request_is_not_a_disconnect() -> None:
    gate = threading.Event()

    def handler(request: Request) -> Reply:
        with request.blocking():
            gate.wait(PATIENCE)
        return Reply(body=b"gone" if request.disconnected() else b"there")

    with serving({("GET", "/ask"): Route(handler)}) as server, Wire(server) as wire:
        wire.send("GET /ask HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        with Wire(server) as other:  # the loop has seen the bytes and muted the connection
            assert other.get().status == 200
        gate.set()
        assert wire.answer().body == b"there"
        assert [wire.answer().status for _ in range(3)] == [200] * 3


def test_deep_json_does_not_overrun_a_threads_stack() -> None:
    import json

    def handler(request: Request) -> Reply:
        with pytest.raises(RecursionError):
            json.loads(request.body)
        with request.blocking(), pytest.raises(RecursionError):
            json.loads(request.body)
        return Reply()

    with serving({("POST", "/deep"): Route(handler)}) as server, Wire(server) as wire:
        for text in (b"[" * 200_000, b'{"a":' * 200_000):
            assert wire.post(text, target="/deep").status == 200


def test_crew_gives_the_lead_away_from_a_turn_that_takes_long() -> None:
    """Two turns at once are possible only when the second thread was given the lead."""
    meet = threading.Barrier(2)
    met = threading.Event()

    def turn() -> None:
        crew.busy()
        if not met.is_set():
            meet.wait(PATIENCE)
            met.set()
        crew.rested()
        time.sleep(0.001)

    crew = Crew(turn, limit=3, retire_s=0.1, stall_s=0.005)
    crew.start()
    assert met.wait(PATIENCE)
    crew.stop()
    assert crew.ended.wait(PATIENCE)


def test_waiting_outside_of_the_crew_is_nothing_special() -> None:
    crew = Crew(lambda: None, limit=0, retire_s=0.1, stall_s=0.1)
    with crew.waiting(), crew.waiting():
        assert crew.threads == 0


def test_crew_of_nobody_refuses_to_wait() -> None:
    found: list[BaseException] = []

    def turn() -> None:
        try:
            with crew.waiting():
                pass
        except QueueFull as error:
            found.append(error)
        crew.stop()

    crew = Crew(turn, limit=0, retire_s=0.1, stall_s=0.1)
    crew.start()
    assert crew.ended.wait(PATIENCE)
    assert found
