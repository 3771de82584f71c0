"""What is done with a request: may it be served, by which route, and what is answered.

The one place in the daemon where errors are caught: a TollamaError becomes its status, anything
else a 500 without a word of what it was (that goes to the log).

Not covered: bytes and sockets (http_connection.py), answers that stream (http_stream.py).
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from tollama.core.errors import (
    BadHttp,
    MethodNotAllowed,
    TollamaError,
    TooLarge,
    shown,
)
from tollama.daemon.http_guard import cors, preflight
from tollama.daemon.http_message import Later, Reply, Request, reply_head, request_id
from tollama.daemon.http_parser import CHUNKED, Head, tokens
from tollama.daemon.http_states import RUNNING

if TYPE_CHECKING:
    from tollama.daemon.http_connection import Connection

NDJSON = "application/x-ndjson"
T = TypeVar("T", bound="Reply | Later")


class Route(Protocol):
    """What `resolve(method, path)` gives.

    With `stream_body` an NDJSON body is not read in advance: the handler iterates
    `request.lines()`. `encodings` are the Content-Encodings that the handler decodes; `max_body`
    replaces the limit.
    """

    @property
    def handler(self) -> Callable[[Request], Reply | Later]: ...
    @property
    def stream_body(self) -> bool: ...
    @property
    def encodings(self) -> tuple[str, ...]: ...
    @property
    def max_body(self) -> int | None: ...


def admit(conn: Connection, head: Head, length: int) -> None:
    """Set `route` and `keep` from a request's head, or `refusal`."""
    request, server = conn.request, conn.server
    assert request is not None
    headers = head.headers
    wishes = dict.get(headers, "connection")
    conn.keep = head.minor == 1
    if wishes is not None:
        names = list(tokens(wishes))
        conn.keep = "close" not in names and (conn.keep or "keep-alive" in names)
    try:
        conn.origin = server.guard.check(headers, minor=head.minor, trusted=conn.trusted)
        expected = dict.get(headers, "expect")
        if expected is not None and expected.lower() != "100-continue":
            raise BadHttp(
                f"header expect: expected 100-continue, got {shown(expected)}", status=417
            )
        method = request.method
        if method == "OPTIONS":
            return
        conn.route = server.resolve("GET" if method == "HEAD" else method, request.path)
        if length:
            _check_body(conn, head, length)
    except TollamaError as error:
        conn.refusal = error
        conn.keep = conn.keep and error.status != 400  # not sure what such a client sends next
    except Exception:
        conn.refusal = _unexpected(conn, request)


def _check_body(conn: Connection, head: Head, length: int) -> None:
    route = conn.route
    assert route is not None
    headers = head.headers
    coding = (dict.get(headers, "content-encoding") or "identity").lower()
    if coding != "identity" and coding not in route.encodings:
        raise BadHttp(f"header content-encoding: {shown(coding)} is not decoded here", status=415)
    if conn.origin is not None:
        kind = media_type(conn.request)
        if kind not in ("application/json", NDJSON):
            # What a page may send without asking first (a form) must not reach a handler.
            raise BadHttp(
                "header content-type: a page must send application/json or application/x-ndjson, "
                f"got {shown(kind)}",
                status=415,
            )
    limit = max_body(conn)
    if length != CHUNKED and limit is not None and length > limit:
        raise TooLarge(f"body: expected at most {limit} bytes (TOLLAMA_MAX_BODY), got {length}")


def media_type(request: Request | None) -> str:
    """The content type without its parameters, in lower case."""
    value = dict.get(request.headers, "content-type", "") if request is not None else ""
    return value.partition(";")[0].strip().lower()


def streams_body(conn: Connection) -> bool:
    """Whether the handler reads the body itself."""
    return conn.route is not None and conn.route.stream_body and media_type(conn.request) == NDJSON


def max_body(conn: Connection) -> int | None:
    """The largest body that this request may have; None is no bound (it is read line by line)."""
    if conn.route is not None and conn.route.max_body is not None:
        return conn.route.max_body
    return None if streams_body(conn) else conn.server.limits.max_body


def run(conn: Connection) -> None:
    """Let the handler answer, and send what it gives."""
    if conn.reader is not None:
        from tollama.daemon.http_stream import run_reading

        run_reading(conn)
        return
    reply = answer(conn)
    if isinstance(reply, Later):
        conn.wait_for(reply)
    else:
        deliver(conn, reply)


def finish(conn: Connection) -> None:
    """Send the answer that was waited for."""
    later, conn.later = conn.later, None
    assert later is not None
    deliver(conn, checked(conn, later.take()[0]))


