"""Staging folders: one's own, gone at the end, and cleared after whoever was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tollama.core.errors import DiskFull
from tollama.models import blobs, staging, store

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from tollama.models import staging
with staging.folder(sys.argv[2]) as folder:
    open(folder + "/part", "w").write("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path):
    return str(tmp_path / "home")


def hold(home):
    """A process that is at work in a staging folder, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ROOT), home],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().strip()


def end(process):
    process.communicate()
    return process.returncode


def test_a_folder_is_empty_and_gone_afterwards(home):
    with staging.folder(home) as one, staging.folder(home) as other:
        assert one != other
        assert os.listdir(one) == os.listdir(other) == []
        assert os.path.dirname(one) == staging.root(home)
        Path(one, "x").touch()
    assert os.listdir(store.models_folder(home)) == []


def test_a_folder_is_gone_after_a_failure(home):
    with pytest.raises(ZeroDivisionError), staging.folder(home) as folder:
        Path(folder, "x").touch()
        raise ZeroDivisionError
    assert os.listdir(store.models_folder(home)) == []


def test_what_a_killed_process_left_is_cleared(home):
    process, folder = hold(home)
    process.send_signal(signal.SIGKILL)
    assert end(process) == -signal.SIGKILL
    assert os.path.exists(os.path.join(folder, "part"))
    with staging.folder(home):
        assert not os.path.exists(folder)
    assert os.listdir(store.models_folder(home)) == []


def test_a_process_at_work_keeps_its_folder(home):
    process, folder = hold(home)
    with staging.folder(home):
        assert os.path.exists(os.path.join(folder, "part"))
    assert os.path.exists(os.path.join(folder, "part"))
    assert end(process) == 0
    assert not os.path.exists(folder)


def test_staging_is_no_model(home):
    with staging.folder(home):
        assert store.listed(home) == ([], [])


def test_room_is_asked_for_where_the_folder_will_be(home, monkeypatch):
    staging.check_room(os.path.join(home, "a", "b"), 1, "the kit")
    with pytest.raises(DiskFull, match=r"the kit needs 1000\.0 PB"):
        staging.check_room(os.path.join(home, "a", "b"), 10**18, "the kit")
    monkeypatch.setattr(blobs, "RESERVE", 1 << 60)
    with pytest.raises(DiskFull, match="make room"):
        staging.check_room(home, 1, "the kit")
