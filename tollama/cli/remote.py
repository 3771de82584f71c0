"""A small HTTP/1.1 client for the daemon, because http.client costs 28 ms to import.

TLS, Unix sockets and streams both ways included; never through a proxy. Not covered: retries and
redirects, which the daemon never sends.
"""

from __future__ import annotations

import contextlib
import json

from tollama.core.errors import DaemonUnreachable, DeadlineExceeded, from_wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from tollama.cli.address import Address

NDJSON = "application/x-ndjson"
NO_DAEMON = "nothing listens there"


class Remote:
    """The API of a running daemon."""

    local = False

    def __init__(
        self, where: Address, *, timeout: float | None = None, environ: Mapping[str, str]
    ) -> None:
        self.where = where
        self.timeout = timeout
        self.environ = environ

    def call(self, method: str, path: str, body: object = None, *, raw: bytes | None = None) -> Any:
        """One request, its whole answer as a JSON value."""
        with Exchange(self, method, path, payload(body, raw)) as answer:
            data = b"".join(answer.chunks())
        return _value(data)

    def stream(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        lines: Iterable[bytes] | None = None,
    ) -> Iterator[Any]:
        """One request, its answer's NDJSON objects as they come; an error line is raised.

        `lines` is a request body that is sent while the answer is read.
        """
        with Exchange(self, method, path, payload(body, raw), lines=lines) as answer:
            for line in answer.lines():
                value = _value(line)
                # A bulk line about one series carries its id: it is a result, not the end.
                if isinstance(value, dict) and value.get("error") and "id" not in value:
                    raise from_wire(value)
                yield value

    def reachable(self) -> bool:
        """Whether something accepts connections there."""
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def connect(self) -> socket.socket:
        """A connection to the daemon."""
        import socket

        where = self.where
        if where.unix:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(self.timeout)
            sock.connect(where.unix)
            return sock
        wait = 10.0 if self.timeout is None else self.timeout
        # As bytes an ASCII name needs no IDNA codec, which costs 2 ms to import.
        host: Any = where.host.encode() if where.host.isascii() else where.host
        context = None
        if where.tls:
            from tollama.core import trust

            context = trust.context(self.environ)
        sock = socket.create_connection((host, where.port), wait)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                sock = context.wrap_socket(sock, server_hostname=where.host)
            sock.settimeout(self.timeout)
        except OSError:
            sock.close()
            raise
        return sock


def payload(body: object, raw: bytes | None) -> bytes | None:
    if raw is not None:
        return raw
    return None if body is None else json.dumps(body, separators=(",", ":")).encode()


