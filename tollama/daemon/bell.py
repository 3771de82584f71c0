"""A way to wake one thread that waits for a pipe or for time.

POSIX: a pipe, so that one poll waits for a runner's output and for the bell. Windows cannot poll
pipes: there a reader thread puts what it read into the bell's queue."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import select
import threading

POLLS = hasattr(select, "poll")
# poll(2) takes a C int of milliseconds.
_LONGEST_MS = (1 << 31) - 1


def milliseconds(timeout: float | None) -> int | None:
    """A timeout as poll wants it, rounded up so that a short wait is not a spin."""
    if timeout is None or timeout == math.inf:
        return None
    return min(max(0, math.ceil(timeout * 1000)), _LONGEST_MS)


class Bell:
    """Rung by any thread, heard by its one owner; rings that were not heard yet count once."""

    def __init__(self) -> None:
        self._rung = False
        # A ring on its way must not write into whatever gets the number of a closed pipe.
        self._lock = threading.Lock()
        self.fd = self._write = -1
        # Windows only: (source, chunk) of the reader threads, None for a ring.
        self.queue: queue.SimpleQueue[tuple[object, bytes] | None] = queue.SimpleQueue()
        if POLLS:
            self.fd, self._write = os.pipe()
            os.set_blocking(self.fd, False)
            os.set_blocking(self._write, False)

    def ring(self) -> None:
        """Wake the owner; never blocks, and does nothing once it is closed."""
        if self._rung:
            return
        with self._lock:
            self._rung = True
            if not POLLS:
                self.queue.put(None)
            elif self._write >= 0:
                os.write(self._write, b"\0")

    def clear(self) -> None:
        """Forget the rings so far; look at the state that they announce after this."""
        if POLLS:
            with contextlib.suppress(BlockingIOError):
                os.read(self.fd, 4096)
        self._rung = False

    def wait(self, timeout: float | None) -> None:
        """Sleep until it rings or `timeout` seconds have passed."""
        if POLLS:
            poller = select.poll()
            poller.register(self.fd, select.POLLIN)
            poller.poll(milliseconds(timeout))
        else:
            with contextlib.suppress(queue.Empty):
                self.queue.get(timeout=None if timeout == math.inf else timeout)
        self.clear()

    def close(self) -> None:
        """Let go of the pipe."""
        with self._lock:
            if POLLS and self.fd >= 0:
                os.close(self.fd)
                os.close(self._write)
            self.fd = self._write = -1
