"""What a row of a route table is, and the two ordinary forms of an answer.

Not covered: the tables themselves (routes.py, compat/routes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from tollama.core import protocol
from tollama.daemon.http_message import Later, Reply, Request

if TYPE_CHECKING:
    from tollama.daemon.service import Service

NDJSON = "application/x-ndjson"
Handler = Callable[["Service", Request], Reply | Later]


class Route(NamedTuple):
    """A method and path, who may call it, what it takes and gives (for /openapi.json)."""

    method: str
    path: str  # "{name}" is the rest of the path
    handle: Handler
    summary: str
    scope: str = "read"
    body: type | None = None
    answer: type | None = None
    stream_body: bool = False
    encodings: tuple[str, ...] = ()
    max_body: int | None = None
    plain: bool = False  # answers text, not JSON


def dump(value: object, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, protocol.dumps(value))


def ndjson(events: Iterator[dict[str, Any]]) -> Reply:
    """Objects as NDJSON, each sent as it comes."""
    return Reply(content_type=NDJSON, stream=(protocol.dumps(event) + b"\n" for event in events))
