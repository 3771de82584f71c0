"""The family behind the real daemon: many clients at once get the library's own numbers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("chronos")

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def beside(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
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
