"""A model installed as a whole folder, also when the process dies between two steps."""

from __future__ import annotations

import os

import pytest
from checkpoints import install_checkpoint, make_checkpoint, tree

from tollama.core.errors import InvalidRequest
from tollama.models import store


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home"
    install_checkpoint(home, make_checkpoint(tmp_path / "one"), "one")
    return home


def staged(folder, text="new"):
    (folder / "snapshot").mkdir(parents=True)
    (folder / "snapshot" / "config.json").write_text(text)
    return str(folder)


def test_install_moves_the_folder_and_says_where_its_files_are(home, tmp_path):
    manifest = store.get(str(home), "one").manifest
    found = store.install(str(home), {**manifest, "files": []}, staged(tmp_path / "s"))
    assert found.snapshot == str(home / "models" / "one" / "snapshot")
    assert os.listdir(found.snapshot) == ["config.json"]
    assert not (tmp_path / "s").exists()
    assert os.listdir(home / "models") == ["one"]


def test_a_bad_manifest_changes_nothing(home, tmp_path):
    before = tree(home)
    manifest = store.get(str(home), "one").manifest
    bad = {**manifest, "files": [{"path": "../x", "size": 1, "sha256": "0" * 64}]}
    with pytest.raises(InvalidRequest):
        store.install(str(home), bad, staged(tmp_path / "s"))
    assert tree(home) == before


def test_a_model_that_was_set_aside_comes_back(home):
    before = tree(home / "models" / "one")
    # What a process leaves that dies after the first of its two renames.
    os.rename(home / "models" / "one", home / "models" / ".old-one")
    assert [model.name for model in store.listed(str(home))[0]] == ["one"]
    assert tree(home / "models" / "one") == before
    assert os.listdir(home / "models") == ["one"]
    os.rename(home / "models" / "one", home / "models" / ".old-one")
    assert store.get(str(home), "one").name == "one"


def test_what_was_replaced_does_not_come_back(home, tmp_path):
    # What a process leaves that dies after the second rename, before it cleans up.
    stale = home / "models" / ".old-one"
    staged(stale, "old")
    manifest = store.get(str(home), "one").manifest
    store.install(str(home), {**manifest, "files": []}, staged(tmp_path / "s"))
    assert os.listdir(home / "models") == ["one"]
    assert (home / "models" / "one" / "snapshot" / "config.json").read_text() == "new"


def test_copy_over_an_older_model_replaces_it(home, tmp_path):
    install_checkpoint(home, make_checkpoint(tmp_path / "two", seed=2), "two")
    two = store.get(str(home), "two")
    copied = store.copy(str(home), two.manifest, "one", two.snapshot)
    assert tree(copied.snapshot) == tree(two.snapshot)
    assert sorted(os.listdir(home / "models")) == ["one", "two"]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "\xff", '{"name":5}', '{"name":"other","family":"x","source":{}}', "[" * 9999],
)
def test_a_model_whose_manifest_cannot_be_read_is_named_and_removed(tmp_path, text):
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(store.UnreadableModel, match=r"manifest\.json: .*tollama rm mine"):
        store.get(str(tmp_path), "mine")
    found, warnings = store.listed(str(tmp_path))
    assert not found
    assert str(folder) in warnings[0]
    store.delete(str(tmp_path), "mine")
    assert not folder.exists()
