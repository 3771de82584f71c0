"""Bytes to HTTP/1.x: the request head, the framing of a body, chunked bodies.

Pure functions of bytes, stricter and three times cheaper than the email parser that `http.server`
uses. Whatever two parsers could read in two ways (the stuff of request smuggling) is refused:
folded lines, bare CR or LF, white space around a name, repeated framing headers, a length beside a
transfer coding.

Not covered: sockets, limits on time, who may ask (http_guard.py). HTTP/0.9, 2 and 3, `Upgrade`,
transfer codings other than chunked, and the absolute form of a request target (proxies) are
refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tollama.core.errors import BadHttp, TooLarge, shown

CHUNKED = -1
"""What `framing` answers for a body whose length the chunks tell."""

_TEXT = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])  # all that a line may hold
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_TARGET = re.compile(r'[!$-~"]+').fullmatch  # visible ASCII without "#"
_VERSION = re.compile(r"HTTP/[0-9]\.[0-9]").fullmatch
_LENGTH = re.compile(r"[0-9]{1,18}").fullmatch
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~]*)?").fullmatch
_CHUNK_LINE = 256
_TRAILERS = 8192

# Headers of which a second one changes the meaning of the request, or of who sent it.
_ONCE = frozenset(
    (
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "origin",
        "transfer-encoding",
        "x-request-id",
    )
)


class Headers(dict[str, str]):
    """The headers of a request: keys in lower case, looked up in any case, read-only by habit."""

    __slots__ = ()

    def __getitem__(self, name: str) -> str:
        return dict.__getitem__(self, name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and dict.__contains__(self, name.lower())

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return dict.get(self, name.lower(), default)


class Head(NamedTuple):
    """A request line and its headers; `minor` is 0 or 1 (HTTP/1.0, HTTP/1.1)."""

    method: str
    target: str
    minor: int
    headers: Headers


def parse_head(block: bytes, *, max_headers: int = 64, max_target: int = 8192) -> Head:
    """The head of a request from the bytes before its empty line; raises BadHttp.

    414 for a long target, 431 for too many headers, 505 for another version, 400 for anything else
    that is not exactly `METHOD SP TARGET SP HTTP/1.x` and `Name: value` lines ended by CRLF.
    """
    lines = block.decode("latin-1").split("\r\n")
    if len(block.translate(None, _TEXT)) != 2 * (len(lines) - 1):
        raise BadHttp("request head: a control character, or a line not ended by CR LF")
    parts = lines[0].split(" ")
    if len(parts) != 3:
        raise BadHttp(f"request line: expected METHOD TARGET VERSION, got {shown(lines[0])}")
    method, target, version = parts
    if version != "HTTP/1.1" and version != "HTTP/1.0":
        if _VERSION(version):
            raise BadHttp(f"request line: expected HTTP/1.0 or 1.1, got {version}", status=505)
        raise BadHttp(f"request line: expected HTTP/1.1 at its end, got {shown(version)}")
    if len(method) > 32 or not _TOKEN(method):
        raise BadHttp(f"request line: expected a method, got {shown(method)}")
    if len(target) > max_target:
        raise BadHttp(f"request target: expected at most {max_target} bytes", status=414)
    if not _TARGET(target) or (target[0] != "/" and (target != "*" or method != "OPTIONS")):
        raise BadHttp(f"request target: expected a path that starts with '/', got {shown(target)}")
    if len(lines) - 1 > max_headers:
        raise BadHttp(f"headers: expected at most {max_headers}, got {len(lines) - 1}", status=431)
    headers = Headers()
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN(name):
            raise BadHttp(f"header: expected 'Name: value' on one line, got {shown(line)}")
        name = name.lower()
        value = value.strip(" \t")
        if name in headers.keys():  # noqa: SIM118 (the class's own `in` lowers the name once more)
            if name in _ONCE:
                raise BadHttp(f"header {name}: expected once, got it twice")
            value = f"{dict.__getitem__(headers, name)}{'; ' if name == 'cookie' else ', '}{value}"
        headers[name] = value
    return Head(method, target, 1 if version == "HTTP/1.1" else 0, headers)


def framing(head: Head) -> int:
    """The length of the body that follows `head`, or CHUNKED; raises BadHttp (400, 411, 501).

    POST, PUT and PATCH must say how long their body is: a body of unknown length would be read as
    the next request.
    """
    coding = dict.get(head.headers, "transfer-encoding")
    length = dict.get(head.headers, "content-length")
    if coding is not None:
        if length is not None:
            raise BadHttp("headers: expected Content-Length or Transfer-Encoding, got both")
        if head.minor == 0:
            raise BadHttp("header transfer-encoding: expected HTTP/1.1 with it, got HTTP/1.0")
        if coding.lower() != "chunked":
            raise BadHttp(
                f"header transfer-encoding: expected chunked, got {shown(coding)}", status=501
            )
        return CHUNKED
    if length is None:
        if head.method in ("POST", "PUT", "PATCH"):
            raise BadHttp(f"header content-length: {head.method} needs it", status=411)
        return 0
    if not _LENGTH(length):
        raise BadHttp(f"header content-length: expected digits, got {shown(length)}")
    return int(length)


class Chunked:
    """A strict decoder of one chunked body: `feed` it what arrives until `done`; then see `rest`.

    Sizes are hexadecimal digits with an optional extension, which is ignored, as are well-formed
    trailers. The result does not depend on how the bytes were cut.
    """

    __slots__ = ("_held", "_left", "_max", "_state", "_trailers", "done", "rest", "size")

    def __init__(self, max_size: int | None = None) -> None:
        self._held = b""
        self._left = 0
        self._max = max_size
        self._state = "size"
        self._trailers = 0
        self.size = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The decoded bytes in `data`; raises BadHttp, or TooLarge over the size allowed."""
        if self._held:
            data = self._held + data
            self._held = b""
        out: list[bytes] = []
        pos = 0
        while not self.done:
            if self._state == "data":
                piece = data[pos : pos + self._left]
                out.append(piece)
                pos += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = "end"
            elif self._state == "end":
                ending = data[pos : pos + 2]
                if not b"\r\n".startswith(ending):
                    raise BadHttp("chunked body: expected CR LF after a chunk")
                if len(ending) < 2:
                    self._held = ending
                    break
                pos += 2
                self._state = "size"
            else:
                limit = _CHUNK_LINE if self._state == "size" else _TRAILERS
                end = data.find(b"\r\n", pos, pos + limit + 2)
                if end < 0:
                    if len(data) - pos > limit:
                        raise BadHttp(f"chunked body: expected a line of at most {limit} bytes")
                    self._held = data[pos:]
                    break
                line = data[pos:end]
                pos = end + 2
                if self._state == "size":
                    self._begin(line)
                else:
                    self._trailer(line)
        self.rest = data[pos:] if self.done else b""
        return b"".join(out)

    def _begin(self, line: bytes) -> None:
        match = _CHUNK(line)
        if match is None:
            raise BadHttp("chunked body: expected a chunk size in hexadecimal digits")
        self._left = int(match[1], 16)
        self.size += self._left
        if self._max is not None and self.size > self._max:
            raise TooLarge(f"body: expected at most {self._max} bytes, got at least {self.size}")
        self._state = "data" if self._left else "trailer"

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailers += len(line)
        name, colon, value = line.partition(b":")
        bad = value.translate(None, _TEXT) or not _TOKEN(name.decode("latin-1"))
        if not colon or bad or self._trailers > _TRAILERS:
            raise BadHttp("chunked body: expected only short 'Name: value' lines after it")


def split_lines(pieces: Iterable[bytes], max_line: int) -> Iterator[bytes]:
    """The lines of a text in pieces, without LF or CR LF; raises TooLarge for a longer one."""
    rest: list[bytes] = []
    held = 0
    for data in pieces:
        *whole, last = data.split(b"\n")
        for part in whole:
            line = b"".join((*rest, part)) if rest else part
            rest.clear()
            held = 0
            if len(line) > max_line:
                raise TooLarge(f"body: expected lines of at most {max_line} bytes")
            yield line[:-1] if line.endswith(b"\r") else line
        if last:
            rest.append(last)
            held += len(last)
            if held > max_line:
                raise TooLarge(f"body: expected lines of at most {max_line} bytes")
    if rest:
        yield b"".join(rest)


def tokens(value: str) -> Iterator[str]:
    """The members of a comma-separated header, in lower case."""
    return (part for item in value.split(",") if (part := item.strip(" \t").lower()))