def deliver(conn: Connection, reply: Reply) -> None:
    """Send a reply, whole or item by item."""
    if reply.stream is not None:
        from tollama.daemon.http_stream import send_stream

        send_stream(conn, reply)
    else:
        respond(conn, reply)


def answer(conn: Connection) -> Reply | Later:
    """The handler's reply, or that of its error."""
    request, route = conn.request, conn.route
    assert request is not None
    if conn.refusal is not None:
        return of_error(conn, conn.refusal)
    if route is None:
        return checked(conn, lambda: _options(conn, request))
    return checked(conn, route.handler, request)


def checked(conn: Connection, make: Callable[..., T], *arguments: object) -> T | Reply:
    """What `make` gives, or the reply of the error that it raises."""
    conn.state = RUNNING
    try:
        made = make(*arguments)
        if not (isinstance(made, Reply) and isinstance(made.body, bytes)):
            if isinstance(made, Later):
                return made
            raise TypeError(f"the handler gave no Reply of bytes: {made!r:.80}")
        return made
    except TollamaError as error:
        return of_error(conn, error)
    except Exception:
        return of_error(conn, _unexpected(conn, conn.request))


def _options(conn: Connection, request: Request) -> Reply:
    allow = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
    if request.path != "*":
        try:
            conn.server.resolve("OPTIONS", request.path)
        except MethodNotAllowed as error:
            methods = [str(error.detail or "")]
            if "GET" in methods[0].split(", ") and "HEAD" not in methods[0]:
                methods.append("HEAD")
            allow = ", ".join([*filter(None, methods), "OPTIONS"])
    headers = [("Allow", allow)]
    if conn.origin is not None and "access-control-request-method" in request.headers:
        headers += preflight(request.headers, allow)
    return Reply(204, headers=tuple(headers))


def respond(conn: Connection, reply: Reply) -> None:
    """Send a whole reply."""
    head, body = encode(conn, reply)
    conn.send(head, body)


def respond_error(conn: Connection, error: TollamaError) -> None:
    """Send an error."""
    respond(conn, of_error(conn, error))


def encode(conn: Connection, reply: Reply) -> tuple[bytes, bytes]:
    """The head and body of a reply, as this request wants them; sets `status` and `keep`."""
    request = conn.request
    flows = reply.stream is not None
    if conn.server.draining or (flows and not conn.minor):
        conn.keep = False
    if conn.unread and not (flows and conn.reader is not None):  # such a stream sees to it itself
        conn.keep = False
    extra = cors(conn.origin) if conn.origin is not None else ()
    try:
        head = reply_head(
            reply,
            request_id=request.id if request is not None else request_id(),
            keep=conn.keep,
            minor=conn.minor,
            extra=extra,
        )
    except (ValueError, TypeError):  # a header that would break out of its line
        reply = of_error(conn, _unexpected(conn, request))
        head = reply_head(reply, request_id=request_id(), keep=False, minor=conn.minor)
        conn.keep = False
    conn.status = reply.status
    bodiless = reply.status in (204, 304) or (request is not None and request.method == "HEAD")
    return head, b"" if bodiless else reply.body


def of_error(conn: Connection, error: TollamaError) -> Reply:
    """The reply of an error, in the server's form or the dialect's."""
    conn.error = {**(conn.error or {}), "code": error.code}
    try:
        return conn.server.error_reply(conn.request, error)
    except Exception:
        _unexpected(conn, conn.request)
        return Reply(500, b'{"error":"internal error, see the daemon\'s log","code":"internal"}\n')


def _unexpected(conn: Connection, request: Request | None) -> TollamaError:
    """A defect of ours: the traceback goes to the log, the request's id to the client."""
    conn.error = {"traceback": traceback.format_exc()}
    number = request.id if request is not None else "?"
    return TollamaError(f"internal error, see the daemon's log (request id {number})")


def log(conn: Connection) -> None:
    """One record for a request that has ended; once."""
    if not conn.status:
        return
    request = conn.request
    now = time.monotonic()
    record: dict[str, object] = {
        "id": request.id if request is not None else None,
        "method": request.method if request is not None else None,
        "path": request.raw_path if request is not None else None,
        "status": conn.status,
        "bytes_in": conn.bytes_in,
        "bytes_out": conn.bytes_out,
        "ms": (now - conn.started) * 1000 if request is not None else 0.0,
        "client": conn.client,
    }
    if request is not None:
        record.update(request.facts)
    if conn.error is not None:
        record.update(conn.error)
    conn.status = 0
    try:
        conn.server.log(record)
    except Exception:
        traceback.print_exc(file=sys.stderr)
