"""The models on this machine: manifests under TOLLAMA_HOME/models, one folder a model.

    models/<folder>/manifest.json   written last, so a folder without one is not a model
    models/<folder>/snapshot/       the files, unless they lie in a Hugging Face cache

Changes hold a short lock between processes; readers need none, because a manifest is replaced
whole. What a killed change had set aside is put back by whoever looks next. Two daemons, or a
daemon and a command line, on one home lose nothing.

Not covered: getting the files (hub.py, kits in kit_import.py) and built-in models, which have no
manifest.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from collections import namedtuple

from tollama.core import fields, names
from tollama.core.errors import InvalidRequest, ModelNotFound, TollamaError
from tollama.models import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OLD = ".old-"


class UnreadableModel(TollamaError):
    """A model whose manifest cannot be used; it can still be removed."""


class Installed(namedtuple("Installed", "name folder manifest digest")):
    """A model on disk: its name, its folder, its manifest as read and the digest of that."""

    __slots__ = ()

    @property
    def snapshot(self) -> str | None:
        """The folder of weights, also when the home moved since; None when there are none."""
        path = self.manifest.get("resolved", {}).get("snapshot_path")
        if path is None:
            return None
        inside = os.path.join(self.folder, "snapshot")
        if not os.path.isdir(path) and os.path.isdir(inside):
            return inside
        return str(path)


def digest_of(manifest: dict[str, Any]) -> str:
    """The digest of a manifest: stable over renames, changed by any byte of a file.

    The revision that was asked for is no part of it: the same files are the same model.
    """
    source = manifest.get("source") or {}
    identity = {
        "family": manifest.get("family"),
        "source": {name: source[name] for name in source if name != "revision"},
        "base": manifest.get("base"),
        "preset": manifest.get("preset"),
        "files": sorted((f["path"], f["size"], f["sha256"]) for f in manifest.get("files") or ()),
    }
    import hashlib  # here: a daemon without models starts without it

    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def models_folder(home: str) -> str:
    """Where the models lie."""
    return os.path.join(home, "models")


def folder(home: str, name: str) -> str:
    """The folder of a model, from its checked name."""
    return os.path.join(models_folder(home), names.folder(name))


def changing(home: str) -> contextlib.AbstractContextManager[bool]:
    """The lock that a change of the store holds."""
    return files.lock(os.path.join(home, ".lock"))


def listed(home: str) -> tuple[list[Installed], list[str]]:
    """Every model by name, and a warning for each manifest that cannot be read."""
    found: list[Installed] = []
    warnings: list[str] = []
    try:
        children = sorted(os.listdir(models_folder(home)))
        if any(map(functools.partial(_heal, home), children)):
            children = sorted(os.listdir(models_folder(home)))
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        return [], [f"the models cannot be listed: {(error.strerror or str(error)).lower()}"]
    for child in children:
        path = os.path.join(models_folder(home), child)
        if child.startswith("."):
            continue
        try:
            found.append(_read(path))
        except FileNotFoundError:
            continue
        except UnreadableModel as error:
            warnings.append(str(error))
    return sorted(found, key=lambda m: m.name.lower()), warnings


def has_debris(home: str) -> bool:
    """Whether killed changes, or some that are at work, have something beside the models."""
    try:
        return any(child.startswith(".") for child in os.listdir(models_folder(home)))
    except OSError:
        return False


def get(home: str, name: str) -> Installed:
    """A model by name; raises ModelNotFound."""
    path = folder(home, name)
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    if _heal(home, OLD + os.path.basename(path)):
        with contextlib.suppress(FileNotFoundError):
            return _read(path)
    raise ModelNotFound(f"model '{name}' is not installed; install it with: tollama pull {name}")


def _heal(home: str, child: str) -> bool:
    """Put back what a killed change has set aside; whether there was any."""
    if not child.startswith(OLD):
        return False
    aside = os.path.join(models_folder(home), child)
    target = os.path.join(models_folder(home), child.removeprefix(OLD))
    if os.path.lexists(target) or not os.path.lexists(aside):
        return False
    with contextlib.suppress(OSError, TollamaError), changing(home):
        _put_back(home)
    return True


def is_current(installed: Installed) -> bool:
    """Whether a model's manifest is still the one that was read."""
    file = f"{installed.folder}{os.sep}manifest.json"
    known = _manifests.get(file)
    try:
        return known is not None and known[1] is installed and _identity(file) == known[0]
    except OSError:
        return False


def _identity(file: str) -> tuple[int, int, int]:
    stat = os.stat(file)
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


# Manifests by file, with what tells a replaced one: every request asks for its model's.
_manifests: dict[str, tuple[tuple[int, int, int], Installed]] = {}


def _read(path: str) -> Installed:
    """A model in its folder; raises FileNotFoundError without a manifest, UnreadableModel."""
    file = f"{path}{os.sep}manifest.json"
    try:
        identity = _identity(file)
        known = _manifests.get(file)
        if known is not None and known[0] == identity:
            return known[1]
        with open(file, "rb") as stream:
            value = json.loads(stream.read())
        manifest = _checked(value, path)
    except (OSError, ValueError, RecursionError, InvalidRequest) as error:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise FileNotFoundError(file) from None
        reason = error.message if isinstance(error, InvalidRequest) else f"cannot be read: {error}"
        shown = os.path.basename(path)
        raise UnreadableModel(
            f"{file}: {reason}; remove the model with: tollama rm {shown.replace('--', '/')}"
        ) from None
    found = Installed(manifest["name"], path, manifest, digest_of(manifest))
    if len(_manifests) > 1000:  # models come and go for as long as a daemon runs
        _manifests.clear()
    _manifests[file] = (identity, found)
    return found


