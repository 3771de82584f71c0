"""The scheduler's decisions, on fake runners and a fake clock. Real processes: tests/protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fake_runner import Bench, eventually, job, launch, results

from tollama.core.errors import (
    DeadlineExceeded,
    OutOfMemory,
    ProtocolError,
    QueueFull,
    RunnerCrashed,
    TollamaError,
    Unavailable,
)
from tollama.daemon.crew import GRACE, QUIET_GRACE, SPARE_LEAST
from tollama.daemon.replica import Replica
from tollama.daemon.scheduler import Call, Scheduler


@contextmanager
def opened(**options: Any) -> Iterator[Bench]:
    made = Bench(**options)
    try:
        yield made
    finally:
        made.runners.may_load.set()
        made.scheduler.close(0)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with opened() as made:
        yield made


@pytest.fixture
def auto() -> Iterator[Bench]:
    """Its runners answer at once."""
    with opened(auto=True) as made:
        yield made


@pytest.fixture
def small() -> Iterator[Bench]:
    """Room for two models."""
    with opened(auto=True, max_loaded=2) as made:
        yield made


@pytest.fixture
def many() -> Iterator[Bench]:
    """Room for three replicas."""
    with opened(cpus=3) as made:
        yield made


def only(call: Call) -> Any:
    found = results(call)
    assert list(found) == [0]
    return found[0]


def gone(bench: Bench, number: int = 0) -> None:
    eventually(lambda: bench.runners.processes[number].closed, "the end of the process")
    eventually(lambda: not bench.scheduler.models(), "the end of the lane")


# Loading and answers


def test_first_request_loads_the_model_and_the_second_does_not(auto: Bench) -> None:
    first = auto.submit("a")
    assert first.loading
    assert only(first) == {"ok": True}
    second = auto.submit("b")
    assert not second.loading
    assert only(second) == {"ok": True}
    assert auto.runners.loads == ["m"]


def test_a_request_that_joins_a_load_says_so(auto: Bench) -> None:
    auto.runners.may_load.clear()
    first = auto.submit("a")
    second = auto.submit("b")
    assert first.loading and second.loading
    auto.runners.may_load.set()
    assert only(first) == only(second) == {"ok": True}
    [process] = auto.runners.processes
    assert process.names(0) == ["a", "b"]


def test_load_gives_the_facts_of_the_runner(auto: Bench) -> None:
    assert auto.scheduler.load(launch()) == {"device": "cpu"}
    assert auto.scheduler.load(launch()) == {"device": "cpu"}
    assert auto.runners.loads == ["m"]
    assert auto.runners.processes[0].frames == []


def test_load_raises_what_the_runner_says(bench: Bench) -> None:
    bench.runners.load_errors = [OutOfMemory("no memory")]
    with pytest.raises(OutOfMemory, match="no memory"):
        bench.scheduler.load(launch())
    gone(bench)
    assert bench.scheduler.load(launch()) == {"device": "cpu"}


def test_results_come_as_they_are_ready_whatever_the_order(bench: Bench) -> None:
    process, call = bench.busy("a", "b", "c")
    ids = process.wire_ids(process.batches[0])
    assert not call.wait(0)
    process.give(ids[2], b'{"n":2}')
    assert call.wait(5)
    assert next(call) == (2, b'{"n":2}')
    assert not call.wait(0)
    process.give(ids[0], b'{"n":0}')
    process.give(ids[1], b'{"n":1}')
    assert [next(call), next(call)] == [(0, b'{"n":0}'), (1, b'{"n":1}')]
    assert call.done
    assert call.wait(0)
    with pytest.raises(StopIteration):
        next(call)


def test_frame_carries_the_request_as_it_came_and_what_belongs_to_it(auto: Bench) -> None:
    one = job("a", offset=32, defaults={"horizon": 3}, method="embed", request_id="r-1")
    one.body = b'{"name" : "a",   "x": 1.50}'
    only(auto.scheduler.submit(launch(), [one]))
    [frame] = auto.runners.processes[0].frames
    assert frame["method"] == "batch"
    assert frame["params"] == {
        "threads": 1,
        "jobs": [
            {
                "id": f"{frame['id']}.0",
                "offset": 32,
                "method": "embed",
                "defaults": {"horizon": 3},
                "request_id": "r-1",
                "request": {"name": "a", "x": 1.5},
            }
        ],
    }


def test_a_family_that_cannot_batch_gets_plain_requests(auto: Bench) -> None:
    simple = launch(batching=False)
    call = auto.submit("a", "b", to=simple)
    assert results(call) == {0: {"ok": True}, 1: {"ok": True}}
    frames = auto.runners.processes[0].frames
    assert [(f["method"], f["params"]) for f in frames] == [
        ("forecast", {"name": "a"}),
        ("forecast", {"name": "b"}),
    ]


def test_a_family_that_cannot_batch_gets_defaults_and_numbers_in_the_request(auto: Bench) -> None:
    one = job("a", offset=7, defaults={"horizon": 3})
    one.body = b'{"series":[{"target":[1]},{"id":"mine","target":[2]}]}'
    only(auto.scheduler.submit(launch(batching=False), [one]))
    [frame] = auto.runners.processes[0].frames
    assert frame["params"] == {
        "horizon": 3,
        "series": [{"target": [1], "id": "series_7"}, {"id": "mine", "target": [2]}],
    }


def test_an_error_of_one_job_leaves_its_neighbours_alone(bench: Bench) -> None:
    process, call = bench.busy("a", "b")
    first, second = process.wire_ids(process.batches[0])
    error = {"code": "out_of_memory", "message": "too big", "data": {"n": 1}}
    process.line(json.dumps({"id": first, "error": error}).encode())
    process.give(second)
    found = results(call)
    assert isinstance(found[0], OutOfMemory)
    assert (found[0].message, found[0].detail) == ("too big", {"n": 1})
    assert found[1] == {"ok": True}


@pytest.mark.parametrize(
    "stray",
    [
        b"Downloading weights ...",
        b"",
        b'{"id":"9999","result":{}}',
        b'{"id":"1.0","event":{"progress":0.5}}',
        b'{"id":"","result":{}}',
        b'{"id":7,"result":{}}',
        b'{"result":{}}',
        b'{"id":"1.0","res',
        b"[1,2,3]",
        b"\xff\xfe\x00",
        b'{"id":"1.9","result":{"swapped":true}}',
    ],
)
def test_a_line_that_is_no_answer_is_not_fatal(bench: Bench, stray: bytes) -> None:
    process, call = bench.busy("a")
    process.line(stray)
    process.give("1.0")
    assert only(call) == {"ok": True}
    assert bench.runners.alive == [process]


def test_a_second_answer_to_a_job_is_ignored(bench: Bench) -> None:
    process, call = bench.busy("a", "b")
    process.give("1.0", b"1")
    process.give("1.0", b"2")
    process.give("1.1", b"3")
    assert results(call) == {0: 1, 1: 3}


def test_an_answer_in_another_form_is_read_all_the_same(bench: Bench) -> None:
    process, call = bench.busy("a")
    process.line(b'{ "result": {"ok": true}, "id": "1.0" }')
    assert only(call) == {"ok": True}


def test_a_batch_that_fails_as_a_whole_is_tried_in_halves(bench: Bench) -> None:
    process, call = bench.busy("a", "b", "c")
    error = {"code": "out_of_memory", "message": "too big"}
    process.line(json.dumps({"id": "1", "error": error}).encode())
    eventually(lambda: len(process.batches) == 2)
    assert process.names() == ["a"]
    process.finish()
    eventually(lambda: len(process.batches) == 3)
    assert process.names() == ["b", "c"]
    process.line(json.dumps({"id": "3", "error": error}).encode())
    eventually(lambda: len(process.batches) == 4)
    process.line(json.dumps({"id": "4", "error": error}).encode())
    eventually(lambda: len(process.batches) == 5)
    process.finish()
    found = results(call)
    assert found[0] == found[2] == {"ok": True}
    assert isinstance(found[1], OutOfMemory)


def test_a_batch_that_ends_without_an_answer_is_a_protocol_error(bench: Bench) -> None:
    process, call = bench.busy("a")
    process.line(b'{"id":"1","result":{}}')
    error = only(call)
    assert isinstance(error, ProtocolError)
    assert "gave no answer" in error.message


def test_times_of_a_call_are_its_wait_and_its_run(bench: Bench) -> None:
    process, first = bench.busy("a")
    second = bench.submit("b")
    bench.clock.now += 2
    process.finish()
    eventually(lambda: len(process.batches) == 2)
    bench.clock.now += 3
    process.finish()
    assert only(second) == {"ok": True}
    assert (second.queue_ms, second.run_ms) == (2000, 3000)
    assert (first.queue_ms, first.run_ms) == (0, 2000)


def test_notify_tells_when_every_job_has_its_result(bench: Bench) -> None:
    process, call = bench.busy("a", "b")
    told: list[bool] = []
    call.notify(lambda: told.append(call.wait(0)))
    process.give("1.0")
    assert next(call)[0] == 0
    assert told == []
    process.give("1.1")
    eventually(lambda: told)
    assert told == [True]
    assert next(call)[0] == 1
    late: list[bool] = []
    call.notify(lambda: late.append(True))
    assert late == [True]


def test_notify_tells_of_a_cancelled_call(bench: Bench) -> None:
    _, call = bench.busy()
    told: list[bool] = []
    call.notify(lambda: told.append(call.done))
    call.cancel()
    assert told == [True]


# Batches


def test_what_queued_while_the_runner_was_busy_is_one_batch(bench: Bench) -> None:
    process, first = bench.busy("first")
    calls = [bench.submit(name) for name in "abc"]
    assert len(process.batches) == 1
    process.finish()
    eventually(lambda: len(process.batches) == 2)
    assert process.names() == ["a", "b", "c"]
    process.finish()
    assert [only(call) for call in (first, *calls)] == [{"ok": True}] * 4


def test_an_idle_runner_gets_a_request_before_submit_returns(auto: Bench) -> None:
    only(auto.submit("a"))
    [process] = auto.runners.processes
    eventually(lambda: not auto.scheduler.computing)
    auto.submit("b")
    assert process.names() == ["b"]


def test_lingers_until_as_many_have_come_back(bench: Bench) -> None:
    process, first = bench.busy("a", "b", "c")
    bench.clock.now += 0.02
    process.finish()
    results(first)
    calls = [bench.submit("d"), bench.submit("e")]
    assert len(process.batches) == 1
    calls.append(bench.submit("f"))
    assert process.names() == ["d", "e", "f"]


def test_lingers_no_longer_than_its_time(bench: Bench) -> None:
    process, first = bench.busy("a", "b", "c")
    bench.clock.now += 0.02
    process.finish()
    results(first)
    bench.submit("d")
    assert len(process.batches) == 1
    bench.advance(0.0021)
    eventually(lambda: len(process.batches) == 2)
    assert process.names() == ["d"]


def test_threads_are_divided_among_those_who_compute() -> None:
    with opened(cpus=4) as made:
        first, _ = made.busy(to=launch("one"))
        second, _ = made.busy(to=launch("two"))
        third, _ = made.busy(to=launch("three"))
        given = [p.batches[0]["params"]["threads"] for p in (first, second, third)]
        assert given == [4, 2, 1]
        for process in (first, second, third):
            process.finish()
        eventually(lambda: not made.scheduler.computing)
        made.submit(to=launch("one"))
        made.submit("a", to=launch("two"))
        assert second.batches[1]["params"]["threads"] == 4


# Deadlines and cancellation


def test_a_job_too_late_in_the_queue_never_runs(bench: Bench) -> None:
    process, _ = bench.busy()
    call = bench.scheduler.submit(launch(), [job("late", deadline=bench.clock.now + 5)])
    assert not call.wait(0)
    bench.clock.now += 5
    assert call.wait(0)
    assert isinstance(only(call), DeadlineExceeded)
    other = bench.submit("other")
    process.finish()
    eventually(lambda: len(process.batches) == 2)
    assert process.names() == ["other"]
    process.finish()
    assert only(other) == {"ok": True}


def test_a_waiting_reader_wakes_at_the_deadline(bench: Bench) -> None:
    bench.busy()
    call = bench.scheduler.submit(launch(), [job("late", deadline=bench.clock.now + 5)])
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.append(only(call)))
    reader.start()
    bench.advance(5)
    reader.join(10)
    assert isinstance(found[0], DeadlineExceeded)


def test_a_running_job_past_its_deadline_is_answered_at_once(bench: Bench) -> None:
    call = bench.scheduler.submit(
        launch(), [job("slow", deadline=bench.clock.now + 5), job("patient")]
    )
    process = bench.runners.batch(0)
    bench.clock.now += 5
    assert call.wait(0)
    index, error = next(call)
    assert index == 0
    assert isinstance(error, DeadlineExceeded)
    assert process.cancelled == ["1.0"]
    process.give("1.0", b'"too late"')
    process.give("1.1")
    assert next(call) == (1, b'{"ok":true}')
    assert call.done
    assert not process.killed


def test_a_runner_that_hangs_past_every_deadline_is_ended(bench: Bench) -> None:
    call = bench.scheduler.submit(launch(), [job("hangs", deadline=bench.clock.now + 5)])
    process = bench.runners.batch(0)
    bench.clock.now += 5
    assert isinstance(only(call), DeadlineExceeded)
    bench.advance(QUIET_GRACE - 0.1)
    assert not process.killed
    bench.advance(0.2)
    eventually(lambda: process.killed)
    after = bench.submit("after")
    assert after.loading
    eventually(lambda: len(bench.runners.processes) == 2)
    bench.runners.batch(1).finish()
    assert only(after) == {"ok": True}


def test_a_runner_that_hangs_is_ended_sooner_when_others_wait(bench: Bench) -> None:
    call = bench.scheduler.submit(launch(), [job("hangs", deadline=bench.clock.now + 5)])
    process = bench.runners.batch(0)
    bench.clock.now += 5
    assert isinstance(only(call), DeadlineExceeded)
    after = bench.submit("after")
    bench.advance(GRACE + 0.1)
    eventually(lambda: process.killed)
    second = bench.runners.batch(1)
    assert second is not process
    second.finish()
    assert only(after) == {"ok": True}


def test_neighbours_of_a_late_job_keep_their_runner_until_their_own_deadline(bench: Bench) -> None:
    now = bench.clock.now
    call = bench.scheduler.submit(
        launch(), [job("a", deadline=now + 5), job("b", deadline=now + 100)]
    )
    process = bench.runners.batch(0)
    bench.clock.now += 5
    assert isinstance(next(call)[1], DeadlineExceeded)
    bench.submit("waits")
    bench.advance(90)
    process.give("1.1")
    assert next(call) == (1, b'{"ok":true}')
    assert not process.killed


def test_cancel_drops_what_is_queued(bench: Bench) -> None:
    process, first = bench.busy()
    call = bench.submit("a", "b")
    call.cancel()
    assert call.done
    assert results(call) == {}
    assert bench.scheduler.loaded()[0].queue_depth == 0
    bench.submit("c")
    process.finish()
    eventually(lambda: len(process.batches) == 2)
    assert process.names() == ["c"]
    assert only(first) == {"ok": True}


def test_cancel_tells_the_runner_and_drops_its_answer(bench: Bench) -> None:
    process, call = bench.busy("a", "b")
    call.cancel()
    assert process.cancelled == ["1.0", "1.1"]
    process.line(b'{"id":"1","result":{}}')
    eventually(lambda: not bench.scheduler.computing)
    assert results(call) == {}
    after = bench.submit("after")
    process.finish()
    assert only(after) == {"ok": True}
    assert not process.killed


def test_cancel_wakes_a_waiting_reader(bench: Bench) -> None:
    _, call = bench.busy()
    found: list[Any] = []
    reader = threading.Thread(target=lambda: found.append(results(call)))
    reader.start()
    call.cancel()
    reader.join(10)
    assert found == [{}]


def test_a_cancelled_job_that_goes_on_is_ended_when_others_wait(bench: Bench) -> None:
    process, call = bench.busy()
    call.cancel()
    bench.advance(GRACE + 1)
    assert not process.killed
    after = bench.submit("after")
    bench.advance(0)
    eventually(lambda: process.killed)
    bench.runners.batch(1).finish()
    assert only(after) == {"ok": True}


def test_a_cancelled_job_does_not_go_on_for_long_though_nobody_waits(bench: Bench) -> None:
    process, call = bench.busy()
    call.cancel()
    bench.advance(QUIET_GRACE - 0.1)
    assert not process.killed
    bench.advance(0.2)
    eventually(lambda: process.killed)


def test_cancel_of_an_answered_call_does_nothing(auto: Bench) -> None:
    call = auto.submit("a")
    eventually(lambda: call.wait(0))
    call.cancel()
    assert only(call) == {"ok": True}


# Crashes


def test_a_job_whose_runner_died_is_tried_once_more(bench: Bench) -> None:
    process, call = bench.busy("a")
    waiting = bench.submit("b")
    process.die()
    second = bench.runners.batch(1)
    assert second is not process
    assert process.killed and process.closed
    assert second.names() == ["a"]
    second.finish()
    assert only(call) == {"ok": True}
    eventually(lambda: len(second.batches) == 2)
    second.finish()
    assert only(waiting) == {"ok": True}
    [loaded] = bench.scheduler.loaded()
    assert loaded.restarts == 1
    assert loaded.last_error == "the runner was killed by SIGKILL: oops"


def test_answers_from_before_the_crash_count(bench: Bench) -> None:
    process, call = bench.busy("a", "b", "c")
    process.give("1.1")
    assert next(call) == (1, b'{"ok":true}')
    process.die()
    second = bench.runners.batch(1)
    assert second.names() == ["a"]
    second.finish()
    eventually(lambda: len(second.batches) == 2)
    assert second.names() == ["c"]
    second.finish()
    assert results(call) == {0: {"ok": True}, 2: {"ok": True}}


def die_of(bench: Bench, *poison: str) -> None:
    """Serve batches until no request is open; a batch with a poison in it kills its runner."""

    def serve() -> bool:
        bench.advance(0.01)  # pauses after crashes pass
        for process in list(bench.runners.alive):
            served = process.__dict__.setdefault("served", 0)
            if served < len(process.batches):
                process.__dict__["served"] += 1
                if set(process.names(served)) & set(poison):
                    process.die()
                else:
                    process.finish(served)
        return not any(lane.calls for lane in list(bench.scheduler._lanes.values()))

    eventually(serve, "the end of the work")


@pytest.mark.parametrize("culprit", range(16))
def test_a_poisonous_job_fails_alone(bench: Bench, culprit: int) -> None:
    names = [f"job{number}" for number in range(16)]
    calls = [bench.submit(name) for name in names]
    bench.runners.batch(0)
    die_of(bench, names[culprit])
    for number, call in enumerate(calls):
        found = only(call)
        if number == culprit:
            assert isinstance(found, RunnerCrashed)
            assert "oops" in found.message
        else:
            assert found == {"ok": True}
    assert only(serve_one(bench)) == {"ok": True}


def serve_one(bench: Bench) -> Call:
    call = bench.submit("after")
    die_of(bench)
    return call


def test_two_poisonous_jobs_fail_and_the_others_do_not(bench: Bench) -> None:
    call = bench.submit(*(f"job{number}" for number in range(16)))
    bench.runners.batch(0)
    die_of(bench, "job3", "job12")
    failed = {i for i, found in results(call).items() if isinstance(found, RunnerCrashed)}
    assert failed == {3, 12}


def test_poison_again_and_again_does_not_close_the_model_for_others(bench: Bench) -> None:
    assert only(serve_one(bench)) == {"ok": True}
    for _ in range(10):
        poison = bench.submit("poison")
        die_of(bench, "poison")
        assert isinstance(only(poison), RunnerCrashed)
        assert only(serve_one(bench)) == {"ok": True}


def test_a_runner_that_dies_of_everything_is_not_restarted_for_every_job(bench: Bench) -> None:
    names = [f"job{number}" for number in range(16)]
    call = bench.submit(*names)
    bench.runners.batch(0)
    die_of(bench, *names)
    assert all(isinstance(found, RunnerCrashed) for found in results(call).values())
    assert len(bench.runners.processes) <= 8


def test_a_crash_loop_refuses_at_once_and_says_when_to_come_back(bench: Bench) -> None:
    refused: list[TollamaError] = []
    for _ in range(20):
        try:
            call = bench.submit("bad")
        except RunnerCrashed as error:
            refused.append(error)
            continue
        die_of(bench, "bad")
        found = only(call)
        assert isinstance(found, RunnerCrashed)
        bench.clock.now += 0.1
    assert len(refused) >= 10
    assert "oops" in refused[0].message
    assert refused[0].retry_after is not None and 1 <= refused[0].retry_after <= 30
    bench.clock.now += 90
    assert only(serve_one(bench)) == {"ok": True}


def test_a_runner_that_dies_while_idle_is_started_again_by_the_next_request(bench: Bench) -> None:
    process, call = bench.busy()
    process.finish()
    assert only(call) == {"ok": True}
    process.die()
    gone(bench)
    assert bench.scheduler.loaded() == []
    after = bench.submit("after")
    assert after.loading
    bench.runners.batch(1).finish()
    assert only(after) == {"ok": True}


def test_a_start_that_fails_is_tried_once_more(auto: Bench) -> None:
    auto.runners.load_errors = [RunnerCrashed("the runner ended with status 1")]
    assert only(auto.submit("a")) == {"ok": True}
    assert len(auto.runners.processes) == 2
    assert auto.runners.processes[0].closed


def test_starts_that_fail_refuse_until_the_pause_is_over(auto: Bench) -> None:
    auto.runners.load_errors = [RunnerCrashed("ended: no module named x") for _ in range(3)]
    call = auto.submit("a")
    error = only(call)
    assert isinstance(error, RunnerCrashed)
    assert error.message == "ended: no module named x"
    assert error.retry_after == 1
    eventually(lambda: not auto.scheduler.models())
    with pytest.raises(RunnerCrashed, match="no module named x"):
        auto.submit("b")
    assert len(auto.runners.processes) == 2
    auto.clock.now += 2
    third = only(auto.submit("c"))
    assert isinstance(third, RunnerCrashed)
    eventually(lambda: not auto.scheduler.models())
    auto.clock.now += 90
    assert only(auto.submit("d")) == {"ok": True}


@pytest.mark.parametrize("error", [ProtocolError("speaks 2"), OutOfMemory("no memory")])
def test_a_load_that_cannot_succeed_is_not_tried_again(bench: Bench, error: TollamaError) -> None:
    bench.runners.may_load.clear()
    bench.runners.load_errors = [error]
    calls = [bench.submit("a"), bench.submit("b")]
    bench.runners.may_load.set()
    for call in calls:
        found = only(call)
        assert type(found) is type(error)
        assert found.message == error.message
    gone(bench)
    assert len(bench.runners.processes) == 1


# keep_alive


def test_keep_alive_counts_from_the_end_of_the_last_request(bench: Bench) -> None:
    process, first = bench.busy()
    second = bench.submit("b")
    bench.advance(1000)
    assert not process.closed
    process.finish()
    eventually(lambda: len(process.batches) == 2)
    process.finish()
    results(first)
    results(second)
    bench.advance(299)
    assert bench.scheduler.models() == ["m"]
    assert not process.closed
    bench.advance(2)
    gone(bench)


def test_a_request_in_between_starts_keep_alive_anew(auto: Bench) -> None:
    only(auto.submit("a"))
    auto.advance(299)
    only(auto.submit("b"))
    auto.advance(299)
    assert auto.scheduler.models() == ["m"]
    auto.advance(2)
    gone(auto)


def test_keep_alive_zero_unloads_after_the_answer(auto: Bench) -> None:
    assert only(auto.submit("a", keep_alive=0)) == {"ok": True}
    gone(auto)


def test_keep_alive_zero_waits_for_those_who_are_queued(bench: Bench) -> None:
    process, first = bench.busy()
    second = bench.submit("b", keep_alive=0)
    process.finish()
    only(first)
    eventually(lambda: len(process.batches) == 2)
    process.finish()
    assert only(second) == {"ok": True}
    gone(bench)


def test_keep_alive_negative_is_for_ever(auto: Bench) -> None:
    only(auto.submit("a", keep_alive=-1))
    auto.advance(10**9)
    only(auto.submit("b"))
    [loaded] = auto.scheduler.loaded()
    assert loaded.expires_at is None
    assert auto.runners.loads == ["m"]


def test_a_request_without_keep_alive_keeps_the_present_one(auto: Bench) -> None:
    only(auto.submit("a", keep_alive=10))
    only(auto.submit("b"))
    auto.advance(11)
    gone(auto)


def test_keep_alive_is_the_default_again_after_a_reload(auto: Bench) -> None:
    only(auto.submit("a", keep_alive=-1))
    assert auto.scheduler.unload("m")
    only(auto.submit("b"))
    auto.advance(301)
    eventually(lambda: not auto.scheduler.models())


def test_load_takes_keep_alive_and_starts_its_timer(auto: Bench) -> None:
    auto.scheduler.load(launch(), keep_alive=5)
    auto.advance(4)
    assert auto.scheduler.models() == ["m"]
    auto.advance(2)
    gone(auto)


# Streams


def test_a_stream_feeds_jobs_and_ends_when_it_is_closed(auto: Bench) -> None:
    call = auto.submit("a", more=True)
    assert next(call)[0] == 0
    assert not call.wait(0)
    assert call.add(job("b")) == 1
    assert next(call)[0] == 1
    call.close()
    assert call.wait(0)
    assert call.done
    assert list(call) == []


def test_a_model_stays_while_a_stream_is_open(auto: Bench) -> None:
    call = auto.submit("a", more=True)
    next(call)
    auto.advance(10**6)
    assert auto.scheduler.models() == ["m"]
    assert call.add(job("b")) == 1
    assert next(call) == (1, b'{"ok":true}')
    call.close()
    auto.advance(299)
    assert auto.scheduler.models() == ["m"]
    auto.advance(2)
    gone(auto)


def test_a_stream_on_a_model_that_was_unloaded_gets_errors(auto: Bench) -> None:
    call = auto.submit("a", more=True)
    next(call)
    assert auto.scheduler.unload("m")
    call.add(job("b"))
    index, error = next(call)
    assert index == 1
    assert isinstance(error, Unavailable)
    call.close()
    assert list(call) == []


# Limits


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    with opened(max_queue=2) as bench:
        process, first = bench.busy()
        bench.clock.now += 10
        process.finish()
        only(first)
        eventually(lambda: not bench.scheduler.computing)
        running, wide, second = bench.submit("a"), bench.submit("b", "c", "d"), bench.submit("e")
        with pytest.raises(QueueFull, match="queue of m is full: 2 requests wait") as caught:
            bench.submit("f")
        assert caught.value.retry_after == 40
        wide.cancel()
        bench.submit("f")
        process.finish()
        only(running)
        assert second.queue_ms == 0


def test_a_request_that_has_begun_does_not_count_as_waiting() -> None:
    with opened(max_queue=1) as bench:
        narrow = launch(max_series=1)
        bench.busy("a", "b", to=narrow)
        bench.submit("c", to=narrow)  # the first has a slice left, but it runs
        with pytest.raises(QueueFull, match="1 requests wait"):
            bench.submit("d", to=narrow)


def test_a_stream_that_was_admitted_is_not_refused_later() -> None:
    with opened(max_queue=1) as bench:
        bench.busy()
        call = bench.submit("a", more=True)
        assert call.add(job("b")) == 1


def test_the_least_recently_used_idle_model_makes_room(small: Bench) -> None:
    for name in ("one", "two"):
        only(small.submit("a", to=launch(name)))
        small.clock.now += 1
    only(small.submit("a", to=launch("one")))
    small.clock.now += 1
    only(small.submit("a", to=launch("three")))
    eventually(lambda: small.scheduler.models() == ["one", "three"])
    assert [p.launch.model for p in small.runners.alive] == ["one", "three"]


def test_a_busy_model_is_waited_for() -> None:
    with opened(max_loaded=1) as bench:
        process, first = bench.busy(to=launch("one"))
        second = bench.submit("b", to=launch("two"))
        third = bench.submit("c", to=launch("three"))
        assert second.loading
        eventually(lambda: len(bench.scheduler.waiting) == 2)
        assert len(bench.runners.processes) == 1
        process.finish()
        only(first)
        eventually(lambda: len(bench.runners.processes) == 2)
        assert process.closed
        assert bench.runners.processes[1].launch.model == "two"
        bench.runners.batch(1).finish()
        only(second)
        bench.runners.batch(2).finish()
        only(third)
        assert len(bench.runners.alive) == 1


def test_waiting_for_room_is_bounded() -> None:
    with opened(max_loaded=1, load_timeout=60) as bench:
        bench.busy(to=launch("one"))
        second = bench.submit("b", to=launch("two"))
        eventually(lambda: bench.scheduler.waiting)
        bench.advance(61)
        error = only(second)
        assert isinstance(error, Unavailable)
        assert "TOLLAMA_MAX_LOADED_MODELS" in error.message
        eventually(lambda: bench.scheduler.models() == ["one"])
        assert not bench.scheduler.waiting


def test_waiting_for_room_ends_when_nobody_wants_the_model() -> None:
    with opened(max_loaded=1) as bench:
        bench.busy(to=launch("one"))
        second = bench.submit("b", to=launch("two"))
        eventually(lambda: bench.scheduler.waiting)
        second.cancel()
        eventually(lambda: bench.scheduler.models() == ["one"])
        assert not bench.scheduler.waiting


def test_room_is_free_again_after_an_unload(small: Bench) -> None:
    for number in range(10):
        only(small.submit("a", to=launch(f"model{number}"), keep_alive=-1))
        assert small.scheduler.unload(f"model{number}")
    assert small.scheduler.models() == []


# Replicas


def test_replicas_start_when_work_waits_and_all_compute(many: Bench) -> None:
    wide = launch(replicas=True)
    process, _ = many.busy("a", to=wide)
    assert len(many.runners.processes) == 1
    many.submit("b", to=wide)
    eventually(lambda: len(many.runners.processes) == 2)
    second = many.runners.processes[1]
    eventually(lambda: second.batches)
    assert second.names() == ["b"]
    many.runners.may_load.clear()
    for name in "cdef":
        many.submit(name, to=wide)
    eventually(lambda: len(many.runners.processes) == 3)
    many.runners.may_load.set()
    third = many.runners.processes[2]
    eventually(lambda: third.batches)
    assert third.names() == ["c", "d", "e", "f"]
    many.submit("g", to=wide)
    assert len(many.runners.processes) == 3
    assert not process.closed
    assert len(many.scheduler.loaded()[0].pids) == 3


def test_a_family_without_replicas_has_one_process(many: Bench) -> None:
    many.busy("a")
    for name in "bcdef":
        many.submit(name)
    assert len(many.runners.processes) == 1


def test_free_replicas_share_what_waits(many: Bench) -> None:
    wide = launch(replicas=True)
    first, _ = many.busy("a", to=wide)
    many.submit("b", to=wide)
    eventually(lambda: len(many.runners.processes) == 2)
    second = many.runners.processes[1]
    eventually(lambda: second.batches)
    first.finish()
    second.finish()
    eventually(lambda: not many.scheduler.computing)
    many.submit("c", "d", "e", "f", to=wide)
    assert sorted(first.names() + second.names()) == ["c", "d", "e", "f"]
    assert len(first.names()) == len(second.names()) == 2


def test_spare_replicas_end_and_the_model_stays(many: Bench) -> None:
    wide = launch(replicas=True)
    first, _ = many.busy("a", to=wide)
    many.submit("b", to=wide, keep_alive=-1)
    eventually(lambda: len(many.runners.processes) == 2)
    second = many.runners.processes[1]
    eventually(lambda: second.batches)
    first.finish()
    second.finish()
    eventually(lambda: not many.scheduler.computing)
    many.advance(10**6)
    assert len(many.runners.alive) == 2
    many.submit("c", to=wide, keep_alive=SPARE_LEAST + 1)
    many.runners.alive[0].finish()
    many.runners.alive[1].finish()
    eventually(lambda: not many.scheduler.computing)
    many.advance(SPARE_LEAST + 0.5)
    eventually(lambda: len(many.runners.alive) == 1)
    assert many.scheduler.models() == ["m"]


def test_a_replica_that_cannot_start_fails_nobody(many: Bench) -> None:
    wide = launch(replicas=True)
    process, first = many.busy("a", to=wide)
    many.runners.load_errors = [OutOfMemory("no memory")]
    second = many.submit("b", to=wide)
    eventually(lambda: len(many.runners.processes) == 2)
    eventually(lambda: many.runners.processes[1].closed)
    process.finish()
    eventually(lambda: len(process.batches) == 2)
    process.finish()
    assert only(first) == only(second) == {"ok": True}
    assert len(many.runners.processes) == 2


def test_a_replica_that_dies_leaves_the_others_working(many: Bench) -> None:
    wide = launch(replicas=True)
    first, one = many.busy("a", to=wide)
    two = many.submit("b", to=wide)
    eventually(lambda: len(many.runners.processes) == 2)
    second = many.runners.processes[1]
    eventually(lambda: second.batches)
    second.die()
    first.finish()
    only(one)
    die_of(many)
    assert only(two) == {"ok": True}


# Unload, replace, close


def test_unload_lets_the_running_batch_finish_and_refuses_the_rest(bench: Bench) -> None:
    process, running = bench.busy()
    waiting = bench.submit("b")
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(bench.scheduler.unload("m")))
    thread.start()
    error = only(waiting)
    assert isinstance(error, Unavailable)
    assert error.retry_after == 1
    assert not process.closed
    process.finish()
    assert only(running) == {"ok": True}
    thread.join(10)
    assert done == [True]
    assert process.closed
    assert bench.scheduler.models() == []


def test_unload_ends_a_batch_that_takes_too_long(bench: Bench) -> None:
    process, running = bench.busy()
    thread = threading.Thread(target=lambda: bench.scheduler.unload("m", grace=10))
    thread.start()
    eventually(lambda: bench.scheduler._lanes["m"].state == "stopping")
    bench.advance(11)
    assert isinstance(only(running), Unavailable)
    thread.join(10)
    assert process.killed


def test_unload_ends_a_load(bench: Bench) -> None:
    bench.runners.may_load.clear()
    call = bench.submit("a")
    eventually(lambda: bench.runners.loads)
    thread = threading.Thread(target=lambda: bench.scheduler.unload("m"))
    thread.start()
    assert isinstance(only(call), Unavailable)
    bench.runners.may_load.set()
    thread.join(10)
    assert bench.scheduler.models() == []


def test_unload_of_a_model_that_is_not_loaded_is_false(bench: Bench) -> None:
    assert not bench.scheduler.unload("m")


def test_a_new_digest_gets_a_new_lane_and_the_old_one_finishes(bench: Bench) -> None:
    process, first = bench.busy("a")
    queued = bench.submit("b")
    new = bench.submit("c", to=launch(digest="2"))
    assert new.loading
    eventually(lambda: len(bench.runners.processes) == 2)
    second = bench.runners.processes[1]
    eventually(lambda: second.batches)
    assert second.names() == ["c"]
    second.finish()
    assert only(new) == {"ok": True}
    process.finish()
    eventually(lambda: len(process.batches) == 2)
    assert process.names() == ["b"]
    process.finish()
    assert only(first) == only(queued) == {"ok": True}
    eventually(lambda: process.closed)
    assert not second.closed


def test_close_lets_running_batches_finish_and_takes_no_more(bench: Bench) -> None:
    process, running = bench.busy()
    thread = threading.Thread(target=lambda: bench.scheduler.close(10))
    thread.start()
    eventually(lambda: bench.scheduler._closed)
    with pytest.raises(Unavailable, match="shutting down"):
        bench.submit("x", to=launch("other"))
    process.finish()
    assert only(running) == {"ok": True}
    thread.join(10)
    assert process.closed
    with pytest.raises(Unavailable):
        bench.submit("x")


def test_close_of_a_scheduler_without_models_returns() -> None:
    Scheduler(cpus=1).close()


def test_loaded_tells_what_ps_shows(bench: Bench) -> None:
    process, _ = bench.busy()
    bench.submit("b")
    bench.busy(to=launch("a", family="other"))
    first, second = bench.scheduler.loaded()
    assert (first.model, first.family) == ("a", "other")
    assert (second.model, second.family) == ("m", "fake")
    assert second.facts == {"device": "cpu"}
    assert second.pids == (process.pid,)
    assert (second.queue_depth, second.running) == (1, 1)
    assert (second.restarts, second.last_error) == (0, None)
    assert second.expires_at is not None and second.expires_at > second.loaded_at


def test_a_model_that_is_being_loaded_is_not_shown_but_known(bench: Bench) -> None:
    bench.runners.may_load.clear()
    bench.submit("a")
    assert bench.scheduler.loaded() == []
    assert bench.scheduler.models() == ["m"]


def test_a_defect_in_a_replica_fails_its_calls(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, call = bench.busy()
    waiting = bench.submit("b")

    def broken(self: Replica, line: bytes) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    monkeypatch.setattr(Replica, "_read", broken)
    process.finish()
    for one in (call, waiting):
        assert isinstance(only(one), Unavailable)
    gone(bench)
    assert any("a defect" in line for line in bench.logged)


def test_a_limit_of_replicas_leaves_the_threads_alone() -> None:
    wide = launch(replicas=True)
    with opened(cpus=4, replicas=2) as bench:
        process, _ = bench.busy("a", to=wide)
        assert process.batches[0]["params"]["threads"] == 4
        for name in "bcd":
            bench.submit(name, to=wide)
        eventually(lambda: len(bench.runners.processes) == 2)
        eventually(lambda: bench.runners.processes[1].batches)
        bench.submit("e", to=wide)
        assert len(bench.runners.processes) == 2
