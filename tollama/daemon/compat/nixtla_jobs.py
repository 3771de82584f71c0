"""Nixtla's jobs: tasks that run while their client comes back to ask.

Kept in memory: a restart forgets them, as do an hour after their end and MAX_KEPT newer ones. A
few run at a time, a few more wait, others are told to come back.

Not covered: what a task does.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from tollama.core import protocol
from tollama.core.errors import Cancelled, NotFound, QueueFull, TollamaError

MAX_RUNNING = 4
MAX_WAITING = 64
MAX_KEPT = 256
MAX_KEPT_BYTES = 256 << 20
KEPT_S = 3600.0

PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED = (
    "pending", "running", "succeeded", "failed", "cancelled",
)  # fmt: skip


class Job:
    """One task: what it does, how far it is; to its forecasts it is the client."""

    def __init__(self, task: str, work: Callable[[Job], bytes]) -> None:
        self.id = os.urandom(16).hex()
        self.task = task
        self.work = work
        self.status = PENDING
        self.result = b"null"
        self.error: str | None = None
        self.ended = 0.0
        self.cancelled = threading.Event()

    def disconnected(self) -> bool:
        """Whether nobody waits any more."""
        return self.cancelled.is_set()

    def blocking(self) -> AbstractContextManager[None]:
        """A job's thread may wait as long as it likes."""
        return nullcontext()

    def to_json(self) -> bytes:
        """What a client that asks is told."""
        head = protocol.dumps({"job_id": self.id, "status": self.status, "error": self.error})
        return head[:-1] + b',"result":' + self.result + b"}"


class Jobs:
    """All jobs of a daemon."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._running = 0

    def submit(self, task: str, work: Callable[[Job], bytes]) -> Job:
        """Run `work` soon; raises QueueFull."""
        job = Job(task, work)
        with self._lock:
            self._forget()
            if len(self._waiting) >= MAX_WAITING:
                raise QueueFull(
                    f"{MAX_WAITING} jobs wait already; come back in a moment", retry_after=2
                )
            self._jobs[job.id] = job
            self._waiting.append(job)
            if self._running >= MAX_RUNNING:
                return job
            self._running += 1
        threading.Thread(target=self._run, name="nixtla job", daemon=True).start()
        return job

    def get(self, task: str, name: str) -> Job:
        """A job by id; raises NotFound."""
        with self._lock:
            job = self._jobs.get(name)
        if job is None or task not in ("", job.task):
            raise NotFound(f"no such job: {name[:60]!r} (jobs are kept for an hour, in memory)")
        return job

    def cancel(self, name: str) -> Job:
        """End a job that has not ended."""
        job = self.get("", name)
        with self._lock:
            if job.status in (PENDING, RUNNING):
                job.cancelled.set()
                self._end(job, CANCELLED)
        return job

    def close(self) -> None:
        """End every job."""
        with self._lock:
            for job in self._jobs.values():
                job.cancelled.set()
            self._waiting.clear()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    return
                job = self._waiting.popleft()
                if job.status != PENDING:
                    continue
                job.status = RUNNING
            status, error, result = SUCCEEDED, None, b"null"
            try:
                result = job.work(job)
            except Cancelled:
                status = CANCELLED
            except TollamaError as failure:
                status, error = FAILED, failure.message
            except Exception as failure:
                status, error = FAILED, f"internal error: {type(failure).__name__}"
                self._log(f"job {job.id} failed:\n{traceback.format_exc()}")
            with self._lock:
                if job.status == RUNNING:
                    job.error, job.result = error, result
                    self._end(job, status)

    def _end(self, job: Job, status: str) -> None:
        job.status = status
        job.ended = time.monotonic()
        job.work = _nothing  # the body that it held can go

    def _forget(self) -> None:
        """Drop what ended long ago, and the oldest when there is too much."""
        ended = [job for job in self._jobs.values() if job.ended]
        size = sum(len(job.result) for job in ended)
        now = time.monotonic()
        for number, job in enumerate(ended):
            left = len(ended) - number
            if now - job.ended < KEPT_S and left <= MAX_KEPT and size <= MAX_KEPT_BYTES:
                break
            size -= len(job.result)
            del self._jobs[job.id]


def _nothing(job: Job) -> bytes:
    return b"null"
