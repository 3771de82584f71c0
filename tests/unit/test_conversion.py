"""Which models can be had in half the space; the conversion itself is tested with NumPy."""

from __future__ import annotations

import sys

import pytest
from checkpoints import install_checkpoint, install_mock, make_checkpoint, quiet, tree

from tollama.core.errors import (
    InvalidRequest,
    ModelNotFound,
    RunnerError,
    RuntimeMissing,
    Unsupported,
)
from tollama.models import conversion, families, store

HERE = {"TOLLAMA_PYTHON_NUMPY": sys.executable}


@pytest.fixture
def convert(tmp_path):
    """A function that converts; the family numpy seems to need no packages."""
    known, _ = families.find(str(tmp_path), {})
    known["numpy"] = known["numpy"]._replace(probe=())
    install_checkpoint(tmp_path, make_checkpoint(tmp_path / "made"), "mine")
    install_mock(tmp_path)

    def run(name, source, environ=HERE, **changes):
        changed = {**known, "numpy": known["numpy"]._replace(**changes)}
        return conversion.convert(
            name, source, str(tmp_path), changed, environ=environ, report=quiet
        )

    return run


@pytest.mark.parametrize(
    ("name", "source", "kind", "message"),
    [
        ("half", "nothing", ModelNotFound, "not installed"),
        ("mine", "mine", InvalidRequest, "another name"),
        ("MINE", "mine", InvalidRequest, "another name"),
        ("chronos2", "mine", InvalidRequest, "of the registry"),
        ("theta", "mine", InvalidRequest, "of the registry"),
        ("hf.co/a/b", "mine", InvalidRequest, "plain name"),
        ("a b", "mine", InvalidRequest, "name"),
        ("half", "mock", Unsupported, "does not run it"),
    ],
)
def test_what_cannot_be_made_is_refused(convert, name, source, kind, message):
    with pytest.raises(kind, match=message):
        convert(name, source)


def test_weights_in_several_files_are_refused(convert, tmp_path):
    folder = make_checkpoint(tmp_path / "sharded")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    install_checkpoint(tmp_path, folder, "sharded")
    with pytest.raises(Unsupported, match=r"expected config.json and model.safetensors"):
        convert("half", "sharded")


def test_missing_packages_are_named(convert):
    with pytest.raises(RuntimeMissing, match="tollama runtime install numpy"):
        convert("half", "mine", environ={}, probe=("no_such_module_anywhere",))


def test_a_failed_conversion_leaves_nothing(convert, tmp_path):
    before = tree(tmp_path / "models")
    with pytest.raises(RunnerError, match=r"model 'mine' cannot be converted: .*U8|numpy"):
        convert("half", "mine")  # its weights are no floats, or there is no NumPy here
    assert tree(tmp_path / "models") == before
    with pytest.raises(ModelNotFound):
        store.get(str(tmp_path), "half")
