"""The API without a daemon: the same routes over a Service of this process."""

from __future__ import annotations

import json

from tollama.cli.remote import NDJSON, payload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any


class Local:
    """The API over a Service of this process."""

    local = True

    def __init__(self, *, environ: Mapping[str, str] | None = None, verbose: bool = False) -> None:
        import sys

        from tollama.daemon.routes import Router
        from tollama.daemon.service import Service

        def log(text: str) -> None:
            if verbose:
                print(text, file=sys.stderr)

        self.service = Service(environ=environ, log=log)
        self.router = Router(self.service)

    def call(self, method: str, path: str, body: object = None, *, raw: bytes | None = None) -> Any:
        """One request through the routes, its whole answer as a JSON value."""
        reply = self._reply(method, path, body, raw, None)
        data = reply.body if reply.stream is None else b"".join(reply.stream)
        return json.loads(data)

    def stream(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        lines: Iterable[bytes] | None = None,
    ) -> Iterator[Any]:
        """One request through the routes, its NDJSON objects as they come."""
        reply = self._reply(method, path, body, raw, lines)
        for line in reply.stream if reply.stream is not None else [reply.body]:
            yield json.loads(line)

    def _reply(
        self,
        method: str,
        path: str,
        body: object,
        raw: bytes | None,
        lines: Iterable[bytes] | None,
    ) -> Any:
        from tollama.daemon.http_message import Later, Request
        from tollama.daemon.http_parser import Headers

        headers = Headers()
        if lines is not None:
            dict.__setitem__(headers, "content-type", NDJSON)
        request = Request(
            method, path, headers, client="local", is_loopback=True, line=_Here(lines)
        )
        request.body = payload(body, raw) or b""
        reply = self.router.resolve(method, request.path).handler(request)
        return reply.wait() if isinstance(reply, Later) else reply

    def close(self) -> None:
        """End the runners of this process."""
        self.service.close()


class _Here:
    """The connection of a Local request: there is none."""

    def __init__(self, lines: Iterable[bytes] | None) -> None:
        self.given = lines

    def gone(self) -> bool:
        return False

    def body_lines(self, max_line: int) -> Iterator[bytes]:
        return (line.rstrip(b"\r\n") for line in self.given or ())

    def waiting(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()
