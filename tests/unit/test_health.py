from __future__ import annotations

import math

import pytest

from tollama.core.errors import OutOfMemory, RunnerCrashed
from tollama.daemon.health import FAST, WINDOW, Health, copy_of

CRASH = RunnerCrashed("the runner of m ended with status 1: oops")


def health() -> Health:
    return Health("m", jitter=lambda: 1.0)


def test_health_lets_the_first_crash_restart_at_once() -> None:
    one = health()
    one.crashed(10.0, CRASH)
    assert one.resume_at == 10.0
    assert one.refusal(10.0) is None
    assert one.last_error == CRASH.message


def test_health_doubles_the_pause_up_to_its_limit() -> None:
    one = health()
    pauses = []
    for number in range(12):
        now = number * 0.001
        one.crashed(now, CRASH)
        pauses.append(round(one.resume_at - now, 6))
    assert pauses == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]


def test_health_jitter_shortens_the_pause_by_at_most_a_quarter() -> None:
    one = Health("m", jitter=lambda: 0.0)
    one.crashed(0.0, CRASH)
    one.crashed(0.0, CRASH)
    assert one.resume_at == 0.375


def test_health_refuses_during_the_pause_after_a_crash_loop() -> None:
    one = health()
    for _ in range(FAST - 1):
        one.crashed(0.0, CRASH)
        assert one.refusal(0.0) is None
    one.crashed(0.0, CRASH)
    refusal = one.refusal(1.0)
    assert isinstance(refusal, RunnerCrashed)
    assert "oops (5 crashes in 60 s, next start in 3 s)" in refusal.message
    assert refusal.retry_after == 3
    assert one.refusal(one.resume_at) is None


def test_health_forgets_crashes_after_a_minute() -> None:
    one = health()
    for number in range(20):
        one.crashed(number * WINDOW, CRASH)
        assert one.resume_at == number * WINDOW
        assert one.refusal(number * WINDOW) is None


def test_health_refuses_after_two_failed_starts_with_the_same_error() -> None:
    one = health()
    error = OutOfMemory("no memory", detail={"asked": 1})
    one.failed_start(0.0, error)
    assert one.refusal(0.0) is None
    one.failed_start(0.0, error)
    refusal = one.refusal(0.0)
    assert isinstance(refusal, OutOfMemory)
    assert refusal is not error
    assert (refusal.message, refusal.detail, refusal.retry_after) == ("no memory", {"asked": 1}, 1)
    one.started()
    assert one.refusal(0.0) is None


def test_health_counts_no_loop_when_requests_are_answered_in_between() -> None:
    one = health()
    for number in range(50):
        one.recovered()
        one.crashed(float(number), CRASH)
        assert one.resume_at == number
        assert one.refusal(float(number)) is None


def test_health_of_a_new_model_refuses_nothing() -> None:
    assert health().refusal(-math.inf) is None


@pytest.mark.parametrize("error", [CRASH, OutOfMemory("x", retry_after=3, detail=[1])])
def test_copy_of_an_error_is_equal_but_another(error: RunnerCrashed | OutOfMemory) -> None:
    copy = copy_of(error)
    assert copy is not error
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
