"""The family as a child behind the pipe, as the daemon has it, and without any network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("chronos")

ROOT = Path(__file__).parents[3]
FAMILY = ROOT / "runners" / "torch"
# Like the daemon's command; every connection and name lookup ends the process.
BOOT = (
    "import os,runpy,sys\n"
    "def hook(event,args):\n"
    "    if event in ('socket.connect','socket.getaddrinfo','socket.sendto'): os._exit(99)\n"
    "sys.addaudithook(hook)\n"
    "module,*paths=sys.argv[1:];sys.path[:0]=paths;del sys.argv[1:]\n"
    "runpy.run_module(module,run_name='__main__',alter_sys=True)"
)


class Child:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", BOOT, "tollama_torch", str(ROOT), str(FAMILY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", ""), "OMP_WAIT_POLICY": "PASSIVE"},
        )

    def say(self, frame):
        self.process.stdin.write(json.dumps(frame).encode() + b"\n")
        self.process.stdin.flush()

    def until(self, identity):
        """Frames up to the answer to a call."""
        found = []
        for line in self.process.stdout:
            assert line.startswith(b'{"id":'), line
            found.append(json.loads(line))
            if found[-1]["id"] == identity and "event" not in found[-1]:
                return found
        raise AssertionError(f"the runner ended with {self.process.wait()}")


@pytest.fixture(scope="module")
def child(checkpoints):
    child = Child()
    child.say({"id": "1", "method": "hello", "params": {"protocol": 1}})
    assert child.until("1")[-1]["result"]["name"] == "torch"
    path = checkpoints("chronos2-tiny")
    child.say({"id": "2", "method": "load", "params": {"model": "chronos2", "path": path}})
    assert child.until("2")[-1]["result"]["device"] == "cpu"
    yield child
    child.process.stdin.close()
    assert child.process.wait(timeout=30) == 0


def job(number, target, **fields):
    offset = fields.pop("offset", 0)
    request = {"model": "chronos2", "horizon": 3, "quantiles": [0.1, 0.9]}
    request.update(fields, series=[{"target": target}])
    return {"id": f"5.{number}", "offset": offset, "request": request}


def test_batch_answers_each_job_in_a_line_of_its_own(child):
    jobs = [
        job(0, [1, 2, 3, None, 5]),
        job(1, [1.0, 1e39], offset=40),
        job(2, [4.0] * 700, horizon=20),
        job(3, [1.0, 2.0], options={"device": "cuda:99"}),
        {"id": "5.4", "method": "embed", "request": {"model": "m", "series": [{"target": [1, 2]}]}},
    ]
    child.say({"id": "5", "method": "batch", "params": {"threads": 1, "jobs": jobs}})
    frames = child.until("5")
    assert frames[-1] == {"id": "5", "result": {}}
    found = {frame["id"]: frame for frame in frames[:-1]}
    assert len(found) == len(frames) - 1 == 5
    assert len(found["5.2"]["result"]["forecasts"][0]["mean"]) == 20
    error = found["5.1"]["error"]
    assert error["code"] == "invalid_request"
    assert error["data"][0]["loc"] == ["body", "series", 40, "target", 1]
    assert found["5.3"]["error"]["code"] == "unsupported"
    assert len(found["5.4"]["result"]["embeddings"][0]) == 16


def test_many_series_stream_as_their_batches_are_done(child):
    jobs = [job(k, [float(k + i % 5) for i in range(600)], horizon=16) for k in range(600)]
    child.say({"id": "5", "method": "batch", "params": {"threads": 2, "jobs": jobs}})
    first = json.loads(child.process.stdout.readline())
    assert "result" in first
    assert len(child.until("5")) == 600


def test_result_lines_have_the_form_that_the_daemon_cuts(child):
    child.say({"id": "7", "method": "forecast", "params": job(0, [1, 2, 3])["request"]})
    line = child.process.stdout.readline()
    assert line.startswith(b'{"id":"7","result":{"model":"chronos2","forecasts":[{"id":"series_0"')
    assert line.endswith(b"}\n")


def test_selftest_proves_the_interpreter():
    with subprocess.Popen(
        [sys.executable, "-I", "-c", BOOT, "tollama_torch.selftest", str(ROOT), str(FAMILY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        out = process.stdout.read()
        assert process.wait() == 0
    assert json.loads(out)["device"] in ("cpu", "cuda:0", "mps")
