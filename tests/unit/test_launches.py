"""Which family runs a model, and what the command says."""

from __future__ import annotations

import sys

import pytest
from checkpoints import install_checkpoint, make_checkpoint

from tollama.core.errors import InvalidRequest, RuntimeMissing
from tollama.daemon import launches
from tollama.models import families, runtimes

OWN = {"TOLLAMA_PYTHON_NUMPY": sys.executable, "TOLLAMA_PYTHON_TORCH": sys.executable}


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """A function: the family that is chosen for chronos2, whose families here import anything."""
    install_checkpoint(tmp_path, make_checkpoint(tmp_path / "made"), "chronos2")
    known, _ = families.find(str(tmp_path), {})
    known = {name: family._replace(probe=()) for name, family in known.items()}
    model = launches.resolve(str(tmp_path), known, "chronos2")

    def choose(*, gpu=False, asked=None, environ=OWN):
        monkeypatch.setattr(runtimes, "has_gpu", lambda: gpu)
        family, python = launches.choose(
            model, known, home=str(tmp_path), environ=environ, asked=asked
        )
        assert python == sys.executable
        return family.name

    return choose


def test_numpy_runs_where_there_is_no_gpu(chosen):
    assert chosen() == "numpy"


def test_torch_runs_where_there_is_a_gpu(chosen):
    assert chosen(gpu=True) == "torch"


def test_the_request_wins_over_the_environment_and_that_over_the_gpu(chosen):
    wanted = {**OWN, "TOLLAMA_FAMILY_CHRONOS2": "numpy"}
    assert chosen(gpu=True, environ=wanted) == "numpy"
    assert chosen(gpu=True, environ=wanted, asked="torch") == "torch"


def test_a_family_without_packages_gives_way_to_one_that_has_them(tmp_path, monkeypatch):
    install_checkpoint(tmp_path, make_checkpoint(tmp_path / "made"), "chronos2")
    known, _ = families.find(str(tmp_path), {})
    missing = ("no_such_module_anywhere",)
    known["torch"] = known["torch"]._replace(probe=missing)
    known["numpy"] = known["numpy"]._replace(probe=("json",))
    model = launches.resolve(str(tmp_path), known, "chronos2")
    monkeypatch.setattr(runtimes, "has_gpu", lambda: True)
    family, _ = launches.choose(model, known, home=str(tmp_path), environ={})
    assert family.name == "numpy"
    known["numpy"] = known["numpy"]._replace(probe=missing)
    monkeypatch.setattr(runtimes, "has_gpu", lambda: False)
    with pytest.raises(RuntimeMissing, match="tollama runtime install numpy"):
        launches.choose(model, known, home=str(tmp_path), environ={})


@pytest.mark.parametrize(
    ("asked", "environ", "where"),
    [
        ("stats", {}, "options.family"),
        (None, {"TOLLAMA_FAMILY_CHRONOS2": "jax"}, "TOLLAMA_FAMILY_CHRONOS2"),
    ],
)
def test_a_family_that_cannot_run_the_model_is_refused(chosen, asked, environ, where):
    with pytest.raises(InvalidRequest, match=f"{where}: expected one of numpy, torch"):
        chosen(asked=asked, environ={**OWN, **environ})


def test_a_copy_is_run_by_the_families_of_its_model(tmp_path):
    install_checkpoint(tmp_path, make_checkpoint(tmp_path / "made"), "mine")
    known, _ = families.find(str(tmp_path), {})
    assert launches.resolve(str(tmp_path), known, "mine").families == ("numpy", "torch")


def test_each_family_of_a_model_has_a_lane_of_its_own(tmp_path):
    install_checkpoint(tmp_path, make_checkpoint(tmp_path / "made"), "chronos2")
    known, _ = families.find(str(tmp_path), {})
    model = launches.resolve(str(tmp_path), known, "chronos2")
    found = [
        launches.launch(model, known[name], sys.executable, environ={}, cpus=2)
        for name in model.families
    ]
    assert [(one.model, one.family) for one in found] == [
        ("chronos2", "numpy"),
        ("chronos2@torch", "torch"),
    ]
    assert "-S" not in found[0].argv  # NumPy lies in site-packages
