"""Random-weight checkpoints made once a run, and runners loaded from them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

# As the daemon sets it for its runners: threads that wait must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("torch")
            # The libraries' own deprecation warnings are not ours to fix.
            item.add_marker(pytest.mark.filterwarnings("ignore"))


def _maker():
    path = Path(__file__).parent / "make_checkpoints.py"
    spec = importlib.util.spec_from_file_location("make_checkpoints", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """A function from the name of a checkpoint to its folder."""
    pytest.importorskip("chronos")
    maker = _maker()
    folder = tmp_path_factory.mktemp("models")
    made = {}

    def path(name):
        if name not in made:
            made[name] = maker.make(name, folder / name).rename(folder / name / "snapshot")
        return str(made[name])

    return path


@pytest.fixture(scope="session")
def load(checkpoints):
    """A function from the name of a checkpoint (None: fracast) and options to a loaded runner."""
    from tollama_torch.family import TorchRunner

    def loaded(name, **options):
        runner = TorchRunner()
        runner.threads = 2
        path = None if name is None else checkpoints(name)
        runner.facts = runner.load(model=name or "fracast", path=path, options=options)
        return runner

    return loaded


@pytest.fixture(scope="session")
def library(checkpoints):
    """A function from the name of a checkpoint to the library's own pipeline."""
    from chronos import BaseChronosPipeline

    def pipeline(name):
        return BaseChronosPipeline.from_pretrained(
            checkpoints(name), device_map="cpu", dtype="float32"
        )

    return pipeline
