"""A replica: a thread that owns one runner process of a lane, and the frames between them.

The thread starts the process, waits for its answers, and ends it. A batch may be sent by whichever
thread holds the lane's lock. Answers are read by this thread, or by the loop of the HTTP front
(`Scheduler.watch`), which then sends them on without a switch between threads.

Not covered: which jobs and when (lane.py), the pipe itself (runner_process.py).
"""

from __future__ import annotations

import itertools
import math
import threading
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

from tollama.core import protocol
from tollama.core.errors import DeadlineExceeded, RunnerCrashed, RunnerError, TollamaError
from tollama.daemon.bell import POLLS, Bell

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tollama.daemon.call import Job
    from tollama.daemon.lane import Lane
    from tollama.daemon.runner_process import RunnerProcess
    from tollama.daemon.scheduler import Scheduler

_HEAD = b'{"id":"'
_RESULT = b'","result":'


class Replica:
    """One of a lane's processes; the fields but `process` belong to the lane's lock."""

    def __init__(self, lane: Lane, scheduler: Scheduler) -> None:
        self.lane = lane
        self.scheduler = scheduler
        self.bell = Bell()
        self.process: RunnerProcess | None = None
        self.loaded = False
        self.idle_since = 0.0
        self.gives_up = False
        # When its thread takes a turn by itself.
        self.wakes = math.inf
        self._ids = itertools.count(1)
        # The batch that runs: its frame's id, its jobs without an answer, how many of them matter.
        self.batch = b""
        self.pending: dict[bytes, Job] = {}
        self.live = 0
        self.size = 0
        self.began = 0.0
        self.deadline = math.inf
        self.dead_since = math.inf

    def start(self) -> None:
        """Begin to work."""
        name = f"replica {self.lane.launch.model}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    # Under the lane's lock

    def begin(self, jobs: list[Job], now: float) -> None:
        """Send a batch."""
        computing = self.scheduler.computing
        computing.add(self)
        self.batch = batch = b"%d" % next(self._ids)
        self.size = self.live = len(jobs)
        self.began = now
        self.deadline = min([job.deadline for job in jobs])
        assert self.process is not None
        if self.lane.launch.batching:
            for number, job in enumerate(jobs):
                self.pending[b"%s.%d" % (batch, number)] = job
            threads = max(1, self.scheduler.cpus // len(computing))
            self.process.send(batch_frame(batch, threads, self.pending))
        else:
            self.pending[batch] = jobs[0]
            self.process.send(forecast_frame(batch, jobs[0]))

    def skip(self, job: Job, now: float) -> None:
        """Nobody waits for a job of the batch any more: tell the runner, and look at the clock."""
        self.live -= 1
        if not self.live:
            self.dead_since = now
        self.bell.ring()
        if self.process is None or not self.lane.launch.batching:
            return
        for wire_id, other in self.pending.items():
            if other is job:
                params = {"id": wire_id.decode()}
                self.process.send(protocol.encode({"method": "cancel", "params": params}))
                return

    def end_batch(self) -> None:
        """The batch is through, one way or the other."""
        self.scheduler.computing.discard(self)
        self.batch = b""
        self.pending.clear()
        self.live = 0
        self.deadline = self.dead_since = math.inf

    # The thread

    def _run(self) -> None:
        lane, crew = self.lane, self.lane.crew
        try:
            while self._start() and self._serve():
                pass
        except Exception as error:  # a defect here must not leave callers waiting
            self.scheduler.log(f"{lane.launch.model}: {type(error).__name__}: {error}")
            crew.died(self, RunnerError(f"the scheduler failed: {type(error).__name__}: {error}"))
            raise
        finally:
            crew.leave(self)
            self._end_process()
            self.bell.close()
            crew.thread_ended()

    def _start(self) -> bool:
        """Start a process and load the model; False when this replica is done."""
        lane, crew = self.lane, self.lane.crew
        while True:
            delay = crew.wants_start(self)
            if delay is None:
                return False
            if delay > 0:
                self.bell.wait(delay)
                continue
            try:
                self.scheduler.take_room(lane, self.bell)
            except TollamaError as error:
                crew.no_room(self, error)
                return False
            final = False
            try:
                facts = self._load()
            except RunnerCrashed as error:
                failure: TollamaError = error
            except TollamaError as error:
                failure, final = error, True
            else:
                crew.started(self, facts)
                return True
            self.scheduler.log(f"{lane.launch.model}: not loaded: {failure.message}")
            self._end_process(kill=True)
            if not crew.start_failed(self, failure, final=final):
                return False

    def _load(self) -> dict[str, Any]:
        lane, clock = self.lane, self.scheduler.clock
        launch = lane.launch
        limit = self.scheduler.load_timeout
        deadline = clock() + limit

        def until() -> float | None:
            left = deadline - clock()
            return left if left > 0 and lane.wanted else None

        process = self.process = self.scheduler.spawn(
            launch, bell=self.bell, log=self.scheduler.debug
        )
        try:
            process.hello(until)
            params = {"model": launch.model, "path": launch.path, "options": launch.options}
            facts = process.call("load", "load", params, until=until, on_event=self._progress)
        except DeadlineExceeded:
            raise DeadlineExceeded(
                f"{launch.model} was not loaded within {limit:g} s (TOLLAMA_LOAD_TIMEOUT)"
            ) from None
        self.scheduler.log(f"{launch.model}: loaded, pid {process.pid}")
        return facts if isinstance(facts, dict) else {}

    def _progress(self, event: object) -> None:
        self.scheduler.debug(f"{self.lane.launch.model}: {event}")

    def _serve(self) -> bool:
        """Work until the process dies (True) or is not wanted any more (False)."""
        lane, crew, process = self.lane, self.lane.crew, self.process
        assert process is not None
        turn, poll = crew.turn, process.poll
        unwatch = self._watched(process)
        try:
            while True:
                wait = turn(self)
                if wait is None:
                    return False
                try:
                    if self.gives_up:
                        raise RunnerCrashed(
                            f"the runner of {lane.launch.model} was ended: no answer"
                        )
                    for line in poll(wait):
                        self._read(line)
                except TollamaError as error:
                    self.scheduler.log(f"{lane.launch.model}: {error.message}")
                    process.kill()
                    crew.died(self, error)
                    self.process = None
                    process.close(0, 0)
                    return True
        finally:
            unwatch()

    def _watched(self, process: RunnerProcess) -> Callable[[], None]:
        """Leave the reading of answers to the loop of the HTTP front, where there is one."""
        watch = self.scheduler.watch
        if watch is None or not POLLS:
            return lambda: None

        def pump(fd: int) -> bool:
            for line in process.take(fd):
                self._read(line)
            if process.over:
                self.bell.ring()
                return False
            if self.lane.crew.due(self):
                self.bell.ring()
            return True

        return watch(process.watch(), pump)

    def _read(self, line: bytes) -> None:
        """Route one line; the common one is cut, not parsed."""
        if line.startswith(_HEAD):
            end = line.find(b'"', len(_HEAD))
            if line.startswith(_RESULT, end) and line.endswith(b"}"):
                raw = line[end + len(_RESULT) : -1]
                if not self.lane.crew.answered(self, line[len(_HEAD) : end], raw):
                    self._stale(line)
                return
        frame = protocol.decode(line)
        frame_id = frame.get("id") if frame is not None else None
        if frame is None or not isinstance(frame_id, str):
            assert self.process is not None
            self.process.stray(line)
        elif "error" in frame:
            error = protocol.error_of_runner(frame["error"])
            if not self.lane.crew.answered(self, frame_id.encode(), error):
                self._stale(line)
        elif "result" in frame:
            raw = protocol.dumps(frame["result"])
            if not self.lane.crew.answered(self, frame_id.encode(), raw):
                self._stale(line)
        elif "event" in frame:
            self._progress(frame["event"])

    def _stale(self, line: bytes) -> None:
        """An answer for nobody: mostly the end of a batch whose jobs are all answered."""

    def _end_process(self, *, kill: bool = False) -> None:
        process, self.process = self.process, None
        if process is not None:
            if kill:
                process.kill()
            process.close()


def json_string(text: str) -> bytes:
    """A string as JSON."""
    return encode_basestring_ascii(text).encode()


def batch_frame(batch: bytes, threads: int, jobs: dict[bytes, Job]) -> bytes:
    """Jobs by their wire ids as one `batch` frame; their requests are spliced in as they came."""
    parts = [b'{"id":"%s","method":"batch","params":{"threads":%d,"jobs":[' % (batch, threads)]
    mark = b""
    for wire_id, job in jobs.items():
        parts.append(b'%s{"id":"%s","offset":%d' % (mark, wire_id, job.offset))
        if job.method != "forecast":
            parts.append(b',"method":' + protocol.dumps(job.method))
        if job.defaults:
            parts.append(b',"defaults":' + protocol.dumps(job.defaults))
        if job.request_id:
            parts.append(b',"request_id":' + json_string(job.request_id))
        parts += (b',"request":', job.body, b"}")
        mark = b","
    parts.append(b"]}}\n")
    return b"".join(parts)


def forecast_frame(frame_id: bytes, job: Job) -> bytes:
    """A job for a family that takes one request at a time."""
    body = job.body
    if job.defaults or job.offset:
        body = protocol.dumps(_whole(body, job))
    return b'{"id":"%s","method":%s,"params":%s}\n' % (frame_id, protocol.dumps(job.method), body)


def _whole(body: bytes, job: Job) -> Any:
    """A request with what a batch frame carries beside it: a preset's fields, numbered ids."""
    import json

    from tollama.core.schemas import with_defaults

    value = json.loads(body)
    if job.defaults:
        value = with_defaults(value, job.defaults)
    for number, series in enumerate(value["series"], job.offset):
        series.setdefault("id", f"series_{number}")
    return value
