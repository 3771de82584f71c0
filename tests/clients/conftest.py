"""A daemon for clients that were written for other servers, and the data that they send.

The clients are the real ones, unpatched. The daemon runs from the source tree and sees the
interpreter's packages, so that it finds `zstandard` as a user's would.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Daemon:
    """A running daemon: its address and process."""

    def __init__(self, home: Path, *flags: str, **environ: str) -> None:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
        env.update(TOLLAMA_HOME=str(home), PYTHONPATH=str(ROOT), **environ)
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, *flags, "-m", "tollama", "serve", "--port", "0"],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._drain = threading.Thread(target=self._read, daemon=True)
        self._drain.start()
        line = self.process.stdout.readline()
        assert " listening on " in line, (line, self.log)
        self.url = line.split()[-1]

    def _read(self) -> None:
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def call(self, method: str, path: str, body: object = None, *, status: int = 200, **headers):
        """One request of our own whose answer is JSON."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, names, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                found, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            found, text = error.code, error.read()
            error.close()
        assert found == status, (found, text[:500])
        return json.loads(text) if text else None

    def forecast(self, values, horizon, *, model="auto", **more):
        """The native forecast of one series: what a dialect's must equal."""
        freq = more.pop("freq", "MS")
        body = {
            "model": model,
            "horizon": horizon,
            "series": [{"target": [None if v != v else v for v in values], "freq": freq}],
            **more,
        }
        return self.call("POST", "/v1/forecast", body)["forecasts"][0]

    def stop(self) -> None:
        """SIGTERM; the daemon must end well."""
        self.process.terminate()
        assert self.process.wait(20) == 0, self.log[-5:]
        self._drain.join(5)
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    """One daemon for all clients."""
    running = Daemon(tmp_path_factory.mktemp("home"))
    yield running
    running.stop()


@pytest.fixture
def start(tmp_path):
    """Start daemons of one's own: start(*interpreter flags, **environ)."""
    started = []

    def begin(*flags: str, **environ: str) -> Daemon:
        started.append(Daemon(tmp_path / f"home{len(started)}", *flags, **environ))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def passengers():
    """AirPassengers: (ISO dates, values)."""
    with (ROOT / "examples" / "air_passengers.csv").open() as stream:
        rows = list(csv.reader(stream))[1:]
    return [row[-2] for row in rows], [float(row[-1]) for row in rows]
