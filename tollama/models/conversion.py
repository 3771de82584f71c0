"""A model in half the space: a copy whose weights are rounded to float16, a model of its own.

The family that computes with the weights rounds them, as a child process on its own interpreter;
the copy is put together beside the models, hashed, and installed in one step.

Not covered: the rounding itself (runners/numpy) and presets, which share their model's files
(daemon/presets.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess

from tollama.core import names
from tollama.core.errors import InvalidRequest, RunnerError, Unsupported
from tollama.models import families, files, pip, pulls, runtimes, staging, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from tollama.models.families import Family

    Report = Callable[[str, int, int], None]

DTYPES = ("float16",)
WEIGHTS, CONFIG = "model.safetensors", "config.json"
# The family whose code converts, and the module of it.
FAMILY, MODULE = "numpy", "tollama_numpy.convert"
LOOK_S = 0.1


def convert(
    name: str,
    source: str,
    home: str,
    known: Mapping[str, Family],
    *,
    environ: Mapping[str, str],
    report: Report,
) -> store.Installed:
    """Install the float16 copy of an installed model under a name.

    Raises ModelNotFound, Unsupported for weights that cannot be converted, RuntimeMissing when the
    family's packages are not here.
    """
    model = store.get(home, names.check(source))
    name = _name(name, model.name, known)
    family = known.get(FAMILY)
    if family is None:
        raise Unsupported(f"--dtype: the runner family '{FAMILY}', which converts, is not here")
    _check(model, family, known)
    python = runtimes.resolve_python(family, environ, home)
    size = model.manifest["size_bytes"]
    staging.check_room(store.models_folder(home), size // 2, f"the model '{name}'")
    try:
        with staging.folder(home) as place:
            complete = os.path.join(place, "model")
            snapshot = os.path.join(complete, "snapshot")
            os.makedirs(complete)
            _round(model, family, python, snapshot, report)
            manifest = _manifest(name, model, _hashed(snapshot, report))
            return store.install(home, manifest, complete)
    except OSError as error:
        raise files.translate(error, f"cannot make '{name}'") from error


def _name(name: str, source: str, known: Mapping[str, Family]) -> str:
    name = names.check(name)
    if name.startswith(names.HUB_PREFIX):
        raise InvalidRequest(f"expected a plain name, got '{name}'")
    if names.same(name, source):
        raise InvalidRequest("expected another name than the source's")
    if families.offers(known, name):
        raise InvalidRequest(f"'{name}' is the name of a model of the registry, choose another")
    return name


def _check(model: store.Installed, family: Family, known: Mapping[str, Family]) -> None:
    """Refuses what the converter would not read."""
    manifest = model.manifest
    paths = [file["path"] for file in manifest.get("files") or ()]
    base = manifest.get("base") or model.name
    able = [offer.family for offer in families.offers(known, base)]
    if family.name not in able and manifest.get("architecture") not in family.architectures:
        raise Unsupported(
            f"model '{model.name}' cannot be converted: the family '{family.name}' does not run it"
        )
    if WEIGHTS not in paths or CONFIG not in paths or not model.snapshot:
        raise Unsupported(
            f"model '{model.name}' cannot be converted: expected {CONFIG} and {WEIGHTS}, "
            f"found {', '.join(paths) or 'no files'}"
        )


def _round(
    model: store.Installed, family: Family, python: str, snapshot: str, report: Report
) -> None:
    """The converted files in the new folder `snapshot`, and the others as they are."""
    command = pip.guarded(python, [family.folder], MODULE, str(model.snapshot), snapshot)
    place, total = os.path.dirname(snapshot), model.manifest["size_bytes"] // 2
    log = snapshot + ".log"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "__PYVENV"))}
    with (
        open(log, "wb") as stderr,
        # stdin stays open: the child ends with us.
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr, env=kept
        ) as process,
    ):
        try:
            while True:
                try:
                    code = process.wait(LOOK_S)
                    break
                except subprocess.TimeoutExpired:
                    done = _size(place)
                    report("converting", done, max(total, done))
        except BaseException:
            process.kill()
            raise
    if code != 0:
        with open(log, encoding="utf-8", errors="replace") as stream:
            said = [line.strip() for line in stream if line.strip()] or [f"exit code {code}"]
        raise RunnerError(
            f"model '{model.name}' cannot be converted: {said[-1].removeprefix('error: ')[:300]}"
        )
    os.unlink(log)
    for file in model.manifest["files"]:
        path = file["path"]
        if path == CONFIG or path.endswith(".safetensors"):
            continue
        target = os.path.join(snapshot, *path.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(os.path.join(str(model.snapshot), *path.split("/")), target)


def _size(folder: str) -> int:
    total = 0
    for base, _, found in os.walk(folder):
        total += sum(os.path.getsize(os.path.join(base, name)) for name in found)
    return total


def _hashed(snapshot: str, report: Report) -> list[dict[str, Any]]:
    """Every file with its size and hash, on disk for good."""
    found: list[dict[str, Any]] = []
    total, done = _size(snapshot), 0
    for base, _, listed in sorted(os.walk(snapshot)):
        for name in sorted(listed):
            path = os.path.join(base, name)
            digest, size = hashlib.sha256(), 0
            with open(path, "r+b", buffering=0) as file:
                while data := file.read(1 << 20):
                    digest.update(data)
                    size += len(data)
                    report("hashing", done + size, total)
                os.fsync(file.fileno())
            done += size
            relative = os.path.relpath(path, snapshot).replace(os.sep, "/")
            found.append({"path": relative, "size": size, "sha256": digest.hexdigest()})
    return found


def _manifest(name: str, model: store.Installed, hashed: list[dict[str, Any]]) -> dict[str, Any]:
    """The source's manifest with other files; `from` is itself, since no pull can give it."""
    manifest = model.manifest
    origin = manifest.get("resolved") or {}
    made_from = {"model": model.name, "digest": model.digest, "source": manifest["source"]}
    if origin.get("commit_sha"):
        made_from["commit_sha"] = origin["commit_sha"]
    return {
        **manifest,
        "name": name,
        "base": manifest.get("base") or model.name,
        "from": name,
        # Not the source's: a peer that asks for the hub's files must not get these.
        "source": {"type": "converted", "dtype": "float16", "made_from": made_from},
        "resolved": {"commit_sha": None, "snapshot_path": None},
        "installed_at": pulls.now(),
        "files": hashed,
        "size_bytes": sum(file["size"] for file in hashed),
    }
