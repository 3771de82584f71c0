"""From bytes to a whole request, piece by piece as they arrive.

Not covered: what the request means and whether it is allowed (http_exchange.py), bodies that a
handler reads line by line (http_stream.py).
"""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

from tollama.core.errors import BadHttp, TollamaError, Unavailable
from tollama.daemon import http_exchange
from tollama.daemon.http_message import Request
from tollama.daemon.http_parser import CHUNKED, Chunked, Head, framing, parse_head
from tollama.daemon.http_states import BODY

if TYPE_CHECKING:
    from tollama.daemon.http_connection import Connection

_SECRET = ("authorization", "x-api-key", "cookie", "proxy-authorization")


def read_head(conn: Connection, buffer: bytes) -> None:
    """Look for a whole head in what has arrived, and begin its request."""
    limits = conn.server.limits
    # Some clients end a body with an empty line that they do not count.
    while buffer.startswith(b"\r\n"):
        buffer = buffer[2:]
        conn.scanned = 0
    seen = conn.scanned
    end = buffer.find(b"\r\n\r\n", max(0, seen - 3), limits.max_head + 4)
    try:
        if end < 0:
            _check_partial(buffer, seen, limits.max_head, limits.max_target)
            if not conn.buffer:
                conn.deadline = min(conn.deadline, time.monotonic() + limits.headers_s)
            conn.buffer = buffer
            conn.scanned = len(buffer)
            return
        block = buffer[:end]
        parsed = _heads.get(block)
        if parsed is None:
            head = parse_head(block, max_headers=limits.max_headers, max_target=limits.max_target)
            parsed = head, framing(head)
            _remember(block, parsed)
        conn.buffer = buffer[end + 4 :]
        conn.scanned = 0
        conn.started = time.monotonic()
        _begin(conn, *parsed)
    except TollamaError as error:
        conn.refuse(error)


# A client says the same head again and again; never one with a key in it.
_heads: dict[bytes, tuple[Head, int]] = {}


def _remember(block: bytes, parsed: tuple[Head, int]) -> None:
    if len(block) > 1024 or not parsed[0].headers.keys().isdisjoint(_SECRET):
        return
    if len(_heads) >= 256:
        _heads.clear()
    _heads[block] = parsed


def _begin(conn: Connection, head: Head, length: int) -> None:
    """Read on, run, or refuse: as the head says."""
    conn.minor = head.minor
    conn.request = Request(
        head.method,
        head.target,
        head.headers,
        client=conn.client,
        is_loopback=conn.loopback,
        line=conn,
    )
    conn.unread = length != 0
    http_exchange.admit(conn, head, length)
    expects = dict.get(head.headers, "expect") is not None and length and not conn.buffer
    if conn.refusal is not None:
        # A short body is read and dropped, so that the connection can be kept.
        if expects or length == CHUNKED or length > conn.server.limits.small_body:
            conn.refuse(conn.refusal)
            return
    elif conn.route is not None and length and http_exchange.streams_body(conn):
        from tollama.daemon.http_stream import BodyReader

        conn.reader = BodyReader(conn, length, expects=bool(expects))
        http_exchange.run(conn)
        return
    if length == 0:
        http_exchange.run(conn)
        return
    if length > 0 and not conn.reserve(length):
        conn.refuse(_crowded())
        return
    if expects:
        conn.say_continue()
    conn.state = BODY
    limits = conn.server.limits
    conn.deadline = conn.started + limits.body_s + max(0, length) / limits.rate
    conn.left = max(0, length)
    if length == CHUNKED:
        conn.chunked = Chunked(http_exchange.max_body(conn))
        conn.body = io.BytesIO()
    data, conn.buffer = conn.buffer, b""
    if data:
        read_body(conn, data)


def read_body(conn: Connection, data: bytes) -> None:
    """Take more of a body; run the request when it is whole."""
    request = conn.request
    assert request is not None
    if conn.chunked is not None and conn.body is not None:
        try:
            piece = conn.chunked.feed(data)
        except TollamaError as error:
            conn.refuse(error)
            return
        conn.body.write(piece)
        conn.deadline += len(piece) / conn.server.limits.rate
        if not conn.reserve(conn.body.tell()):
            conn.refuse(_crowded())
            return
        if not conn.chunked.done:
            return
        conn.buffer = conn.chunked.rest
    elif conn.body is None and len(data) >= conn.left:  # all of it in one piece, as most are
        conn.buffer = data[conn.left :]
        request.body = data[: conn.left] if conn.buffer else data
    else:
        if conn.body is None:
            conn.body = io.BytesIO()
        conn.body.write(data[: conn.left])
        if len(data) < conn.left:
            conn.left -= len(data)
            return
        conn.buffer = data[conn.left :]
    if conn.body is not None:
        request.body = conn.body.getvalue()
        conn.body = conn.chunked = None
    conn.bytes_in = len(request.body)
    conn.unread = False
    http_exchange.run(conn)


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
