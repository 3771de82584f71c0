from __future__ import annotations

import math
from typing import Any

import fake_runner
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollama.daemon.backlog import LINGER, Backlog
from tollama.daemon.call import QUEUED, Call, Job


def backlog(**changes: Any) -> Backlog:
    return Backlog(**{"max_series": 16, "max_tokens": 1000, "batching": True, **changes})


def fill(lane: Backlog, *calls: list[Job]) -> list[Call]:
    made = []
    for jobs in calls:
        call = Call(lambda: 0.0, more=False)
        for one in jobs:
            call.adopt(one)
            lane.push(one)
        made.append(call)
    return made


def take(lane: Backlog, idle: int = 1, now: float = 0.0) -> list[str]:
    return [one.body.decode() for one in lane.take(now, idle, [])]


def job(name: str, **changes: Any) -> Job:
    made = fake_runner.job(name, **changes)
    made.body = name.encode()
    return made


def test_take_gives_everything_that_fits_together() -> None:
    lane = backlog()
    fill(lane, *([job(name)] for name in "abcde"))
    assert take(lane) == ["a", "b", "c", "d", "e"]
    assert not lane
    assert lane.queued == 0


def test_take_goes_round_the_requests() -> None:
    lane = backlog(max_series=4)
    fill(lane, [job(f"bulk{i}") for i in range(5)], [job("x")], [job("y0"), job("y1")])
    assert take(lane) == ["bulk0", "x", "y0", "bulk1"]
    assert take(lane) == ["y1", "bulk2", "bulk3", "bulk4"]


def test_a_request_of_full_batches_yields_to_others_after_each() -> None:
    lane = backlog()
    fill(lane, [job(f"bulk{i}", series=16) for i in range(1000)])
    assert take(lane) == ["bulk0"]
    fill(lane, [job("interactive")])
    assert take(lane) == ["bulk1"]
    assert take(lane) == ["interactive"]
    assert take(lane) == ["bulk2"]


def test_take_keeps_to_series_and_tokens() -> None:
    lane = backlog()
    fill(lane, [job("a", series=10)], [job("b", series=10)], [job("c", series=6)])
    assert take(lane) == ["a", "c"]
    assert take(lane) == ["b"]
    fill(lane, [job("a", tokens=600)], [job("b", tokens=600)], [job("c", tokens=400)])
    assert take(lane) == ["a", "c"]
    assert take(lane) == ["b"]


def test_a_job_over_the_limits_runs_alone() -> None:
    lane = backlog()
    fill(lane, [job("a", series=100, tokens=10**9)], [job("b")])
    assert take(lane) == ["a"]
    assert take(lane) == ["b"]


def test_take_never_mixes_keys_and_the_oldest_leads() -> None:
    lane = backlog()
    fill(lane, [job("a1", key=1)], [job("b1", key=2)], [job("a2", key=1)], [job("b2", key=2)])
    assert take(lane) == ["a1", "a2"]
    fill(lane, [job("a3", key=1)])
    assert take(lane) == ["b1", "b2"]
    assert take(lane) == ["a3"]


def test_a_job_without_a_key_runs_alone() -> None:
    lane = backlog()
    fill(lane, [job("a", key=None)], [job("b", key=None)], [job("c")])
    assert take(lane) == ["a"]
    assert take(lane) == ["b"]
    assert take(lane) == ["c"]


def test_a_family_that_cannot_batch_gets_one_at_a_time() -> None:
    lane = backlog(batching=False)
    fill(lane, [job("a")], [job("b")])
    assert [take(lane), take(lane)] == [["a"], ["b"]]


def test_take_shares_with_the_other_free_replicas() -> None:
    lane = backlog()
    fill(lane, *([job(str(i))] for i in range(8)))
    assert len(take(lane, idle=4)) == 2
    assert len(take(lane, idle=3)) == 2
    assert len(take(lane, idle=2)) == 2
    assert len(take(lane, idle=1)) == 2


def test_take_leaves_out_what_is_too_late() -> None:
    lane = backlog()
    fill(lane, [job("late", deadline=5.0), job("next")], [job("later", deadline=5.0)], [job("b")])
    expired: list[Job] = []
    taken = [one.body for one in lane.take(5.0, 1, expired)]
    assert taken == [b"next", b"b"]
    assert [one.body for one in expired] == [b"late", b"later"]
    assert lane.queued == 0


def test_dropped_jobs_leave_no_trace() -> None:
    lane = backlog()
    first, second = fill(lane, [job("a"), job("b")], [job("c")])
    for one in list(first.queue):
        lane.drop(one)
    lane.tidy(first)
    assert lane.waiting(9) == 1
    assert lane.queued == 1
    assert take(lane) == ["c"]
    lane.tidy(second)
    assert not lane


