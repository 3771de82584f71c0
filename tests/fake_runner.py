"""A runner without a process, a clock without time: for tests of the scheduler's decisions.

Covered: what the scheduler sends and when. Not covered: pipes and processes (tests/protocol).
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tollama.core.errors import RunnerCrashed, TollamaError
from tollama.daemon.bell import Bell
from tollama.daemon.scheduler import Call, Job, Launch, Scheduler

PATIENCE = 10.0


def eventually(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Poll until a condition holds; the bound is only ever reached by a failure."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.001)
    raise AssertionError(f"{what} did not come true within {PATIENCE:.0f} s")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeProcess:
    """Stands in for RunnerProcess: frames are kept, answers come when a test gives them."""

    def __init__(self, runners: Runners, launch: Launch, bell: Bell) -> None:
        self.runners = runners
        self.launch = launch
        self.bell = bell
        self.pid = 100 + len(runners.processes)
        self.started_at = 0.0
        self.frames: list[dict[str, Any]] = []
        self.lines: deque[bytes] = deque()
        self.error: TollamaError | None = None
        self.killed = False
        self.closed = False

    # What the scheduler uses

    def hello(self, until: Callable[[], float | None]) -> dict[str, Any]:
        return {}

    def call(self, frame_id: str, method: str, params: Any, **options: Any) -> Any:
        self.runners.loads.append(self.launch.model)
        if not self.runners.may_load.is_set():
            eventually(self.runners.may_load.is_set, "leave to load")
        if self.runners.load_errors:
            raise self.runners.load_errors.pop(0)
        return {"device": "cpu"}

    def send(self, data: bytes) -> None:
        assert data.endswith(b"\n") and data.count(b"\n") == 1
        frame = json.loads(data)
        self.frames.append(frame)
        if self.runners.auto and "id" in frame:
            for wire_id in self.wire_ids(frame):
                self.give(wire_id)

    def poll(self, timeout: float | None) -> list[bytes]:
        lines = []
        while self.lines:
            lines.append(self.lines.popleft())
        if lines:
            return lines
        if self.error is not None:
            raise self.error
        self.bell.wait(timeout)
        return []

    def stray(self, line: bytes) -> None:
        self.runners.strays.append(line)

    def kill(self) -> None:
        self.killed = True

    def close(self, *graces: float) -> None:
        self.closed = True

    # What a test uses

    @staticmethod
    def wire_ids(frame: dict[str, Any]) -> list[str]:
        if frame["method"] == "batch":
            return [job["id"] for job in frame["params"]["jobs"]]
        return [frame["id"]]

    @property
    def batches(self) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if "id" in frame]

    @property
    def cancelled(self) -> list[str]:
        return [frame["params"]["id"] for frame in self.frames if frame["method"] == "cancel"]

    def names(self, number: int = -1) -> list[str]:
        """The requests of a batch, by the names that `job` gave them."""
        return [job["request"]["name"] for job in self.batches[number]["params"]["jobs"]]

    def line(self, line: bytes) -> None:
        self.lines.append(line)
        self.bell.ring()

    def give(self, wire_id: str, raw: bytes = b'{"ok":true}') -> None:
        self.line(b'{"id":"%s","result":%s}' % (wire_id.encode(), raw))

    def finish(self, number: int = -1) -> None:
        """Answer every job of a batch."""
        for wire_id in self.wire_ids(self.batches[number]):
            self.give(wire_id)

    def die(self, reason: str = "the runner was killed by SIGKILL: oops") -> None:
        self.error = RunnerCrashed(reason)
        self.bell.ring()


class Runners:
    """A `spawn` that makes fake processes."""

    def __init__(self, *, auto: bool = False) -> None:
        self.auto = auto
        self.processes: list[FakeProcess] = []
        self.loads: list[str] = []
        self.load_errors: list[TollamaError] = []
        self.may_load = threading.Event()
        self.may_load.set()
        self.strays: list[bytes] = []

    def __call__(self, launch: Launch, *, bell: Bell, log: Callable[[str], None]) -> FakeProcess:
        process = FakeProcess(self, launch, bell)
        self.processes.append(process)
        return process

    @property
    def alive(self) -> list[FakeProcess]:
        return [p for p in self.processes if not p.closed and p.error is None and not p.killed]

    def batch(self, number: int) -> FakeProcess:
        """The process that got the batch with this number, counted over all, once it is there."""

        def sent() -> FakeProcess | None:
            seen = 0
            for process in self.processes:
                seen += len(process.batches)
            return self.processes[-1] if seen > number else None

        eventually(sent, f"batch {number}")
        return self.processes[-1]


def launch(model: str = "m", **changes: Any) -> Launch:
    fields: dict[str, Any] = {
        "model": model,
        "family": "fake",
        "module": "fake",
        "argv": ("fake",),
        "env": {},
        "path": None,
        "options": {},
        "replicas": False,
        "max_series": 16,
        "max_tokens": 1000,
        "batching": True,
        "digest": "1",
    }
    return Launch(**{**fields, **changes})


def job(name: str = "a", **changes: Any) -> Job:
    fields: dict[str, Any] = {"series": 1, "tokens": 10, "key": "k"}
    return Job(json.dumps({"name": name}).encode(), **{**fields, **changes})


class Bench:
    """A scheduler on fake runners and a fake clock."""

    def __init__(self, *, auto: bool = False, **options: Any) -> None:
        self.clock = Clock()
        self.runners = Runners(auto=auto)
        self.logged: list[str] = []
        fields: dict[str, Any] = {"cpus": 1, "log": self.logged.append}
        self.scheduler = Scheduler(spawn=self.runners, clock=self.clock, **{**fields, **options})

    def advance(self, seconds: float) -> None:
        """Let time pass, and let everybody see it."""
        self.clock.now += seconds
        self.scheduler.wake()

    def submit(self, *names: str, to: Launch | None = None, **options: Any) -> Call:
        return self.scheduler.submit(to or launch(), [job(name) for name in names], **options)

    def busy(self, *names: str, to: Launch | None = None) -> tuple[FakeProcess, Call]:
        """A loaded model whose only process computes a batch of its own."""
        before = len(self.runners.processes)
        call = self.submit(*(names or ("first",)), to=to)
        eventually(lambda: len(self.runners.processes) > before, "a process")
        process = self.runners.processes[-1]
        eventually(lambda: process.batches, "the first batch")
        return process, call


def results(call: Call) -> dict[int, Any]:
    """All results of a call: parsed JSON, or the error."""
    return {
        index: result if isinstance(result, TollamaError) else json.loads(result)
        for index, result in call
    }
