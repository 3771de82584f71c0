"""What a handler gets and gives: Request and Reply, the numbers that bound both, a reply's bytes.

Not covered: sockets. A Request reaches back to its connection only to ask whether the client is
still there, to read a streamed body, and to say that its thread is about to wait.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

from tollama.core.errors import BadHttp, MethodNotAllowed, TollamaError, to_wire
from tollama.daemon.http_parser import Headers

MiB = 1024 * 1024


class Limits(NamedTuple):
    """Every bound of the HTTP front. Times are in seconds and total, not per read."""

    max_connections: int = 1024
    max_per_client: int = 0  # connections of one address, 429; 0 is no limit
    max_head: int = 16 * 1024  # request line and headers, 431
    max_headers: int = 64
    max_target: int = 8192  # 414
    max_body: int = 64 * MiB  # 413; a route may have its own
    max_in_flight: int = 512 * MiB  # bodies of all requests together, 503; see `small_body`
    small_body: int = 64 * 1024  # not counted: max_connections bounds them
    headers_s: float = (
        10.0  # from a head's first byte (of a new connection: from accept) to its end
    )
    body_s: float = 30.0  # for a body: this, and ...
    rate: int = 64 * 1024  # ... its size at this many bytes a second; the same for what is sent
    send_s: float = 30.0  # for an answer, or one item of a streamed one
    idle_s: float = 75.0  # a kept connection without a request
    linger_s: float = 2.0  # reading on after a refusal, so that the client sees it
    workers: int = 512  # requests that may wait at the same time
    retire_s: float = 10.0  # an idle thread ends after this
    stall_s: float = 0.01  # a handler that computes for longer loses the loop to another thread


class Reply(NamedTuple):
    """An answer: a whole `body`, or a `stream` of byte strings, each sent as it comes.

    A stream of known `length` is sent as it is; without one it goes out in chunks.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stream: Iterator[bytes] | None = None
    length: int | None = None


class Later:
    """An answer that is not there yet: a handler returns it in place of a Reply; no thread waits.

    Any thread calls `done()` when `finish()` would not wait any more; the front then calls `finish`
    for the Reply (or its exception) in the thread that runs the loop. It does so at `deadline`
    (monotonic seconds) in any case. `gone` is called when the client leaves before that.
    """

    __slots__ = ("_wake", "deadline", "finish", "gone", "is_done")

    def __init__(
        self,
        finish: Callable[[], Reply],
        *,
        gone: Callable[[], None] = lambda: None,
        deadline: float = float("inf"),
    ) -> None:
        self.finish = finish
        self.gone = gone
        self.deadline = deadline
        self.is_done = False
        self._wake: Callable[[], None] | None = None

    def done(self) -> None:
        """Say that the answer is there; more than once does no harm."""
        self.is_done = True
        # The front looks at is_done after it has set _wake, so one of the two sees the other.
        wake = self._wake
        if wake is not None:
            wake()

    def bind(self, wake: Callable[[], None]) -> None:
        """Called by the front: what `done` does from now on."""
        self._wake = wake

    def take(self) -> tuple[Callable[[], Reply], Callable[[], None]]:
        """Called by the front, once: `finish` and `gone`, which are let go of here.

        They hold what will call `done`, which holds this: kept, each request would be a cycle, and
        its data would stay until the collector comes.
        """
        taken = self.finish, self.gone
        del self.finish, self.gone
        self._wake = None
        return taken

    def wait(self) -> Reply:
        """The answer, waited for by a caller without a front."""
        done = threading.Event()
        self.bind(done.set)
        if not self.is_done:
            left = self.deadline - time.monotonic()
            done.wait(None if left == float("inf") else max(0.0, left))
        return self.take()[0]()


class Line(Protocol):
    """What a Request needs of its connection."""

    def gone(self) -> bool:
        """Whether the client has closed."""

    def body_lines(self, max_line: int) -> Iterator[bytes]:
        """The lines of a body that was not read in advance."""

    def waiting(self) -> AbstractContextManager[None]:
        """A `with` block in which this thread leaves the loop to another one."""


