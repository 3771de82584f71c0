from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fake_runner import eventually
from real_runner import ROOT, TESTS, gone, raw, scripted

from tollama.core import protocol
from tollama.core.errors import DeadlineExceeded, NotFound, ProtocolError, RunnerCrashed
from tollama.daemon.bell import Bell
from tollama.daemon.child import rss_bytes
from tollama.daemon.runner_process import RunnerProcess
from tollama.daemon.scheduler import Launch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Started:
    """Runner processes of a test, ended with it."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.logged: list[str] = []
        self.made: list[RunnerProcess] = []

    def __call__(self, launch: Launch) -> RunnerProcess:
        process = RunnerProcess(launch, bell=self.bell, log=self.logged.append)
        self.made.append(process)
        return process


@pytest.fixture
def start() -> Iterator[Started]:
    started = Started()
    yield started
    for process in started.made:
        process.kill()
        process.close(0, 0)
    started.bell.close()


def within(seconds: float) -> Any:
    until = time.monotonic() + seconds
    return lambda: left if (left := until - time.monotonic()) > 0 else None


def load(process: RunnerProcess, **options: Any) -> Any:
    process.hello(within(20))
    params = {"model": "m", "path": "/weights", "options": options}
    return process.call("load", "load", params, until=within(20))


def lines(process: RunnerProcess, count: int) -> list[bytes]:
    found: list[bytes] = []
    left = within(20)
    while len(found) < count:
        wait = left()
        assert wait is not None, found
        found += process.poll(wait)
    return found


def test_process_shakes_hands_and_loads(start: Started) -> None:
    process = start(scripted())
    assert process.hello(within(20))["name"] == "scripted"
    events: list[object] = []
    facts = process.call(
        "7",
        "load",
        {"model": "m", "path": "/weights", "options": {}},
        until=within(20),
        on_event=events.append,
    )
    assert facts == {"pid": process.pid, "path": "/weights", "vram_bytes": 5}
    assert events == [{"progress": 1.0}]
    assert process.alive()


def test_process_lives_in_a_session_of_its_own(start: Started) -> None:
    process = start(scripted())
    process.hello(within(20))
    assert os.getsid(process.pid) == process.pid


@pytest.mark.parametrize(("mode", "spoken"), [("wrong_protocol", "99"), ("no_protocol", "null")])
def test_hello_names_both_protocols_when_they_differ(
    start: Started, mode: str, spoken: str
) -> None:
    with pytest.raises(ProtocolError, match=f"speaks protocol {spoken}, this tollama speaks 1"):
        start(raw(mode)).hello(within(20))


def test_hello_of_a_mute_runner_ends_in_time(start: Started) -> None:
    with pytest.raises(DeadlineExceeded, match="did not answer hello"):
        start(raw("mute")).hello(within(0.05))


def test_garbage_around_answers_is_logged_and_ignored(start: Started) -> None:
    process = start(raw("garbage"))
    assert load(process) == {}
    assert any("loading 10%" in line for line in start.logged)
    assert all("\n" not in line and "\x1b" not in line for line in start.logged)


def test_a_runner_that_exits_is_reported_with_its_last_words(start: Started) -> None:
    process = start(raw("exits"))
    with pytest.raises(RunnerCrashed) as caught:
        process.hello(within(20))
    assert caught.value.message == (
        "the runner of exits ended with status 7: ImportError: no module named torch"
    )


def test_a_runner_that_is_killed_is_reported_with_the_signal(start: Started) -> None:
    process = start(scripted())
    load(process)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(RunnerCrashed, match="was killed by SIGKILL"):
        lines(process, 1)


def test_an_interpreter_that_is_missing_is_reported(start: Started) -> None:
    launch = scripted()._replace(argv=("/no/such/python", "-c", "pass"))
    with pytest.raises(RunnerCrashed, match=r"/no/such/python: no such file or directory"):
        start(launch)


def test_an_error_of_the_runner_is_raised(start: Started) -> None:
    with pytest.raises(NotFound, match="no weights in the snapshot"):
        load(start(scripted()), on_load="error")


def test_prints_of_a_library_do_not_break_frames(start: Started) -> None:
    process = start(scripted())
    load(process, on_load="print")
    eventually(lambda: process.poll(0.01) or "from C, too" in process.stderr)
    assert "a library greets" in process.stderr


def test_stderr_is_drained_and_its_tail_kept(start: Started) -> None:
    process = start(scripted())
    load(process, on_load="noise")
    assert set(process.stderr) == {"warning: something"}
    assert len(process.stderr) == 50


def test_a_long_answer_comes_whole(start: Started) -> None:
    process = start(raw("large"))
    load(process)
    process.send(b'{"id":"1","method":"batch","params":{"jobs":[{"id":"1.0"}]}}\n')
    first, _ = lines(process, 2)
    assert first == b'{"id":"1.0","result":"' + b"x" * 20_000_000 + b'"}'


def test_an_answer_byte_by_byte_comes_whole(start: Started) -> None:
    process = start(raw("dribble"))
    load(process)
    process.send(b'{"id":"1","method":"batch","params":{"jobs":[{"id":"1.0"}]}}\n')
    assert lines(process, 2) == [b'{"id":"1.0","result":{"slow":true}}', b'{"id":"1","result":{}}']


def test_a_line_without_end_is_refused(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_LINE", 1 << 20)
    process = start(raw("flood"))
    load(process)
    process.send(b'{"id":"1","method":"batch","params":{"jobs":[{"id":"1.0"}]}}\n')
    with pytest.raises(ProtocolError, match="a line of over 1048576 bytes"):
        lines(process, 1)


def test_sending_to_a_runner_that_does_not_read_never_blocks(start: Started) -> None:
    process = start(raw("deaf"))
    load(process)
    for _ in range(4):
        process.send(b"x" * 5_000_000 + b"\n")
    assert process.poll(0) == []
    assert process.poll(0.01) == []


def test_a_large_request_arrives_whole(start: Started) -> None:
    process = start(raw("simple"))
    load(process)
    text = "x" * 5_000_000
    process.send(protocol.encode({"id": "1", "method": "forecast", "params": {"text": text}}))
    process.send(protocol.encode({"id": "2", "method": "forecast", "params": {"text": "y"}}))
    first, second = lines(process, 2)
    assert len(first) > 5_000_000
    assert b'"y"' in second


def test_a_runner_that_closes_its_input_is_gone(start: Started) -> None:
    process = start(raw("closes_stdin"))
    load(process)

    def broken() -> bool:
        process.send(b"x\n")
        try:
            process.poll(0.001)
        except RunnerCrashed:
            return True
        return False

    eventually(broken)


def test_poll_ends_when_the_bell_rings(start: Started) -> None:
    process = start(scripted())
    load(process)
    start.bell.ring()
    assert process.poll(None) == []
    start.bell.ring()
    start.bell.ring()
    assert process.poll(None) == []
    assert process.poll(0) == []


@pytest.mark.parametrize("mode", ["simple", "needs_term", "stubborn"])
def test_close_ends_and_reaps_whatever_the_runner_does(start: Started, mode: str) -> None:
    process = start(raw(mode))
    load(process)
    process.close(0.05, 0.05)
    assert not process.alive()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    process.close()
    process.kill()
    process.send(b"x\n")


def test_close_ends_a_stopped_runner(start: Started) -> None:
    process = start(scripted())
    load(process)
    os.kill(process.pid, signal.SIGSTOP)
    process.close(0.01, 0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_close_ends_what_the_runner_has_started(start: Started) -> None:
    process = start(raw("grandchild"))
    child = load(process)["grandchild"]
    assert not gone(child)
    process.close(0.5, 0.5)
    eventually(lambda: gone(child), "the end of the grandchild")


def test_a_runner_ends_when_its_daemon_is_killed(tmp_path: Any) -> None:
    """kill -9 of the daemon: the end of stdin ends a runner even while it computes."""
    code = f"""
import sys
sys.path[:0] = [{ROOT!r}, {TESTS!r}]
from real_runner import scripted, job
from tollama.daemon.scheduler import Scheduler
scheduler = Scheduler(cpus=1)
facts = scheduler.load(scripted())
scheduler.submit(scripted(), [job(do="wait", gate={str(tmp_path / "never")!r})])
print(facts["pid"], flush=True)
sys.stdin.read()
"""
    daemon = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert daemon.stdout and daemon.stdin
    try:
        runner = int(daemon.stdout.readline())
        assert not gone(runner)
        daemon.kill()
        eventually(lambda: gone(runner), "the end of the runner")
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()
        daemon.stdin.close()


def test_rss_of_a_process_is_its_memory() -> None:
    size = rss_bytes(os.getpid())
    assert size is not None and 1 << 20 < size < 1 << 40
    assert rss_bytes(2**22 + 12345) is None
