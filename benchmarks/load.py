"""What the load tests share: a daemon of the built .pyz, a lean client of it, and samples of both.

Not covered: the loads themselves (soak.py, kill_storm.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PYZ = ROOT / "dist" / "tollama.pyz"
# An answer that has not come by then is lost: no request here may take nearly as long.
LOST_S = 120.0


class Daemon:
    """`python -I -S tollama.pyz serve` on a home of its own; its log goes to a file."""

    def __init__(self, pyz: Path, folder: Path, **environ: str) -> None:
        self.command = [sys.executable, "-I", "-S", str(pyz)]
        self.home = folder / "home"
        self.log = folder / "daemon.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
        self.env = {
            **kept,
            "TOLLAMA_HOME": str(self.home),
            "TOLLAMA_LOG_LEVEL": "error",
            **environ,
        }
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "serve", "--port", "0"],
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if " listening on " not in line:
            raise SystemExit(f"the daemon did not start: {self.log.read_text()[-500:]}")
        self.url = line.split()[-1]
        self.port = int(self.url.rpartition(":")[2])
        self.pid = self.process.pid

    def run(self, *args: str) -> None:
        """A command of the same .pyz that calls this daemon."""
        env = {**self.env, "TOLLAMA_HOST": self.url}
        subprocess.run([*self.command, *args], env=env, check=True, capture_output=True)

    def children(self) -> list[int]:
        """Its child processes: runners and downloads."""
        found = []
        for path in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                if path.name.isdigit():
                    fields = (path / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[1]) == self.pid and fields[0] != "Z":
                        found.append(int(path.name))
        return found

    def runners(self) -> list[int]:
        """Its children that are runners: each leads a session of its own, a download does not."""
        found = []
        for pid in self.children():
            with contextlib.suppress(OSError):
                if os.getsid(pid) == pid:
                    found.append(pid)
        return found

    def sample(self) -> dict[str, float]:
        """What it holds now: memory in MiB, descriptors, threads, children."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return {
            "rss_mib": int(fields["VmRSS"].split()[0]) / 1024,
            "fds": len(os.listdir(f"/proc/{self.pid}/fd")),
            "threads": int(fields["Threads"]),
            "children": len(self.children()),
        }

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Answer(NamedTuple):
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


class Lost(Exception):
    """No answer, or half of one."""


class Wire(asyncio.Protocol):
    """One connection that sends a request at a time and gives its answer whole."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.waiting: asyncio.Future[Answer] | None = None
        self._data = bytearray()
        self._status = 0
        self._body: list[bytes] | None = None  # of chunks
        self._need = -1
        self.closing = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.closing = True
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(Lost(f"closed in the middle: {error!r}"))

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            self._parse()
        except (ValueError, IndexError, StopIteration) as error:
            if self.waiting is not None and not self.waiting.done():
                self.waiting.set_exception(Lost(f"no HTTP: {error!r}"))
            self.transport.close()

    def _parse(self) -> None:
        if self._need < 0 and self._body is None:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._data[:end]).decode("latin-1").lower().split("\r\n")
            del self._data[: end + 4]
            self._status = int(head[0].split(" ")[1])
            headers = dict(line.split(": ", 1) for line in head[1:])
            self.closing = headers.get("connection") == "close"
            if headers.get("transfer-encoding") == "chunked":
                self._body = []
            else:
                self._need = int(headers["content-length"])
        if self._body is not None:
            while (end := self._data.find(b"\r\n")) >= 0:
                size = int(self._data[:end], 16)
                if len(self._data) < end + size + 4:
                    return
                self._body.append(bytes(self._data[end + 2 : end + 2 + size]))
                del self._data[: end + size + 4]
                if not size:
                    self._end(b"".join(self._body))
                    return
        elif len(self._data) >= self._need:
            body = bytes(self._data[: self._need])
            del self._data[: self._need]
            self._end(body)

    def _end(self, body: bytes) -> None:
        self._need, self._body = -1, None
        waiting, self.waiting = self.waiting, None
        if waiting is None or self._data:
            raise ValueError("an answer that nobody asked for")
        if not waiting.done():
            waiting.set_result(Answer(self._status, body))


class Client:
    """Requests over one kept connection, opened again where the daemon closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.wire: Wire | None = None

    async def ask(self, data: bytes) -> Answer:
        """The answer to a request that `request` wrote; raises Lost."""
        loop = asyncio.get_running_loop()
        try:
            if self.wire is None or self.wire.closing or self.wire.transport.is_closing():
                _, self.wire = await loop.create_connection(Wire, "127.0.0.1", self.port)
            waiting = self.wire.waiting = loop.create_future()
            self.wire.transport.write(data)
            return await asyncio.wait_for(waiting, LOST_S)
        except (OSError, asyncio.TimeoutError, Lost) as error:
            self.close()
            raise Lost(str(error) or type(error).__name__) from None

    def close(self) -> None:
        if self.wire is not None:
            self.wire.transport.abort()
            self.wire = None


def request(method: str, path: str, body: Any = None, content_type: str = "") -> bytes:
    """The bytes of a request; a body that is not bytes goes as JSON."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if body is not None:
        lines += [f"Content-Length: {len(body)}"]
    if content_type:
        lines += [f"Content-Type: {content_type}"]
    return "\r\n".join((*lines, "", "")).encode() + (body or b"")


def percentile(values: list[float], share: float) -> float:
    """The value under which `share` of them lie; 0 without any."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def clear_refusal(answer: Answer) -> bool:
    """Whether an answer is a 503 in the contract's shape, which says why."""
    return answer.status == 503 and is_error(answer.json()) == 503


def is_error(value: Any) -> int:
    """The status that an error's code stands for; 0 when it has not the contract's shape."""
    if not isinstance(value, dict) or not isinstance(value.get("error"), str) or not value["error"]:
        return 0
    return CODES.get(value.get("code"), 0)


CODES = {
    "invalid_request": 400,
    "not_found": 404,
    "model_not_found": 404,
    "method_not_allowed": 405,
    "cancelled": 499,
    "unavailable": 503,
    "queue_full": 503,
    "runner_crashed": 503,
}