class Request:
    """One request, whole but for a streamed body. `path` is decoded, `raw_path` is not."""

    __slots__ = (
        "_line",
        "_query",
        "body",
        "client",
        "facts",
        "headers",
        "id",
        "is_loopback",
        "method",
        "path",
        "raw_path",
    )

    def __init__(
        self,
        method: str,
        target: str,
        headers: Headers,
        *,
        client: str,
        is_loopback: bool,
        line: Line,
    ) -> None:
        self.method = method
        self.raw_path, _, self._query = target.partition("?")
        self.path = self.raw_path if "%" not in self.raw_path else _decoded(self.raw_path)
        self.headers = headers
        self.body = b""
        self.id = request_id(dict.get(headers, "x-request-id"))
        self.client = client
        # What the handler adds to the log's record: model, sizes, times; never values.
        self.facts: dict[str, object] = {}
        self.is_loopback = is_loopback
        self._line = line

    @property
    def query(self) -> dict[str, str]:
        """The parameters after "?"; the last one of a name counts."""
        if not self._query:
            return {}
        try:
            pairs = parse_qsl(
                self._query, keep_blank_values=True, max_num_fields=64, errors="strict"
            )
        except ValueError as error:
            raise BadHttp(f"query: {error}".lower()) from None
        return dict(pairs)

    def disconnected(self) -> bool:
        """Whether the client has gone away (one system call). A pipelined request is not that."""
        return self._line.gone()

    def lines(self, max_line: int) -> Iterator[bytes]:
        """The lines of the body, without their ends, of a route with `stream_body`."""
        return self._line.body_lines(max_line)

    def blocking(self) -> AbstractContextManager[None]:
        """`with request.blocking():` around a wait (for a model, a lock, a slow disk).

        Raises QueueFull when as many requests wait already as the server allows.
        """
        return self._line.waiting()


_PREFIX = os.urandom(6).hex()
_COUNT = itertools.count(1)
_INVISIBLE = re.compile(r"[^!-~]+")


def request_id(given: str | None = None) -> str:
    """The client's id without what a log could not carry, or a new one."""
    if given and (kept := _INVISIBLE.sub("", given)[:128]):
        return kept
    return f"{_PREFIX}-{next(_COUNT):x}"


def _decoded(raw_path: str) -> str:
    data = unquote_to_bytes(raw_path)
    try:
        path = data.decode()
    except UnicodeDecodeError:
        raise BadHttp("request target: expected UTF-8 after %-decoding") from None
    if min(data) < 0x20 or b"\x7f" in data:
        raise BadHttp("request target: a control character after %-decoding")
    return path


PHRASES = {int(status): text for status, (text, _) in BaseHTTPRequestHandler.responses.items()}
PHRASES[499] = "Client Closed Request"

_BAD_VALUE = re.compile(r"[^\t -~\x80-\xff]").search
_date = (0, "")


def reply_head(
    reply: Reply,
    *,
    request_id: str,
    keep: bool,
    minor: int = 1,
    extra: list[tuple[str, str]] | tuple[()] = (),
) -> bytes:
    """The status line and headers of `reply`, up to and with the empty line."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True))
    status = reply.status
    lines = [f"HTTP/1.1 {status} {PHRASES.get(status, 'Unknown')}\r\nDate: {_date[1]}\r\n"]
    if status != 204 and status != 304:
        lines.append(f"Content-Type: {reply.content_type}\r\n")
        if reply.length is not None:
            lines.append(f"Content-Length: {reply.length}\r\n")
        elif reply.stream is None:
            lines.append(f"Content-Length: {len(reply.body)}\r\n")
        elif minor:
            lines.append("Transfer-Encoding: chunked\r\n")
    lines.append(f"X-Request-ID: {request_id}\r\n")
    if not keep:
        lines.append("Connection: close\r\n")
    elif minor == 0:
        lines.append("Connection: keep-alive\r\n")
    if extra or reply.headers:
        for name, value in (*reply.headers, *extra):
            if _BAD_VALUE(name) or _BAD_VALUE(value):
                raise ValueError(f"reply header {name!r}: a character that would end it")
            lines.append(f"{name}: {value}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1")


def error_line(error: TollamaError) -> bytes:
    """An error as the last line of a stream."""
    return json.dumps(to_wire(error), separators=(",", ":")).encode() + b"\n"


def error_reply(request: Request | None, error: TollamaError) -> Reply:
    """An error as a whole answer: its JSON form, Retry-After, Allow."""
    headers: list[tuple[str, str]] = []
    if error.retry_after is not None:
        headers.append(("Retry-After", str(max(1, round(error.retry_after)))))
    if error.status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    if isinstance(error, MethodNotAllowed) and isinstance(error.detail, str):
        headers.append(("Allow", error.detail))
    text = json.dumps(to_wire(error), ensure_ascii=False, separators=(",", ":"))
    body = text.encode("utf-8", "replace")
    return Reply(error.status, body, headers=tuple(headers))
