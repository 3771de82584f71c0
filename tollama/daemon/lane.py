"""One loaded model: the requests for it, and one lock for them and the crew that serves them.

Callers put jobs in and, when a replica is free, send the batch themselves; results are handed over
after the lock is released. Nothing here sleeps.

Not covered: what runs together (backlog.py), the replicas (crew.py), limits across models
(scheduler.py).
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

from tollama.core.errors import Cancelled, DeadlineExceeded, QueueFull, TollamaError, Unavailable
from tollama.daemon.backlog import Backlog
from tollama.daemon.call import DONE, QUEUED, RUNNING, Call, Job, Launch
from tollama.daemon.crew import ENDED, OPEN, RETIRING, STOPPING, Crew
from tollama.daemon.health import Health, copy_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from tollama.daemon.scheduler import Scheduler

    Delivery = tuple[Call, int, bytes | TollamaError]


class Lane:
    """The requests for one model."""

    def __init__(
        self, scheduler: Scheduler, launch: Launch, health: Health, keep_alive: float
    ) -> None:
        self.scheduler = scheduler
        self.launch = launch
        self.health = health
        self.keep_alive = keep_alive
        self.meter = scheduler.metrics.meter(launch)
        self.clock = scheduler.clock
        self.lock = threading.Lock()
        self.state = OPEN
        self.ended = threading.Event()
        self.stop_at = math.inf
        self.backlog = Backlog(
            max_series=launch.max_series, max_tokens=launch.max_tokens, batching=launch.batching
        )
        self.crew = Crew(self)
        # Requests that are open, and those among them that wait for no job but for the load.
        self.calls: set[Call] = set()
        self.loads: list[Call] = []
        self.facts: dict[str, Any] | None = None
        self.loaded_at: float | None = None
        self.last_used = self.clock()
        self.last_used_at: float | None = None
        self._out: list[Delivery] = []

    # Callers

    def enqueue(self, call: Call, jobs: Iterable[Job], keep_alive: float | None) -> bool:
        """Take a call in; False when the lane is on its way out. Raises QueueFull.

        A call without jobs that takes no more waits for the model to be loaded.
        """
        with self.lock:
            if self.state is not OPEN:
                return False
            backlog, crew, now = self.backlog, self.crew, self.clock()
            waiting = backlog.waiting(self.scheduler.max_queue)
            if waiting >= self.scheduler.max_queue:
                self.meter.job(QueueFull.code)
                raise QueueFull(
                    f"the queue of {self.launch.model} is full: {waiting} requests wait "
                    "(TOLLAMA_MAX_QUEUE)",
                    retry_after=backlog.retry_after(len(crew.replicas)),
                )
            ready = crew.ready
            refusal = None if ready else self.health.refusal(now)
            if refusal is not None:
                raise refusal
            if keep_alive is not None:
                self.keep_alive = keep_alive
            call.lane = self
            call.loading = not ready
            self.calls.add(call)
            for job in jobs:
                call.adopt(job)
                backlog.push(job)
            if call.settled:
                call.expect_load()
                self.loads.append(call)
                if ready:
                    self.finish_loads(b"")
            crew.kick(now)
            out = self.outbox()
        self.deliver(out)
        return True

    def add(self, call: Call, job: Job) -> int:
        """Queue one more job of an open call."""
        with self.lock:
            call.adopt(job)
            if self.state in (STOPPING, ENDED) or call.cancelled:
                self.settle(job, self.unloaded())
            else:
                self.backlog.push(job)
                self.crew.kick(self.clock())
            out = self.outbox()
        self.deliver(out)
        return job.index

    def close_call(self, call: Call) -> None:
        """No more jobs will come for the call."""
        with self.lock:
            call.end_of_jobs()
            self._release(call, ring=True)
        call.poke()
        self.deliver(None)

    def cancel(self, call: Call) -> None:
        """Drop the call's queued jobs at once and have the runner skip the others."""
        with self.lock:
            if call not in self.calls:
                call.end_of_jobs()
                return
            call.cancelled = True
            call.end_of_jobs()
            for job in call.pending.values():
                self._give_up(job)
            self.meter.job(Cancelled.code, len(call.pending))
            call.pending.clear()
            self.backlog.tidy(call)
            if call in self.loads:
                self.loads.remove(call)
            self._release(call, ring=True)
        call.poke()
        self.deliver(None)

    def expire(self, call: Call, now: float) -> float:
        """Answer the call's jobs whose deadline has passed; returns its next deadline."""
        with self.lock:
            for job in [job for job in call.pending.values() if job.deadline <= now]:
                self.expire_job(job)
            self.backlog.tidy(call)
            following = call.next_deadline()
            out = self.outbox()
        self.deliver(out)
        return following

    # The scheduler

    def retire(self, *, only_idle: bool = False) -> bool:
        """Take no more requests, finish those there are, then end; whether that begins now."""
        with self.lock:
            if self.state is not OPEN or (only_idle and not self.is_idle):
                return False
            self.state = RETIRING if self.crew.replicas else ENDED
            self.crew.ring_all()
            return True

    def stop(self, grace: float) -> None:
        """Refuse what waits, give what runs `grace` seconds, then end."""
        with self.lock:
            self.state = STOPPING if self.crew.replicas else ENDED
            self.stop_at = min(self.stop_at, self.clock() + grace)
            self.fail_waiting(self.unloaded())
            self.crew.ring_all()
            never_began = not self.crew.threads
            out = self.outbox()
        self.deliver(out)
        if never_began:
            self.ended.set()
            self.scheduler.lane_ended(self)

    def wake(self) -> None:
        """Make everyone who waits look at the clock again."""
        with self.lock:
            self.crew.ring_all()
            calls = list(self.calls)
        for call in calls:
            call.poke()

    @property
    def wanted(self) -> bool:
        """Whether a model that is being loaded would be used."""
        return self.state is OPEN or (self.state is RETIRING and bool(self.calls))

    @property
    def serves(self) -> bool:
        """Whether a job that is added to an open call would run."""
        return self.state is OPEN or self.state is RETIRING

    @property
    def is_idle(self) -> bool:
        """Whether no request is open and no replica computes."""
        return not self.calls and not any(replica.batch for replica in self.crew.replicas)

    @property
    def expires(self) -> float:
        """When the model is unloaded if nothing comes, on the scheduler's clock."""
        return math.inf if self.keep_alive < 0 else self.last_used + self.keep_alive

    # Under the lock, also for the crew

    def settle(self, job: Job, result: bytes | TollamaError) -> None:
        """Give a job its result, to be handed over later."""
        job.state = DONE
        job.replica = None
        call = job.call
        if call.pending.pop(job.index, None) is not None:
            self._out.append((call, job.index, result))
            self.meter.job("ok" if isinstance(result, bytes) else result.code)
            self._release(call)

    def settle_all(self, jobs: Iterable[Job], error: TollamaError) -> None:
        """Give many jobs the same error."""
        for job in jobs:
            self.settle(job, copy_of(error))

    def fail_waiting(self, error: TollamaError) -> None:
        """Fail everything that does not run."""
        self.settle_all(self.backlog.clear(), error)
        self.finish_loads(error)

    def finish_loads(self, result: bytes | TollamaError) -> None:
        """Answer those who wait for the model to be loaded."""
        loads, self.loads = self.loads, []
        for call in loads:
            self._out.append((call, 0, result if isinstance(result, bytes) else copy_of(result)))
            self._release(call)

    def expire_job(self, job: Job) -> None:
        """Answer a job whose deadline has passed, whatever the runner does with it."""
        self._give_up(job)
        self.settle(job, self.late())

    def _give_up(self, job: Job) -> None:
        if job.state is QUEUED:
            self.backlog.drop(job)
        elif job.state is RUNNING and job.replica is not None:
            job.replica.skip(job, self.clock())
        job.state = DONE

    def _release(self, call: Call, *, ring: bool = False) -> None:
        """Let go of a call whose jobs all have their results: keep_alive counts from here."""
        if not call.settled or call not in self.calls or call in self.loads:
            return
        self.calls.discard(call)
        self.last_used = call.ended = self.clock()
        self.last_used_at = time.time()
        self.meter.call(call)
        if not self.calls and (ring or self.state is not OPEN):
            self.crew.ring_all()

    def unloaded(self) -> Unavailable:
        """What requests are told whose model goes away."""
        return Unavailable(f"model {self.launch.model} is being unloaded", retry_after=1)

    def late(self) -> DeadlineExceeded:
        """What requests are told whose deadline passes."""
        return DeadlineExceeded(f"model {self.launch.model} did not answer before the deadline")

    def outbox(self) -> list[Delivery] | None:
        """The results to hand over once the lock is released."""
        out = self._out
        if not out:
            return None
        self._out = []
        return out

    # Outside the lock

    def deliver(self, out: list[Delivery] | None) -> None:
        """Hand results over: their readers run at once and may come back with more."""
        if out is not None:
            for call, index, result in out:
                call.put(index, result)
        if self.scheduler.waiting and self.is_idle:
            self.scheduler.nudge()
