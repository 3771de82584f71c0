"""The threads of the HTTP front: one leads, the others wait or follow.

The leader runs the event loop **and** the handlers, in one thread, so a cheap request costs no
switch between threads. A handler that is about to wait (for a model) says so, and another thread
takes the lead before it does. A handler that says nothing and computes for long is noticed by the
lookout, which gives the lead away for it. So a thread exists for each request that waits, and runs
Python for about one: that is what keeps 256 connections from queueing for the interpreter's lock.

Not covered: what a turn of the loop does (http_loop.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tollama.core.errors import QueueFull

STACK = 4 * 1024 * 1024
"""Bytes reserved (not used) for a thread's stack. CPython 3.13 overruns 1 MiB on `[[[[...` in json,
and musl and macOS give threads less than that by default."""

_SPARE = 4  # threads over those that wait: the leader, the next one, and handlers that only compute
_QUIET = 50  # checks without a turn after which the lookout sleeps until it is woken


class _Worker:
    """One thread: `gate` is held until it is given the lead or told to end."""

    __slots__ = ("gate", "lane", "nested")

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.lane = False
        self.nested = 0


class Crew:
    """A pool of threads that take turns at leading a loop.

    `turn` is one round of the loop: it brackets work that may take long with `busy()` and
    `rested()`. At most `limit` threads wait in `waiting()` at once.
    """

    def __init__(
        self, turn: Callable[[], None], *, limit: int, retire_s: float, stall_s: float
    ) -> None:
        self._turn = turn
        self._limit = limit
        self._retire_s = retire_s
        self._stall_s = stall_s
        self._lock = threading.Lock()
        self._here = threading.local()
        self._leader: _Worker | None = None
        self._idle: list[_Worker] = []
        self._busy_since = 0.0
        self._turns = 0
        self._waiting = 0
        self._lane = threading.Lock()
        self._alarm = threading.Lock()
        self._alarm.acquire()
        self._lookout_sleeps = False
        self.stopped = False
        self.threads = 0
        self.ended = threading.Event()
        self.ended.set()

    def start(self) -> None:
        """Start a leader and the lookout."""
        with self._lock:
            self._lead_on()
        self._spawn(self._look_out, "tollama-lookout")

    def stop(self) -> None:
        """Let every thread end when what it is doing ends."""
        with self._lock:
            self.stopped = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.gate.release()
        self._ring()

    def leads(self) -> bool:
        """Whether the calling thread is the leader."""
        return getattr(self._here, "worker", None) is self._leader

    def busy(self) -> None:
        """The leader is about to run code of unknown length."""
        self._busy_since = time.monotonic()
        self._turns += 1
        if self._lookout_sleeps:
            self._ring()

    def rested(self) -> None:
        """That code has ended; the thread may have lost the lead in it."""
        with self._lock:
            if self._here.worker is self._leader:
                self._busy_since = 0.0

    def waiting(self) -> Waiting:
        """A `with` block in which the calling thread is not the leader; raises QueueFull."""
        return Waiting(self)

    def leave(self) -> None:
        """Give up the lead, if the thread has it; see `waiting`."""
        worker: _Worker | None = getattr(self._here, "worker", None)
        if worker is None:
            return
        worker.nested += 1
        if worker.nested > 1:
            return
        try:
            with self._lock:
                if self._waiting >= self._limit:
                    raise QueueFull(f"{self._limit} requests are waiting already", retry_after=1)
                if self._leader is worker:
                    self._lead_on()
                self._waiting += 1
        except BaseException:
            worker.nested -= 1
            raise
        self.step_out()

    def come_back(self) -> None:
        """End of a wait: queue up for the right to run Python."""
        worker: _Worker | None = getattr(self._here, "worker", None)
        if worker is None:
            return
        worker.nested -= 1
        if worker.nested:
            return
        with self._lock:
            self._waiting -= 1
        worker.lane = self._lane.acquire(timeout=0.05)

    def step_out(self) -> None:
        """Let the next thread that has waited run."""
        worker: _Worker = self._here.worker
        if worker.lane:
            worker.lane = False
            self._lane.release()

    def _lead_on(self) -> None:
        """Under the lock: give the lead to an idle thread, or to a new one; raises QueueFull."""
        self._busy_since = 0.0
        if self._idle:
            self._leader = self._idle.pop()
            self._leader.gate.release()
            return
        if self.threads > self._limit + _SPARE:
            raise QueueFull(f"{self.threads} requests are running already", retry_after=1)
        worker = _Worker()
        before, self._leader = self._leader, worker
        try:
            self._spawn(lambda: self._run(worker), "tollama-http")
        except RuntimeError as error:  # no more threads, says the system
            self._leader = before
            raise QueueFull(
                f"no thread is left for this request: {error}", retry_after=1
            ) from error
        self.threads += 1
        self.ended.clear()

    def _spawn(self, target: Callable[[], None], name: str) -> None:
        before = threading.stack_size(STACK)
        try:
            threading.Thread(target=target, name=name, daemon=True).start()
        finally:
            threading.stack_size(before)

    def _run(self, worker: _Worker) -> None:
        self._here.worker = worker
        try:
            while True:
                while self._leader is worker and not self.stopped:
                    self._turn()
                self.step_out()
                if not self._follow(worker):
                    return
        finally:
            with self._lock:
                self.threads -= 1
                if not self.threads:
                    self.ended.set()

    def _follow(self, worker: _Worker) -> bool:
        """Wait for the lead; False when the thread should end."""
        with self._lock:
            if self.stopped:
                return False
            self._idle.append(worker)
        if not worker.gate.acquire(timeout=self._retire_s):
            with self._lock:
                if worker in self._idle and len(self._idle) > 1:
                    self._idle.remove(worker)
                    return False
            worker.gate.acquire()  # the last idle thread stays, or the lead came just now
        return not self.stopped

    def _look_out(self) -> None:
        seen, quiet = 0, 0
        while not self.stopped:
            if quiet >= _QUIET:
                self._lookout_sleeps = True
                if self._turns == seen:
                    self._alarm.acquire()
                self._lookout_sleeps = False
            else:
                self._alarm.acquire(timeout=self._stall_s)
            quiet = quiet + 1 if self._turns == seen else 0
            seen = self._turns
            with self._lock:
                since = self._busy_since
                if since and time.monotonic() - since > self._stall_s:
                    try:
                        self._lead_on()
                    except QueueFull:
                        continue  # tried again at the next look
            if since:
                quiet = 0

    def _ring(self) -> None:
        self._lookout_sleeps = False
        if self._alarm.locked():
            try:
                self._alarm.release()
            except RuntimeError:  # another thread rang at the same moment
                return


class Waiting:
    """The `with` block of Crew.waiting."""

    __slots__ = ("_crew",)

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def __enter__(self) -> None:
        self._crew.leave()

    def __exit__(self, *_: object) -> None:
        self._crew.come_back()
