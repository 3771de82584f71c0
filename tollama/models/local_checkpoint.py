"""Your own checkpoint as an ordinary model: `pull NAME --from-dir DIR`.

The folder is looked at first (an architecture that a family recognises, weights in safetensors
that are whole), then its files are copied and hashed in one go. They are copied, not linked: a
training run that writes into the same file again must not change an installed model.

Not covered: merging adapters and converting pickles, which need the libraries that wrote them.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat

from tollama.core import names
from tollama.core.errors import HubError, InvalidRequest, LicenseRequired, Unsupported
from tollama.models import blobs, families, files, pulls, staging, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Report = Callable[[str, int, int], None]

CHUNK = 1 << 20
MAX_HEADER = 100 << 20
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
# Left by trainers beside the weights; no model is loaded from them.
NOT_NEEDED = {"trainer_state.json", "training_args.json", "optimizer.json"}


def install(
    name: str,
    folder: str,
    home: str,
    known: Mapping[str, families.Family],
    *,
    accept_license: bool = False,
    report: Report,
) -> store.Installed:
    """Install the checkpoint in `folder` under a name; raises what is wrong with it."""
    name = _name(name)
    folder = os.path.abspath(os.path.expanduser(folder))
    found = _files(folder)
    manifest = _manifest(name, folder, known, accept_license)
    total = sum(size for _, size in found)
    staging.check_room(store.models_folder(home), total, f"the model '{name}'")
    try:
        with staging.folder(home) as place:
            complete = os.path.join(place, "model")
            snapshot = os.path.join(complete, "snapshot")
            os.makedirs(snapshot)
            manifest["files"] = _copy(folder, found, snapshot, total, report)
            manifest["size_bytes"] = total
            return store.install(home, manifest, complete)
    except OSError as error:
        raise files.translate(error, f"cannot install '{name}'") from error


def _name(text: str) -> str:
    name, revision = names.with_revision(text)
    if revision is not None:
        raise InvalidRequest(f"model '{name}': a folder has no revisions, leave out @{revision}")
    return name


def _files(folder: str) -> list[tuple[str, int]]:
    """The files to take with their sizes; raises what keeps the folder from being a model."""
    try:
        listed = sorted(os.listdir(folder))
    except OSError as error:
        raise InvalidRequest(
            f"--from-dir: {folder}: {(error.strerror or str(error)).lower()}"
        ) from None
    weights = [name for name in listed if name.lower().endswith(".safetensors")]
    adapter = "adapter_config.json" in listed
    if adapter and not [name for name in weights if not name.startswith("adapter_")]:
        raise Unsupported(
            f"--from-dir: {folder} is a LoRA adapter, not a model: merge it into its base first "
            "(peft: model.merge_and_unload().save_pretrained(DIR)) and install that folder"
        )
    if "config.json" not in listed:
        raise InvalidRequest(
            f"--from-dir: {folder} has no config.json; expected what save_pretrained(DIR) writes"
        )
    if not weights:
        pickles = [name for name in listed if name.lower().endswith(PICKLES)]
        found = f"found {pickles[0]}, a pickle, which could run code" if pickles else "found none"
        raise Unsupported(
            f"--from-dir: {folder}: expected weights in safetensors, {found}; write them with "
            "save_pretrained(DIR, safe_serialization=True)"
        )
    taken = []
    for name in listed:
        if _needed(name, adapter):
            taken.append((name, _size(folder, name)))
    _complete(folder, [name for name, _ in taken])
    return taken


def _needed(name: str, adapter: bool) -> bool:
    lower = name.lower()
    if adapter and lower.startswith("adapter_"):
        return False
    if lower.endswith((".safetensors", ".json")):
        return lower not in NOT_NEEDED
    return lower.startswith(("license", "licence", "notice"))


def _size(folder: str, name: str) -> int:
    """The size of a file that can be taken; links are followed, as a hub's cache has them."""
    try:
        blobs.safe_name(name)
    except HubError:
        raise InvalidRequest(f"--from-dir: the file name {name!r} is refused") from None
    path = os.path.join(folder, name)
    try:
        status = os.stat(path)
    except OSError as error:
        raise InvalidRequest(f"--from-dir: {path}: {(error.strerror or '').lower()}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InvalidRequest(f"--from-dir: {path} is not a file")
    if name.lower().endswith(".safetensors"):
        _check_weights(path, status.st_size)
    return status.st_size


def _check_weights(path: str, size: int) -> None:
    """Whether a file of safetensors is whole: its header says where the last tensor ends."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise InvalidRequest(f"--from-dir: {path} is not a file of safetensors, or cut off")
        try:
            header = json.loads(file.read(length))
            ends = [
                tensor["data_offsets"][1]
                for name, tensor in header.items()
                if name != "__metadata__"
            ]
            end = max(ends, default=0)
            whole = type(end) is int and end == size - 8 - length
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise InvalidRequest(f"--from-dir: {path} is not a file of safetensors") from None
    if not whole:
        raise InvalidRequest(
            f"--from-dir: {path} is cut off: its tensors end at byte {8 + length + end}, the file "
            f"at {size}"
        )


def _complete(folder: str, taken: list[str]) -> None:
    """Whether every part that an index of weights names is there."""
    for index in (name for name in taken if name.lower().endswith(".safetensors.index.json")):
        try:
            with open(os.path.join(folder, index), "rb") as file:
                parts = set(json.load(file)["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InvalidRequest(f"--from-dir: {index} cannot be read") from None
        missing = sorted(str(part) for part in parts if part not in taken)
        if missing:
            raise InvalidRequest(f"--from-dir: {folder} lacks {missing[0]}, which {index} names")


def _manifest(
    name: str, folder: str, known: Mapping[str, families.Family], accepted: bool
) -> dict[str, Any]:
    """The manifest without its files; raises when no family can run the model."""
    try:
        architecture = pulls.architecture_of(folder)
    except HubError as error:
        raise InvalidRequest(f"--from-dir: {folder}: {error.message}") from None
    able = [family.name for family in known.values() if architecture in family.architectures]
    if not able:
        every = sorted({a for family in known.values() for a in family.architectures})
        raise Unsupported(
            f"--from-dir: no runner family recognises the architecture {architecture!r} of "
            f"{folder}; known ones: {', '.join(every) or 'none'}"
        )
    offers = families.offers(known, name)
    if offers and not {offer.family for offer in offers} & set(able):
        raise InvalidRequest(
            f"model '{name}' of the registry has another architecture than {architecture}: install "
            "the folder under another name"
        )
    name = offers[0].name if offers else name
    license_: dict[str, Any] = dict(offers[0].license) if offers else {"type": "not stated"}
    license_.setdefault("needs_acceptance", False)
    if license_["needs_acceptance"] and not accepted:
        raise LicenseRequired(
            f"model '{name}' has the licence {license_.get('type')}, which must be accepted first: "
            f"tollama pull {name} --from-dir {folder} --accept-license"
        )
    now = pulls.now()
    return {
        "name": name,
        "base": name,
        "family": next((offer.family for offer in offers if offer.family in able), able[0]),
        # The folder's own name alone: a path says where things lie on this machine.
        "source": {"type": "local-dir", "directory": os.path.basename(folder)},
        "architecture": architecture,
        "resolved": {"commit_sha": None, "snapshot_path": None},
        "pulled_at": now,
        "installed_at": now,
        "license": {**license_, "accepted": accepted},
    }


def _copy(
    folder: str, found: list[tuple[str, int]], snapshot: str, total: int, report: Report
) -> list[dict[str, Any]]:
    copied, done = [], 0
    for name, expected in found:
        digest, size = hashlib.sha256(), 0
        with (
            open(os.path.join(folder, name), "rb", buffering=0) as source,
            open(os.path.join(snapshot, name), "xb") as out,
        ):
            while data := source.read(CHUNK):
                digest.update(data)
                out.write(data)
                size += len(data)
                done += len(data)
                report("copying", done, max(total, done))
            out.flush()
            os.fsync(out.fileno())
        if size != expected:
            raise InvalidRequest(f"--from-dir: {name} changed while it was read; try again")
        copied.append({"path": name, "size": size, "sha256": digest.hexdigest()})
    return copied
