"""The pipe in both directions: a runner that reads any lines, a daemon that reads any answers."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time

import pytest
from fuzz.daemons import Daemon, keeps_to_the_contract
from fuzz.harness import explore

from tollama.core import errors
from tollama.daemon.launches import BOOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="polls pipes")

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PATIENCE = 20.0


# -- a runner that reads --------------------------------------------------------------------------


class Mock:
    """The runner of the model mock, on the real SDK."""

    def __init__(self) -> None:
        family = os.path.join(ROOT, "runners", "mock")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BOOT, "tollama_mock", ROOT, family],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip
        self.held = b""

    def exchange(self, data: bytes, last: str) -> list[bytes]:
        """Write bytes; the lines that come until the answer to `last` is there."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(data)
        found: list[bytes] = []
        end = time.monotonic() + PATIENCE
        head = b'{"id":"%s",' % last.encode()
        while not (found and found[-1].startswith(head)):
            assert self.process.poll() is None, "the runner has ended"
            assert time.monotonic() < end, f"no answer to {last}: {found[-3:]}"
            if select.select([self.process.stdout], [], [], 1)[0]:
                *lines, self.held = (
                    self.held + os.read(self.process.stdout.fileno(), 1 << 16)
                ).split(b"\n")
                found += lines
        return found

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0
        self.process.stdout.close()


def test_a_runner_answers_or_ignores_any_line_and_goes_on():
    runner = Mock()
    count = 0

    def target(data: bytes) -> None:
        nonlocal count
        count += 1
        last = f"hello-{count}"
        hello = json.dumps({"id": last, "method": "hello", "params": {"protocol": 1}}).encode()
        for line in runner.exchange(data + b"\n" + hello + b"\n", last):
            frame = json.loads(line)
            assert isinstance(frame["id"], str)
            assert len({"result", "error", "event"} & set(frame)) == 1, frame
            if "error" in frame:
                assert frame["error"]["code"] in errors.BY_CODE
                assert frame["error"]["message"]

    tokens = (b'"method":"batch"', b'"method":"load"', b'"method":"unload"', b'"jobs":',
              b'"id":null',
              b'"params":[]', b'"request":{"model":"m"}', b'"offset":-1',
              b'"defaults":{"horizon":2}',
              b'"threads":0', b'\n{"method":"cancel","params":{"id":"1.0"}}\n')  # fmt: skip
    try:
        explore("pipe_to_runner", target, tokens=tokens, examples=300)
    finally:
        runner.close()


# -- a daemon that reads --------------------------------------------------------------------------

PARROT = r"""
import base64, json, os, sys
def write(data):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]
for line in sys.stdin.buffer:
    frame = json.loads(line)
    method, name = frame.get("method"), frame.get("id")
    if method == "hello":
        hello = {"id": name, "result": {"name": "parrot", "protocol": 1}}
        write(json.dumps(hello).encode() + b"\n")
    elif method == "load":
        write(json.dumps({"id": name, "result": {}}).encode() + b"\n")
    elif method == "batch":
        for job in frame["params"]["jobs"]:
            said = base64.b64decode(job["request"]["options"]["say"])
            said = said.replace(b"JOB", job["id"].encode()).replace(b"BATCH", name.encode())
            write(said + b"\n")
        write(json.dumps({"id": name, "result": {}}, separators=(",", ":")).encode() + b"\n")
"""


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    """A daemon with a family whose runner answers with what the request says."""
    base = tmp_path_factory.mktemp("parrot")
    folder = base / "families" / "parrot"
    (folder / "parrot_family").mkdir(parents=True)
    (folder / "parrot_family" / "__main__.py").write_text(PARROT)
    family = {
        "family": "parrot", "protocol": 1, "module": "parrot_family",
        "batch": {"max_series": 16, "max_tokens": 1000},
        "models": [{"name": "parrot", "source": {"type": "builtin"}}],
    }  # fmt: skip
    (folder / "runner.json").write_text(json.dumps(family))
    running = Daemon(base / "home", TOLLAMA_RUNNERS=str(folder.parent), TOLLAMA_REQUEST_TIMEOUT="5")
    yield running
    running.stop()


def test_a_daemon_passes_on_right_answers_and_no_others(parrot):
    count = 0

    def target(data: bytes) -> None:
        nonlocal count
        count += 1
        body = {
            "model": "parrot", "horizon": 2, "quantiles": [0.1, 0.9],
            "series": [{"id": "a", "target": [1, 2]}],
            "options": {"say": base64.b64encode(data).decode()},
        }  # fmt: skip
        answer = parrot.ask("POST", "/v1/forecast", json.dumps(body).encode())
        keeps_to_the_contract(answer)
        if answer.status == 200:
            found = json.loads(answer.body)
            (one,) = found["forecasts"]
            assert one["id"] == "a"
            assert len(one["mean"]) == 2
            assert all(type(value) in (int, float) for value in one["mean"])
            assert set(one["quantiles"] or ()) == {"0.1", "0.9"}
        else:
            assert answer.status in (400, 404, 409, 413, 502, 503, 504, 507), answer.body
        if count % 50 == 0:
            parrot.alive()

    tokens = (b'{"id":"JOB","result":', b'{"id":"BATCH","result":{}}\n', b'"error":{"code":"x"}',
              b'"mean":[1,2]', b'"mean":[NaN,2]', b'"quantiles":{"0.9":[1,2]}', b'"id":"b"', b"JOB",
              b'"forecasts":[]', b'{"id":"JOB","event":{}}\n', b'"warnings":1',
              b'"usage":[]')  # fmt: skip
    explore("pipe_to_daemon", target, tokens=tokens, examples=200)
    parrot.alive()
