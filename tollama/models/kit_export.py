"""Writing a kit: models of this machine, wheels of runtimes, the running .pyz, as one file.

The kit is written from its beginning to its end, so memory stays flat, into a file beside the
wanted one that is renamed when all is on disk. Hashes of models come from their manifests and are
checked while the files go by: a model that is damaged here cannot be exported.

Not covered: what a kit looks like (kit_format.py) and fetching wheels (wheels.py).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections import namedtuple

import tollama
from tollama.core import names
from tollama.core.errors import (
    CorruptDownload,
    DiskFull,
    InvalidRequest,
    ModelNotFound,
    TollamaError,
)
from tollama.models import families, files, kit_format, kit_signature, staging, store
from tollama.models.kit_format import Contents, Entry, Wheels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, BinaryIO

    from tollama.models.kit_check import Report

CHUNK = 1 << 20


class Source(namedtuple("Source", "entry path data owner")):
    """Where the bytes of an entry come from: a file, or `data`. `owner` is for messages."""

    __slots__ = ()


class Written(namedtuple("Written", "path size sha256 contents signer")):
    """A kit on disk."""

    __slots__ = ()


def models(home: str, wanted: Iterable[str], known: Mapping[str, families.Family]) -> list[Any]:
    """Installed models by name; raises ModelNotFound, or InvalidRequest for built-in ones."""
    found: dict[str, store.Installed] = {}
    for name in wanted:
        name = names.check(name)
        try:
            model = store.get(home, name)
        except ModelNotFound:
            offers = families.offers(known, name)
            if offers and offers[0].builtin:
                raise InvalidRequest(
                    f"model '{name}' is built in: tollama.pyz has it wherever it goes"
                ) from None
            raise
        found[model.name.lower()] = model
    return [found[name] for name in sorted(found)]


def wheels_in(folder: str) -> tuple[Wheels, list[Source]]:
    """The wheels that `runtime download` put into a folder."""
    try:
        with open(os.path.join(folder, "wheels.json"), encoding="utf-8") as stream:
            about = json.load(stream)
        family, target, build = (str(about[key]) for key in ("family", "target", "build"))
        listed = sorted(str(name) for name in about["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidRequest(
            f"{folder}: expected a folder that `tollama runtime download` has filled"
        ) from None
    sources = []
    for name in listed:
        path = os.path.join(folder, name)
        size, sha256 = _measured(path)
        entry = Entry(kit_format.entry_name(f"wheels/{name}", sha256), size, sha256)
        sources.append(Source(entry, path, None, f"the wheel {name}"))
    carried = [
        {"file": name, "size": source.entry.size, "sha256": source.entry.sha256}
        for name, source in zip(listed, sources, strict=True)
    ]
    return Wheels(family, target, build, carried), sources


def running_pyz() -> str | None:
    """The .pyz that this process runs from; None when it runs from a folder."""
    root = families.root()
    return root if os.path.isfile(root) else None


def export(
    path: str,
    models: Iterable[store.Installed],
    *,
    runtimes: Iterable[tuple[Wheels, list[Source]]] = (),
    pyz: str | None = None,
    sign_key: str | None = None,
    report: Report,
) -> Written:
    """Write a kit; the same contents always give the same bytes.

    Raises CorruptDownload for a model whose files are not what its manifest says, and DiskFull.
    """
    contents, sources = _gather(list(models), list(runtimes), pyz)
    index = kit_format.write_index(contents)
    kit_format.read_index(index)  # a kit that the other side would refuse is not written
    signature_size = kit_format.MAX_SIGNATURE if sign_key else None
    total = kit_format.total(len(index), contents.entries, signature_size)
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise InvalidRequest(f"--output: {path} is a folder, expected the name of a file")
    if not os.path.isdir(folder):
        raise InvalidRequest(f"--output: the folder {folder} does not exist")
    staging.check_room(folder, total, f"the kit {os.path.basename(path)}")
    partial = f"{path}.{os.getpid()}.{os.urandom(3).hex()}.part"
    try:
        with open(partial, "xb") as file:
            out = _Out(file, f"writing {os.path.basename(path)}", total, report)
            out.entry(kit_format.INDEX, index)
            for source in sources:
                _copy(source, out)
            signer = _sign(out, sign_key) if sign_key else None
            out.entry(kit_format.DIGEST, out.digest.hexdigest().encode() + b"\n")
            out.write(kit_format.END)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        files.sync_folder(folder)
    except OSError as error:
        raise _translate(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)
    return Written(path, out.at, out.digest.hexdigest(), contents, signer)


def _translate(error: OSError, path: str) -> Exception:
    if error.errno == errno.EFBIG:
        return DiskFull(f"{path}: the disk cannot hold a file of this size (FAT32 ends at 4 GB)")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"cannot write {path}: no space left on the disk")
    return InvalidRequest(f"--output: {path}: {(error.strerror or str(error)).lower()}")


def _gather(
    chosen: list[store.Installed],
    wheels: list[tuple[Wheels, list[Source]]],
    pyz: str | None,
) -> tuple[Contents, list[Source]]:
    """What the kit says it has, and where the bytes come from; equal files are carried once."""
    sources: list[Source] = []
    seen: set[object] = set()

    def add(source: Source) -> None:
        entry = source.entry
        if entry[1:] in seen:
            return
        if entry.name.lower() in seen:
            source = source._replace(entry=entry._replace(name=f"blobs/{entry.sha256}"))
        seen.update((entry[1:], entry.name.lower()))
        sources.append(source)

    packed = None
    if pyz is not None:
        packed = Entry("tollama.pyz", *_measured(pyz))
        add(Source(packed, pyz, None, "tollama.pyz"))
    for _, carried in wheels:
        for source in carried:
            add(source)
    for model in chosen:
        for source in _model_files(model):
            add(source)
    runtimes = sorted((one for one, _ in wheels), key=lambda one: (one.family, one.target))
    contents = Contents(
        tollama.__version__,
        [kit_format.portable(model.manifest) for model in chosen],
        runtimes,
        packed,
        [],
    )
    text = readme(contents).encode()
    about = Entry(kit_format.README, len(text), hashlib.sha256(text).hexdigest())
    sources.insert(0, Source(about, None, text, kit_format.README))
    return contents._replace(entries=[source.entry for source in sources]), sources


def _model_files(model: store.Installed) -> Iterable[Source]:
    base, snapshot = os.path.basename(model.folder), model.snapshot
    for file in model.manifest.get("files") or ():
        wanted = f"models/{base}/{file['path']}"
        name = kit_format.entry_name(wanted, file["sha256"])
        path = os.path.join(snapshot or model.folder, *file["path"].split("/"))
        entry = Entry(name, file["size"], file["sha256"])
        yield Source(entry, path, None, f"model '{model.name}': {file['path']}")


def _measured(path: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb", buffering=0) as file:
            while data := file.read(CHUNK):
                digest.update(data)
                size += len(data)
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read: {error.strerror or error}") from None
    return size, digest.hexdigest()


class _Out:
    """The kit as it grows: hashed, counted, reported."""

    def __init__(self, file: BinaryIO, label: str, total: int, report: Report) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.at = 0
        self.label = label
        self.total = total
        self.report = report

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.file.write(data)
        self.at += len(data)
        self.report(self.label, self.at, max(self.total, self.at))

    def entry(self, name: str, data: bytes) -> None:
        """A whole small file."""
        self.write(kit_format.header(name, len(data)) + data)
        self.write(b"\0" * kit_format.padding(len(data)))


def _copy(source: Source, out: _Out) -> None:
    """One file into the kit; raises when it is not the one that was listed."""
    entry = source.entry
    if source.data is not None:
        out.entry(entry.name, source.data)
        return
    digest, left = hashlib.sha256(), entry.size
    out.write(kit_format.header(entry.name, entry.size))
    for data in _blocks(source):
        left -= len(data)
        if left < 0:
            break
        digest.update(data)
        out.write(data)
    if left or digest.hexdigest() != entry.sha256:
        raise _damaged(source)
    out.write(b"\0" * kit_format.padding(entry.size))


def _blocks(source: Source) -> Iterable[bytes]:
    try:
        with open(source.path, "rb", buffering=0) as file:
            while data := file.read(CHUNK):
                yield data
    except FileNotFoundError:
        raise _damaged(source) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TollamaError(f"{source.owner} cannot be read: {reason}") from None


def _damaged(source: Source) -> CorruptDownload:
    return CorruptDownload(
        f"{source.owner} is missing or damaged on this machine, so it is not exported; "
        "see: tollama verify"
    )


def _sign(out: _Out, key: str) -> str:
    signature = kit_signature.sign(out.digest.hexdigest(), key)
    if len(signature) > kit_format.MAX_SIGNATURE:
        raise InvalidRequest(f"--sign-key: the signature of {key} is too long")
    out.entry(kit_format.SIGNATURE, signature)
    return kit_signature.signer(signature)


def commands(kit: str, contents: Contents, *, sha256: str | None = None) -> list[str]:
    """What to type on the other side."""
    pinned = f" --sha256 {sha256}" if sha256 else ""
    if contents.pyz is None:
        return [f"tollama import {kit}{pinned}"]
    tags = {wheels.target.rpartition("-cp")[2] for wheels in contents.runtimes}
    tag = tags.pop() if len(tags) == 1 else ""
    python = f"python{tag[:1]}.{tag[1:]}" if tag.isdigit() else "python3"
    return [f"tar -xf {kit} tollama.pyz", f"{python} tollama.pyz import {kit}{pinned}"]


def readme(contents: Contents) -> str:
    """The text for whoever finds the kit and has no tollama."""
    lines = ["This is an air-gap kit of tollama (forecasting models in one file). It holds:", ""]
    lines += [f"  model    {model['name']}" for model in contents.models]
    lines += [
        f"  runtime  {wheels.family} ({wheels.build}) for {wheels.target}"
        for wheels in contents.runtimes
    ]
    if contents.pyz is not None:
        lines.append(f"  program  tollama.pyz {contents.tollama} (needs Python 3.10 or newer)")
    lines += ["", "On a machine without network (KIT is the name of this kit):", ""]
    lines += [f"  {line}" for line in commands("KIT", contents)]
    lines += [
        "",
        "import checks every byte before it installs anything. The kit is a plain tar archive;",
        "kit.json lists every file with its SHA-256. Compare `sha256sum KIT` with the number that",
        "export has printed.",
        "",
    ]
    return "\n".join(lines)
