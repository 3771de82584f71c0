"""Two daemons and ten command lines on one home at once: nothing is lost, nothing is half."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from checkpoints import make_checkpoint
from faults.daemons import ROOT, Daemon, environment

from tollama.core import config
from tollama.models import store, verification

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="flock between processes")


def tollama(home: Path, *argv: str, **environ: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-S", "-m", "tollama", *argv],
        cwd=ROOT, env=environment(home, **environ), capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_two_daemons_and_ten_command_lines_lose_nothing(tmp_path):
    home = tmp_path / "home"
    folder = make_checkpoint(tmp_path / "checkpoint", size=50_000)
    kit = tmp_path / "kit.tollama"
    maker = tmp_path / "maker"
    for argv in (["pull", "kitted", "--from-dir", str(folder)],
                 ["export", "kitted", "--no-pyz", "-o", str(kit)]):  # fmt: skip
        done = tollama(maker, *argv)
        assert done.returncode == 0, done.stderr
    daemons = [Daemon(home), Daemon(home)]
    assert daemons[0].ask("POST", "/api/pull", {"model": "mock", "stream": False})[0] == 200
    wrong: list[object] = []
    keys = [key.name for key in config.CONFIG_KEYS if key.name.startswith("pull.")]
    settings = {"pull.max_workers": "3", "pull.stall_timeout": "9", "pull.no_proxy": "a,b",
                "pull.http_proxy": "http://p:1", "pull.https_proxy": "http://p:2"}  # fmt: skip
    assert set(settings) <= set(keys)

    def check(done: subprocess.CompletedProcess) -> None:
        if done.returncode:
            wrong.append((done.args, done.stderr))

    def command_line(number: int) -> None:
        """Its own model, preset and setting, beside changes that everybody makes."""
        mine = f"m{number}"
        check(tollama(home, "pull", mine, "--from-dir", str(folder)))
        if number < len(settings):
            key = list(settings)[number]
            check(tollama(home, "config", "set", key, settings[key]))
        check(tollama(home, "import", str(kit)))
        check(tollama(home, "cp", "mock", "shared", TOLLAMA_HOST=daemons[number % 2].url))
        check(tollama(home, "cp", mine, f"copy{number}"))
        if number % 2:
            check(tollama(home, "rm", mine))

    def caller(number: int) -> None:
        """Forecasts and lists while all of that goes on."""
        dice = random.Random(number)
        daemon = daemons[number % 2]
        while not over.is_set():
            status, found = daemon.ask("GET", "/api/tags")
            names = {model["name"] for model in found["models"]}
            if status != 200 or not {"mock", "auto"} <= names:
                wrong.append((status, found))
            value = float(dice.randrange(1000))
            body = {"model": "mock", "horizon": 1, "series": [{"target": [value]}]}
            status, found = daemon.ask("POST", "/v1/forecast", body)
            if status != 200 or found["forecasts"][0]["mean"] != [value]:
                wrong.append((status, found))

    over = threading.Event()
    callers = [threading.Thread(target=caller, args=(number,)) for number in range(2)]
    workers = [threading.Thread(target=command_line, args=(number,)) for number in range(10)]
    for thread in (*callers, *workers):
        thread.start()
    for thread in workers:
        thread.join(250)
    over.set()
    for thread in callers:
        thread.join(60)
    assert not any(thread.is_alive() for thread in (*workers, *callers))
    codes = [daemon.end() for daemon in daemons]
    assert not wrong, wrong[:3]
    assert codes == [0, 0]
    models, warnings = store.listed(str(home))
    assert not warnings
    expected = {f"m{n}" for n in range(0, 10, 2)} | {f"copy{n}" for n in range(10)}
    assert {model.name for model in models} == expected | {"mock", "shared", "kitted"}
    for model in models:
        assert verification.problems(model, lambda *args: None) == []
    found = config.read(str(home))
    assert {key: str(found[key]) for key in settings} == settings
    assert not [child for child in (home / "models").iterdir() if child.name.startswith(".")]
    assert json.loads((home / "config.json").read_text())["version"] == 1
