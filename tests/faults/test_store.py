"""Every change that an operation makes on the disk, failed in turn, and a kill between any two."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import FakeHub

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, forks")

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "runners" / "numpy" / "tests" / "golden" / "chronos2"
CONFIG = (GOLDEN / "config.json").read_bytes()
WEIGHTS = (GOLDEN / "model.safetensors").read_bytes()
# The same tensors with other bytes at the end.
OTHER = WEIGHTS[:-4] + b"\0\0\0\0"
# Each change costs a process and a look at the home; downloads cost another two processes.
LOCAL = (
    "from-dir", "from-dir-again", "copy", "copy-over", "create", "delete", "config", "import",
    "import-over", "runtime", "runtime-again", "runtime-remove", "pull-mock",
)  # fmt: skip
# Of the errors one stands for the others, unless FAULTS=all is set (make fuzz).
ALL = os.environ.get("FAULTS") == "all"
PULLS = ("pull", "pull-again", "pull-list", "pull-cache")


@pytest.fixture(scope="module")
def hub():
    with FakeHub() as server:
        server.add("amazon/chronos-2", files(CONFIG, WEIGHTS), branch="one")
        server.add("amazon/chronos-2", files(CONFIG + b"\n", OTHER), branch="two")
        yield server


def files(config: bytes, weights: bytes) -> dict[str, bytes]:
    return {"config.json": config, "model.safetensors": weights}


def work_folder(tmp_path: Path) -> Path:
    """What the operations read: two checkpoints, a Modelfile, a list of models, a kit."""
    work = tmp_path / "work"
    for name, weights in (("one", WEIGHTS), ("two", OTHER)):
        (work / name).mkdir(parents=True)
        (work / name / "config.json").write_bytes(CONFIG)
        (work / name / "model.safetensors").write_bytes(weights)
    (work / "Modelfile").write_text("FROM naive\nPARAMETER horizon 4\n")
    (work / "models.lock").write_text("chronos2@two\nmock\n")
    home = str(tmp_path / "exporter")
    for argv in (
        ["pull", "kitted", "--from-dir", str(work / "one")],
        ["export", "kitted", "--no-pyz", "-o", str(work / "kit.tollama")],
    ):
        subprocess.run(
            [sys.executable, "-m", "tollama", *argv],
            cwd=ROOT, env={"TOLLAMA_HOME": home, "PATH": "/usr/bin:/bin"}, check=True,
            capture_output=True,
        )  # fmt: skip
    shutil.rmtree(home)
    return work


def run(
    work: Path, operation: str, kinds: str, hub_url: str = "none", stride: int = 1, last: int = 0
) -> list[dict]:
    driver = Path(__file__).with_name("store_driver.py")
    done = subprocess.run(
        [sys.executable, str(driver), str(ROOT), str(work), operation, kinds, hub_url,
         str(stride), str(last)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(work), "TOLLAMA_HOME": str(work / "home")},
        capture_output=True,
        text=True,
        timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    *wrong, summary = map(json.loads, done.stdout.splitlines())
    assert summary["changes"] > 0, "nothing was changed on the disk: the shim sees nothing"
    return wrong


@pytest.mark.timeout(900)
@pytest.mark.parametrize("operation", LOCAL)
def test_a_failing_disk_leaves_the_old_or_the_new_state(operation, tmp_path):
    kinds = "ENOSPC,EIO,crash" if ALL or operation in ("config", "copy-over") else "ENOSPC,crash"
    assert run(work_folder(tmp_path), operation, kinds) == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["ENOSPC", "crash", *(["EIO"] if ALL else [])])
@pytest.mark.parametrize("operation", PULLS)
def test_a_failing_disk_under_a_pull_leaves_the_old_or_the_new_state(
    operation, kind, tmp_path, hub
):
    stride, last = (1, 0) if ALL else (8, 12)
    assert run(work_folder(tmp_path), operation, kind, hub.url, stride, last) == []
