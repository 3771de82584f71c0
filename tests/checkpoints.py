"""Tiny checkpoints and homes with models, for tests of kits and of models from folders."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

from tollama.models import families, local_checkpoint, store


def quiet(label, done, total):
    """A report of progress that nobody reads."""


def make_checkpoint(folder: Path, *, size: int = 3000, seed: int = 1, **config) -> Path:
    """A folder as save_pretrained writes it: config.json and one file of safetensors."""
    folder.mkdir(parents=True)
    config = {"architectures": ["Chronos2Model"], **config}
    (folder / "config.json").write_text(json.dumps(config))
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}})
    data = random.Random(seed).randbytes(size)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header.encode() + data)
    return folder


def install_checkpoint(home: Path, folder: Path, name: str) -> store.Installed:
    """The folder as a model of a home."""
    known, _ = families.find(str(home), {})
    return local_checkpoint.install(name, str(folder), str(home), known, report=quiet)


def install_mock(home: Path) -> store.Installed:
    """The model `mock`, which has no files."""
    manifest = {
        "name": "mock",
        "base": "mock",
        "family": "mock",
        "source": {"type": "local"},
        "resolved": {"commit_sha": None, "snapshot_path": None},
        "size_bytes": 0,
        "installed_at": "2026-01-01T00:00:00Z",
        "license": {"type": "MIT"},
        "files": [],
    }
    return store.write(str(home), manifest)


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with the hash of its bytes; folders too."""
    found = {}
    for base, folders, names in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(base, name), folder)] = "folder"
        for name in names:
            path = os.path.join(base, name)
            with open(path, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            found[os.path.relpath(path, folder)] = digest
    return found
