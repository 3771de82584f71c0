"""A request inside the scheduler: its jobs on the way in, their results on the way out.

    Launch   how a model's runner is started, and what it may be given at once
    Job      one slice of a request: the unit that is queued, batched, retried and answered
    Call     all jobs of one request; iterate it for (index, result) as each is ready

A failure of one job is a value among the results, so that the others go on. The deadline of a
queued or running job is kept by whoever waits for it: `Call.wait` returns at the deadline whatever
the runner does.

Not covered: which job runs when (lane.py).
"""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from tollama.core.errors import TollamaError
    from tollama.daemon.lane import Lane
    from tollama.daemon.replica import Replica

QUEUED, RUNNING, DONE = "queued", "running", "done"


class Launch(NamedTuple):
    """How to run a model: `model` is the key of its lane, a changed `digest` asks for a new one.

    `batching` says that the family speaks `batch`; `replicas` that it may run in several processes.
    """

    model: str
    family: str
    module: str
    argv: tuple[str, ...]
    env: dict[str, str]
    path: str | None
    options: dict[str, Any]
    replicas: bool
    max_series: int
    max_tokens: int
    batching: bool
    digest: str
    capabilities: dict[str, Any] | None = None  # as runner.json says; what it leaves out is open


class Job:
    """A slice of a request: `body` is its JSON on one line, `offset` the index of its first series.

    Jobs with an equal `key` may share a batch; with None a job always runs alone. `deadline` is a
    time of the scheduler's clock.
    """

    __slots__ = (
        "body", "call", "crashes", "deadline", "defaults", "horizon", "index", "key",
        "method", "offset", "replica", "request_id", "series", "state", "tokens",
    )  # fmt: skip

    call: Call
    index: int

    def __init__(
        self,
        body: bytes,
        *,
        series: int = 1,
        offset: int = 0,
        tokens: int = 0,
        key: Hashable | None = None,
        horizon: int = 1,
        defaults: dict[str, Any] | None = None,
        method: str = "forecast",
        deadline: float = math.inf,
        request_id: str = "",
    ) -> None:
        self.body = body
        self.series = series
        self.offset = offset
        self.tokens = tokens
        self.key = key
        self.horizon = horizon
        self.defaults = defaults
        self.method = method
        self.deadline = deadline
        self.request_id = request_id
        self.state = QUEUED
        self.crashes = 0  # how often a runner died while it had this job
        self.replica: Replica | None = None


class Call:
    """The jobs of one request, and an iterator over (index, raw result or error) as they are ready.

    One thread reads it. `wait` and the iteration never block past a job's deadline.
    """

    def __init__(self, clock: Callable[[], float], *, more: bool) -> None:
        self._clock = clock
        self._results: queue.SimpleQueue[tuple[int, bytes | TollamaError] | None] = (
            queue.SimpleQueue()
        )
        self._ready: deque[tuple[int, bytes | TollamaError]] = deque()
        self._open = more
        self._added = 0
        self._received = 0
        self._submitted = clock()
        self._told: Callable[[], None] | None = None
        self._deadline = math.inf
        self.cancelled = False
        self.loading = False
        # Kept by the lane, under its lock.
        self.lane: Lane | None = None
        self.queue: deque[Job] = deque()
        self.pending: dict[int, Job] = {}
        self.began: float | None = None
        self.ended: float | None = None

    # What the caller does

    def add(self, job: Job) -> int:
        """Queue one more job of a call that was submitted with `more`; returns its index."""
        assert self.lane is not None
        return self.lane.add(self, job)

    def close(self) -> None:
        """No more jobs will be added: the iteration ends with the last result."""
        assert self.lane is not None
        self.lane.close_call(self)

    @property
    def takes_jobs(self) -> bool:
        """Whether a job that is added now would run: its model has not been unloaded."""
        return self.lane is not None and self.lane.serves and not self.cancelled

    def cancel(self) -> None:
        """Give up every job that has no result; does nothing when all have one."""
        if self.lane is not None:
            self.lane.cancel(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Whether `next` would not block: a result is there or the call has ended."""
        return self._fetch(timeout)

    def notify(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, by any thread and perhaps twice, when no job is without result.

        For a reader that holds no thread while it waits; it calls `wait` at the deadline itself.
        """
        self._told = callback
        # The lane looks for a callback after the last job is settled, so one sees the other.
        if self.settled:
            callback()

    def __iter__(self) -> Call:
        return self

    def __next__(self) -> tuple[int, bytes | TollamaError]:
        while not self._ready:
            if self.done:
                raise StopIteration
            self._fetch(None)
        return self._ready.popleft()

    @property
    def done(self) -> bool:
        """Whether every result has been taken and none will follow."""
        return not self._ready and (
            self.cancelled or (not self._open and self._received == self._added)
        )

    @property
    def queue_ms(self) -> float:
        """Milliseconds until the first job ran."""
        until = self.began if self.began is not None else self.ended
        return ((self._clock() if until is None else until) - self._submitted) * 1000

    @property
    def run_ms(self) -> float:
        """Milliseconds from the first job's start to the last result."""
        if self.began is None:
            return 0.0
        return ((self._clock() if self.ended is None else self.ended) - self.began) * 1000

    def _fetch(self, timeout: float | None) -> bool:
        """Move one result to where `next` finds it, keeping deadlines while it waits."""
        until = math.inf if timeout is None else self._clock() + timeout
        while not self._ready and not self.done:
            now = self._clock()
            if self._deadline <= now:
                assert self.lane is not None
                self._deadline = self.lane.expire(self, now)
            left = min(until, self._deadline) - now
            try:
                item = self._results.get(
                    timeout=None if left == math.inf else min(max(left, 0), threading.TIMEOUT_MAX)
                )
            except queue.Empty:
                if self._clock() >= until:
                    return False
                continue
            if item is not None:
                self._received += 1
                self._ready.append(item)
        return True

    # What the lane does, under its lock

    def adopt(self, job: Job) -> None:
        """Number a job and count it as pending."""
        job.call = self
        job.index = self._added
        self._added += 1
        self.pending[job.index] = job
        if job.deadline < self._deadline:
            self._deadline = job.deadline

    def expect_load(self) -> None:
        """Count the end of loading as a result; it has index 0."""
        self._added += 1

    def end_of_jobs(self) -> None:
        """No job will be added any more."""
        self._open = False

    @property
    def settled(self) -> bool:
        """Whether no job waits for its result and none will be added."""
        return not self._open and not self.pending

    def next_deadline(self) -> float:
        """The earliest deadline of a job without a result."""
        return min((job.deadline for job in self.pending.values()), default=math.inf)

    # What the lane does, outside its lock

    def put(self, index: int, result: bytes | TollamaError) -> None:
        """Hand over a result."""
        self._results.put((index, result))
        if self._told is not None and self.settled:
            self._told()

    def poke(self) -> None:
        """Make a waiting reader look again."""
        self._results.put(None)
        if self._told is not None and self.settled:
            self._told()
