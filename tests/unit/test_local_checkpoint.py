"""One's own checkpoint from a folder: what is taken, and what is refused with which advice."""

from __future__ import annotations

import json
import os

import pytest
from checkpoints import install_checkpoint, make_checkpoint, tree

from tollama.cli.main import main
from tollama.core.errors import InvalidRequest, Unsupported
from tollama.models import kit_export, store


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path):
    return make_checkpoint(tmp_path / "my checkpoint")


def test_a_folder_becomes_an_ordinary_model(home, folder, capsys):
    assert main(["pull", "mine", "--from-dir", str(folder)]) == 0
    answer = json.loads(capsys.readouterr().out)
    model = store.get(str(home), "mine")
    assert answer["digest"] == model.digest
    assert tree(model.snapshot) == tree(folder)
    manifest = model.manifest
    assert manifest["source"] == {"type": "local-dir", "directory": "my checkpoint"}
    assert manifest["architecture"] == "Chronos2Model"
    assert manifest["size_bytes"] == sum(f["size"] for f in manifest["files"]) == answer["size"]
    assert str(folder) not in json.dumps(manifest)
    assert main(["verify", "mine"]) == 0
    assert main(["list", "mine"]) == 0
    assert main(["show", "mine"]) == 0
    assert kit_export.models(str(home), ["mine"], {}) == [model]
    assert main(["rm", "mine"]) == 0
    assert folder.exists()


def test_training_on_does_not_change_the_model(home, folder):
    model = install_checkpoint(home, folder, "mine")
    with open(folder / "model.safetensors", "r+b") as file:
        file.write(b"trained")
    assert main(["verify", "mine"]) == 0
    assert install_checkpoint(home, make_checkpoint(folder / "next", seed=3), "mine") != model


def test_only_what_a_model_is_loaded_from_is_taken(home, folder):
    for name in ("optimizer.pt", "trainer_state.json", "pytorch_model.bin", "README.md", "run.py",
                 "LICENSE", "generation_config.json"):  # fmt: skip
        (folder / name).write_text("{}")
    (folder / "checkpoint-500").mkdir()
    model = install_checkpoint(home, folder, "mine")
    assert [file["path"] for file in model.manifest["files"]] == [
        "LICENSE", "config.json", "generation_config.json", "model.safetensors",
    ]  # fmt: skip


def test_links_are_followed_as_a_cache_has_them(home, folder, tmp_path):
    (tmp_path / "blob").write_bytes((folder / "model.safetensors").read_bytes())
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    model = install_checkpoint(home, folder, "mine")
    assert not os.path.islink(os.path.join(model.snapshot, "model.safetensors"))


def remove(name):
    return lambda folder: (folder / name).unlink()


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def rename(old, new):
    return lambda folder: (folder / old).rename(folder / new)


def cut(folder):
    os.truncate(folder / "model.safetensors", 1000)


def lora(folder):
    (folder / "adapter_config.json").write_text("{}")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def fifo(folder):
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


REFUSED = {
    "no config": (remove("config.json"), "has no config.json"),
    "config no JSON": (write("config.json", "{"), "config.json cannot be read"),
    "unknown": (write("config.json", '{"architectures":["Gpt"]}'), "'Gpt' .*Chronos2Model"),
    "none named": (write("config.json", "{}"), "None"),
    "pickle": (rename("model.safetensors", "pytorch_model.bin"), "pytorch_model.bin, a pickle"),
    "no weights": (remove("model.safetensors"), "safetensors, found none"),
    "cut off": (cut, "is cut off: its tensors end at byte 30.., the file at 1000"),
    "empty weights": (write("model.safetensors", ""), "not a file of safetensors"),
    "no safetensors": (write("model.safetensors", "x" * 99), "not a file of safetensors"),
    "lora": (lora, "merge_and_unload"),
    "missing part": (
        write("model.safetensors.index.json", '{"weight_map":{"w":"model-2.safetensors"}}'),
        "lacks model-2.safetensors",
    ),
    "bad index": (write("model.safetensors.index.json", "[]"), "cannot be read"),
    "pipe": (fifo, "is not a file"),
    "bad name": (rename("model.safetensors", "con.safetensors"), "file name .* is refused"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_is_no_model_is_refused(home, folder, name, capsys):
    harm, message = REFUSED[name]
    harm(folder)
    with pytest.raises((InvalidRequest, Unsupported), match=message):
        install_checkpoint(home, folder, "mine")
    assert not (home / "models").exists()
    assert main(["pull", "mine", "--from-dir", str(folder)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_a_merged_folder_with_its_old_adapter_is_taken(home, folder):
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_text("not looked at")
    model = install_checkpoint(home, folder, "mine")
    assert [file["path"] for file in model.manifest["files"]] == [
        "config.json",
        "model.safetensors",
    ]


def test_a_registry_name_is_for_its_own_architecture(home, folder, tmp_path):
    model = install_checkpoint(home, folder, "chronos2")
    assert model.manifest["license"]["type"] == "Apache-2.0"
    t5 = make_checkpoint(tmp_path / "t5", architectures=["T5ForConditionalGeneration"])
    with pytest.raises(InvalidRequest, match="another architecture"):
        install_checkpoint(home, t5, "theta")


def test_names_and_folders_that_cannot_be(home, folder):
    with pytest.raises(InvalidRequest, match="no revisions"):
        install_checkpoint(home, folder, "mine@main")
    with pytest.raises(InvalidRequest, match="expected a name"):
        install_checkpoint(home, folder, "../mine")
    with pytest.raises(InvalidRequest, match="no such file or directory"):
        install_checkpoint(home, folder / "none", "mine")
