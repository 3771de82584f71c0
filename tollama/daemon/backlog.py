"""What waits for one model, and what of it runs together next. No threads, no clock of its own.

    order     round-robin by request: a bulk request yields to an interactive one after every job
    batch     everything compatible that waits, up to the family's series and tokens
    linger    after a batch of many, a moment for as many to come back (measured: without it
              closed-loop clients fall into two groups that take turns)
    suspects  jobs that a runner died with: in their groups, before anything else

Not covered: deadlines of what runs, and who sends the batch (lane.py).
"""

from __future__ import annotations

import math
from collections import deque

from tollama.daemon.call import DONE, QUEUED, Call, Job

LINGER = 0.005
LINGER_SHARE = 0.1
# poll counts in milliseconds: a wait much shorter than one would be longer than it should.
LINGER_LEAST = 0.0005
# The share of the newest batch in the moving averages.
SMOOTHING = 0.2


class Backlog:
    """The jobs of one lane that do not run; its lane's lock guards it."""

    def __init__(self, *, max_series: int, max_tokens: int, batching: bool) -> None:
        self.max_series = max_series
        self.max_tokens = max_tokens
        self.batching = batching
        self.ring: deque[Call] = deque()
        self.suspects: deque[list[Job]] = deque()
        self.queued = 0
        self.batch_time = 0.0
        self.job_time = 0.0
        self.last_size = 0
        self.last_end = -math.inf
        self.linger_until: float | None = None

    def __bool__(self) -> bool:
        return bool(self.ring or self.suspects)

    def waiting(self, limit: int) -> int:
        """How many requests have not begun; they are counted only where that reaches the limit."""
        if len(self.ring) < limit:
            return len(self.ring)
        return sum(call.began is None for call in self.ring)

    def push(self, job: Job) -> None:
        """Queue a job behind the others of its call."""
        call = job.call
        if not call.queue:
            self.ring.append(call)
        call.queue.append(job)
        self.queued += 1

    def suspect(self, jobs: list[Job]) -> None:
        """Queue jobs that share the blame: in halves, or the one alone."""
        for job in jobs:
            job.state = QUEUED
        self.queued += len(jobs)
        middle = len(jobs) // 2
        self.suspects.appendleft(jobs[middle:])
        if middle:
            self.suspects.appendleft(jobs[:middle])

    def drop(self, job: Job) -> None:
        """Take out a queued job; `tidy` its call afterwards."""
        job.state = DONE
        self.queued -= 1

    def tidy(self, call: Call) -> None:
        """Forget the dropped jobs of a call."""
        if call.queue:
            kept = deque(job for job in call.queue if job.state is QUEUED)
            if not kept:
                self.ring.remove(call)
            call.queue = kept

    def clear(self) -> list[Job]:
        """Take out everything."""
        jobs = [job for call in self.ring for job in call.queue]
        jobs += self.clear_suspects()
        for call in self.ring:
            call.queue = deque()
        self.ring.clear()
        self.queued = 0
        self.linger_until = None
        for job in jobs:
            job.state = DONE
        return jobs

    def clear_suspects(self) -> list[Job]:
        """Take out the suspects alone."""
        jobs = [job for group in self.suspects for job in group if job.state is QUEUED]
        self.suspects.clear()
        self.queued -= len(jobs)
        return jobs

    def lingers(self, now: float) -> bool:
        """Whether to wait for the clients of the last batch; `linger_until` says how long."""
        if self.last_size <= 1 or self.queued >= self.last_size or self.suspects:
            return False
        if self.linger_until is None:
            window = min(LINGER, LINGER_SHARE * self.batch_time)
            # A batch that is long over says nothing about who comes now: idle means no delay.
            if window < LINGER_LEAST or now - self.last_end > self.batch_time:
                return False
            self.linger_until = now + window
        return now < self.linger_until

    def take(self, now: float, idle: int, expired: list[Job]) -> list[Job]:
        """The next batch, for one of `idle` replicas; jobs past their deadline go to `expired`."""
        self.linger_until = None
        while self.suspects:
            group = [job for job in self.suspects.popleft() if job.state is QUEUED]
            late = [job for job in group if job.deadline <= now]
            if late:
                expired += late
                group = [job for job in group if job.deadline > now]
                self.queued -= len(late)
            if group:
                self.queued -= len(group)
                return group
        most = math.inf if idle <= 1 else math.ceil(self.queued / idle)
        batch: list[Job] = []
        skipped: list[Call] = []
        series = tokens = 0
        ring = self.ring
        while ring:
            call = ring.popleft()
            job = call.queue[0]
            if job.deadline <= now:
                expired.append(job)
                taken = False
            elif not batch:
                taken = True
            elif (
                job.key != batch[0].key
                or series + job.series > self.max_series
                or tokens + job.tokens > self.max_tokens
            ):
                skipped.append(call)
                continue
            else:
                taken = True
            call.queue.popleft()
            self.queued -= 1
            if call.queue:
                # One job a turn; an expired one does not cost the call its turn.
                if taken:
                    ring.append(call)
                else:
                    ring.appendleft(call)
            if taken:
                batch.append(job)
                series += job.series
                tokens += job.tokens
                if (
                    not self.batching
                    or job.key is None
                    or len(batch) >= most
                    or series >= self.max_series
                    or tokens >= self.max_tokens
                ):
                    break
        ring.extendleft(reversed(skipped))
        return batch

    def finished(self, size: int, took: float, now: float) -> None:
        """Learn from a batch that is through."""
        weight = SMOOTHING if self.batch_time else 1.0
        self.batch_time += weight * (took - self.batch_time)
        self.job_time += weight * (took / size - self.job_time)
        self.last_size = size
        self.last_end = now

    def retry_after(self, replicas: int) -> float:
        """Whole seconds until what waits now is through, as far as the last batches tell."""
        wait = self.queued * self.job_time / max(1, replicas)
        return float(min(60, max(1, math.ceil(wait))))
