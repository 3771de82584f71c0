"""One client's connection: what it waits for, and the bytes of an answer until they are sent.

Its states are in http_states.py; a handler may answer at once, later (Later), or item by item
(http_stream.py).

Not covered: from bytes to a request (http_intake.py), from there to a reply (http_exchange.py).
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from tollama.core.errors import BadHttp, TollamaError
from tollama.daemon import http_exchange, http_intake
from tollama.daemon.http_loop import READ, WRITE, Parked
from tollama.daemon.http_message import Later, Request
from tollama.daemon.http_parser import Chunked, split_lines
from tollama.daemon.http_states import (
    BODY,
    FLUSH,
    HEAD,
    LINGER,
    NOT_NOW,
    RECEIVE,
    SHAKE,
    WAITING,
)

if TYPE_CHECKING:
    from tollama.daemon.http import Server
    from tollama.daemon.http_exchange import Route
    from tollama.daemon.http_stream import BodyReader

_ROUND = 1024 * 1024  # bytes sent to one client before the others get their turn
_LINGER_MAX = 64 * 1024 * 1024
_HANGUP = getattr(select, "POLLRDHUP", 0)


class Connection(Parked):
    """A client's connection and the request that it is at."""

    __slots__ = (
        "_out",
        "body",
        "buffer",
        "bytes_in",
        "bytes_out",
        "chunked",
        "client",
        "error",
        "keep",
        "later",
        "left",
        "loopback",
        "minor",
        "origin",
        "reader",
        "refusal",
        "request",
        "reserved",
        "route",
        "scanned",
        "server",
        "started",
        "state",
        "status",
        "tls",
        "trusted",
        "unread",
    )

    def __init__(self, server: Server, sock: socket.socket, client: str, loopback: bool) -> None:
        self.tls = isinstance(sock, ssl.SSLSocket)
        super().__init__(sock, time.monotonic() + server.limits.headers_s)
        self.server = server
        self.client = client
        self.loopback = loopback
        self.trusted = client == "unix"
        self.state = SHAKE if self.tls else HEAD
        self.buffer = b""
        self.scanned = 0
        self._out: list[memoryview] = []
        self.body: io.BytesIO | None = None
        self.chunked: Chunked | None = None
        self.left = 0
        self.reserved = 0
        self.started = 0.0
        self._forget()

    def _forget(self) -> None:
        """No request is under way."""
        self.request: Request | None = None
        self.later: Later | None = None
        self.route: Route | None = None
        self.reader: BodyReader | None = None
        self.refusal: TollamaError | None = None
        self.error: dict[str, object] | None = None
        self.origin: str | None = None
        self.keep = False
        self.unread = False  # bytes of the body are still to come: the connection cannot be kept
        self.minor = 1
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0

    # What the loop asks.

    def idle(self) -> bool:
        """Whether no request has begun and nothing is left to send."""
        return self.state in (SHAKE, HEAD) and not self.buffer

    def expired(self) -> None:
        """Too late: tell a client that has begun a request, close."""
        if self.state == WAITING and self.later is not None:
            self.later.is_done = True  # `finish` has to say it; but not here, where the loop waits
        elif self.state == BODY or (self.state == HEAD and self.buffer):
            what = "body" if self.state == BODY else "head"
            self.refuse(BadHttp(f"the {what} of the request did not arrive in time", status=408))
        else:
            if self.state == FLUSH:
                self.error = {"error": "the client did not read the answer in time"}
                http_exchange.log(self)
            self.close()

    def ready(self) -> None:
        """Take or give the bytes that can move now."""
        if self.state == HEAD:
            if self.scanned < len(self.buffer):  # left by the request before
                data = b""
            else:
                received = self._receive()
                if received is None:
                    return
                data = received
            http_intake.read_head(self, self.buffer + data if self.buffer else data)
        elif self.state == BODY:
            received = self._receive()
            if received is not None:
                http_intake.read_body(self, received)
        elif self.state == WAITING:
            if self.resumed():
                http_exchange.finish(self)
            elif self.gone():
                self.status = 499
                self.error = {"error": "the client went away", "code": "cancelled"}
                http_exchange.log(self)
                self.close()
            else:
                self.want = 0  # a next request, for later
        elif self.state == FLUSH:
            self._flush()
        elif self.state == LINGER:
            received = self._receive()
            if received is not None:
                self.left -= len(received)
                if self.left < 0:
                    self.close()
        elif self.state == SHAKE:
            self._shake()

    def resumed(self) -> bool:
        """Whether the answer that was waited for is there."""
        return self.state == WAITING and self.later is not None and self.later.is_done

    def wait_for(self, later: Later) -> None:
        """Wait for an answer without a thread."""
        self.later = later
        self.state = WAITING
        self.deadline = later.deadline
        later.bind(lambda: self.server.loop.resume(self))

    # In.

    def _receive(self) -> bytes | None:
        """Some bytes; None when there are none now, or no more for good (then it is closed)."""
        size = RECEIVE
        if self.state == BODY and self.left > size and not self.tls:
            size = min(self.left, 4 * RECEIVE)
        try:
            data = self.sock.recv(size)
        except NOT_NOW:
            return None
        except OSError:
            data = b""
        if not data:
            self.close()
            return None
        return data

    def reserve(self, size: int) -> bool:
        """Count a body of `size` bytes as in flight; False when there are too many."""
        if size <= self.server.limits.small_body:
            return True
        if not self.server.reserve(size - self.reserved):
            return False
        self.reserved = size
        return True

    def say_continue(self) -> None:
        """Tell a client that waits for it to send the body."""
        with contextlib.suppress(OSError):  # a client that does not wait for ever sends it anyway
            self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Out.

    def refuse(self, error: TollamaError) -> None:
        """Answer with an error before the request was read to its end, and close."""
        self.keep = False
        self.unread = True
        http_exchange.respond_error(self, error)

    def send(self, head: bytes, body: bytes) -> None:
        """Send an answer, as much as can go now; the loop sends the rest."""
        self.bytes_out = len(head) + len(body)
        limits = self.server.limits
        if len(body) <= RECEIVE:
            head += body
            body = b""
        self._out = [memoryview(head)]
        if body:
            self._out.append(memoryview(body))
        self.state = FLUSH
        self.deadline = time.monotonic() + limits.send_s + self.bytes_out / limits.rate
        self._flush()

    def _flush(self) -> None:
        sent = 0
        while self._out:
            try:
                count = self.sock.send(self._out[0])
            except NOT_NOW:
                self.want = WRITE
                return
            except OSError:
                self.error = {**(self.error or {}), "error": "the client went away"}
                http_exchange.log(self)
                self.close()
                return
            if count == len(self._out[0]):
                del self._out[0]
            else:
                self._out[0] = self._out[0][count:]
            sent += count
            if sent > _ROUND and self._out:
                self.want = WRITE
                return
        self.sent()

    def sent(self) -> None:
        """The answer is out: wait for the next request, or close."""
        http_exchange.log(self)
        if not self.keep:
            self.finish()
            return
        self._release()
        self._forget()
        self.state = HEAD
        self.want = READ
        self.again = bool(self.buffer)
        limits = self.server.limits
        self.deadline = time.monotonic() + (limits.headers_s if self.buffer else limits.idle_s)

    def finish(self) -> None:
        """Close, so that a client still sending can read its answer first."""
        if not self.unread and not self.buffer:
            self.close()
            return
        self._release()
        self._forget()
        self.buffer = b""
        try:
            if not self.tls:
                self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self.state = LINGER
        self.want = READ
        self.left = _LINGER_MAX
        self.deadline = time.monotonic() + self.server.limits.linger_s

    def close(self) -> None:
        """Close; the loop forgets it when it is settled."""
        if self.tls and not self.closed and self.state != SHAKE:
            with contextlib.suppress(OSError, ValueError):
                self.sock.unwrap()  # type: ignore[attr-defined]
        later = self.later
        self._release()
        self._forget()
        self._out = []
        self.closed = True
        if later is not None:
            later.take()[1]()

    def _release(self) -> None:
        if self.reserved:
            self.server.reserve(-self.reserved)
            self.reserved = 0
        self.body = self.chunked = None

    def _shake(self) -> None:
        try:
            self.sock.do_handshake()  # type: ignore[attr-defined]
        except ssl.SSLWantReadError:
            self.want = READ
        except ssl.SSLWantWriteError:
            self.want = WRITE
        except (OSError, ValueError) as error:
            if getattr(error, "reason", None) == "HTTP_REQUEST":
                self._undress()
            else:
                self.close()
        else:
            self.state = HEAD
            self.want = READ

    def _undress(self) -> None:
        """Tell a client that speaks http to a port of https."""
        self.sock = socket.socket(fileno=self.sock.detach())
        self.tls = False
        self.refuse(BadHttp("this port speaks https: use https://, not http://"))

    # What a Request asks.

    def gone(self) -> bool:
        """Whether the client has closed; bytes of a next request do not count."""
        if self.closed:
            return True
        try:
            if self.tls and _HANGUP:  # a TLS client says good-bye in bytes of its own
                poll = select.poll()
                poll.register(self.sock, _HANGUP)
                return bool(poll.poll(0))
            return not socket.socket.recv(self.sock, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def body_lines(self, max_line: int) -> Iterator[bytes]:
        """The lines of the request's body."""
        if self.reader is not None:
            return self.reader.lines(max_line)
        assert self.request is not None
        return split_lines([self.request.body], max_line)

    def waiting(self) -> AbstractContextManager[None]:
        """A `with` block in which another thread runs the loop."""
        return self.server.loop.crew.waiting()
