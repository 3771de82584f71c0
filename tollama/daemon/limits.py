"""What one client may ask for: requests in a time, and requests at once. Off unless it is set.

A client is its API key, else its address; of IPv6 the first half, which is what one customer gets.

Not covered: connections (http.py), queues of models (scheduler.py).
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator

from tollama.core.errors import TooManyRequests
from tollama.daemon.http_message import Later, Reply

KNOWN = 10_000  # clients remembered: one that invents addresses must not grow the daemon
_WHOLE = 1 - 1e-6  # what a bucket of floats must hold for one request


class Clients:
    """The clients of a daemon, each with a bucket that a request takes one from.

    `rate` is (requests, seconds): so many at once, refilled evenly; None and 0 are no limit.
    """

    def __init__(self, *, rate: tuple[int, float] | None, at_once: int) -> None:
        self._size, seconds = rate or (0, 1.0)
        self._per_second = self._size / seconds
        self._at_once = at_once
        self._lock = threading.Lock()
        self._known: dict[str, list[float]] = {}  # client -> [left, as of, running]

    def enter(self, client: str) -> None:
        """Count a request; raises TooManyRequests when it is one too many."""
        now = time.monotonic()
        with self._lock:
            found = self._known.get(client)
            if found is None:
                if len(self._known) >= KNOWN:
                    self._forget(now)
                found = self._known[client] = [float(self._size), now, 0]
            if self._at_once and found[2] >= self._at_once:
                raise TooManyRequests(
                    f"this client has {self._at_once} requests running already "
                    "(TOLLAMA_MAX_PER_CLIENT)",
                    retry_after=1,
                )
            if self._size:
                found[0] = min(self._size, found[0] + (now - found[1]) * self._per_second)
                found[1] = now
                if found[0] < _WHOLE:
                    raise TooManyRequests(
                        "this client sends more requests than it may (TOLLAMA_RATE_LIMIT)",
                        retry_after=math.ceil((_WHOLE - found[0]) / self._per_second),
                    )
                found[0] -= 1
            found[2] += 1

    def leave(self, client: str) -> None:
        """A request has ended."""
        with self._lock:
            found = self._known.get(client)
            if found is not None and found[2]:
                found[2] -= 1

    def until_sent(self, client: str, reply: Reply | Later) -> Reply | Later:
        """The reply, at whose end the request is no longer counted."""
        if isinstance(reply, Later):
            finish, gone = reply.finish, reply.gone

            def finished() -> Reply:
                try:
                    whole = finish()
                except BaseException:
                    self.leave(client)
                    raise
                counted = self.until_sent(client, whole)
                assert isinstance(counted, Reply)
                return counted

            def left() -> None:
                self.leave(client)
                gone()

            reply.finish, reply.gone = finished, left
            return reply
        if reply.stream is not None:
            return reply._replace(stream=_Counted(self, client, reply.stream))
        self.leave(client)
        return reply

    def _forget(self, now: float) -> None:
        """Make room: who runs nothing and has a whole bucket again, else the oldest."""
        for client, (left, at, running) in list(self._known.items()):
            if not running and left + (now - at) * self._per_second >= self._size:
                del self._known[client]
        idle = (client for client, found in self._known.items() if not found[2])
        if len(self._known) >= KNOWN and (oldest := next(idle, None)) is not None:
            del self._known[oldest]


class _Counted(Iterator[bytes]):
    """A stream that tells its end, also when nobody began to read it."""

    def __init__(self, clients: Clients, client: str, stream: Iterator[bytes]) -> None:
        self._clients: Clients | None = clients
        self._client = client
        self._stream = stream

    def __next__(self) -> bytes:
        try:
            return next(self._stream)
        except BaseException:
            self.close()  # before its last bytes are sent: the client may ask again at once
            raise

    def close(self) -> None:
        clients, self._clients = self._clients, None
        if clients is None:
            return
        try:
            close = getattr(self._stream, "close", None)
            if close is not None:
                close()
        finally:
            clients.leave(self._client)


def named(address: str) -> str:
    """What an address counts as: itself, of IPv6 its first 64 bits."""
    if ":" not in address or address.startswith("::ffff:"):
        return address.removeprefix("::ffff:")
    try:
        return socket.inet_pton(socket.AF_INET6, address.partition("%")[0])[:8].hex()
    except OSError:
        return address
