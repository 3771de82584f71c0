"""Installing what is inside a kit that was checked: models, and runtimes from their wheels.

Everything that was chosen is copied out first, each file hashed again, and only then installed: a
kit that changes while it is read leaves nothing behind. Each model is then replaced in one step.
Paths on disk come from checked names in kit.json alone.

Not covered: checking the kit (kit_check.py) and what installing a runtime does
(runtime_install.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections import namedtuple

from tollama.core import names
from tollama.core.errors import (
    CorruptDownload,
    InvalidRequest,
    NotFound,
    RuntimeMissing,
    TollamaError,
    Unsupported,
)
from tollama.models import families, files, kit_format, locks, pulls, runtimes, staging, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from tollama.models.families import Family
    from tollama.models.kit_check import Kit, Report

    OnEvent = Callable[[dict[str, Any]], None]

CHUNK = 1 << 20
# Wheels unpack to up to five times their size (torch's CPU build: 265 MB to 1.3 GB), and they lie
# beside that for a while.
UNPACKED = 5


class Chosen(namedtuple("Chosen", "models runtimes")):
    """The parts of a kit to install: manifests, and Wheels with the interpreter for them."""

    __slots__ = ()


def models_of(
    kit: Kit, wanted: Iterable[str] | None, known: Mapping[str, Family]
) -> list[dict[str, Any]]:
    """The kit's models by name, all without names; raises NotFound.

    A model that would take the place of a built-in one is refused.
    """
    found = []
    for name in [m["name"] for m in kit.contents.models] if wanted is None else wanted:
        match = [m for m in kit.contents.models if names.same(m["name"], names.check(name))]
        if not match:
            have = ", ".join(m["name"] for m in kit.contents.models) or "none"
            raise NotFound(f"model '{name}' is not in {kit.path} (it has: {have})")
        offers = families.offers(known, match[0]["name"])
        if offers and offers[0].builtin:
            raise InvalidRequest(
                f"{kit.path}: its model '{name}' has the name of a built-in one; choose others "
                "with --models"
            )
        found += [m for m in match if m not in found]
    return found


def runtimes_of(
    kit: Kit, known: Mapping[str, Family], *, python: str | None
) -> tuple[list[tuple[kit_format.Wheels, str]], list[str]]:
    """The kit's runtimes that this machine can have, with their interpreters; why not others."""
    fitting: list[tuple[kit_format.Wheels, str]] = []
    reasons: list[str] = []
    targets_of: dict[str, list[str]] = {}
    for wheels in kit.contents.runtimes:
        targets_of.setdefault(wheels.family, []).append(wheels.target)
        if wheels.family not in known:
            reasons.append(
                f"runtime '{wheels.family}': this tollama has no such family; use the tollama.pyz "
                f"of the kit: tar -xf {kit.path} tollama.pyz"
            )
            targets_of[wheels.family].clear()
            continue
        interpreter = _interpreter(wheels.target, python)
        if interpreter is not None and wheels.family not in [w.family for w, _ in fitting]:
            fitting.append((wheels, interpreter))
    for family, targets in targets_of.items():
        if targets and family not in [wheels.family for wheels, _ in fitting]:
            version = ", ".join(map(readable, targets))
            reasons.append(
                f"runtime '{family}' is for {version}, and no such Python was found here; "
                "name one with --python"
            )
    return fitting, reasons


def _interpreter(target: str, asked: str | None) -> str | None:
    """An interpreter for wheels of a target: the one asked for, ours, or pythonX.Y on PATH."""
    import sys

    _, _, tag = target.rpartition("-cp")
    candidates = [asked] if asked else [sys.executable, shutil.which(f"python{tag[:1]}.{tag[1:]}")]
    for python in filter(None, candidates):
        try:
            if locks.interpreter(python).target == target:
                return python
        except RuntimeMissing:
            if asked:
                raise
    return None


def readable(target: str) -> str:
    """A target as people say it: linux-x86_64-cp311 -> "Python 3.11 on linux-x86_64"."""
    platform, _, tag = target.rpartition("-cp")
    return f"Python {tag[:1]}.{tag[1:]} on {platform}" if tag.isdigit() else target


