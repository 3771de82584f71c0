"""Across an air gap as a user does it: export, carry one file over, import and run offline."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkpoints import make_checkpoint, tree

ROOT = Path(__file__).resolve().parents[2]
LARGE = 96 << 20


def may_cut_the_network() -> bool:
    try:
        done = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
    return {**kept, "TOLLAMA_HOME": str(home), **more}


class Side:
    """One of the two machines: a folder with a .pyz, a home, and perhaps no network."""

    def __init__(self, folder: Path, pyz: Path, *, cut: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.home = folder / "home"
        self.pyz = pyz
        self.before = ["unshare", "-n"] if cut else []

    def command(self, *args: str) -> list[str]:
        return [*self.before, sys.executable, "-I", "-S", str(self.pyz), *args]

    def run(self, *args: str, check: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*args),
            env=environment(self.home),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == check, (args, done.stdout[-500:], done.stderr[-1000:])
        return done


@pytest.fixture
def here(pyz, tmp_path):
    """The connected machine, with `mock` and a checkpoint of one's own."""
    side = Side(tmp_path / "here", pyz)
    side.run("pull", "mock")
    side.run("pull", "mine", "--from-dir", str(make_checkpoint(tmp_path / "mine")))
    return side


@pytest.mark.skipif(not may_cut_the_network(), reason="may not make a network namespace")
def test_a_kit_crosses_to_a_machine_without_network(here, tmp_path):
    answer = json.loads(here.run("export", "mock", "mine", "-o", "kit.tollama").stdout)
    there = tmp_path / "there"
    there.mkdir()
    kit = there / "kit.tollama"
    os.rename(here.folder / "kit.tollama", kit)
    assert hashlib.sha256(kit.read_bytes()).hexdigest() == answer["sha256"]

    # The two commands, as export printed them.
    first, second = (line.split() for line in answer["commands"])
    assert first[0] == "tar" and second[:2] == ["python3", "tollama.pyz"]
    subprocess.run(first, cwd=there, check=True)
    packed = there / "tollama.pyz"
    assert packed.read_bytes() == here.pyz.read_bytes()
    side = Side(there, packed, cut=True)
    side.run(*second[2:])

    assert json.loads(side.run("verify").stdout)["models"]
    assert tree(side.home / "models" / "mine" / "snapshot") == tree(
        here.home / "models" / "mine" / "snapshot"
    )
    data = ROOT / "examples" / "air_passengers.csv"
    done = side.run("run", "mock", str(data), "--horizon", "3", "--format", "json")
    assert len(json.loads(done.stdout)["forecasts"][0]["mean"]) == 3
    done = side.run("run", "auto", str(data), "--horizon", "3", "--format", "json")
    assert len(json.loads(done.stdout)["forecasts"][0]["mean"]) == 3
    # And on: the far side can make the same kit again.
    again = json.loads(side.run("export", "mock", "mine", "-o", "again.tollama").stdout)
    assert again["sha256"] == answer["sha256"]


def test_a_running_daemon_sees_an_import_at_once(here, start, tmp_path):
    here.run("export", "mock", "-o", "kit.tollama")
    daemon = start(tmp_path / "served")
    assert daemon.request("POST", "/api/show", {"model": "mock"})[0] == 404
    daemon.run("import", str(here.folder / "kit.tollama"))
    shown = daemon.json("POST", "/api/show", {"model": "mock"})
    assert shown["name"] == "mock"
    body = {"model": "mock", "horizon": 2, "series": [{"target": [1, 2, 3]}]}
    assert daemon.json("POST", "/v1/forecast", body)["forecasts"][0]["mean"] == [3, 3]


@pytest.fixture(scope="module")
def large(pyz, tmp_path_factory):
    """A kit of about 100 MB."""
    base = tmp_path_factory.mktemp("large")
    side = Side(base / "here", pyz)
    side.run("pull", "big", "--from-dir", str(make_checkpoint(base / "big", size=LARGE)))
    side.run("export", "big", "-o", str(base / "big.tollama"), "--no-pyz")
    return base / "big.tollama"


# A process begins with the peak of the one that it was forked from, so a small one starts it.
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_memory_stays_flat(large, pyz, tmp_path):
    side = Side(tmp_path / "there", pyz)
    for args in (("import", str(large)), ("verify",), ("export", "big", "-o", "again")):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *side.command(*args)],
            env=environment(side.home),
            cwd=side.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        code, peak = map(int, done.stdout.split())
        unit = 1 if sys.platform == "darwin" else 1024
        assert code == 0
        assert peak * unit < 64 << 20, (args, peak)


def until(condition, process):
    """Wait until a condition holds or the process has ended."""
    for _ in range(20_000):
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    raise AssertionError("neither came")


def test_a_killed_import_leaves_the_home_usable(large, pyz, tmp_path):
    side = Side(tmp_path / "there", pyz)
    side.run("pull", "mock")
    before = tree(side.home)
    models = side.home / "models"

    def unpacking():
        return any(
            path.stat().st_size for path in models.glob(".staging/*/0/snapshot/*.safetensors")
        )

    process = subprocess.Popen(
        side.command("import", str(large)),
        env=environment(side.home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    caught = until(unpacking, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert caught

    listed = json.loads(side.run("list").stdout)["models"]
    assert "mock" in [model["name"] for model in listed]
    assert "big" not in [model["name"] for model in listed]
    side.run("verify")
    found = tree(side.home)
    assert {path: found.get(path) for path in before} == before

    side.run("import", str(large))
    side.run("verify", "big")
    assert sorted(os.listdir(models)) == ["big", "mock"]


def test_an_interrupted_import_cleans_up(large, pyz, tmp_path):
    side = Side(tmp_path / "there", pyz)
    process = subprocess.Popen(
        side.command("import", str(large)),
        env=environment(side.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    caught = until(lambda: list(side.home.glob("models/.staging/*/0/snapshot/*")), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert caught
    assert process.returncode == 130
    assert out == "" and "Traceback" not in err
    assert os.listdir(side.home / "models") == []
