"""Files that are not what their manifest says, each named with the command that mends them."""

from __future__ import annotations

import json
import os

import pytest
from checkpoints import install_checkpoint, install_mock, make_checkpoint, quiet

from tollama.cli.main import main
from tollama.core.errors import CorruptDownload
from tollama.models import store, verification


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    install_checkpoint(home, make_checkpoint(tmp_path / "one"), "one")
    install_mock(home)
    return home


HARMS = {
    "change": (lambda path, data: path.write_bytes(data[:-1] + b"x"), "sha256 is"),
    "shorten": (lambda path, data: path.write_bytes(data[:-1]), "bytes, expected"),
    "lengthen": (lambda path, data: path.write_bytes(data + b"x"), "bytes, expected"),
    "remove": (lambda path, data: path.unlink(), "missing"),
    "folder": (lambda path, data: (path.unlink(), path.mkdir()), "cannot be read|not a file"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_file_is_named(home, harm, capsys):
    path = home / "models" / "one" / "snapshot" / "model.safetensors"
    change, problem = HARMS[harm]
    change(path, path.read_bytes())
    model = store.get(str(home), "one")
    (found,) = verification.problems(model, quiet)
    assert found["path"] == "model.safetensors"
    with pytest.raises(CorruptDownload, match=problem):
        raise verification.failure(model, [found])
    assert main(["verify", "one"]) == 4
    out, err = capsys.readouterr()
    assert err.startswith("error: model 'one': model.safetensors: ") and err.count("\n") == 1
    assert err.endswith("get it again with: tollama pull one --from-dir DIR\n")
    assert json.loads(out)["models"][0]["problems"] == [found]


def test_whole_files_are_verified(home, capsys):
    told = []
    model = store.get(str(home), "one")
    assert verification.problems(model, lambda *step: told.append(step)) == []
    assert told[-1][1] == told[-1][2] == model.manifest["size_bytes"]
    assert main(["verify"]) == 0
    out, err = capsys.readouterr()
    assert [model["model"] for model in json.loads(out)["models"]] == ["mock", "one"]
    assert "verified 'one': 2 files" in err
    assert main(["verify", "none"]) == 3


def test_all_models_are_looked_at_after_one_that_fails(home, tmp_path, capsys):
    install_checkpoint(home, make_checkpoint(tmp_path / "two", seed=2), "two")
    os.unlink(home / "models" / "one" / "snapshot" / "config.json")
    assert main(["verify"]) == 4
    _, err = capsys.readouterr()
    assert "error: model 'one': config.json: missing" in err
    assert "verified 'two'" in err


def test_a_model_of_the_hub_is_mended_by_a_pull(home):
    model = store.get(str(home), "mock")
    problem = {"path": "model.safetensors", "problem": "missing"}
    error = verification.failure(model, [problem] * 5)
    assert "; and 2 more; get it again with: tollama pull mock --force, or" in error.message
