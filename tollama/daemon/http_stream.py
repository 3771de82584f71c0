"""Bodies that flow: answers sent item by item, requests read line by line, or both at once.

The thread that runs the handler does the waiting here, outside the loop. While an answer waits for
room and the client is still sending, what arrives is put aside: most clients read nothing before
they have sent all, and would wait for us while we wait for them.

Not covered: requests and answers that are whole.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING

from tollama.core.errors import (
    BadHttp,
    Cancelled,
    DiskFull,
    QueueFull,
    TollamaError,
)
from tollama.daemon import http_exchange
from tollama.daemon.http_loop import READ, WRITE
from tollama.daemon.http_message import Later, Reply, error_line
from tollama.daemon.http_parser import CHUNKED, Chunked, split_lines
from tollama.daemon.http_states import NOT_NOW, RECEIVE, RUNNING

if TYPE_CHECKING:
    from tollama.daemon.http_connection import Connection

_IN_MEMORY = 4 * 1024 * 1024
_SPOOL_MAX = 4 * 1024 * 1024 * 1024  # bytes put aside on disk before we stop reading ahead


def run_reading(conn: Connection) -> None:
    """Run a handler that reads its body line by line."""
    try:
        with conn.waiting():
            reply = http_exchange.answer(conn)
            if isinstance(reply, Later):
                conn.wait_for(reply)
                return
            if reply.stream is not None:
                _send_stream(conn, reply)
                return
            if conn.reader is not None and not conn.reader.done:
                conn.unread = True
            http_exchange.respond(conn, reply)
    except QueueFull as error:
        conn.refuse(error)


def send_stream(conn: Connection, reply: Reply) -> None:
    """Send a streamed reply on this thread, while another one runs the loop."""
    try:
        with conn.waiting():
            _send_stream(conn, reply)
    except QueueFull as error:
        _close(reply.stream)
        http_exchange.respond_error(conn, error)


def _send_stream(conn: Connection, reply: Reply) -> None:
    stream = reply.stream
    assert stream is not None and conn.request is not None
    conn.state = RUNNING
    try:
        if conn.request.method == "HEAD":
            http_exchange.respond(conn, reply)
            return
        try:
            item = next(stream, b"")
        except TollamaError as error:
            http_exchange.respond_error(conn, error)
            return
        except Exception:
            http_exchange.respond_error(conn, http_exchange._unexpected(conn, conn.request))
            return
        head, _ = http_exchange.encode(conn, reply)
        chunked = conn.minor and reply.length is None
        wrap = _chunk if chunked else bytes
        # Where the length is known an error cannot be a line of its own: the answer is cut off.
        rest = _guarded(conn, stream) if reply.length is None else _measured(stream, reply, item)
        try:
            _send(conn, head + wrap(item))
            for item in rest:
                if conn.gone():
                    raise Cancelled("the client went away")
                if item:
                    _send(conn, wrap(item))
            if conn.reader is not None and not conn.reader.done:
                # What is still to come belongs to a request that has been answered.
                conn.keep = False
                conn.unread = True
            if chunked:
                _send(conn, b"0\r\n\r\n")
        except (OSError, TollamaError) as error:  # of a chunked stream itself they are items
            conn.error = {**(conn.error or {}), "error": str(error) or "the client went away"}
            conn.bytes_in = conn.reader.size if conn.reader is not None else conn.bytes_in
            http_exchange.log(conn)
            conn.close()
            return
        conn.bytes_in = conn.reader.size if conn.reader is not None else conn.bytes_in
        conn.sent()
    finally:
        _close(stream)


def _chunk(item: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(item), item) if item else b""


def _guarded(conn: Connection, stream: Iterator[bytes]) -> Iterator[bytes]:
    """The items of a stream, and its error as the last of them."""
    try:
        yield from stream
    except TollamaError as error:
        conn.error = {"code": error.code}
        yield error_line(error)
    except Exception:
        yield error_line(http_exchange._unexpected(conn, conn.request))


def _measured(stream: Iterator[bytes], reply: Reply, first: bytes) -> Iterator[bytes]:
    """The items of a stream; raises OSError unless they add up to its length."""
    left = (reply.length or 0) - len(first)
    for item in stream:
        left -= len(item)
        if left < 0:
            break
        yield item
    if left:
        raise OSError("the answer has another length than was promised")


def _close(stream: Iterator[bytes] | None) -> None:
    close: Callable[[], None] | None = getattr(stream, "close", None)
    if close is not None:
        close()


def _send(conn: Connection, data: bytes) -> None:
    """Send all of `data`; raises OSError when the client is gone or too slow."""
    limits = conn.server.limits
    conn.bytes_out += len(data)
    rest = memoryview(data)
    deadline = 0.0
    while rest:
        try:
            rest = rest[conn.sock.send(rest) :]
        except NOT_NOW:
            now = time.monotonic()
            deadline = deadline or now + limits.send_s + len(data) / limits.rate
            reader = conn.reader
            ahead = reader is not None and not reader.done and reader.ahead < _SPOOL_MAX
            events = _wait(conn.sock, WRITE | READ if ahead else WRITE, deadline - now)
            if not events:
                raise TimeoutError("the client did not read the answer in time") from None
            if events & READ and reader is not None:
                reader.fill()


def _wait(sock: socket.socket, events: int, timeout: float) -> int:
    """Wait for one socket; the events that came, 0 when none did."""
    if timeout <= 0:
        return 0
    with (
        selectors.PollSelector()
        if hasattr(selectors, "PollSelector")
        else (selectors.SelectSelector()) as selector
    ):
        selector.register(sock, events)
        return sum(found for _, found in selector.select(timeout))


class BodyReader:
    """A request's body, read as it is asked for. `done` when its end has been received."""

    def __init__(self, conn: Connection, length: int, *, expects: bool) -> None:
        self._conn = conn
        self._max = http_exchange.max_body(conn)
        self._chunked = Chunked(self._max) if length == CHUNKED else None
        self._left = length
        self._expects = expects
        self._waited = 0.0
        self._spool: IO[bytes] | None = None
        self._held: list[bytes] = []
        self._read_at = 0
        self.ahead = 0
        self.size = 0
        self.done = False
        data, conn.buffer = conn.buffer, b""
        if data:
            self._take(data)

    def lines(self, max_line: int) -> Iterator[bytes]:
        """The lines, without their ends; raises TooLarge, Cancelled, BadHttp."""
        return split_lines(self._pieces(), max_line)

    def _pieces(self) -> Iterator[bytes]:
        while True:
            if self.ahead:
                yield self._next()
                continue
            if self.done:
                return
            if self._expects:
                self._expects = False
                self._conn.say_continue()
            self.fill()
            if self.ahead or self.done:
                continue
            limits = self._conn.server.limits
            patience = limits.body_s + self.size / limits.rate - self._waited
            began = time.monotonic()
            events = _wait(self._conn.sock, READ, patience)
            self._waited += time.monotonic() - began
            if not events:
                raise BadHttp("the body of the request did not arrive in time", status=408)

    def fill(self) -> None:
        """Take what has arrived; raises Cancelled when the client has gone."""
        try:
            data = self._conn.sock.recv(RECEIVE)
        except NOT_NOW:
            return
        except OSError:
            data = b""
        if not data:
            self._conn.keep = False
            raise Cancelled("the client went away before the end of its body")
        self._take(data)

    def _take(self, data: bytes) -> None:
        if self._chunked is not None:
            piece = self._chunked.feed(data)
            self.done = self._chunked.done
            self._conn.buffer = self._chunked.rest
        else:
            piece = data[: self._left]
            self._left -= len(piece)
            self.done = self._left == 0
            self._conn.buffer = data[len(piece) :]
        self._conn.unread = not self.done
        self.size += len(piece)
        self._put(piece)

    def _put(self, piece: bytes) -> None:
        if not piece:
            return
        self.ahead += len(piece)
        if self._spool is None and self.ahead <= _IN_MEMORY:
            self._held.append(piece)
            return
        if self._spool is None:
            import tempfile

            self._spool = tempfile.TemporaryFile(prefix="tollama-")  # noqa: SIM115
            self._read_at = 0
        try:
            self._spool.seek(0, 2)
            self._spool.write(piece)
        except OSError as error:
            reason = error.strerror or str(error)
            raise DiskFull(f"cannot put a request's body aside: {reason.lower()}") from error

    def _next(self) -> bytes:
        if self._held:
            piece = self._held.pop(0)
        else:
            assert self._spool is not None
            self._spool.seek(self._read_at)
            piece = self._spool.read(RECEIVE)
            self._read_at += len(piece)
            if self.ahead == len(piece):  # all taken: the next ones can stay in memory again
                self._spool.close()
                self._spool = None
        self.ahead -= len(piece)
        return piece
