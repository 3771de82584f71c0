"""daemon/http_workers.py through the server: requests that wait leave the others alone."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import pytest
from http_probe import PATIENCE, Route, Wire, serving, until

from tollama.core.errors import QueueFull
from tollama.daemon.http import Reply, Request, Server
from tollama.daemon.http_message import Later
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


class Deferred:
    """A handler that gives a Later and keeps it for the test to end."""

    def __init__(self, deadline: float = float("inf")) -> None:
        self.laters: list[Later] = []
        self.gone = 0
        self.deadline = deadline

    def __call__(self, request: Request) -> Later:
        def gone() -> None:
            self.gone += 1

        def finish() -> Reply:
            if request.body == b"fail":
                raise QueueFull("full")
            if request.body == b"stream":
                return Reply(stream=iter([b"a", b"b"]))
            return Reply(body=request.body)

        later = Later(finish, gone=gone, deadline=time.monotonic() + self.deadline)
        if request.body == b"now":
            later.done()
        self.laters.append(later)
        return later


def test_later_answers_hold_no_thread() -> None:
    deferred = Deferred()
    with serving({("POST", "/later"): Route(deferred)}) as server:
        wires = [Wire(server) for _ in range(300)]
        for n, wire in enumerate(wires):
            wire.send(f"POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n{n:04}")
        until(lambda: len(deferred.laters) == 300)
        assert server.loop.crew.threads <= 2
        with Wire(server) as other:
            assert other.get().status == 200
        for later in reversed(deferred.laters):
            later.done()
            later.done()
        for n, wire in enumerate(wires):
            assert wire.answer().body == b"%04d" % n
            assert wire.get().status == 200
            wire.sock.close()
        assert deferred.gone == 0


def test_later_answer_may_be_there_already_fail_or_stream() -> None:
    deferred = Deferred()
    with serving({("POST", "/later"): Route(deferred)}) as server, Wire(server) as wire:
        assert wire.post(b"now", target="/later").body == b"now"
        for body, status in ((b"fail", 503), (b"stream", 200)):
            before = len(deferred.laters)
            head = f"POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            wire.send(head.encode() + body)
            until(lambda before=before: len(deferred.laters) > before)
            threading.Thread(target=deferred.laters[-1].done).start()
            assert wire.answer().status == status
        assert wire.get().status == 200


def test_later_answer_is_given_up_when_the_client_leaves() -> None:
    deferred = Deferred()
    with serving({("POST", "/later"): Route(deferred)}) as server:
        for leave in (lambda w: w.sock.close(), lambda w: w.reset()):
            seen = deferred.gone
            wire = Wire(server)
            wire.send("POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na")
            until(lambda: len(server.loop.connections) == 1)
            until(lambda: len(deferred.laters) == 1)
            leave(wire)
            until(lambda seen=seen: deferred.gone == seen + 1)
            deferred.laters.pop().done()  # too late, and harmless
            until(lambda: not server.loop.connections)
        assert [r["status"] for r in server.records] == [499, 499]  # type: ignore[attr-defined]


def test_pipelined_request_waits_for_a_later_answer() -> None:
    deferred = Deferred()
    with serving({("POST", "/later"): Route(deferred)}) as server, Wire(server) as wire:
        one = "POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n"
        wire.send(one + "a" + one + "b")
        until(lambda: len(deferred.laters) == 1)
        wire.send(one + "c")
        with Wire(server) as other:
            assert other.get().status == 200
        for n, body in enumerate((b"a", b"b", b"c")):
            until(lambda n=n: len(deferred.laters) == n + 1)
            deferred.laters[n].done()
            assert wire.answer().body == body
        assert deferred.gone == 0


def test_later_answer_is_finished_at_its_deadline() -> None:
    deferred = Deferred(deadline=0.05)
    with serving({("POST", "/later"): Route(deferred)}) as server, Wire(server) as wire:
        assert wire.post(b"late", target="/later").body == b"late"


def test_later_answers_end_a_drain() -> None:
    deferred = Deferred()
    with serving({("POST", "/later"): Route(deferred)}) as server, Wire(server) as wire:
        wire.send("POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na")
        until(lambda: deferred.laters)
        result: list[bool] = []
        thread = threading.Thread(target=lambda: result.append(server.drain(PATIENCE)))
        thread.start()
        until(lambda: server.draining)
        deferred.laters[0].done()
        assert wire.answer().headers["connection"] == "close"
        thread.join(PATIENCE)
        assert result == [True]


def test_later_answers_ended_by_many_threads_are_all_sent() -> None:
    todo: queue.SimpleQueue[Later | None] = queue.SimpleQueue()

    def handler(request: Request) -> Later:
        later = Later(lambda: Reply(body=request.body))
        todo.put(later)
        return later

    def work() -> None:
        while (later := todo.get()) is not None:
            later.done()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    with serving({("POST", "/later"): Route(handler)}) as server:

        def client(n: int) -> None:
            with Wire(server) as wire:
                for k in range(100):
                    body = b"%d-%d" % (n, k)
                    assert wire.post(body, target="/later").body == body

        clients = [threading.Thread(target=client, args=(n,)) for n in range(16)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(PATIENCE)
        records = server.records  # type: ignore[attr-defined]
        until(lambda: len(records) == 1600)
    for _ in workers:
        todo.put(None)
    for worker in workers:
        worker.join(PATIENCE)