def test_suspects_go_first_in_halves_and_alone() -> None:
    lane = backlog()
    fill(lane, [job(name) for name in "abcde"])
    jobs = lane.take(0.0, 1, [])
    lane.suspect(jobs)
    fill(lane, [job("new")])
    assert lane.queued == 6
    assert all(one.state is QUEUED for one in jobs)
    assert take(lane) == ["a", "b"]
    lane.suspect(jobs[2:3])
    assert take(lane) == ["c"]
    assert take(lane) == ["c", "d", "e"]
    assert take(lane) == ["new"]
    assert lane.queued == 0


def test_suspects_that_nobody_waits_for_are_left_out() -> None:
    lane = backlog()
    fill(lane, [job("a", deadline=5.0), job("b"), job("c")])
    jobs = lane.take(0.0, 1, [])
    lane.suspect(jobs)
    lane.drop(jobs[1])
    expired: list[Job] = []
    assert [one.body for one in lane.take(6.0, 1, expired)] == [b"c"]
    assert [one.body for one in expired] == [b"a"]
    assert lane.queued == 0


def test_clear_gives_everything() -> None:
    lane = backlog()
    fill(lane, [job("a"), job("b")])
    lane.suspect(lane.take(0.0, 1, []))
    fill(lane, [job("c"), job("d")])
    assert sorted(one.body.decode() for one in lane.clear()) == ["a", "b", "c", "d"]
    assert not lane
    assert lane.queued == 0


def test_lingers_after_a_batch_of_many_for_a_tenth_of_its_time() -> None:
    lane = backlog()
    lane.finished(4, 0.02, now=10.0)
    fill(lane, [job("a")])
    assert lane.lingers(10.001)
    assert lane.linger_until == pytest.approx(10.003)
    assert lane.lingers(10.002)
    assert not lane.lingers(10.0031)


def test_lingers_no_longer_than_five_milliseconds() -> None:
    lane = backlog()
    lane.finished(4, 10.0, now=10.0)
    fill(lane, [job("a")])
    assert lane.lingers(10.0)
    assert lane.linger_until == 10.0 + LINGER


@pytest.mark.parametrize(
    ("size", "took", "waiting", "after", "why"),
    [
        (1, 0.1, 1, 0.0, "the last batch had one job"),
        (4, 0.1, 4, 0.0, "as many have come back"),
        (4, 0.1, 1, 0.2, "the last batch is long over"),
        (4, 0.001, 1, 0.0, "a tenth of the batch is no time at all"),
    ],
)
def test_does_not_linger_when(size: int, took: float, waiting: int, after: float, why: str) -> None:
    lane = backlog()
    lane.finished(size, took, now=10.0)
    fill(lane, *([job("a")] for _ in range(waiting)))
    assert not lane.lingers(10.0 + after), why


def test_a_new_lane_does_not_linger() -> None:
    lane = backlog()
    fill(lane, [job("a")])
    assert not lane.lingers(0.0)


def test_retry_after_follows_the_last_batches() -> None:
    lane = backlog()
    assert lane.retry_after(1) == 1
    lane.finished(2, 4.0, now=0.0)
    fill(lane, *([job("a")] for _ in range(10)))
    assert lane.retry_after(1) == 20
    assert lane.retry_after(2) == 10
    lane.finished(1, 1000.0, now=0.0)
    assert lane.retry_after(1) == 60


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(1, 20), st.integers(1, 1500), st.sampled_from(["x", "y", None])),
            min_size=1,
            max_size=6,
        ),
        max_size=8,
    ),
    st.integers(1, 4),
)
def test_every_job_runs_once_and_in_the_order_of_its_request(
    requests: list[list[tuple[int, int, str | None]]], idle: int
) -> None:
    lane = backlog()
    calls = fill(
        lane,
        *(
            [fake_runner.job(series=s, tokens=t, key=key) for s, t, key in jobs]
            for jobs in requests
        ),
    )
    seen: dict[Call, list[int]] = {call: [] for call in calls}
    while lane:
        batch = lane.take(0.0, idle, [])
        assert batch
        if len(batch) > 1:
            assert sum(one.series for one in batch) <= 16
            assert sum(one.tokens for one in batch) <= 1000
            assert len({one.key for one in batch}) == 1
            assert batch[0].key is not None
        for one in batch:
            seen[one.call].append(one.index)
    assert [seen[call] for call in calls] == [list(range(len(jobs))) for jobs in requests]
    assert lane.queued == 0
    assert lane.take(math.inf, idle, []) == []
