"""Daemons of this checkout for tests of faults, and families that misbehave on request."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20.0

# A runner on the SDK that does what the options of a request say.
ACTOR = """
import os, signal, time
from tollama.core import fields
from tollama.core.runner_sdk import Forecast, ForecastResponse, Runner, serve

class Actor(Runner):
    name = "actor"
    options = {"seconds": fields.finite, "gate": fields.string}

    def load(self, *, model, path, options):
        wait(os.environ.get("CUDA_GATE"))
        return {}

    def forecast(self, request):
        time.sleep(request.options.get("seconds", 0))
        wait(request.options.get("gate"))
        return ForecastResponse([Forecast(s.id, [1.0] * request.horizon) for s in request.series])

def wait(gate):
    while gate and not os.path.exists(gate):
        time.sleep(0.01)

serve(Actor())
"""

# A runner without the SDK that answers a batch with a flood: of one line, or of lines.
FLOOD = """
import json, os, sys
def write(data):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]
for line in sys.stdin.buffer:
    frame = json.loads(line)
    if frame.get("method") == "hello":
        hello = {"id": frame["id"], "result": {"name": "flood", "protocol": 1}}
        write(json.dumps(hello).encode() + b"\\n")
    elif frame.get("method") == "load":
        write(json.dumps({"id": frame["id"], "result": {}}).encode() + b"\\n")
    elif frame.get("method") == "batch":
        piece = b"x" * (1 << 20)
        while True:
            write(piece)
"""


def family(folder: Path, name: str, source: str) -> str:
    """A family of one module and one built-in model, both of its name; the folder of families."""
    inside = folder / name / f"{name}_family"
    inside.mkdir(parents=True)
    (inside / "__main__.py").write_text(source)
    about = {
        "family": name, "protocol": 1, "module": f"{name}_family",
        "batch": {"max_series": 16, "max_tokens": 1000},
        "models": [{"name": name, "source": {"type": "builtin"}}],
    }  # fmt: skip
    (folder / name / "runner.json").write_text(json.dumps(about))
    return str(folder)


def environment(home: Path, **changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
    return {**kept, "TOLLAMA_HOME": str(home), **changes}


class Daemon:
    """A running daemon; `boot` is code that runs in its process before it."""

    def __init__(self, home: Path, *, boot: str = "", **environ: str) -> None:
        start = "from tollama.__main__ import main\nsys.exit(main())"
        code = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{boot}\n{start}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", "--port", "0"],
            cwd=ROOT,
            env=environment(home, **environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert " listening on " in line, self.log
        self.url = line.split()[-1]
        self.address = ("127.0.0.1", int(line.rpartition(":")[2]))

    def _drain(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON of one request."""
        connection = HTTPConnection(*self.address, timeout=PATIENCE)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            data = response.read()
            return response.status, json.loads(data.splitlines()[-1]) if data else None
        finally:
            connection.close()

    def running(self) -> bool:
        return any(model["running"] for model in self.ask("GET", "/api/ps")[1]["models"])

    def peak_mib(self) -> float:
        """The most memory that it ever held."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]

    def children(self) -> list[int]:
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    fields = (path / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[1]) == self.process.pid and fields[0] != "Z":
                    found.append(int(path.name))
        return found

    def end(self) -> int:
        """The exit code after SIGTERM, or of a process that ends already."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(PATIENCE)
        self._reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def forecast(model: str = "naive", value: float = 1.0, **changes: Any) -> dict[str, Any]:
    return {"model": model, "horizon": 1, "series": [{"id": "a", "target": [value]}], **changes}
