"""The event loop of the HTTP front: it accepts, watches sockets and deadlines, runs what is ready.

One thread runs it at a time (http_workers.py). It parks every connection that has nothing to say,
and is the only one that touches the selector: a thread that is done with a connection puts it on
`_chores`.

Not covered: what a connection does with its bytes (http_connection.py).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import selectors
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from tollama.daemon.http_workers import Crew

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE
_ACCEPTS = 64  # a round, so that a flood of connects cannot keep requests waiting
_PAUSE = 0.2  # seconds without accepting when there are no file descriptors left
_DRAIN_LOOK = 0.02
_AFTER_DEFECT = 0.05  # so that one that stays does not fill the log


class Parked:
    """What the loop knows of a connection.

    `busy`: a thread owns it, nobody else touches it. `want`: the events that it waits for (0 and
    `closed`: none). `again`: it has bytes left to work on. `deadline`: monotonic seconds.
    """

    __slots__ = ("again", "busy", "closed", "deadline", "mask", "sock", "want")

    def resumed(self) -> bool:
        """Whether what it waited for outside of its socket is there."""
        raise NotImplementedError

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock = sock
        self.deadline = deadline
        self.busy = False
        self.closed = False
        self.again = False
        self.want = READ
        self.mask = 0

    def ready(self) -> None:
        """Do what can be done now, then set `want`, `again`, `closed`, `deadline`."""
        raise NotImplementedError

    def expired(self) -> None:
        """The deadline has passed: the same."""
        raise NotImplementedError

    def idle(self) -> bool:
        """Whether closing it now would lose nothing."""
        raise NotImplementedError

    def close(self) -> None:
        """Give everything back and set `closed`."""
        raise NotImplementedError


class Watched(Parked):
    """A pipe that the loop reads for somebody: `read(fd)` takes what is there, False at its end."""

    __slots__ = ("_read",)

    def __init__(self, fd: int, read: Callable[[int], bool]) -> None:
        # A descriptor of its own: the owner may close the pipe at any moment.
        super().__init__(io.FileIO(os.dup(fd)), float("inf"))  # type: ignore[arg-type]
        self._read = read

    def resumed(self) -> bool:
        """Never: it waits for bytes alone."""
        return False

    def ready(self) -> None:
        """Take what is there."""
        if not self._read(self.sock.fileno()):
            self.closed = True

    def close(self) -> None:
        """Watch it no more."""
        self.closed = True


class Loop:
    """Listeners, connections and deadlines.

    `admit(sock, address, count)` makes a Parked of a new socket, given how many there are already.
    """

    def __init__(
        self,
        admit: Callable[[socket.socket, object, int], Parked | None],
        *,
        limit: int,
        retire_s: float,
        stall_s: float,
    ) -> None:
        self._admit = admit
        self.crew = Crew(self._safe_turn, limit=limit, retire_s=retire_s, stall_s=stall_s)
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._ready: deque[Parked] = deque()
        self._chores: deque[Parked] = deque()
        self._resumed: deque[Parked] = deque()
        self._next_look = float("inf")
        self._asleep = False
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self._selector.register(self._woken, READ, None)
        self._listeners: list[socket.socket] = []
        self._accepting = False
        self._resume_at = float("inf")
        self.connections: set[Parked] = set()
        self._watched: set[Parked] = set()
        self.draining = False
        self.drained = threading.Event()

    def start(self, listeners: list[socket.socket]) -> None:
        """Begin to accept, on threads of its own."""
        self._listeners = listeners
        self._accept(True)
        self.crew.start()

    def drain(self) -> None:
        """Accept no more, close what is idle, let the rest end; `drained` is set at the end."""
        self.draining = True
        self._next_look = 0.0
        self._poke()

    def stop(self, timeout: float) -> None:
        """Cut every connection; wait so long for the threads to notice."""
        self.crew.stop()
        self._poke()
        for parked in list(self.connections):
            with contextlib.suppress(OSError):  # gone already
                parked.sock.shutdown(socket.SHUT_RDWR)
        if not self.crew.ended.wait(timeout):
            return  # a handler is stuck: its thread still uses these
        for parked in (*self.connections, *self._watched):
            parked.sock.close()
        self.connections.clear()
        self._watched.clear()
        self._selector.close()
        os.close(self._woken)
        os.close(self._waker)

    def watch(self, fd: int, read: Callable[[int], bool]) -> Callable[[], None]:
        """Have `read` called when `fd` has bytes or its end, in the thread that runs the loop.

        So an answer of a runner costs no switch between threads. Returns what ends the watch.
        """
        watched = Watched(fd, read)
        self._watched.add(watched)
        self.settle(watched)

        def end() -> None:
            with self._lock:
                watched.closed = True
                self._chores.append(watched)
            if self._asleep:
                self._poke()

        return end

    def settle(self, parked: Parked) -> None:
        """The owner of `parked` has done what it could; any thread may say so."""
        with self._lock:
            parked.busy = False
            if parked.resumed():
                parked.again = True
            if (
                parked.want == parked.mask
                and parked.deadline >= self._next_look
                and not parked.again
                and not parked.closed
            ):
                return
            self._chores.append(parked)
        if self._asleep:
            self._poke()

    def resume(self, parked: Parked) -> None:
        """`parked.resumed()` has become true; any thread may say so."""
        self._resumed.append(parked)
        if self._asleep:
            self._poke()

    def _poke(self) -> None:
        self._asleep = False
        try:
            os.write(self._waker, b"!")
        except BlockingIOError:  # it has not even read the last ones
            return
        except OSError as error:
            if error.errno != errno.EBADF:
                raise

    def _safe_turn(self) -> None:
        try:
            self._turn()
        except Exception:  # a defect of ours must not end the thread that everything hangs on
            traceback.print_exc(file=sys.stderr)
            time.sleep(_AFTER_DEFECT)

    def _turn(self) -> None:
        """One round: the chores, then one connection that is ready, or a wait for some."""
        while self._chores:
            self._tend(self._chores.popleft())
        while self._resumed:
            parked = self._resumed.popleft()
            with self._lock:  # a busy one is seen to when it is settled
                if not parked.busy and parked.resumed():
                    self._ready.append(parked)
        if self._ready:
            parked = self._ready.popleft()
            if parked.busy or parked.closed:
                return
            parked.busy = True
            self.crew.busy()
            try:
                parked.ready()
            except Exception:
                traceback.print_exc(file=sys.stderr)
                parked.close()
            self.settle(parked)
            self.crew.rested()
            return
        now = time.monotonic()
        if now >= self._next_look:
            self._look(now)
            now = time.monotonic()
        self._asleep = True
        timeout = 0.0 if self._chores or self._resumed else max(0.0, self._next_look - now)
        events = self._selector.select(None if timeout == float("inf") else timeout)
        self._asleep = False
        for key, _ in events:
            parked = key.data
            if isinstance(parked, Parked):
                if parked.busy:
                    self._mute(parked)
                else:
                    self._ready.append(parked)
            elif parked is None:
                self._drink()
            else:
                self._welcome(parked)

    def _tend(self, parked: Parked) -> None:
        if parked.busy:
            return  # its new owner settles it again
        if parked.closed:
            if parked.mask:
                self._selector.unregister(parked.sock)
                parked.mask = 0
            self.connections.discard(parked)
            self._watched.discard(parked)
            parked.sock.close()
            return
        if parked.deadline < self._next_look:
            self._next_look = parked.deadline
        if parked.want != parked.mask:
            if not parked.want:
                self._selector.unregister(parked.sock)
            elif parked.mask:
                self._selector.modify(parked.sock, parked.want, parked)
            else:
                self._selector.register(parked.sock, parked.want, parked)
            parked.mask = parked.want
        if parked.again:
            parked.again = False
            self._ready.append(parked)

    def _mute(self, parked: Parked) -> None:
        """Bytes (or the end) while a request is running: look again when it is done."""
        with self._lock:
            if parked.busy and parked.mask:
                self._selector.unregister(parked.sock)
                parked.mask = 0

    def _drink(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._woken, 4096):
                continue

    def _welcome(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._accept(False)
                    self._resume_at = time.monotonic() + _PAUSE
                    self._next_look = min(self._next_look, self._resume_at)
                    return
                continue  # that client has gone again
            try:
                parked = self._admit(sock, address, len(self.connections))
            except OSError:
                parked = None
            if parked is None:
                sock.close()
                continue
            self.connections.add(parked)
            self._tend(parked)

    def _accept(self, on: bool) -> None:
        if on == self._accepting:
            return
        self._accepting = on
        for listener in self._listeners:
            if on:
                self._selector.register(listener, READ, listener)
            else:
                self._selector.unregister(listener)

    def _look(self, now: float) -> None:
        """Expire what is overdue and find the next deadline: O(connections), seldom."""
        if self.draining:
            self._accept(False)
            for listener in self._listeners:
                listener.close()
            self._listeners.clear()
        elif now >= self._resume_at:
            self._resume_at = float("inf")
            self._accept(True)
        soonest = self._resume_at
        for parked in list(self.connections):
            if parked.busy:
                continue
            if parked.deadline <= now or (self.draining and parked.idle()):
                parked.busy = True
                parked.expired()
                self.settle(parked)
            soonest = min(soonest, parked.deadline)
        if self.draining:
            if not self.connections:
                self.drained.set()
            soonest = min(soonest, now + _DRAIN_LOOK)
        self._next_look = soonest
