"""One loaded model: its requests on one side, its replicas on the other, one lock between them.

The threads of callers put jobs in and, when a replica is free, send the batch themselves; the threads of
replicas (replica.py) wait for answers and send what has queued meanwhile. Nothing here sleeps: `turn` says
how long a replica may, and results are handed over after the lock is released.

Not covered: what runs together (backlog.py), processes and frames (replica.py), what a crash means for the
jobs and the next start (blame.py, health.py), limits across models (scheduler.py).
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

from tollama.core.errors import (
    DeadlineExceeded,
    ProtocolError,
    QueueFull,
    TollamaError,
    Unavailable,
)
from tollama.daemon.backlog import Backlog
from tollama.daemon.blame import Blame
from tollama.daemon.call import DONE, QUEUED, RUNNING, Call, Job, Launch
from tollama.daemon.health import Health, copy_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from tollama.daemon.replica import Replica
    from tollama.daemon.scheduler import Scheduler

    Delivery = tuple[Call, int, bytes | TollamaError]

# OPEN takes requests; RETIRING finishes those it has; STOPPING finishes only what runs; ENDED is empty.
OPEN, RETIRING, STOPPING, ENDED = "open", "retiring", "stopping", "ended"

# What a runner may still take after everyone has given up on its batch: when others wait, and when not.
GRACE = 3.0
QUIET_GRACE = 5.0
# How long a lane that could not start another replica goes on without trying.
GROW_PAUSE = 30.0
# Idle replicas beyond the first stay at least this long, whatever keep_alive says.
SPARE_LEAST = 10.0


class Lane:
    """The requests for one model and the replicas that serve them."""

    def __init__(
        self, scheduler: Scheduler, launch: Launch, health: Health, keep_alive: float
    ) -> None:
        self.scheduler = scheduler
        self.launch = launch
        self.health = health
        self.keep_alive = keep_alive
        self.clock = scheduler.clock
        self.lock = threading.Lock()
        self.state = OPEN
        self.ended = threading.Event()
        self.backlog = Backlog(
            max_series=launch.max_series, max_tokens=launch.max_tokens, batching=launch.batching
        )
        self.blame = Blame(self.backlog, health)
        self.calls: set[Call] = set()
        self.loads: list[Call] = []
        self.replicas: list[Replica] = []
        self.idle: list[Replica] = []
        self.threads = 0
        self.grow_after = self.last_used = -math.inf
        self.stop_at = math.inf
        self.facts: dict[str, Any] | None = None
        self.loaded_at: float | None = None
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
            backlog, now = self.backlog, self.clock()
            if backlog.requests >= self.scheduler.max_queue:
                raise QueueFull(
                    f"the queue of {self.launch.model} is full: {backlog.requests} requests wait "
                    "(TOLLAMA_MAX_QUEUE)",
                    retry_after=backlog.retry_after(len(self.replicas)),
                )
            ready = self.ready
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
                    self._finish_loads(b"")
            self._kick(now)
            out = self._outbox()
        self._deliver(out)
        return True

    def add(self, call: Call, job: Job) -> int:
        """Queue one more job of an open call."""
        with self.lock:
            call.adopt(job)
            if self.state in (STOPPING, ENDED) or call.cancelled:
                self._settle(job, self._unloaded())
            else:
                self.backlog.push(job)
                self._kick(self.clock())
            out = self._outbox()
        self._deliver(out)
        return job.index

    def close_call(self, call: Call) -> None:
        """No more jobs will come for the call."""
        with self.lock:
            call.end_of_jobs()
            self._release(call, ring=True)
        call.poke()
        self._deliver(None)

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
            call.pending.clear()
            self.backlog.tidy(call)
            if call in self.loads:
                self.loads.remove(call)
            self._release(call, ring=True)
        call.poke()
        self._deliver(None)

    def expire(self, call: Call, now: float) -> float:
        """Answer the call's jobs whose deadline has passed; returns its next deadline."""
        with self.lock:
            for job in [job for job in call.pending.values() if job.deadline <= now]:
                self._expire(job)
            self.backlog.tidy(call)
            following = call.next_deadline()
            out = self._outbox()
        self._deliver(out)
        return following

    # The scheduler

    def retire(self, *, only_idle: bool = False) -> bool:
        """Take no more requests, finish those there are, then end; whether that begins now."""
        with self.lock:
            if self.state is not OPEN or (only_idle and not self.is_idle):
                return False
            self.state = RETIRING
            if not self.replicas:
                self.state = ENDED
            self._ring_all()
            return True

    def stop(self, grace: float) -> None:
        """Refuse what waits, give what runs `grace` seconds, then end."""
        with self.lock:
            if self.state is not ENDED:
                self.state = STOPPING
            self.stop_at = min(self.stop_at, self.clock() + grace)
            self._fail_waiting(self._unloaded())
            if not self.replicas:
                self.state = ENDED
            never_began = not self.threads
            self._ring_all()
            out = self._outbox()
        self._deliver(out)
        if never_began:
            self.ended.set()
            self.scheduler.lane_ended(self)

    def wake(self) -> None:
        """Make everyone who waits look at the clock again."""
        with self.lock:
            self._ring_all()
            calls = list(self.calls)
        for call in calls:
            call.poke()

    def kill(self) -> None:
        """End the processes that are left, whatever they do."""
        with self.lock:
            processes = [replica.process for replica in self.replicas]
        for process in processes:
            if process is not None:
                process.kill()

    @property
    def ready(self) -> bool:
        """Whether a loaded process is there."""
        return any(replica.loaded for replica in self.replicas)

    @property
    def is_idle(self) -> bool:
        """Whether no request is open and no replica computes."""
        return not self.calls and not any(replica.batch for replica in self.replicas)

    @property
    def expires(self) -> float:
        """When the model is unloaded if nothing comes, on the scheduler's clock."""
        return math.inf if self.keep_alive < 0 else self.last_used + self.keep_alive

    # Replicas

    def wants_start(self, replica: Replica) -> float | None:
        """Seconds until the replica may start its process, None when it ends instead."""
        with self.lock:
            if self.calls and self.wanted and not (self.ready and not self.backlog):
                return max(0.0, self.health.resume_at - self.clock())
            self._remove(replica)
            out = self._outbox()
        self._deliver(out)
        return None

    @property
    def wanted(self) -> bool:
        """Whether a model that is being loaded would be used."""
        return self.state is OPEN or (self.state is RETIRING and bool(self.calls))

    def started(self, replica: Replica, facts: dict[str, Any]) -> None:
        """The replica's process has loaded the model."""
        with self.lock:
            replica.loaded = True
            replica.idle_since = self.last_used = self.clock()
            self.health.started()
            self.facts = facts
            self.loaded_at = self.loaded_at or time.time()
            self.idle.append(replica)
            self._finish_loads(b"")
            self._kick(replica.idle_since)
            out = self._outbox()
        self._deliver(out)

    def start_failed(self, replica: Replica, error: TollamaError, *, final: bool) -> bool:
        """A start did not end in a loaded model; whether the replica tries again.

        `final` says that another try would end the same way. The requests fail with it, or when the
        next start has to wait; not when other replicas serve on.
        """
        with self.lock:
            now = self.clock()
            refusal: TollamaError | None = None
            if self.ready or not self.wanted:
                self.health.note(error)
                self.grow_after = now + GROW_PAUSE
            else:
                self.health.failed_start(now, error)
                refusal = self.health.refusal(now)
                if refusal is None and not final:
                    return True
                self._fail_waiting(refusal or error)
            # Before the lock is free: a request that comes now must find another lane.
            self._remove(replica)
            out = self._outbox()
        self._deliver(out)
        return False

    def no_room(self, replica: Replica, error: TollamaError) -> None:
        """The model may not be loaded now."""
        with self.lock:
            self._fail_waiting(error)
            self._remove(replica)
            out = self._outbox()
        self._deliver(out)

    def leave(self, replica: Replica) -> None:
        """The replica will serve no more; the last one to leave ends the lane."""
        with self.lock:
            self._remove(replica)
            out = self._outbox()
        self._deliver(out)

    def thread_ended(self) -> None:
        """A replica's process and thread are gone."""
        with self.lock:
            self.threads -= 1
            over = self.threads == 0 and self.state is ENDED
        if over:
            self.ended.set()
            self.scheduler.lane_ended(self)

    def turn(self, replica: Replica) -> float | None:
        """What a loaded replica does now: sends a batch if there is one.

        Returns how long it may wait for its process, None when it ends.
        """
        with self.lock:
            now = self.clock()
            wait = self._idle_turn(replica, now) if not replica.batch else None
            if replica.batch:
                wait = self._busy_turn(replica, now)
            elif wait is None:
                self._remove(replica)
            out = self._outbox()
        self._deliver(out)
        return wait

    def _idle_turn(self, replica: Replica, now: float) -> float | None:
        if self.state is STOPPING:
            return None
        if self._dispatch(replica, now):
            self._grow(now)
            return 0.0
        wait = math.inf
        if self.backlog and self.backlog.linger_until is not None:
            wait = self.backlog.linger_until - now
        if self.is_idle:
            if self.state is RETIRING:
                return None
            if self.expires <= now:
                self.state = RETIRING
                self._ring_all()
                return None
            wait = min(wait, self.expires - now)
        if self.keep_alive >= 0 and len(self.replicas) > 1:
            until = replica.idle_since + max(self.keep_alive, SPARE_LEAST)
            if until > now:
                wait = min(wait, until - now)
            elif not self.backlog and len(self.idle) > 1:
                return None
        return wait

    def _busy_turn(self, replica: Replica, now: float) -> float:
        if replica.deadline <= now:
            running = [job for job in replica.pending.values() if job.state is RUNNING]
            for job in running:
                if job.deadline <= now:
                    self._expire(job)
            replica.deadline = min(
                (job.deadline for job in running if job.state is RUNNING), default=math.inf
            )
        until = replica.deadline
        if not replica.live:
            until = replica.dead_since + GRACE
            if not self.backlog and self.state is OPEN:
                until = max(until, replica.last_deadline + QUIET_GRACE)
        until = min(until, self.stop_at)
        if until <= now:
            replica.gives_up = True
        return until - now

    def answered(self, replica: Replica, wire_id: bytes, result: bytes | TollamaError) -> bool:
        """Route an answer of the runner; False when it is for nobody."""
        with self.lock:
            job = replica.pending.pop(wire_id, None)
            if job is None:
                if not replica.batch or wire_id != replica.batch:
                    return False
                self._unanswered(replica, result)
            elif job.state is RUNNING:
                self.blame.answered()
                replica.live -= 1
                self._settle(job, result)
            if replica.pending:
                if not replica.live and replica.dead_since == math.inf:
                    replica.dead_since = self.clock()
            else:
                now = self.clock()
                self.backlog.finished(replica.size, now - replica.began, now)
                replica.end_batch()
                replica.idle_since = now
                self.idle.append(replica)
                if self.state is not STOPPING:
                    self._kick(now)
            out = self._outbox()
        self._deliver(out)
        return True

    def died(self, replica: Replica, error: TollamaError) -> None:
        """The replica's process has gone; its jobs are tried again unless they are to blame."""
        with self.lock:
            jobs = [job for job in replica.pending.values() if job.state is RUNNING]
            replica.loaded = False
            replica.end_batch()
            if replica in self.idle:
                self.idle.remove(replica)
            self.health.restarts += 1
            if replica.gives_up or self.state is STOPPING:
                self._settle_all(jobs, self._unloaded())
            else:
                failed = self.blame.crash(jobs, error, self.clock())
                self._settle_all(failed, error)
                refusal = None if self.ready else self.health.refusal(self.clock())
                if refusal is not None:
                    self._fail_waiting(refusal)
            replica.gives_up = False
            out = self._outbox()
        self._deliver(out)

    # Under the lock

    def _kick(self, now: float) -> None:
        """Set free replicas to work, and see to it that there are enough."""
        idle, backlog = self.idle, self.backlog
        while idle and backlog:
            lingering = backlog.linger_until
            if not self._dispatch(idle[-1], now):
                if idle and lingering is None and backlog.linger_until is not None:
                    idle[-1].bell.ring()
                break
        if not idle:
            self._grow(now)

    def _dispatch(self, replica: Replica, now: float) -> bool:
        """Send the next batch to a free replica; False when there is none or it should linger."""
        backlog = self.backlog
        if not backlog or (len(self.replicas) == 1 and backlog.lingers(now)):
            return False
        expired: list[Job] = []
        jobs = backlog.take(now, len(self.idle), expired)
        self._settle_all(expired, self._late())
        if not jobs:
            return False
        self.idle.remove(replica)
        for job in jobs:
            job.state = RUNNING
            job.replica = replica
            if job.call.began is None:
                job.call.began = now
        replica.begin(jobs, now)
        return True

    def _grow(self, now: float) -> None:
        """Start a replica when work waits and all that are there compute."""
        count = len(self.replicas)
        if not (self.calls and self.wanted):
            return
        if count:
            for replica in self.replicas:
                if replica.batch and not replica.live:
                    replica.bell.ring()  # it may be killed sooner when others wait
            if (
                not self.backlog
                or not self.launch.replicas
                or count >= self.scheduler.cpus
                or now < self.grow_after
                or not all(replica.loaded for replica in self.replicas)
            ):
                return
        self.threads += 1
        self.replicas.append(self.scheduler.replica(self))

    def _unanswered(self, replica: Replica, result: bytes | TollamaError) -> None:
        """The runner ended a batch: what has no answer shares its error, or tries in halves."""
        jobs = [job for job in replica.pending.values() if job.state is RUNNING]
        replica.pending.clear()
        if isinstance(result, TollamaError):
            error = result
        else:
            error = ProtocolError(f"the runner of {self.launch.model} gave no answer")
        if len(jobs) > 1:
            self.backlog.suspect(jobs)
        else:
            self._settle_all(jobs, error)

    def _expire(self, job: Job) -> None:
        self._give_up(job)
        self._settle(job, self._late())

    def _give_up(self, job: Job) -> None:
        """Nobody waits for the job any more."""
        if job.state is QUEUED:
            self.backlog.drop(job)
        elif job.state is RUNNING and job.replica is not None:
            replica = job.replica
            replica.skip(job)
            replica.live -= 1
            if not replica.live:
                replica.dead_since = self.clock()
            replica.bell.ring()
        job.state = DONE

    def _settle(self, job: Job, result: bytes | TollamaError) -> None:
        job.state = DONE
        job.replica = None
        call = job.call
        if call.pending.pop(job.index, None) is not None:
            self._out.append((call, job.index, result))
            self._release(call)

    def _settle_all(self, jobs: Iterable[Job], error: TollamaError) -> None:
        for job in jobs:
            self._settle(job, copy_of(error))

    def _fail_waiting(self, error: TollamaError) -> None:
        self._settle_all(self.backlog.clear(), error)
        self._finish_loads(error)

    def _finish_loads(self, result: bytes | TollamaError) -> None:
        loads, self.loads = self.loads, []
        for call in loads:
            self._out.append((call, 0, result if isinstance(result, bytes) else copy_of(result)))
            self._release(call)

    def _release(self, call: Call, *, ring: bool = False) -> None:
        """Let go of a call whose jobs all have their results: keep_alive counts from here."""
        if not call.settled or call not in self.calls or call in self.loads:
            return
        self.calls.discard(call)
        self.last_used = call.ended = self.clock()
        self.last_used_at = time.time()
        if not self.calls and (ring or self.state is not OPEN):
            self._ring_all()

    def _remove(self, replica: Replica) -> None:
        if replica in self.replicas:
            self.replicas.remove(replica)
        if replica in self.idle:
            self.idle.remove(replica)
        if not self.replicas and self.state is not ENDED:
            self.state = ENDED
            self._fail_waiting(self._unloaded())

    def _ring_all(self) -> None:
        for replica in self.replicas:
            replica.bell.ring()

    def _unloaded(self) -> Unavailable:
        return Unavailable(f"model {self.launch.model} is being unloaded", retry_after=1)

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"model {self.launch.model} did not answer before the deadline")

    def _outbox(self) -> list[Delivery] | None:
        out = self._out
        if not out:
            return None
        self._out = []
        return out

    def _deliver(self, out: list[Delivery] | None) -> None:
        """Hand results over, without the lock: their readers run at once and may come back."""
        if out is not None:
            for call, index, result in out:
                call.put(index, result)
        if self.scheduler.waiting and self.is_idle:
            self.scheduler.nudge()
