"""Files that are whole or not there, and locks that end with their holder."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from tollama.core.errors import DiskFull, TollamaError
from tollama.models import files

HOLD = """
import sys, time
from tollama.models import files
with files.lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
COUNT = """
import sys
from tollama.models import files
for _ in range(int(sys.argv[2])):
    with files.lock(sys.argv[1] + ".lock"):
        number = int(open(sys.argv[1]).read())
        files.write(sys.argv[1], str(number + 1).encode())
"""


def holder(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_keeps_another_process_out(tmp_path):
    process = holder(tmp_path / "lock")
    with files.lock(str(tmp_path / "lock"), wait=False) as mine:
        assert mine is False
    process.kill()
    process.communicate()


def test_a_lock_of_a_killed_process_is_free(tmp_path):
    process = holder(tmp_path / "lock")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "lock").exists()
    with files.lock(str(tmp_path / "lock"), wait=False) as mine:
        assert mine is True


def test_ten_processes_lose_no_change(tmp_path):
    number = tmp_path / "number"
    number.write_text("0")
    command = [sys.executable, "-c", COUNT, str(number), "20"]
    for process in [subprocess.Popen(command) for _ in range(10)]:
        assert process.wait(60) == 0
    assert number.read_text() == "200"


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_never_has_more_permissions_than_asked_for(tmp_path, mode):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o666)
    before = os.umask(0)
    try:
        files.write(str(path), b"new", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(("number", "error"), [(28, DiskFull), (5, TollamaError)])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, number, error
):
    path = tmp_path / "file"
    path.write_text("old")

    def fails(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fails)
    with pytest.raises(error):
        files.write(str(path), b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]
