"""A real daemon for fuzzing, from this checkout, and what every one of its answers must keep to."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What a 5xx may stand for: a hub that is not there (502), a queue, a deadline, a full disk, honest
# "not implemented". Nixtla's client would repeat some of these for minutes: there they are 500.
DELIBERATE = {501, 502, 503, 504, 505, 507}
PATIENCE = 30.0


class Daemon:
    """`python -m tollama serve` on a home of its own, with no hub to reach."""

    def __init__(self, home: Path, **environ: str) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
        self.home = home
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tollama", "serve", "--port", "0"],
            cwd=ROOT,
            env={**kept, "TOLLAMA_HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:9", **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._drain, daemon=True).start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert " listening on " in line, self.log
        self.address = ("127.0.0.1", int(line.rpartition(":")[2]))

    def _drain(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)

    def rss(self) -> int:
        """Resident memory in KiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1])  # type: ignore[index]

    def send(self, data: bytes, cuts: tuple[int, ...] = (), quiet: float = PATIENCE) -> bytes:
        """The bytes that come back on one connection, until it ends or says nothing for a while."""
        with socket.create_connection(self.address, timeout=PATIENCE) as sock:
            try:
                start = 0
                for cut in (*sorted(cuts), len(data)):
                    if cut > start:
                        sock.sendall(data[start:cut])
                        start = cut
            except OSError:
                pass  # it may have refused and closed by now
            found = []
            sock.settimeout(quiet)
            try:
                while piece := sock.recv(1 << 16):
                    found.append(piece)
            except ConnectionError:
                pass
            except TimeoutError:
                assert quiet < PATIENCE, f"no answer, or half of one: {b''.join(found)[:200]!r}"
            return b"".join(found)

    def ask(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> Answer:
        """One well-formed request; the body is the fuzz."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        if content_type:
            head += f"Content-Type: {content_type}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        (answer,) = answers(self.send(head.encode() + body))
        return answer

    def alive(self) -> None:
        """It answers, and has told nothing of a defect."""
        assert self.process.poll() is None, self.log[-20:]
        assert self.ask("GET", "/api/version").status == 200
        traces = [line for line in self.log if "Traceback" in line]
        assert not traces, self.log[-40:]

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Answer:
    """One response, parsed strictly."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def answers(data: bytes, *, whole: bool = True) -> list[Answer]:
    """The responses in a connection's bytes; fails on anything that is not one.

    Without `whole` the last one may still be coming.
    """
    found: list[Answer] = []
    try:
        _answers(data, found)
    except HalfAnswer:
        assert not whole, data[-300:]
    return found


class HalfAnswer(Exception):
    """The bytes end in the middle of an answer."""


def _answers(data: bytes, found: list[Answer]) -> None:
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            assert b"HTTP/1.1 ".startswith(data[:9])
            raise HalfAnswer
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        headers = {}
        for line in lines:
            name, colon, value = line.partition(": ")
            assert colon and re.fullmatch(r"[A-Za-z0-9-]+", name), line
            assert name.lower() not in headers, line
            headers[name.lower()] = value
        if status == "100":
            data = rest
            continue
        if headers.get("transfer-encoding") == "chunked":
            pieces = []
            while True:
                size, end, rest = rest.partition(b"\r\n")
                length = int(size, 16) if end else 0
                if not end or len(rest) < length + 2:
                    raise HalfAnswer
                pieces.append(rest[:length])
                assert rest[length : length + 2] == b"\r\n"
                rest = rest[length + 2 :]
                if not length:
                    break
            body, data = b"".join(pieces), rest
        else:
            length = int(headers.get("content-length", 0))
            if len(rest) < length and b"HTTP/1.1 " not in rest:
                if rest:
                    raise HalfAnswer
                length = 0  # the answer to a HEAD
            elif not rest.startswith(b"{") and rest.startswith(b"HTTP/1.1 "):
                length = 0  # the answer to a HEAD, and another one after it
            body, data = rest[:length], rest[length:]
        found.append(Answer(int(status), headers, body))


def keeps_to_the_contract(answer: Answer, *, nixtla: bool = False) -> None:
    """No 5xx that is not deliberate, and every error in the shape that clients read."""
    value: object = None
    kind = answer.headers.get("content-type", "")
    if kind.startswith("application/json") and answer.body:
        value = json.loads(answer.body)
    if answer.status >= 500 and answer.status not in DELIBERATE:
        codes = ("runner_error", "runner_crashed", "deadline_exceeded", "hub_unreachable")
        found = value.get("code") if isinstance(value, dict) else None
        assert nixtla and found in codes, (answer.status, answer.body[:500])
    if answer.status >= 400 and answer.body:
        assert isinstance(value, dict), (answer.status, answer.body[:500])
        if isinstance(value.get("error"), dict):  # KServe's
            value = value["error"]
        told = [value.get(name) for name in ("error", "message", "detail", "Message")]
        assert any(isinstance(text, str) and text for text in told), value
        if "code" in value:
            assert value["code"] != "internal", value
    if kind.startswith("application/x-ndjson"):
        for line in answer.body.splitlines():
            one = json.loads(line)
            assert one.get("code") != "internal", one


def settled(measure, at_most: float, seconds: float = 20.0) -> float:
    """A measure once it is small enough, or as it is when the time is over."""
    end = time.monotonic() + seconds
    while (found := measure()) > at_most and time.monotonic() < end:
        time.sleep(0.05)
    return found
