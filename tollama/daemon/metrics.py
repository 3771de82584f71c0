"""What has happened since the start, as /metrics tells it: counts that only grow.

    Metrics   the counts of a daemon: requests (told by the log), pulls, one Meter a model
    Meter     a model's counts, kept after it is unloaded; its lanes tell it

Labels are bounded: a route's pattern, never a path; models that were run, at most MODELS of them
(then "other").

Not covered: what is so now, and the text (metrics_text.py), the accuracy of forecasts
(core/metrics.py).
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tollama.core.errors import Cancelled, TollamaError

if TYPE_CHECKING:
    from tollama.daemon.call import Call, Launch
    from tollama.daemon.http import Server
    from tollama.daemon.route import Route

MODELS = 500
SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
)  # fmt: skip
JOBS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
METHODS = frozenset(("GET", "HEAD", "POST", "DELETE", "OPTIONS"))
OTHER = "other"
EXPECTED = ("ok", "queue_full", "deadline_exceeded", "runner_crashed")

Record = dict[str, Any]
Work = Callable[[Callable[[Record], None], threading.Event], None]


class Histogram:
    """Counts of values by upper bound, the last one unbounded, and the values' sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Meter:
    """The counts of one model on one family; two lanes may tell it at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.queue = Histogram(SECONDS)
        self.run = Histogram(SECONDS)
        self.batches = Histogram(JOBS)
        self.busy = 0.0
        # What alerts ask for is there from the start: a counter that begins with 1 shows no rise.
        self.jobs: defaultdict[str, int] = defaultdict(int, dict.fromkeys(EXPECTED, 0))
        self.loads = 0
        self.restarts = 0

    def call(self, call: Call) -> None:
        """A request has all its results."""
        if call.began is not None:
            with self.lock:
                self.queue.add(call.queue_ms / 1000)
                self.run.add(call.run_ms / 1000)

    def job(self, outcome: str, count: int = 1) -> None:
        """Jobs have ended: ok, or with the code of an error."""
        with self.lock:
            self.jobs[outcome] += count

    def batch(self, size: int, seconds: float) -> None:
        """A runner is through with a batch."""
        with self.lock:
            self.batches.add(size)
            self.busy += seconds

    def load(self) -> None:
        """A process has loaded the model."""
        with self.lock:
            self.loads += 1

    def restart(self) -> None:
        """A process that had loaded the model is gone, unasked."""
        with self.lock:
            self.restarts += 1


class Metrics:
    """What a process has counted since it started."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self.pulls: defaultdict[str, int] = defaultdict(int, success=0)
        self.pull_bytes = 0
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str, int], Histogram] = {}
        self._meters: dict[tuple[str, str], Meter] = {}
        self._exact: dict[str, str] = {}
        self._heads: list[tuple[str, str, str]] = []

    # Requests

    def watch(
        self, log: Callable[[Record], None], routes: Iterable[Route]
    ) -> Callable[[Record], None]:
        """The log of a server, counting each request of these routes on the way."""
        for route in routes:
            head, brace, _ = route.path.partition("{")
            if brace:
                self._heads.append((head, route.method, route.path))
            else:
                self._exact[route.path] = route.path
        self._heads.sort(key=lambda one: -len(one[0]))

        def counted(record: Record) -> None:
            self.request(record)
            log(record)

        return counted

    def request(self, record: Record) -> None:
        """Count a request that has ended, from its record in the log."""
        method, path = record["method"], record["path"]
        route = self._exact.get(path) or self._pattern(method, path)
        if method not in METHODS:
            method = OTHER
        key = (route, method, record["status"])
        with self._lock:
            found = self._requests.get(key)
            if found is None:
                found = self._requests[key] = Histogram(SECONDS)
            found.add(record["ms"] / 1000)

    def _pattern(self, method: str, path: str | None) -> str:
        path = unquote(path or "")
        if path in self._exact:
            return path
        found = [one for one in self._heads if path.startswith(one[0]) and path != one[0]]
        for _, verb, pattern in found:
            if verb == method:
                return pattern
        return found[0][2] if found else OTHER

    def requests(self) -> list[tuple[tuple[str, str, int], list[int], float]]:
        """Each (route, method, status) with the counts of its times and their sum."""
        with self._lock:
            return sorted((key, list(h.counts), h.sum) for key, h in self._requests.items())

    # Models

    def meter(self, launch: Launch) -> Meter:
        """The counts of a launch's model."""
        key = (launch.model.partition("@")[0], launch.family)
        with self._lock:
            if key not in self._meters and len(self._meters) >= MODELS:
                key = (OTHER, OTHER)
            return self._meters.setdefault(key, Meter())

    def meters(self) -> list[tuple[dict[str, object], Meter]]:
        """Every model's counts, with its labels."""
        with self._lock:
            keys = sorted(self._meters)
            return [({"model": k[0], "family": k[1]}, self._meters[k]) for k in keys]

    # Pulls

    def pull(self, work: Work) -> Work:
        """The work of a pull, counted."""

        def counted(on_event: Callable[[Record], None], cancelled: threading.Event) -> None:
            seen = 0

            def on(event: Record) -> None:
                nonlocal seen
                done = event.get("completed_bytes") or 0
                if done > seen:
                    with self._lock:
                        self.pull_bytes += done - seen
                    seen = done
                on_event(event)

            outcome = "internal"
            try:
                work(on, cancelled)
                outcome = "success"
            except TollamaError as error:
                outcome = Cancelled.code if cancelled.is_set() else error.code
                raise
            finally:
                with self._lock:
                    self.pulls[outcome] += 1

        return counted
