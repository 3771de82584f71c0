"""The family behind the real daemon: many clients at once get the library's own numbers."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("chronos")

HERE = Path(__file__).parent
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def beside(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("name", "count"),
    [("chronos2-hot", 500), ("chronos2-tiny", 100), ("bolt-hot", 100), ("bolt-tiny", 100)],
)
def test_requests_alone_and_together_equal_the_library(tmp_path, name, count):
    import torch

    judge = beside("judge")
    path = judge.golden.maker().make(name, tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # its threads would spin for models this small
    try:
        found = judge.judge(path, tmp_path / "home", count=count, clients=32, seed="test")
    finally:
        torch.set_num_threads(threads)
    assert found["families"] == ["numpy"]
    assert found["shared_a_batch"] > count / 4  # requests met, or the test proves nothing
    for how in ("alone", "together"):
        assert found[how]["largest"] <= judge.TOLERANCE, found


@pytest.mark.parametrize("name", ["chronos2", "bolt"])
def test_verify_against_torch_finds_the_families_alike(tmp_path, name):
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("TOLLAMA_")},
        "TOLLAMA_HOME": str(tmp_path),
        "TOLLAMA_PYTHON_NUMPY": sys.executable,
        "TOLLAMA_PYTHON_TORCH": sys.executable,
        "PYTHONPATH": str(HERE.parents[2]),
    }

    def tollama(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "tollama", *arguments],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    tollama("pull", "mine", "--from-dir", str(HERE / "golden" / name), "--no-stream")
    done = tollama("verify", "mine", "--against", "torch")
    assert "numpy and torch forecast 'mine' alike" in done.stderr
    [found] = json.loads(done.stdout)["models"]
    assert found["against"]["families"] == ["numpy", "torch"]
    names = {case["name"] for case in found["against"]["cases"]}
    assert ("covariates" in names) == (name == "chronos2")
    tollama("create", "half", "--from", "mine", "--dtype", "float16")
    tollama("verify", "half", "--against", "torch")
