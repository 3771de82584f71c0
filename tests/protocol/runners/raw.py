"""A runner without the SDK that misbehaves in the way its first argument names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

MODE = sys.argv[1]


def write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def answer(frame_id: str, result: object) -> None:
    write(b'{"id":"%s","result":%s}\n' % (frame_id.encode(), json.dumps(result).encode()))


def sleep_for_ever() -> None:
    while True:
        time.sleep(1000)


def main() -> None:
    if MODE == "exits":
        print("ImportError: no module named torch", file=sys.stderr)
        sys.exit(7)
    if MODE == "mute":
        sleep_for_ever()
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        line = sys.stdin.buffer.readline()
        if not line:
            if MODE == "stubborn":
                sleep_for_ever()
            if MODE == "needs_term":
                sleep_for_ever()
            return
        frame = json.loads(line)
        if MODE == "garbage":
            write(b'loading 10%\r\x1b[2K loading 20%\n\n{}\n[]\n{"id": \xff\n')
        if frame["method"] == "hello":
            protocol = {"wrong_protocol": 99, "no_protocol": None}.get(MODE, 1)
            answer(frame["id"], {"name": "raw", "protocol": protocol})
        elif frame["method"] == "load":
            answer(frame["id"], load())
            if MODE == "deaf":
                sleep_for_ever()
            if MODE == "closes_stdin":
                os.close(0)
                sleep_for_ever()
        elif frame["method"] != "cancel":
            run(frame)


def load() -> dict[str, Any]:
    if MODE == "grandchild":
        child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time;time.sleep(1000)"])
        return {"grandchild": child.pid}
    return {}


def run(frame: dict[str, Any]) -> None:
    jobs = [job["id"] for job in frame["params"].get("jobs", [])]
    if MODE == "half":
        write(b'{"id":"%s","res' % jobs[0].encode())
        sys.exit(0)
    if MODE == "half_hang":
        write(b'{"id":"%s","res' % jobs[0].encode())
        sleep_for_ever()
    if MODE == "flood":
        while True:
            write(b"x" * 65536)
    if MODE == "closes_stdout":
        os.close(1)
        sleep_for_ever()
    if MODE == "large":
        answer(jobs[0], "x" * 20_000_000)
    if MODE == "dribble":
        for byte in b'{"id":"%s","result":{"slow":true}}\n' % jobs[0].encode():
            write(bytes([byte]))
    if MODE == "twice":
        for job in jobs:
            answer("77.7", "stale")
            answer(job, "first")
            answer(job, "second")
    if MODE == "silent_end":
        answer(frame["id"], {})
    if MODE == "garbage":
        for job in jobs:
            write(b"between\n")
            answer(job, "fine")
    if MODE == "simple":
        answer(frame["id"], {"method": frame["method"], "params": frame["params"]})
    elif MODE not in ("silent_end",):
        answer(frame["id"], {})


main()
