"""The built .pyz and one daemon on it, started as a user would: python -I -S tollama.pyz serve."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYZ = ROOT / "dist" / "tollama.pyz"


@pytest.fixture(scope="session")
def pyz() -> Path:
    """The .pyz; built here when it is not, since `make test` builds it first."""
    if not PYZ.exists():
        subprocess.run([sys.executable, str(ROOT / "build_zipapp.py")], cwd=ROOT, check=True)
    return PYZ


class Daemon:
    """A running daemon: its address, home and process."""

    def __init__(self, pyz: Path, home: Path, *args: str, **environ: str) -> None:
        self.home = home
        self.pyz = pyz
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
        env.update({"TOLLAMA_HOME": str(home), **environ})
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(pyz), "serve", *(args or ("--port", "0"))],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.log: list[str] = []
        self._drain = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._drain.start()
        line = self.process.stdout.readline()
        assert " listening on " in line, (line, self.log)
        self.ready_line = line.strip()
        self.url = line.split()[-1]
        self.host, _, port = self.url.partition("://")[2].rpartition(":")
        self.port = int(port) if self.host else 0

    def _read(self, stream) -> None:
        for line in stream:
            self.log.append(line.rstrip("\n"))

    def stop(self, *, timeout: float = 20) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(timeout)
        self._drain.join(5)
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def request(self, method: str, path: str, body: object = None, **headers: str):
        """One request: (status, headers, body bytes)."""
        import http.client

        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, data, names)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: object = None, *, status: int = 200):
        """One request whose answer is JSON with the expected status."""
        found, _, data = self.request(method, path, body)
        assert found == status, (found, data[:500])
        return json.loads(data)

    def lines(self, method: str, path: str, body: object = None, **headers: str):
        """One request whose answer is NDJSON."""
        status, _, data = self.request(method, path, body, **headers)
        assert status == 200, (status, data[:500])
        assert b"\n\n" not in data
        return [json.loads(line) for line in data.splitlines()]

    def run(self, *args: str, stdin: str | None = None, check: int | None = 0, **environ: str):
        """A command of the same .pyz that calls this daemon."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
        env.update(TOLLAMA_HOME=str(self.home), TOLLAMA_HOST=self.url, **environ)
        return command(self.pyz, *args, env=env, stdin=stdin, check=check)


def command(pyz: Path, *args: str, env: dict[str, str], stdin: str | None = None, check=0):
    """Run `python -I -S tollama.pyz ARGS`; asserts the exit code unless `check` is None."""
    found = subprocess.run(
        [sys.executable, "-I", "-S", str(pyz), *args],
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    if check is not None:
        shown = (found.returncode, found.stdout[-500:], found.stderr[-800:])
        assert found.returncode == check, shown
    return found


@pytest.fixture(scope="session")
def daemon(pyz, tmp_path_factory):
    """One daemon for all tests that do not need their own."""
    running = Daemon(pyz, tmp_path_factory.mktemp("home"))
    yield running
    assert running.stop() == 0


@pytest.fixture
def start(pyz, tmp_path):
    """Start daemons of one's own: start(**environ)."""
    started: list[Daemon] = []

    def begin(home: Path | None = None, *args: str, **environ: str) -> Daemon:
        started.append(Daemon(pyz, home or tmp_path / "home", *args, **environ))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


@pytest.fixture
def tollama(pyz, tmp_path):
    """Run a command without any daemon, on an empty home."""

    def run(*args: str, stdin: str | None = None, check: int | None = 0, **environ: str):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
        # A port where nothing listens, as the default address, but not "given" by the user.
        home = tmp_path / "home"
        env.update({"TOLLAMA_HOME": str(home), **environ})
        return command(pyz, *args, env=env, stdin=stdin, check=check)

    return run
