"""One client's connection: bytes in until a request is whole, bytes out until its answer is sent.

Its states are in http_states.py; a handler may answer at once, later (Later), or item by item
(http_stream.py).

Not covered: what a request means and whether it is allowed.
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

from tollama.core.errors import BadHttp, TollamaError, Unavailable
from tollama.daemon import http_exchange
from tollama.daemon.http_loop import READ, WRITE, Parked
from tollama.daemon.http_message import Later, Request
from tollama.daemon.http_parser import CHUNKED, Chunked, Head, framing, parse_head
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
        "_body",
        "_chunked",
        "_left",
        "_out",
        "_scanned",
        "buffer",
        "bytes_in",
        "bytes_out",
        "client",
        "error",
        "keep",
        "later",
        "loopback",
        "minor",
        "origin",
        "reader",
        "refusal",
        "request",
        "reserved",
        "route",
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
        self._scanned = 0
        self._out: list[memoryview] = []
        self._body: io.BytesIO | None = None
        self._chunked: Chunked | None = None
        self._left = 0
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
        if self.state == WAITING:
            http_exchange.finish(self)
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
            if self._scanned < len(self.buffer):  # left by the request before
                data = b""
            else:
                received = self._receive()
                if received is None:
                    return
                data = received
            self._read_head(self.buffer + data if self.buffer else data)
        elif self.state == BODY:
            received = self._receive()
            if received is not None:
                self._read_body(received)
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
                self._left -= len(received)
                if self._left < 0:
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
        if self.state == BODY and self._left > size and not self.tls:
            size = min(self._left, 4 * RECEIVE)
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

    def _read_head(self, buffer: bytes) -> None:
        limits = self.server.limits
        # Some clients end a body with an empty line that they do not count.
        while buffer.startswith(b"\r\n"):
            buffer = buffer[2:]
            self._scanned = 0
        seen = self._scanned
        end = buffer.find(b"\r\n\r\n", max(0, seen - 3), limits.max_head + 4)
        try:
            if end < 0:
                _check_partial(buffer, seen, limits.max_head, limits.max_target)
                if not self.buffer:
                    self.deadline = min(self.deadline, time.monotonic() + limits.headers_s)
                self.buffer = buffer
                self._scanned = len(buffer)
                return
            head = parse_head(
                buffer[:end], max_headers=limits.max_headers, max_target=limits.max_target
            )
            self.buffer = buffer[end + 4 :]
            self._scanned = 0
            self.started = time.monotonic()
            self._begin(head)
        except TollamaError as error:
            self.refuse(error)

    def _begin(self, head: Head) -> None:
        """Read on, run, or refuse: as the head says."""
        self.minor = head.minor
        length = framing(head)
        self.request = Request(
            head.method,
            head.target,
            head.headers,
            client=self.client,
            is_loopback=self.loopback,
            line=self,
        )
        self.unread = length != 0
        http_exchange.admit(self, head, length)
        expects = dict.get(head.headers, "expect") is not None and length and not self.buffer
        if self.refusal is not None:
            # A short body is read and dropped, so that the connection can be kept.
            if expects or length == CHUNKED or length > self.server.limits.small_body:
                self.refuse(self.refusal)
                return
        elif self.route is not None and length and http_exchange.streams_body(self):
            from tollama.daemon.http_stream import BodyReader

            self.reader = BodyReader(self, length, expects=bool(expects))
            http_exchange.run(self)
            return
        if length == 0:
            http_exchange.run(self)
            return
        if length > 0 and not self.reserve(length):
            self.refuse(_crowded())
            return
        if expects:
            self.say_continue()
        self.state = BODY
        limits = self.server.limits
        self.deadline = self.started + limits.body_s + max(0, length) / limits.rate
        self._left = max(0, length)
        if length == CHUNKED:
            self._chunked = Chunked(http_exchange.max_body(self))
            self._body = io.BytesIO()
        data, self.buffer = self.buffer, b""
        if data:
            self._read_body(data)

    def _read_body(self, data: bytes) -> None:
        request = self.request
        assert request is not None
        if self._chunked is not None and self._body is not None:
            try:
                piece = self._chunked.feed(data)
            except TollamaError as error:
                self.refuse(error)
                return
            self._body.write(piece)
            self.deadline += len(piece) / self.server.limits.rate
            if not self.reserve(self._body.tell()):
                self.refuse(_crowded())
                return
            if not self._chunked.done:
                return
            self.buffer = self._chunked.rest
        elif self._body is None and len(data) >= self._left:  # all of it in one piece, as most are
            self.buffer = data[self._left :]
            request.body = data[: self._left] if self.buffer else data
        else:
            if self._body is None:
                self._body = io.BytesIO()
            self._body.write(data[: self._left])
            if len(data) < self._left:
                self._left -= len(data)
                return
            self.buffer = data[self._left :]
        if self._body is not None:
            request.body = self._body.getvalue()
            self._body = self._chunked = None
        self.bytes_in = len(request.body)
        self.unread = False
        http_exchange.run(self)

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
        self._left = _LINGER_MAX
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
        self._body = self._chunked = None

    def _shake(self) -> None:
        try:
            self.sock.do_handshake()  # type: ignore[attr-defined]
        except ssl.SSLWantReadError:
            self.want = READ
        except ssl.SSLWantWriteError:
            self.want = WRITE
        except (OSError, ValueError):
            self.close()
        else:
            self.state = HEAD
            self.want = READ

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
        return iter(self.request.body.splitlines())

    def waiting(self) -> AbstractContextManager[None]:
        """A `with` block in which another thread runs the loop."""
        return self.server.loop.crew.waiting()


def _check_partial(buffer: bytes, seen: int, max_head: int, max_target: int) -> None:
    """Refuse a head that cannot become good, without waiting for its end."""
    if buffer[:1] == b"\x16":
        raise BadHttp("expected http, got the start of a TLS handshake: use http://, not https://")
    feed = buffer.find(b"\n", seen)
    if feed >= 0 and buffer[feed - 1 : feed] != b"\r":
        raise BadHttp("request head: expected lines that end with CR LF, got a bare LF")
    if len(buffer) > max_target + 64 and b"\r\n" not in buffer[: max_target + 64]:
        raise BadHttp(f"request target: expected at most {max_target} bytes", status=414)
    if len(buffer) > max_head:
        raise BadHttp(f"headers: expected at most {max_head} bytes", status=431)


def _crowded() -> Unavailable:
    return Unavailable("too many bytes of request bodies are in flight", retry_after=1)