def _value(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise DaemonUnreachable(
            "the address answered with something that is not JSON: is it a tollama daemon?"
        ) from None


class Exchange:
    """One request and its answer over a connection of its own."""

    def __init__(
        self,
        remote: Remote,
        method: str,
        path: str,
        body: bytes | None,
        *,
        lines: Iterable[bytes] | None = None,
    ) -> None:
        self.remote = remote
        self.head = self._request(method, path, body, lines is not None)
        self.body = body
        self.feed = lines
        self.sender: Any = None
        self.send_error: BaseException | None = None

    def _request(self, method: str, path: str, body: bytes | None, chunked: bool) -> bytes:
        where = self.remote.where
        host = where.host if not where.unix else "localhost"
        if ":" in host:
            host = f"[{host}]"
        lines = [
            f"{method} {where.prefix}{path} HTTP/1.1",
            f"Host: {host}:{where.port}" if where.port else f"Host: {host}",
            "Connection: close",
            "Accept: application/json",
        ]
        key = self.remote.environ.get("TOLLAMA_API_KEY")
        if key:
            lines.append(f"Authorization: Bearer {key}")
        if chunked:
            lines += [f"Content-Type: {NDJSON}", "Transfer-Encoding: chunked"]
        elif body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        elif method not in ("GET", "HEAD"):
            lines.append("Content-Length: 0")
        return "\r\n".join([*lines, "", ""]).encode()

    def __enter__(self) -> Exchange:
        try:
            self.sock = self.remote.connect()
        except OSError as error:
            raise unreachable(self.remote.where, error) from None
        try:
            self._send()
            self.file = self.sock.makefile("rb")
            self._read_head()
        except TimeoutError:
            self.sock.close()
            raise DeadlineExceeded(
                f"the daemon at {self.remote.where.url} did not answer within "
                f"{self.remote.timeout:g} s (--timeout)"
            ) from None
        except (OSError, ValueError, IndexError) as error:
            self.sock.close()
            raise unreachable(self.remote.where, error) from None
        except BaseException:
            self.sock.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        # Closing is also how an interrupted command cancels its request.
        self.file.close()
        self.sock.close()

    def _send(self) -> None:
        if self.feed is None:
            # Refused before the body was read: the answer says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.sock.sendall(self.head + (self.body or b""))
            return
        import threading

        self.sock.sendall(self.head)

        def feed() -> None:
            try:
                for line in self.feed or ():
                    self.sock.sendall(b"%x\r\n%s\r\n" % (len(line), line))
                self.sock.sendall(b"0\r\n\r\n")
            except OSError:
                pass  # the reader sees the end of the connection
            except BaseException as error:
                # The file could not be read on: the reader must not wait for an answer.
                self.send_error = error
                import socket

                with contextlib.suppress(OSError):
                    self.sock.shutdown(socket.SHUT_RDWR)

        self.sender = threading.Thread(target=feed, daemon=True)
        self.sender.start()

    def _read_head(self) -> None:
        status = self.file.readline(65536)
        while status.startswith(b"HTTP/1.1 100"):
            while self.file.readline(65536) not in (b"\r\n", b""):
                pass
            status = self.file.readline(65536)
        if not status:
            if self.send_error is not None:
                raise self.send_error
            raise ConnectionResetError("the connection was closed without an answer")
        self.status = int(status.split(b" ", 2)[1])
        self.headers: dict[str, str] = {}
        while True:
            line = self.file.readline(65536)
            if line in (b"\r\n", b""):
                break
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name.strip().lower()] = value.strip()
        if self.status >= 400:
            data = b"".join(self.chunks())
            try:
                body = json.loads(data)
            except ValueError:
                body = {"error": data.decode("utf-8", "replace")[:300]}
            error = from_wire(body, self.status)
            retry = self.headers.get("retry-after", "")
            error.retry_after = float(retry) if retry.isdigit() else None
            raise error

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes."""
        try:
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                yield from self._chunked()
            else:
                yield self._measured()
        except TimeoutError:
            raise DeadlineExceeded(
                f"the daemon sent nothing for {self.remote.timeout:g} s (--timeout)"
            ) from None
        except OSError:
            raise self._cut() from None

    def _measured(self) -> bytes:
        length = self.headers.get("content-length")
        data = self.file.read(int(length)) if length is not None else self.file.read()
        if length is not None and len(data) < int(length):
            raise self._cut()
        return data

    def _chunked(self) -> Iterator[bytes]:
        while True:
            try:
                size = int(self.file.readline(65536).partition(b";")[0], 16)
            except ValueError:
                raise self._cut() from None
            if size == 0:
                return
            data = self.file.read(size)
            self.file.readline(65536)
            if len(data) < size:
                raise self._cut()
            yield data

    def _cut(self) -> BaseException:
        if self.send_error is not None:
            return self.send_error
        return DaemonUnreachable(
            f"the daemon at {self.remote.where.url} closed the connection before its answer ended"
        )

    def lines(self) -> Iterator[bytes]:
        """The lines of the body as they come."""
        rest = b""
        for chunk in self.chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            yield from filter(None, whole)
        if rest:
            yield rest


def unreachable(where: Address, error: BaseException) -> DaemonUnreachable:
    """No daemon at an address: what was tried, why it failed, what to do."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if where.tls and hasattr(error, "reason"):  # an ssl.SSLError
        from tollama.core import trust

        return DaemonUnreachable(trust.explained(where.url, error))
    return DaemonUnreachable(
        f"no daemon at {where.url} ({reason.lower()}); start one with: tollama serve",
        detail=NO_DAEMON,
    )
