"""The replicas of a lane: when one starts, works, idles, dies and ends.

The first replica starts with the first request. Further ones start, where the family allows it,
when work waits while all compute. `turn` tells a replica what to do and how long it may wait for
its process.

Not covered: threads, processes and frames (replica.py), what runs together (backlog.py), who is to
blame for a crash (blame.py).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from tollama.core.errors import ProtocolError, TollamaError
from tollama.daemon.blame import Blame
from tollama.daemon.call import RUNNING, Job

if TYPE_CHECKING:
    from typing import Any

    from tollama.daemon.lane import Lane
    from tollama.daemon.replica import Replica

# A lane that is OPEN takes requests, RETIRING finishes those it has, STOPPING finishes what runs,
# ENDED has no replicas any more.
OPEN, RETIRING, STOPPING, ENDED = "open", "retiring", "stopping", "ended"

# What a runner may still take after everyone has given up on its batch: when others wait, and when
# only the loading of its model would be lost.
GRACE = 3.0
QUIET_GRACE = 10.0
# How long a lane that could not start another replica goes on without trying.
GROW_PAUSE = 30.0
# Idle replicas beyond the first stay at least this long, whatever keep_alive says.
SPARE_LEAST = 10.0


class Crew:
    """The replicas that serve a lane; all state is guarded by the lane's lock."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.blame = Blame(lane.backlog, lane.health)
        self.replicas: list[Replica] = []
        # Loaded ones without a batch, the one used last at the end.
        self.idle: list[Replica] = []
        # Replicas whose thread or process is not gone yet.
        self.threads = 0
        self.grow_after = -math.inf

    @property
    def ready(self) -> bool:
        """Whether a loaded process is there."""
        return any(replica.loaded for replica in self.replicas)

    # The start of a replica's process

    def wants_start(self, replica: Replica) -> float | None:
        """Seconds until the replica may start its process, None when it ends instead."""
        lane = self.lane
        with lane.lock:
            if lane.calls and lane.wanted and not (self.ready and not lane.backlog):
                return max(0.0, lane.health.resume_at - lane.clock())
            self._remove(replica)
            out = lane.outbox()
        lane.deliver(out)
        return None

    def started(self, replica: Replica, facts: dict[str, Any]) -> None:
        """The replica's process has loaded the model."""
        lane = self.lane
        with lane.lock:
            replica.loaded = True
            replica.idle_since = lane.last_used = lane.clock()
            lane.health.started()
            lane.meter.load()
            lane.facts = facts
            lane.loaded_at = lane.loaded_at or time.time()
            self.idle.append(replica)
            lane.finish_loads(b"")
            self.kick(replica.idle_since)
            out = lane.outbox()
        lane.deliver(out)

    def start_failed(self, replica: Replica, error: TollamaError, *, final: bool) -> bool:
        """A start did not end in a loaded model; whether the replica tries again.

        `final` says that another try would end the same way. The requests fail with it, or when the
        next start has to wait; not when other replicas serve on.
        """
        lane = self.lane
        with lane.lock:
            now = lane.clock()
            if self.ready or not lane.wanted:
                lane.health.note(error)
                self.grow_after = now + GROW_PAUSE
            else:
                lane.health.failed_start(now, error)
                refusal = lane.health.refusal(now)
                if refusal is None and not final:
                    return True
                lane.fail_waiting(refusal or error)
            # Before the lock is free: a request that comes now must find another lane.
            self._remove(replica)
            out = lane.outbox()
        lane.deliver(out)
        return False

    def no_room(self, replica: Replica, error: TollamaError) -> None:
        """The model may not be loaded now."""
        lane = self.lane
        with lane.lock:
            lane.fail_waiting(error)
            self._remove(replica)
            out = lane.outbox()
        lane.deliver(out)

    # Work

    def turn(self, replica: Replica) -> float | None:
        """What a loaded replica does now: sends a batch if there is one.

        Returns how long it may wait for its process, None when it ends.
        """
        lane = self.lane
        with lane.lock:
            now = lane.clock()
            wait = self._idle_turn(replica, now) if not replica.batch else None
            if replica.batch:
                wait = self._busy_turn(replica, now)
            elif wait is None:
                self._remove(replica)
            replica.wakes = now + (wait or 0.0)
            out = lane.outbox()
        lane.deliver(out)
        return wait

    def due(self, replica: Replica) -> bool:
        """Whether a replica whose answers another thread reads should take its turn now."""
        lane = self.lane
        with lane.lock:
            if lane.state is not OPEN:
                return True
            if replica.batch:
                return not replica.live
            soonest = math.inf
            if lane.backlog and lane.backlog.linger_until is not None:
                soonest = lane.backlog.linger_until
            if lane.is_idle:
                soonest = min(soonest, lane.expires)
            if len(self.replicas) > 1 and lane.keep_alive >= 0:
                soonest = min(soonest, replica.idle_since + max(lane.keep_alive, SPARE_LEAST))
            return soonest < replica.wakes

    def _idle_turn(self, replica: Replica, now: float) -> float | None:
        lane = self.lane
        if lane.state is STOPPING:
            return None
        if self._dispatch(replica, now):
            self._grow(now)
            return 0.0
        wait = math.inf
        if lane.backlog and lane.backlog.linger_until is not None:
            wait = lane.backlog.linger_until - now
        if lane.is_idle:
            if lane.state is OPEN and lane.expires <= now:
                lane.state = RETIRING
                self.ring_all()
            if lane.state is RETIRING:
                return None
            wait = min(wait, lane.expires - now)
        if lane.keep_alive >= 0 and len(self.replicas) > 1:
            until = replica.idle_since + max(lane.keep_alive, SPARE_LEAST)
            if until > now:
                wait = min(wait, until - now)
            elif not lane.backlog and len(self.idle) > 1:
                return None
        return wait

    def _busy_turn(self, replica: Replica, now: float) -> float:
        lane = self.lane
        if replica.deadline <= now:
            running = [job for job in replica.pending.values() if job.state is RUNNING]
            for job in running:
                if job.deadline <= now:
                    lane.expire_job(job)
            replica.deadline = min(
                (job.deadline for job in running if job.state is RUNNING), default=math.inf
            )
        until = replica.deadline
        if not replica.live:
            quiet = not lane.backlog and lane.state is OPEN
            until = replica.dead_since + (QUIET_GRACE if quiet else GRACE)
        until = min(until, lane.stop_at)
        if until <= now:
            replica.gives_up = True
        return until - now

    def answered(self, replica: Replica, wire_id: bytes, result: bytes | TollamaError) -> bool:
        """Route an answer of the runner; False when it is for nobody."""
        lane = self.lane
        with lane.lock:
            job = replica.pending.pop(wire_id, None)
            if job is None:
                if not replica.batch or wire_id != replica.batch:
                    return False
                self._unanswered(replica, result)
            elif job.state is RUNNING:
                self.blame.answered()
                replica.live -= 1
                lane.settle(job, result)
            if not replica.pending:
                self._batch_ended(replica)
            elif not replica.live and replica.dead_since == math.inf:
                replica.dead_since = lane.clock()
            out = lane.outbox()
        lane.deliver(out)
        return True

    def _unanswered(self, replica: Replica, result: bytes | TollamaError) -> None:
        """The runner ended a batch: what has no answer shares its error, or tries in halves."""
        lane = self.lane
        jobs = [job for job in replica.pending.values() if job.state is RUNNING]
        replica.pending.clear()
        if len(jobs) > 1:
            lane.backlog.suspect(jobs)
        elif isinstance(result, TollamaError):
            lane.settle_all(jobs, result)
        else:
            model = lane.launch.model
            lane.settle_all(jobs, ProtocolError(f"the runner of {model} gave no answer"))

    def _batch_ended(self, replica: Replica) -> None:
        lane = self.lane
        now = lane.clock()
        lane.backlog.finished(replica.size, now - replica.began, now)
        lane.meter.batch(replica.size, now - replica.began)
        replica.end_batch()
        replica.idle_since = now
        self.idle.append(replica)
        if lane.state is not STOPPING:
            self.kick(now)

    # The end

    def died(self, replica: Replica, error: TollamaError) -> None:
        """The replica's process has gone; its jobs are tried again unless they are to blame."""
        lane = self.lane
        with lane.lock:
            now = lane.clock()
            jobs = [job for job in replica.pending.values() if job.state is RUNNING]
            replica.loaded = False
            replica.end_batch()
            if replica in self.idle:
                self.idle.remove(replica)
            lane.health.restarts += 1
            lane.meter.restart()
            if replica.gives_up or lane.state is STOPPING:
                lane.settle_all(jobs, lane.unloaded())
            else:
                lane.settle_all(self.blame.crash(jobs, error, now), error)
                refusal = None if self.ready else lane.health.refusal(now)
                if refusal is not None:
                    lane.fail_waiting(refusal)
            replica.gives_up = False
            out = lane.outbox()
        lane.deliver(out)

    def leave(self, replica: Replica) -> None:
        """The replica will serve no more; the last one to leave ends the lane."""
        lane = self.lane
        with lane.lock:
            self._remove(replica)
            out = lane.outbox()
        lane.deliver(out)

    def thread_ended(self) -> None:
        """A replica's process and thread are gone."""
        lane = self.lane
        with lane.lock:
            self.threads -= 1
            over = self.threads == 0 and lane.state is ENDED
        if over:
            lane.ended.set()
            lane.scheduler.lane_ended(lane)

    def kill(self) -> None:
        """End the processes that are left, whatever they do."""
        with self.lane.lock:
            processes = [replica.process for replica in self.replicas]
        for process in processes:
            if process is not None:
                process.kill()

    # Under the lane's lock

    def kick(self, now: float) -> None:
        """Set free replicas to work, and see to it that there are enough."""
        idle, backlog = self.idle, self.lane.backlog
        while idle and backlog:
            lingering = backlog.linger_until
            if not self._dispatch(idle[-1], now):
                if lingering is None and backlog.linger_until is not None:
                    idle[-1].bell.ring()  # its wait is shorter now
                break
        if not idle:
            self._grow(now)

    def ring_all(self) -> None:
        """Make every replica take its turn."""
        for replica in self.replicas:
            replica.bell.ring()

    def _dispatch(self, replica: Replica, now: float) -> bool:
        """Send the next batch to a free replica; False when there is none or it should linger."""
        lane = self.lane
        backlog = lane.backlog
        if not backlog or (len(self.replicas) == 1 and backlog.lingers(now)):
            return False
        expired: list[Job] = []
        jobs = backlog.take(now, len(self.idle), expired)
        if expired:
            lane.settle_all(expired, lane.late())
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
        lane = self.lane
        if not (lane.calls and lane.wanted):
            return
        if self.replicas:
            if not lane.backlog:
                return
            for replica in self.replicas:
                if replica.batch and not replica.live:
                    replica.bell.ring()  # it may be ended sooner when others wait
            if (
                not lane.launch.replicas
                or len(self.replicas) >= lane.scheduler.replicas
                or now < self.grow_after
                or not all(replica.loaded for replica in self.replicas)
            ):
                return
        self.threads += 1
        self.replicas.append(lane.scheduler.replica(lane))

    def _remove(self, replica: Replica) -> None:
        lane = self.lane
        if replica in self.replicas:
            self.replicas.remove(replica)
        if replica in self.idle:
            self.idle.remove(replica)
        if not self.replicas and lane.state is not ENDED:
            lane.state = ENDED
            lane.fail_waiting(lane.unloaded())