def install(
    kit: Kit,
    home: str,
    chosen: Chosen,
    known: Mapping[str, Family],
    *,
    report: Report,
    on_event: OnEvent,
) -> tuple[list[store.Installed], list[runtimes.Runtime]]:
    """Install the chosen parts; what fails after the copying leaves whole models, never parts."""
    on_disk = sum(size_of(model) for model in chosen.models)
    wheels_size = sum(file["size"] for wheels, _ in chosen.runtimes for file in wheels.files)
    what = f"importing {os.path.basename(kit.path)}"
    staging.check_room(store.models_folder(home), on_disk + wheels_size * (1 + UNPACKED), what)
    try:
        with staging.folder(home) as folder:
            wanted = _destinations(folder, chosen)
            _copy(kit, wanted, report)
            models = [
                _install_model(home, folder, index, manifest)
                for index, manifest in enumerate(chosen.models)
            ]
            found = [
                _install_runtime(
                    known[wheels.family], home, wheels, _wheelhouse(folder, index), python, on_event
                )
                for index, (wheels, python) in enumerate(chosen.runtimes)
            ]
    except OSError as error:
        raise files.translate(error, f"cannot import {kit.path}") from error
    return models, found


def size_of(manifest: dict[str, Any]) -> int:
    """Bytes of a model's files."""
    return sum(file["size"] for file in manifest.get("files") or ())


def _destinations(folder: str, chosen: Chosen) -> dict[tuple[str, int], list[str]]:
    """Where each content goes, once or several times."""
    wanted: dict[tuple[str, int], list[str]] = {}
    for index, manifest in enumerate(chosen.models):
        base = os.path.join(folder, str(index))
        os.mkdir(base)
        for file in manifest.get("files") or ():
            path = os.path.join(base, "snapshot", *file["path"].split("/"))
            wanted.setdefault((file["sha256"], file["size"]), []).append(path)
    for index, (wheels, _) in enumerate(chosen.runtimes):
        base = _wheelhouse(folder, index)
        os.mkdir(base)
        for file in wheels.files:
            path = os.path.join(base, file["file"])
            wanted.setdefault((file["sha256"], file["size"]), []).append(path)
    return wanted


def _wheelhouse(folder: str, index: int) -> str:
    return os.path.join(folder, f"wheels-{index}")


def _copy(kit: Kit, wanted: dict[tuple[str, int], list[str]], report: Report) -> None:
    total = sum(size for _, size in wanted)
    done = 0
    # In the order of the file: a disk reads on, it does not seek.
    for key in sorted(wanted, key=lambda key: kit.offsets[key]):
        sha256, size = key
        kit.file.seek(kit.offsets[key])
        digest, left = hashlib.sha256(), size
        with contextlib.ExitStack() as stack:
            outs = []
            for path in wanted[key]:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                outs.append(stack.enter_context(open(path, "xb")))
            while left:
                data = kit.file.read(min(CHUNK, left))
                if not data:
                    break
                digest.update(data)
                for out in outs:
                    out.write(data)
                left -= len(data)
                done += len(data)
                report("unpacking", done, total)
            for out in outs:
                out.flush()
                os.fsync(out.fileno())
        if left or digest.hexdigest() != sha256:
            raise CorruptDownload(f"{kit.path} changed while it was read; nothing was installed")


def _install_model(home: str, folder: str, index: int, manifest: dict[str, Any]) -> store.Installed:
    now = pulls.now()
    complete = {
        **manifest,
        "resolved": {**manifest.get("resolved", {}), "snapshot_path": None},
        "size_bytes": size_of(manifest),
        "pulled_at": now,
        "installed_at": now,
    }
    return store.install(home, complete, os.path.join(folder, str(index)))


def _install_runtime(
    family: Family,
    home: str,
    wheels: kit_format.Wheels,
    wheelhouse: str,
    python: str,
    on_event: OnEvent,
) -> runtimes.Runtime:
    old = runtimes.installed(home, family.name)
    if old is not None and _same(old, wheels) and os.path.exists(old.python):
        on_event({"status": f"runtime {family.name} is installed already"})
        return old
    on_event({"status": f"installing runtime {family.name}"})
    try:
        return runtimes.install(
            family,
            home,
            python=python,
            wheelhouse=wheelhouse,
            cpu=wheels.build == "cpu",
            on_event=on_event,
        )
    except NotFound as error:
        raise Unsupported(
            f"the wheels in the kit are not those that this tollama wants ({error.message}); use "
            "the tollama.pyz of the kit"
        ) from None
    except TollamaError as error:
        error.message = f"runtime '{family.name}': {error.message}; the kit's models are installed"
        raise


def _same(old: runtimes.Runtime, wheels: kit_format.Wheels) -> bool:
    """Whether an installed runtime has exactly the packages of these wheels."""
    if (old.target, old.build) != (wheels.target, wheels.build):
        return False
    have = {(locks.normal(name), version) for name, version in old.packages.items()}
    carried = set()
    for file in wheels.files:
        name, version = file["file"].split("-")[:2]
        carried.add((locks.normal(name), version.replace("_", "+")))
    return have <= carried
