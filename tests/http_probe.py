"""For tests of the HTTP front: a server with scripted routes, a client that sends raw bytes."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tollama.core.errors import MethodNotAllowed, NotFound
from tollama.daemon.http import Limits, Reply, Request, Server

PATIENCE = 20.0


class Route(NamedTuple):
    handler: Callable[[Request], Reply]
    stream_body: bool = False
    encodings: tuple[str, ...] = ()
    max_body: int | None = None


Routes = dict[tuple[str, str], Route]


def until(condition: Callable[[], Any], what: str = "condition") -> Any:
    """Poll until `condition` is true; fails after a bound."""
    end = time.monotonic() + PATIENCE
    pause = 0.0005
    while not (value := condition()):
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(pause)  # between two looks, not in place of one
        pause = min(0.02, pause * 2)
    return value


def echo(request: Request) -> Reply:
    """What the request was, as JSON; its body as it is when it has one."""
    if request.body:
        return Reply(body=request.body, content_type="application/octet-stream")
    facts = {
        "method": request.method,
        "path": request.path,
        "raw_path": request.raw_path,
        "query": request.query,
        "headers": dict(request.headers),
        "id": request.id,
        "client": request.client,
        "is_loopback": request.is_loopback,
    }
    return Reply(body=json.dumps(facts).encode())


@contextlib.contextmanager
def serving(routes: Routes | None = None, **options: Any) -> Iterator[Server]:
    """A running server; `server.records` collects what it logs."""
    table = {("GET", "/"): Route(echo), ("POST", "/"): Route(echo), **(routes or {})}

    def resolve(method: str, path: str) -> Route:
        found = table.get((method, path)) or table.get((method, "*"))
        if found is None:
            methods = sorted(m for m, p in table if p == path)
            if methods:
                raise MethodNotAllowed(f"{path} does not take {method}", detail=", ".join(methods))
            raise NotFound(f"no such path: {path}")
        return found

    records: list[dict[str, Any]] = []
    limits = options.pop("limits", None)
    if isinstance(limits, dict):
        limits = Limits(**limits)
    server = Server(resolve, limits=limits, log=options.pop("log", records.append), **options)
    server.records = records  # type: ignore[attr-defined]
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A raw connection: bytes out, answers in."""

    def __init__(self, where: Server | tuple[str, int] | socket.socket) -> None:
        if isinstance(where, socket.socket):
            self.sock = where
        else:
            address = where.address if isinstance(where, Server) else where
            self.sock = socket.create_connection(address, timeout=PATIENCE)
        self.sock.settimeout(PATIENCE)
        self.buffer = bytearray()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes | str) -> Wire:
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def get(self, target: str = "/", *headers: str, method: str = "GET") -> Answer:
        self.send("\r\n".join((f"{method} {target} HTTP/1.1", "Host: localhost", *headers, "", "")))
        return self.answer(head_only=method == "HEAD")

    def post(self, body: bytes, *headers: str, target: str = "/", method: str = "POST") -> Answer:
        head = (f"{method} {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}")
        self.send("\r\n".join((*head, *headers, "", "")).encode() + body)
        return self.answer()

    def _more(self) -> bytes:
        data = self.sock.recv(65536)
        self.buffer += data
        return data

    def _line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            assert self._more(), f"closed in the middle of a line: {self.buffer!r}"
        return self.take(self.buffer.index(b"\r\n") + 2)[:-2]

    def take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            assert self._more(), f"closed {size - len(self.buffer)} bytes early"
        data = bytes(memoryview(self.buffer)[:size])
        del self.buffer[:size]
        return data

    def head(self) -> tuple[int, dict[str, str]]:
        version, status, _ = self._line().decode("latin-1").split(" ", 2)
        assert version == "HTTP/1.1"
        headers: dict[str, str] = {}
        while line := self._line().decode("latin-1"):
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value
        return int(status), headers

    def chunk(self) -> bytes:
        size = int(self._line(), 16)
        data = self.take(size + 2)
        assert data[size:] == b"\r\n"
        return data[:size]

    def answer(self, *, head_only: bool = False) -> Answer:
        status, headers = self.head()
        if head_only or status in (100, 204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, b"".join(iter(self.chunk, b"")))
        if "content-length" in headers:
            return Answer(status, headers, self.take(int(headers["content-length"])))
        return Answer(status, headers, self.rest())

    def rest(self) -> bytes:
        """Everything up to the server's end; a reset counts as one."""
        with contextlib.suppress(ConnectionError):
            while self._more():
                continue
        return self.take(len(self.buffer))

    def closed(self) -> bool:
        """Whether the server has closed, with nothing more to read (waits for it)."""
        return self.rest() == b""

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()
