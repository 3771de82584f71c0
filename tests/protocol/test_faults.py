"""The scheduler with real processes that fail in every way, and what its callers see of it."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_runner import eventually
from real_runner import gone, job, raw, scripted, usage, value

from tollama.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    OutOfMemory,
    ProtocolError,
    RunnerCrashed,
    RunnerError,
    TollamaError,
    Unavailable,
)
from tollama.daemon import crew
from tollama.daemon.scheduler import Call, Job, Launch, Scheduler

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Bench:
    def __init__(self, **options: Any) -> None:
        self.logged: list[str] = []
        self.scheduler = Scheduler(**{"cpus": 2, "log": self.logged.append, **options})

    def submit(self, *jobs: Job, to: Launch | None = None, **options: Any) -> Call:
        return self.scheduler.submit(to or scripted(), jobs, **options)

    def one(self, one: Job | None = None, *, to: Launch | None = None) -> Any:
        [(index, result)] = list(self.submit(one or job(), to=to))
        assert index == 0
        return result

    def pid(self) -> int:
        return self.scheduler.loaded()[0].pids[0]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.scheduler.close(0.1)


@pytest.fixture
def short_graces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "GRACE", 0.05)
    monkeypatch.setattr(crew, "QUIET_GRACE", 0.05)


def test_a_request_is_answered(bench: Bench) -> None:
    call = bench.submit(job(5.5))
    assert call.loading
    [(_, result)] = list(call)
    assert value(result) == 5.5
    assert usage(result)["threads"] == 2
    assert call.run_ms > 0
    [loaded] = bench.scheduler.loaded()
    assert loaded.pids == (usage(result)["pid"],)
    assert loaded.rss_bytes > 1 << 20
    assert loaded.vram_bytes == 5


def test_what_queued_meanwhile_reaches_the_runner_as_one_batch(
    bench: Bench, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    first = bench.submit(job(do="wait", gate=str(gate)))
    eventually(bench.scheduler.loaded)
    calls = [bench.submit(job(float(number))) for number in range(10)]
    gate.touch()
    list(first)
    found = [next(call)[1] for call in calls]
    assert [value(result) for result in found] == list(map(float, range(10)))
    assert [usage(result)["batch"] for result in found] == [10] * 10


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        ("error", NotFound, "no weights in the snapshot"),
        ("bug", RunnerError, "scripted failed: ValueError: matrix is singular"),
        ("memory", OutOfMemory, "cannot allocate 3 GiB"),
    ],
)
def test_a_failure_in_the_model_fails_its_job_alone(
    bench: Bench, act: str, error: type[TollamaError], message: str
) -> None:
    results = dict(bench.submit(job(1.0), job(do=act), job(3.0)))
    assert value(results[0]) == 1.0
    assert type(results[1]) is error
    assert message in results[1].message
    assert "\n" not in results[1].message
    assert value(results[2]) == 3.0


def test_a_request_that_the_model_refuses_stays_a_bad_request(bench: Bench) -> None:
    error = bench.one(job(nonsense=1))
    assert isinstance(error, InvalidRequest)
    assert "options.nonsense" in error.message


def test_a_runner_that_crashes_once_does_not_show(bench: Bench, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    assert value(bench.one(job(4.0, do="crash_once", flag=str(flag)))) == 4.0
    [loaded] = bench.scheduler.loaded()
    assert loaded.restarts == 1
    assert loaded.last_error == "the runner of m ended with status 3: fatal: it is doomed"


def test_a_poisonous_request_fails_alone_with_the_reason(bench: Bench) -> None:
    jobs = [job(float(number)) for number in range(8)]
    jobs[3] = job(do="crash")
    calls = [bench.submit(one) for one in jobs]
    results = [next(call)[1] for call in calls]
    poisoned = results.pop(3)
    assert isinstance(poisoned, RunnerCrashed)
    assert poisoned.message == "the runner of m ended with status 3: fatal: it is doomed"
    assert [value(result) for result in results] == [0, 1, 2, 4, 5, 6, 7]


def test_a_crash_loop_is_refused_at_once_and_does_not_spin(bench: Bench) -> None:
    for _ in range(5):
        assert isinstance(bench.one(job(do="kill")), RunnerCrashed)
    started = sum("loaded, pid" in line for line in bench.logged)
    with pytest.raises(RunnerCrashed, match="SIGKILL") as caught:
        bench.one(job())
    assert caught.value.retry_after is not None
    assert sum("loaded, pid" in line for line in bench.logged) == started


def test_a_runner_killed_while_idle_is_replaced(bench: Bench) -> None:
    assert value(bench.one(job(1.0))) == 1.0
    pid = bench.pid()
    os.kill(pid, signal.SIGKILL)
    assert value(bench.one(job(2.0))) == 2.0
    assert bench.pid() != pid


def test_a_runner_killed_at_work_is_replaced_however_often(bench: Bench, tmp_path: Path) -> None:
    for number in range(8):
        gate = tmp_path / f"gate{number}"
        call = bench.submit(job(3.0, do="wait", gate=str(gate)))
        eventually(lambda: bench.scheduler.loaded() and bench.scheduler.loaded()[0].running)
        os.kill(bench.pid(), signal.SIGKILL)
        gate.touch()
        assert value(next(call)[1]) == 3.0


@pytest.mark.usefixtures("short_graces")
def test_a_runner_that_hangs_is_given_up_at_the_deadline_and_replaced(bench: Bench) -> None:
    assert value(bench.one(job(1.0))) == 1.0
    pid = bench.pid()
    began = time.monotonic()
    error = bench.one(job(do="stop", deadline=began + 0.2))
    assert isinstance(error, DeadlineExceeded)
    assert value(bench.one(job(2.0))) == 2.0
    assert bench.pid() != pid
    assert gone(pid)


@pytest.mark.usefixtures("short_graces")
def test_a_cancelled_request_that_hangs_does_not_hold_up_the_next(
    bench: Bench, tmp_path: Path
) -> None:
    call = bench.submit(job(do="wait", gate=str(tmp_path / "never")))
    eventually(lambda: bench.scheduler.loaded() and bench.scheduler.loaded()[0].running)
    call.cancel()
    assert value(bench.one(job(2.0))) == 2.0


def test_a_cancelled_job_of_a_running_batch_is_skipped(bench: Bench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    bench.scheduler.load(scripted())
    first = bench.submit(job(1.0, do="wait", gate=str(gate)))
    second, third = bench.submit(job(do="kill")), bench.submit(job(3.0))
    second.cancel()
    gate.touch()
    assert value(next(first)[1]) == 1.0
    assert value(next(third)[1]) == 3.0
    assert list(second) == []


@pytest.mark.parametrize("mode", ["half", "closes_stdout"])
def test_a_runner_that_breaks_off_its_answer_has_crashed(bench: Bench, mode: str) -> None:
    error = bench.one(to=raw(mode))
    assert isinstance(error, RunnerCrashed)
    assert f"the runner of {mode} " in error.message


@pytest.mark.usefixtures("short_graces")
@pytest.mark.parametrize("mode", ["half_hang", "deaf"])
def test_a_runner_that_stops_in_the_middle_costs_no_more_than_the_deadline(
    bench: Bench, mode: str
) -> None:
    facts = bench.scheduler.load(raw(mode))
    assert facts == {}
    error = bench.one(job(deadline=time.monotonic() + 0.2), to=raw(mode))
    assert isinstance(error, DeadlineExceeded)
    eventually(lambda: not bench.scheduler.models(), "the end of the runner")


@pytest.mark.usefixtures("short_graces")
def test_a_large_request_to_a_runner_that_does_not_read_is_given_up(bench: Bench) -> None:
    bench.scheduler.load(raw("deaf"))
    large = Job(b'"' + b"x" * 20_000_000 + b'"', deadline=time.monotonic() + 0.2)
    assert isinstance(bench.one(large, to=raw("deaf")), DeadlineExceeded)
    eventually(lambda: not bench.scheduler.models(), "the end of the runner")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("garbage", '"fine"'),
        ("twice", '"first"'),
        ("dribble", '{"slow":true}'),
        ("large", '"' + "x" * 20_000_000 + '"'),
    ],
)
def test_an_odd_runner_is_understood(bench: Bench, mode: str, expected: str) -> None:
    assert bench.one(to=raw(mode)) == expected.encode()
    assert value(bench.one(job(1.0))) == 1.0


def test_a_runner_that_ends_a_batch_without_answers_is_said_to(bench: Bench) -> None:
    results = dict(bench.submit(job(), job(), job(), to=raw("silent_end")))
    assert all(isinstance(result, ProtocolError) for result in results.values())
    assert len(results) == 3


def test_a_runner_of_another_protocol_is_refused(bench: Bench) -> None:
    error = bench.one(to=raw("wrong_protocol"))
    assert isinstance(error, ProtocolError)
    assert "speaks protocol 99, this tollama speaks 1" in error.message


def test_a_runner_that_cannot_start_says_why(bench: Bench) -> None:
    error = bench.one(to=raw("exits"))
    assert isinstance(error, RunnerCrashed)
    assert error.message == (
        "the runner of exits ended with status 7: ImportError: no module named torch"
    )
    assert error.retry_after == 1
    eventually(lambda: not bench.scheduler.models())


def test_a_load_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    bench = Bench(load_timeout=0.5)
    options = {"on_load": "wait", "gate": str(tmp_path / "never")}
    error = bench.one(to=scripted(options=options))
    assert isinstance(error, DeadlineExceeded)
    assert "TOLLAMA_LOAD_TIMEOUT" in error.message
    bench.scheduler.close(0.1)


def test_a_load_error_reaches_whoever_waits(bench: Bench) -> None:
    with pytest.raises(NotFound, match="no weights"):
        bench.scheduler.load(scripted(options={"on_load": "error"}))


def test_a_load_goes_on_when_its_caller_gives_up(bench: Bench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    launch = scripted(options={"on_load": "wait", "gate": str(gate)})
    error = bench.one(job(deadline=time.monotonic() + 0.05), to=launch)
    assert isinstance(error, DeadlineExceeded)
    gate.touch()
    assert value(bench.one(job(2.0), to=launch)) == 2.0
    assert sum("loaded, pid" in line for line in bench.logged) == 1


def test_a_seed_style_family_is_served_one_request_at_a_time(bench: Bench) -> None:
    launch = raw("simple", batching=False)
    results = dict(bench.submit(job(1.0), job(2.0), to=launch))
    bodies = [json.loads(results[index]) for index in (0, 1)]
    assert [body["method"] for body in bodies] == ["forecast", "forecast"]
    assert [body["params"]["series"][0]["target"] for body in bodies] == [[1.0], [2.0]]


def test_replicas_work_side_by_side(bench: Bench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    wide = scripted(replicas=True)
    first = bench.submit(job(1.0, do="wait", gate=str(gate)), to=wide)
    eventually(lambda: bench.scheduler.loaded() and bench.scheduler.loaded()[0].running)
    result = bench.one(job(2.0), to=wide)
    gate.touch()
    assert value(result) == 2.0
    assert usage(result)["pid"] != usage(next(first)[1])["pid"]
    assert usage(result)["threads"] == 1


def test_unload_returns_memory_and_process(bench: Bench) -> None:
    bench.one(job())
    pid = bench.pid()
    assert bench.scheduler.unload("m")
    assert gone(pid)
    assert bench.scheduler.loaded() == []
    assert not bench.scheduler.unload("m")


def test_unload_ends_a_batch_that_hangs(bench: Bench, tmp_path: Path) -> None:
    call = bench.submit(job(do="wait", gate=str(tmp_path / "never")))
    eventually(lambda: bench.scheduler.loaded() and bench.scheduler.loaded()[0].running)
    pid = bench.pid()
    assert bench.scheduler.unload("m", grace=0.05)
    assert isinstance(next(call)[1], Unavailable)
    assert gone(pid)


def test_close_ends_every_process_whatever_they_do(tmp_path: Path) -> None:
    bench = Bench()
    hung = {"on_load": "wait", "gate": str(tmp_path / "never")}
    calls = [
        bench.submit(job(do="stop"), to=scripted("stops")),
        bench.submit(job(do="wait", gate=str(tmp_path / "never")), to=scripted("computes")),
        bench.submit(job(), to=scripted("loads", options=hung)),
        bench.submit(job(), to=scripted("idle")),
    ]
    eventually(lambda: len(bench.scheduler.loaded()) == 3)
    eventually(lambda: calls[3].wait(0))
    pids = [pid for loaded in bench.scheduler.loaded() for pid in loaded.pids]
    bench.scheduler.close(0.2)
    assert bench.scheduler.models() == []
    assert all(gone(pid) for pid in pids)
    for call in calls[:3]:
        assert isinstance(next(call)[1], Unavailable)


# The collector also finds what other tests' clients left to it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_loading_and_unloading_leaves_nothing_behind(bench: Bench) -> None:
    def state() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def cycle() -> None:
        assert value(bench.one(job(1.0))) == 1.0
        assert bench.scheduler.unload("m")

    cycle()
    before = state()
    for _ in range(10):
        cycle()
    eventually(lambda: state() == before, "no descriptor and no thread left")


def test_no_answer_is_lost_or_swapped_while_runners_are_killed() -> None:
    """Many callers, replicas, and a killer: each answer belongs to its request, or is a 503."""
    bench = Bench(max_queue=10_000)
    wide = scripted(replicas=True)
    bench.scheduler.load(wide)
    stop = threading.Event()
    wrong: list[object] = []
    good = [0] * 8

    def caller(number: int) -> None:
        dice = random.Random(number)
        while not stop.is_set():
            wanted = [dice.random() for _ in range(dice.randint(1, 4))]
            try:
                call = bench.submit(*map(job, wanted), to=wide)
            except Unavailable:
                stop.wait(0.01)
                continue
            results = dict(call)
            if sorted(results) != list(range(len(wanted))):
                wrong.append((wanted, results))
            for index, result in results.items():
                if isinstance(result, bytes):
                    good[number] += 1
                    if value(result) != wanted[index]:
                        wrong.append((wanted[index], result))
                elif not isinstance(result, Unavailable):
                    wrong.append(result)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(len(good))]
    for thread in threads:
        thread.start()
    dice = random.Random(1)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        pids = [pid for loaded in bench.scheduler.loaded() for pid in loaded.pids]
        if pids:
            os.kill(dice.choice(pids), dice.choice([signal.SIGKILL, signal.SIGTERM]))
        stop.wait(0.2)
    stop.set()
    for thread in threads:
        thread.join(30)
    bench.scheduler.close(1)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    assert sum(good) > 0
