"""pip's output as progress and as errors."""

from __future__ import annotations

import os
import sys

import pytest

from tollama.core.errors import (
    CorruptDownload,
    DiskFull,
    HubUnreachable,
    NotFound,
    RuntimeMissing,
    TollamaError,
)
from tollama.models import locks, pip

MISSING = "ERROR: No matching distribution found for torch==2.13.0+cpu"


@pytest.mark.parametrize(
    ("lines", "error", "text"),
    [
        ([MISSING], NotFound, "--wheelhouse"),
        (
            [
                "WARNING: Retrying (Retry(total=0)) after 'NewConnectionError'",
                MISSING,
            ],
            HubUnreachable,
            "--index-url",
        ),
        (
            [
                "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
                "    numpy==2.5.5 from file:///x/numpy.whl (from -r l.txt (line 1)):",
                "        Expected sha256 aa",
            ],
            CorruptDownload,
            "numpy==2.5.5",
        ),
        (
            [
                "ERROR: Could not install packages due to an OSError: [Errno 28] ",
                "No space left on device",
            ],
            DiskFull,
            "disk",
        ),
        (["ERROR: Exception:", "Traceback ...", "ValueError: odd", ""], TollamaError, "odd"),
        ([], TollamaError, "no output"),
    ],
)
def test_trouble_says_what_failed_and_what_to_do(lines, error, text):
    found = pip.trouble(lines)
    assert type(found) is error
    assert text in found.message


def test_trouble_keeps_passwords_out():
    found = pip.trouble(["ERROR: 401 for https://user:hunter2@index.example/simple"])
    assert "hunter2" not in found.message


def test_source_prefers_the_wheelhouse_and_names_the_way_out(tmp_path):
    facts = locks.interpreter(sys.executable)
    wheel = tmp_path / "pip-25.0-py3-none-any.whl"
    wheel.touch()
    assert pip.source(facts, str(tmp_path)) == str(wheel)
    bare = facts._replace(wheels=(), pip=None)
    assert pip.source(facts._replace(wheels=(), pip="/lib"), None) == "/lib"
    with pytest.raises(RuntimeMissing, match="runtime download"):
        pip.source(bare, None)


def test_run_ends_with_its_parent(tmp_path):
    import subprocess

    (tmp_path / "slow.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(600)\n")
    command = pip.guarded(sys.executable, [str(tmp_path)], "slow")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"begun\n"
        child.stdin.close()
        assert child.wait(timeout=30) == 3


def test_a_folder_of_wheels_is_not_mixed_with_what_the_machines_pip_finds():
    environ = {"PATH": "/bin", "PIP_FIND_LINKS": "/elsewhere", "PYTHONPATH": "/x"}
    found = pip.environment(["install", "--no-index", "--find-links", "/kit"], environ)
    assert found == {"PATH": "/bin", "PIP_CONFIG_FILE": os.devnull}
    assert pip.environment(["install"], environ) == {"PATH": "/bin", "PIP_FIND_LINKS": "/elsewhere"}
