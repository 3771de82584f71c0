"""The models that are loaded, and who gets in: one lane a model, room for a limited number of them.

    submit   a request's jobs to its model's lane, which is opened when there is none
    load     a model without a request        unload   one model, now
    loaded   what /api/ps shows               close    everything, bounded

A lane waits for room when `max_loaded` are there: the least recently used idle one is unloaded for
it, and a busy one is waited for. A model whose digest has changed gets a new lane while the old one
finishes.

Not covered: order, batches and deadlines inside a lane (lane.py, backlog.py), processes
(replica.py)."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from tollama.core.errors import TollamaError, Unavailable
from tollama.daemon.call import Call, Job, Launch
from tollama.daemon.child import rss_bytes
from tollama.daemon.crew import OPEN
from tollama.daemon.health import Health
from tollama.daemon.lane import Lane
from tollama.daemon.metrics import Metrics
from tollama.daemon.replica import Replica
from tollama.daemon.runner_process import RunnerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tollama.daemon.bell import Bell

__all__ = ["Call", "Job", "Launch", "LoadedModel", "Scheduler"]

# What a running batch may still take when its model is unloaded.
UNLOAD_GRACE = 10.0
# Crash histories kept of models that are not loaded.
HISTORIES = 256


class LoadedModel(NamedTuple):
    """A loaded model as /api/ps and /api/info show it; times are wall-clock epochs."""

    model: str
    family: str
    pids: tuple[int, ...]
    facts: dict[str, Any]
    loaded_at: float
    expires_at: float | None
    rss_bytes: int
    vram_bytes: int
    queue_depth: int
    running: int
    restarts: int
    last_error: str | None
    last_used_at: float | None
    started_at: float | None


class Scheduler:
    """Everything between a request's jobs and the runner processes."""

    def __init__(
        self,
        *,
        spawn: Callable[..., RunnerProcess] = RunnerProcess,
        clock: Callable[[], float] = time.monotonic,
        cpus: int,
        replicas: int = 0,
        max_loaded: int = 0,
        max_queue: int = 512,
        keep_alive: float = 300.0,
        load_timeout: float = 300.0,
        log: Callable[[str], None] = lambda text: None,
        debug: Callable[[str], None] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.spawn = spawn
        # Reads a pipe for us: (descriptor, reader) -> what ends that; set by the HTTP front.
        self.watch: Callable[[int, Callable[[int], bool]], Callable[[], None]] | None = None
        self.clock = clock
        self.cpus = max(1, cpus)
        # Processes per model, where a family allows several.
        self.replicas = replicas or self.cpus
        self.max_loaded = max_loaded
        self.max_queue = max_queue
        self.keep_alive = keep_alive
        self.load_timeout = load_timeout
        self.log = log
        self.debug = debug or log
        self.metrics = metrics or Metrics()
        # Replicas with a batch: what the threads of a call are divided by.
        self.computing: set[Replica] = set()
        # Those who wait for room, first come first served.
        self.waiting: deque[tuple[Lane, Bell]] = deque()
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._alive: set[Lane] = set()
        self._rooms: set[Lane] = set()
        self._health: dict[tuple[str, str], Health] = {}
        self._closed = False

    def submit(
        self,
        launch: Launch,
        jobs: Iterable[Job],
        *,
        keep_alive: float | None = None,
        more: bool = False,
    ) -> Call:
        """Queue a request's jobs; with `more`, `Call.add` brings further ones until `Call.close`.

        Raises QueueFull, RunnerCrashed while a crash loop pauses, Unavailable when shutting down.
        """
        jobs = list(jobs)
        call = Call(self.clock, more=more)
        while True:
            lane = self._lanes.get(launch.model)
            if lane is None or lane.launch.digest != launch.digest or lane.state is not OPEN:
                lane = self._open(launch)
            if lane.enqueue(call, jobs, keep_alive):
                return call

    def load(self, launch: Launch, keep_alive: float | None = None) -> dict[str, Any]:
        """Load a model and wait for it; returns the facts that its runner tells."""
        call = self.submit(launch, [], keep_alive=keep_alive)
        for _, result in call:
            if isinstance(result, TollamaError):
                raise result
        assert call.lane is not None
        return call.lane.facts or {}

    def unload(self, model: str, grace: float = UNLOAD_GRACE) -> bool:
        """End a model's processes, False if it has none; what waits is refused, what runs ends."""
        with self._lock:
            lanes = [lane for lane in self._alive if lane.launch.model == model]
        for lane in lanes:
            lane.stop(grace)
        for lane in lanes:
            lane.ended.wait(grace + 10)
        return bool(lanes)

    def models(self) -> list[str]:
        """The models that are loaded or being loaded."""
        with self._lock:
            return sorted({lane.launch.model for lane in self._alive})

    def lanes(self) -> list[Lane]:
        """The lanes that have requests or processes."""
        with self._lock:
            return list(self._alive)

    def loaded(self) -> list[LoadedModel]:
        """The loaded models, by name."""
        now, wall = self.clock(), time.time()
        found = []
        with self._lock:
            lanes = list(self._lanes.values())
        for lane in lanes:
            with lane.lock:
                facts, loaded_at = lane.facts, lane.loaded_at
                if facts is None or loaded_at is None or lane.state is not OPEN:
                    continue
                processes = [r.process for r in lane.crew.replicas if r.process is not None]
                last = lane.last_used if lane.is_idle else now
                expires = math.inf if lane.keep_alive < 0 else last + lane.keep_alive
                queued = lane.backlog.queued
                running = sum(replica.live for replica in lane.crew.replicas)
            pids = tuple(process.pid for process in processes)
            vram = facts.get("vram_bytes")
            found.append(
                LoadedModel(
                    model=lane.launch.model,
                    family=lane.launch.family,
                    pids=pids,
                    facts=facts,
                    loaded_at=loaded_at,
                    expires_at=None if expires == math.inf else wall + expires - now,
                    rss_bytes=sum(rss_bytes(pid) or 0 for pid in pids),
                    vram_bytes=vram if isinstance(vram, int) else 0,
                    queue_depth=queued,
                    running=running,
                    restarts=lane.health.restarts,
                    last_error=lane.health.last_error,
                    last_used_at=lane.last_used_at,
                    started_at=min((p.started_at for p in processes), default=None),
                )
            )
        return sorted(found)

    def close(self, timeout: float = 10.0) -> None:
        """Refuse new requests, let what runs finish within `timeout`, end every process."""
        with self._lock:
            self._closed = True
            lanes = list(self._alive)
        for lane in lanes:
            lane.stop(timeout)
        until = time.monotonic() + timeout + 5
        for lane in lanes:
            lane.ended.wait(max(0.0, until - time.monotonic()))
        for lane in lanes:
            lane.crew.kill()

    def wake(self) -> None:
        """Make every waiting thread look at the clock again (after it jumped, and in tests)."""
        with self._lock:
            lanes = list(self._alive)
        for lane in lanes:
            lane.wake()

    # Lanes

    def _open(self, launch: Launch) -> Lane:
        """The lane for a launch, made when there is none that takes requests."""
        with self._lock:
            if self._closed:
                raise Unavailable("the daemon is shutting down", retry_after=5)
            old = self._lanes.get(launch.model)
            if old is not None and old.state is OPEN:
                if old.launch.digest == launch.digest:
                    return old
                old.retire()
                if not old.crew.threads:
                    self._alive.discard(old)
            history = self._history(launch)
            refusal = history.refusal(self.clock())
            if refusal is not None:
                raise refusal
            lane = Lane(self, launch, history, self.keep_alive)
            self._lanes[launch.model] = lane
            self._alive.add(lane)
            return lane

    def _history(self, launch: Launch) -> Health:
        key = (launch.model, launch.digest)
        found = self._health.pop(key, None) or Health(launch.model)
        while len(self._health) >= HISTORIES:
            del self._health[next(iter(self._health))]
        self._health[key] = found
        return found

    def replica(self, lane: Lane) -> Replica:
        """A new replica of a lane, at work."""
        replica = Replica(lane, self)
        replica.start()
        return replica

    def lane_ended(self, lane: Lane) -> None:
        """All processes of a lane are gone."""
        with self._lock:
            self._alive.discard(lane)
            self._rooms.discard(lane)
            if self._lanes.get(lane.launch.model) is lane:
                del self._lanes[lane.launch.model]
            self._ring_first()

    # Room

    def take_room(self, lane: Lane, bell: Bell) -> None:
        """Wait until the lane may load its model; raises Unavailable after `load_timeout`."""
        deadline = self.clock() + self.load_timeout
        if self._room(lane, bell):
            return
        try:
            while not self._room(lane, bell):
                left = deadline - self.clock()
                if left <= 0 or not (lane.wanted and lane.calls):
                    raise Unavailable(
                        f"all {self.max_loaded} loaded models are busy (TOLLAMA_MAX_LOADED_MODELS)",
                        retry_after=5,
                    )
                bell.wait(left)
        finally:
            with self._lock:
                if (lane, bell) in self.waiting:
                    self.waiting.remove((lane, bell))
                self._ring_first()

    def _room(self, lane: Lane, bell: Bell) -> bool:
        """Whether the lane has room now; otherwise something idle makes some, if it can."""
        with self._lock:
            if lane in self._rooms:
                return True
            ours = (lane, bell)
            if not self.waiting or self.waiting[0] == ours:
                if self.max_loaded <= 0 or len(self._rooms) < self.max_loaded:
                    self._rooms.add(lane)
                    return True
                if all(other.state is OPEN for other in self._rooms):
                    for other in sorted(self._rooms, key=lambda other: other.last_used):
                        if other.retire(only_idle=True):
                            break
            if ours not in self.waiting:
                self.waiting.append(ours)
            return False

    def nudge(self) -> None:
        """A lane has become idle: whoever waits for room looks again."""
        with self._lock:
            self._ring_first()

    def _ring_first(self) -> None:
        if self.waiting:
            self.waiting[0][1].ring()
