"""Native requests on behalf of a dialect: a few in flight at a time, their answers in order.

What a dialect makes of a large body is Python's work, and two threads of it would keep the front
from the interpreter's lock: `alone` lets one at a time do it.

Not covered: what the requests say (the dialects) and batching (the scheduler does it).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tollama.core import answer, protocol

if TYPE_CHECKING:
    from tollama.daemon.forecasting import Client, Running
    from tollama.daemon.service import Service

AHEAD = 4  # requests handed over before the first is answered: keeps runners busy, memory bounded
LARGE = 128 * 1024  # bytes
_turn = threading.Lock()


@contextmanager
def alone(client: Client, size: int) -> Iterator[None]:
    """A `with` block that computes on so many bytes: large ones wait for each other."""
    if size < LARGE:
        yield
        return
    with client.blocking():
        _turn.acquire()
    try:
        yield
    finally:
        _turn.release()


class Ask:
    """Who asks: the service, the id in the log, the client whose going away cancels.

    `size` is how large the body was.
    """

    def __init__(
        self,
        service: Service,
        client: Client,
        *,
        request_id: str,
        timeout: float | None = None,
        size: int = 0,
    ) -> None:
        self.service = service
        self.client = client
        self.request_id = request_id
        self.timeout = timeout
        self.size = size

    def start(self, request: dict[str, Any]) -> Running:
        """Hand one native request over."""
        if self.timeout is not None:
            request = {**request, "timeout": self.timeout}
        with alone(self.client, self.size):
            raw = protocol.dumps(request)
            return self.service.forecasting.start(
                raw, request_id=self.request_id, client=self.client
            )

    def one(self, request: dict[str, Any]) -> Any:
        """The answer of one native request."""
        return answer.loads(self.start(request).answer().body)

    def all(self, requests: Iterable[dict[str, Any]]) -> Iterator[Any]:
        """The answers of native requests, in order; gives up the rest when one fails."""
        waiting: deque[Running] = deque()
        try:
            for request in requests:
                waiting.append(self.start(request))
                if len(waiting) >= AHEAD:
                    yield answer.loads(waiting.popleft().answer().body)
            while waiting:
                yield answer.loads(waiting.popleft().answer().body)
        finally:
            for running in waiting:
                running.cancel()
