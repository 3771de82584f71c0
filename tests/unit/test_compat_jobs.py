"""Jobs: bounded, cancellable, forgotten in time."""

import json
import threading
import time

import pytest

from tollama.core.errors import Cancelled, InvalidRequest, NotFound, QueueFull
from tollama.daemon.compat import nixtla_jobs
from tollama.daemon.compat.nixtla_jobs import Jobs


@pytest.fixture
def jobs():
    log = []
    made = Jobs(log.append)
    made.lines = log
    yield made
    made.close()


def ended(job):
    """The job, once it has ended."""
    deadline = time.monotonic() + 20
    while not job.ended:
        assert time.monotonic() < deadline
        job.cancelled.wait(0.005)
    return json.loads(job.to_json())


def test_a_job_runs_and_keeps_its_result(jobs):
    job = jobs.submit("forecast", lambda job: b'{"mean":[1]}')
    found = ended(job)
    assert found == {
        "job_id": job.id, "status": "succeeded", "error": None, "result": {"mean": [1]},
    }  # fmt: skip
    assert jobs.get("forecast", job.id) is job
    for task, name in (("simulate", job.id), ("forecast", "nobody")):
        with pytest.raises(NotFound):
            jobs.get(task, name)


def test_a_failure_is_said_and_a_defect_is_logged(jobs):
    def refuse(job):
        raise InvalidRequest("h: expected an integer")

    found = ended(jobs.submit("forecast", refuse))
    assert found["status"] == "failed" and found["error"] == "h: expected an integer"
    found = ended(jobs.submit("forecast", lambda job: 1 // 0))
    assert found["error"] == "internal error: ZeroDivisionError" and found["result"] is None
    assert "ZeroDivisionError" in jobs.lines[0]


def test_a_running_job_is_cancelled_through_its_client(jobs):
    began = threading.Event()

    def work(job):
        began.set()
        while not job.disconnected():
            with job.blocking():
                job.cancelled.wait(1)
        raise Cancelled("the client closed the connection")

    job = jobs.submit("simulate", work)
    assert began.wait(20)
    jobs.cancel(job.id)
    assert ended(job)["status"] == "cancelled"
    jobs.cancel(job.id)  # again: nothing to do
    done = jobs.submit("simulate", lambda job: b"1")
    ended(done)
    jobs.cancel(done.id)
    assert json.loads(done.to_json())["status"] == "succeeded"


def test_only_so_many_run_and_wait(jobs, monkeypatch):
    monkeypatch.setattr(nixtla_jobs, "MAX_WAITING", 3)
    go = threading.Event()
    started = []

    def work(job):
        started.append(job.id)
        go.wait(20)
        return b"1"

    running = [jobs.submit("forecast", work) for _ in range(nixtla_jobs.MAX_RUNNING)]
    deadline = time.monotonic() + 20
    while len(started) < len(running):
        assert time.monotonic() < deadline
        go.wait(0.005)
    waiting = [jobs.submit("forecast", work) for _ in range(3)]
    with pytest.raises(QueueFull) as error:
        jobs.submit("forecast", work)
    assert error.value.retry_after
    jobs.cancel(waiting[1].id)
    go.set()
    assert [ended(job)["status"] for job in waiting] == ["succeeded", "cancelled", "succeeded"]
    assert waiting[1].id not in started


def test_old_and_too_many_results_are_forgotten(jobs, monkeypatch):
    monkeypatch.setattr(nixtla_jobs, "MAX_KEPT", 2)
    done = [jobs.submit("forecast", lambda job: b"1") for _ in range(4)]
    for job in done:
        ended(job)
    last = jobs.submit("forecast", lambda job: b"1")
    for job in done[:2]:
        with pytest.raises(NotFound):
            jobs.get("forecast", job.id)
    assert jobs.get("forecast", done[3].id)
    ended(last)
    monkeypatch.setattr(nixtla_jobs, "KEPT_S", -1.0)
    jobs.submit("forecast", lambda job: b"1")
    with pytest.raises(NotFound):
        jobs.get("forecast", last.id)
