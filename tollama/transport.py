"""HTTP for the Python client: requests to a daemon, its errors raised, patience with a busy one.

Over TCP, TLS or a Unix socket, a connection a request. Not covered: what is asked (client.py), and
the command line, which has its own (cli/remote.py).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tollama.core import config, trust
from tollama.core.errors import (
    DaemonUnreachable,
    InvalidRequest,
    TollamaError,
    Unavailable,
    from_wire,
)

LONGEST_PAUSE = 30.0


class Transport:
    """How a daemon is reached; the arguments are those of Client."""

    def __init__(
        self,
        base_url: str | None,
        api_key: str | None,
        ca_bundle: str | None,
        timeout: float,
        retries: int,
    ) -> None:
        text = base_url or os.environ.get("TOLLAMA_HOST") or "127.0.0.1"
        self._unix = text.removeprefix("unix://") if text.startswith("unix:///") else None
        if self._unix is not None:
            text = "http://localhost"
        parts = urlsplit(text if "://" in text else f"http://{text}")
        if parts.scheme not in ("http", "https"):
            expected = "http://, https:// or unix:///PATH"
            raise InvalidRequest(f"base_url: expected {expected}, got {text!r}")
        try:
            host, port = config.parse_host(parts.netloc)
        except ValueError as error:
            raise InvalidRequest(f"base_url: expected {error}, got {text!r}") from None
        self._tls = parts.scheme == "https"
        self._host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self._port = port
        self._prefix = parts.path.rstrip("/")
        self._key = api_key or os.environ.get("TOLLAMA_API_KEY")
        self._bundle = {"TOLLAMA_CA_BUNDLE": ca_bundle} if ca_bundle else {}
        self._timeout = timeout
        self._retries = retries

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A JSON answer; what may pass in a moment is tried again."""
        for attempt in range(self._retries + 1):
            try:
                with self.open(method, path, body) as response:
                    return _decoded(response.read())
            except Unavailable as error:
                if isinstance(error, DaemonUnreachable) or attempt == self._retries:
                    raise
                time.sleep(min(error.retry_after or 2**attempt, LONGEST_PAUSE))
        raise AssertionError("unreachable")

    def stream(self, path: str, body: Any) -> Iterator[dict[str, Any]]:
        """The lines of an NDJSON answer; one that ends before its last line raises."""
        value: dict[str, Any] = {}
        with self.open("POST", path, body) as response:
            for line in response:
                value = _decoded(line)
                if value.get("error"):
                    raise from_wire(value)
                yield value
        if not (value.get("done") or value.get("status") == "success"):
            raise DaemonUnreachable("the daemon went away before the end; call again to go on")

    @contextlib.contextmanager
    def open(self, method: str, path: str, body: Any) -> Iterator[http.client.HTTPResponse]:
        """A request's answer; raises the daemon's errors. The connection ends with the block."""
        connection: http.client.HTTPConnection
        if self._unix is not None:
            connection = _UnixConnection(self._unix, timeout=self._timeout)
        elif self._tls:
            context = trust.context({**os.environ, **self._bundle})
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        where = self._unix or f"{self._host}:{self._port}"
        headers = {"Accept": "application/json", "Connection": "close"}
        data = None
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            headers["Content-Type"] = "application/json"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.request(method, self._prefix + path, data, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise DaemonUnreachable(
                    f"no answer from {where} in {self._timeout:g} s (timeout=)"
                ) from None
            if self._tls and isinstance(error, ssl.SSLError):
                raise DaemonUnreachable(trust.explained(f"https://{where}", error)) from None
            raise DaemonUnreachable(
                f"no daemon at {where} ({error}); start one with: tollama serve"
            ) from None
        try:
            with response:
                if response.status >= 400:
                    raise _error(response)
                yield response
        except (OSError, http.client.HTTPException) as error:
            raise DaemonUnreachable(f"the answer of {where} broke off ({error})") from None
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _decoded(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise DaemonUnreachable(
            f"expected JSON of a tollama daemon, got {text[:60]!r}: check the address"
        ) from None


def _error(response: http.client.HTTPResponse) -> TollamaError:
    text = response.read()
    try:
        body = json.loads(text)
    except ValueError:
        body = {"error": text.decode("utf-8", "replace")[:300]}
    error = from_wire(body, response.status)
    after = response.headers.get("Retry-After", "")
    error.retry_after = float(after) if after.isdigit() else None
    return error