def _checked(value: object, path: str) -> dict[str, Any]:
    with fields.Fields(value, lenient=True) as f:
        name = f.take("name", names.reader)
        f.take("family", names.reader)
        f.take("source", fields.json_object)
        f.take("resolved", fields.json_object, {})
        f.take("license", fields.json_object, {})
        f.take("size_bytes", fields.integer(0), 0)
        f.take("files", fields.list_of(_file), [])
    if names.folder(name) != os.path.basename(path):
        raise InvalidRequest(
            f"name {name!r} does not belong in the folder {os.path.basename(path)}"
        )
    return f.value


def _file(value: object, loc: Any) -> dict[str, Any]:
    with fields.Fields(value, loc, lenient=True) as f:
        path = f.take("path", fields.nonempty)
        f.take("size", fields.integer(0))
        sha256 = f.take("sha256", fields.string)
        if isinstance(path, str) and not safe_path(path):
            f.reject("path", "expected a relative path without '..'")
        if isinstance(sha256, str) and not _is_sha256(sha256):
            f.reject("sha256", "expected 64 hex digits")
    return f.value


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


def safe_path(path: str) -> bool:
    """Whether a file name of a repository may be joined to a folder of ours."""
    parts = path.split("/")
    return bool(path) and not any(
        part in ("", ".", "..") or "\\" in part or ":" in part or "\0" in part for part in parts
    )


def write(home: str, manifest: dict[str, Any]) -> Installed:
    """Install or replace a model: its files are there, the manifest makes it one."""
    path = folder(home, manifest["name"])
    with changing(home):
        files.make_folder(path)
        files.write_json(os.path.join(path, "manifest.json"), manifest)
    return _read(path)


def delete(home: str, name: str, *, purge: bool = False) -> None:
    """Remove a model. Files in a shared Hugging Face cache stay unless `purge`."""
    target = folder(home, name)
    with changing(home):
        _put_back(home)
        try:
            snapshot = get(home, name).snapshot
        except UnreadableModel:
            snapshot = None
        # Renamed first: whoever looks sees the whole model or none.
        trash = os.path.join(models_folder(home), f".trash-{os.urandom(6).hex()}")
        try:
            os.rename(target, trash)
        except OSError as error:
            raise files.translate(error, f"cannot remove model '{name}'") from error
        sweep(home)
    if purge and snapshot and not snapshot.startswith(target):
        # models--ORG--NAME/snapshots/<commit>: the repository's whole folder goes.
        repository = os.path.dirname(os.path.dirname(snapshot))
        if os.path.basename(repository).startswith("models--"):
            shutil.rmtree(repository, ignore_errors=True)


def install(home: str, manifest: dict[str, Any], staging: str) -> Installed:
    """Install or replace a model by a folder with all of it, `snapshot` included, which moves."""
    target = folder(home, manifest["name"])
    if os.path.isdir(os.path.join(staging, "snapshot")):
        snapshot = os.path.join(target, "snapshot")
        manifest = {
            **manifest,
            "resolved": {**manifest.get("resolved", {}), "snapshot_path": snapshot},
        }
    _checked(manifest, target)
    with changing(home):
        files.write_json(os.path.join(staging, "manifest.json"), manifest)
        try:
            _replace(home, target, staging)
        except OSError as error:
            raise files.translate(error, f"cannot install '{manifest['name']}'") from error
    return _read(target)


def _replace(home: str, target: str, staging: str) -> None:
    """Put a complete folder in the place of a model, if there is one."""
    _put_back(home)
    if os.path.lexists(target):
        # By its name, what is set aside comes back should we be killed before the second step.
        aside = os.path.join(models_folder(home), OLD + os.path.basename(target))
        _discard(aside)
        os.rename(target, aside)
    try:
        os.rename(staging, target)
        files.sync_folder(models_folder(home))
    finally:
        sweep(home)


def _put_back(home: str) -> None:
    """Models that a killed change had only set aside."""
    for child in os.listdir(models_folder(home)) if os.path.isdir(models_folder(home)) else ():
        target = os.path.join(models_folder(home), child.removeprefix(OLD))
        if child.startswith(OLD) and not os.path.lexists(target):
            os.rename(os.path.join(models_folder(home), child), target)


def sweep(home: str) -> None:
    """Remove what changes, killed ones too, left behind."""
    _put_back(home)
    for child in os.listdir(models_folder(home)):
        path = os.path.join(models_folder(home), child)
        if child.startswith((".trash-", ".copy-", OLD)):
            _discard(path)


def _discard(path: str) -> None:
    if os.path.islink(path):
        os.unlink(path)
    shutil.rmtree(path, ignore_errors=True)


def copy(home: str, source: dict[str, Any], destination: str, snapshot: str | None) -> Installed:
    """Install `destination` with the manifest and files of another model.

    Files are hard links where the disk can, so a copy costs nothing and outlives its source.
    """
    target = folder(home, destination)
    with changing(home):
        files.make_folder(models_folder(home))
        staging = os.path.join(models_folder(home), f".copy-{os.urandom(6).hex()}")
        try:
            os.makedirs(staging)
            manifest = {**source, "name": destination}
            if snapshot is not None:
                shutil.copytree(snapshot, os.path.join(staging, "snapshot"), copy_function=_link)
                manifest["resolved"] = {
                    **source.get("resolved", {}),
                    "snapshot_path": os.path.join(target, "snapshot"),
                }
            files.write_json(os.path.join(staging, "manifest.json"), manifest)
            _replace(home, target, staging)
        except OSError as error:
            raise files.translate(error, f"cannot copy to '{destination}'") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)  # there only after a failure
    return _read(target)


def _link(source: str, destination: str) -> str:
    real = os.path.realpath(source)
    try:
        os.link(real, destination)
    except OSError:
        shutil.copyfile(real, destination)
    return destination
