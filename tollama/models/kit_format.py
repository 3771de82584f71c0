"""The form of an air-gap kit: a tar archive in which every byte is decided by what it carries.

    kit.json             what is inside: models, wheels of runtimes, the .pyz; sizes and SHA-256s
    README.txt ...       the files that kit.json lists, in its order
    signature            optional: ssh-keygen's signature of everything before it
    sha256               64 hex digits and a line break: the digest of everything before this entry

Any tar program opens a kit, which is how tollama.pyz gets out of it on the other side. Ours does
not parse tar at all: it computes each header from kit.json and compares, so links, devices,
absolute names, sparse files and extensions cannot be expressed, and padding has to be zero. There
is no compression, so nothing can grow. The same contents always give the same bytes.

Names inside the archive are for people: where a file goes on import follows from the checked model
name and path in kit.json, never from the name of an entry.

Not covered: writing (kit_export.py), checking a whole kit (kit_check.py) and installing
(kit_import.py).
"""

from __future__ import annotations

import json
import re
from collections import namedtuple

from tollama.core import fields, names
from tollama.core.errors import HubError, InvalidRequest
from tollama.models import blobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from tollama.core.errors import Loc

VERSION = 1
INDEX = "kit.json"
README = "README.txt"
SIGNATURE = "signature"
DIGEST = "sha256"
DIGEST_SIZE = 65
BLOCK = 512
END = b"\0" * (2 * BLOCK)
MAX_INDEX = 32 << 20
MAX_FILES = 100_000
MAX_SIGNATURE = 16 << 10
DATE = 315532800  # 1980-01-01, as in the .pyz: some programs warn of 1970

_ENTRY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*")
_WHEEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,200}\.whl")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OWN = {INDEX, SIGNATURE, DIGEST}
# What a manifest says of the machine it lies on; the other side fills it in anew.
_LOCAL = ("pulled_at", "installed_at")


class Entry(namedtuple("Entry", "name size sha256")):
    """A file of the archive."""

    __slots__ = ()


class Wheels(namedtuple("Wheels", "family target build files")):
    """A runtime's wheels for one Python and platform; `files` are {file, size, sha256}."""

    __slots__ = ()


class Contents(namedtuple("Contents", "tollama models runtimes pyz entries")):
    """What kit.json says: `models` are manifests, `runtimes` Wheels, `pyz` an Entry or None."""

    __slots__ = ()


# -- tar ------------------------------------------------------------------------------------------


def header(name: str, size: int) -> bytes:
    """The one tar header that a file of this name and size has in a kit."""
    # Above 8 GiB the octal field overflows; this is how tar programs write larger numbers.
    told = b"%011o\0" % size if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    block = b"".join(
        (
            name.encode("ascii").ljust(100, b"\0"),
            b"%07o\0" % 0o644,
            b"%07o\0" % 0,  # owner
            b"%07o\0" % 0,  # group
            told,
            b"%011o\0" % DATE,
            b" " * 8,  # the sum of the bytes, counted as blanks
            b"0",
            b"\0" * 100,
            b"ustar\0",
            b"00",
            b"\0" * (32 + 32),
            b"%07o\0" % 0,  # device
            b"%07o\0" % 0,
            b"\0" * (155 + 12),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def size_in(block: bytes) -> int | None:
    """The size that a header tells, None when it is no number; the header is not checked."""
    field = block[124:136]
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field[:11]
    if len(digits) == 11 and not set(digits) - set(b"01234567"):
        return int(digits, 8)
    return None


def padding(size: int) -> int:
    """Zeros after a file of `size` bytes, up to the next block."""
    return -size % BLOCK


def room(size: int) -> int:
    """Bytes in the archive that a file of `size` bytes takes."""
    return BLOCK + size + padding(size)


def total(index_size: int, entries: Iterable[Entry], signature_size: int | None) -> int:
    """The exact size of a kit."""
    size = room(index_size) + sum(room(entry.size) for entry in entries)
    if signature_size is not None:
        size += room(signature_size)
    return size + room(DIGEST_SIZE) + len(END)


def entry_name(wanted: str, sha256: str) -> str:
    """The name of a file in the archive: the one that people expect, or its hash."""
    if len(wanted) <= 99 and _ENTRY_NAME.fullmatch(wanted) and wanted.lower() not in _OWN:
        return wanted
    return f"blobs/{sha256}"


# -- kit.json -------------------------------------------------------------------------------------


def portable(manifest: dict[str, Any]) -> dict[str, Any]:
    """A model's manifest without what is true of one machine only."""
    kept = {name: value for name, value in manifest.items() if name not in _LOCAL}
    commit = (manifest.get("resolved") or {}).get("commit_sha")
    return {**kept, "resolved": {"commit_sha": commit}}


def write_index(contents: Contents) -> bytes:
    """The bytes of kit.json."""
    value = {
        "kit": VERSION,
        "tollama": contents.tollama,
        "models": list(contents.models),
        "runtimes": [wheels._asdict() for wheels in contents.runtimes],
        "pyz": contents.pyz.name if contents.pyz else None,
        "entries": [entry._asdict() for entry in contents.entries],
    }
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def read_index(data: bytes) -> Contents:
    """kit.json as Contents; raises InvalidRequest with the field that is wrong or unsafe."""
    try:
        value = json.loads(data)
        # It will be written again: no lone surrogates, no NaN, no number that floats cannot hold.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{INDEX} is not JSON: {error}") from None
    version = value.get("kit") if isinstance(value, dict) else None
    if version != VERSION:
        raise InvalidRequest(
            f"the kit has form {version!r}, this tollama reads form {VERSION}: use the tollama.pyz "
            "that lies in the kit"
        )
    with fields.Fields(value) as f:
        f.take("kit", fields.integer(1))
        maker = f.take("tollama", fields.string)
        entries = f.take("entries", fields.list_of(_entry))
        models = f.take("models", fields.list_of(_model))
        runtimes = f.take("runtimes", fields.list_of(_wheels))
        pyz = f.take("pyz", fields.string, None)
    return _consistent(Contents(maker, models, runtimes, pyz, entries))


def _consistent(read: Contents) -> Contents:
    """Everything that is listed is there once, and everything that is there is listed."""
    by_name = {entry.name.lower(): entry for entry in read.entries}
    by_hash = {(entry.sha256, entry.size) for entry in read.entries}
    if not len(by_name) == len(by_hash) == len(read.entries):
        raise InvalidRequest(f"{INDEX}: entries: one comes twice")
    if len(read.entries) > MAX_FILES:
        raise InvalidRequest(f"{INDEX}: entries: more than {MAX_FILES:,} files")
    for kind, found in (
        ("models", [names.folder(model["name"]) for model in read.models]),
        ("runtimes", [(wheels.family, wheels.target) for wheels in read.runtimes]),
    ):
        if len(set(found)) != len(found):
            raise InvalidRequest(f"{INDEX}: {kind}: one comes twice")
    used = {
        (file["sha256"], file["size"])
        for files in (
            *(model.get("files") or () for model in read.models),
            *(wheels.files for wheels in read.runtimes),
        )
        for file in files
    }
    if used - by_hash:
        raise InvalidRequest(f"{INDEX}: entries: a file of a model or runtime is missing")
    pyz = None
    if read.pyz is not None:
        pyz = by_name.get(read.pyz.lower())
        if pyz is None:
            raise InvalidRequest(f"{INDEX}: pyz: {read.pyz!r} is not among the entries")
    for entry in read.entries:
        listed = (entry.sha256, entry.size) in used or entry is pyz
        if not listed and entry.name != README:
            raise InvalidRequest(f"{INDEX}: entries: {entry.name!r} belongs to nothing")
    return read._replace(pyz=pyz)


def _entry(value: object, loc: Loc) -> Entry:
    with fields.Fields(value, loc) as f:
        entry = Entry(
            f.take("name", fields.string),
            f.take("size", fields.integer(0, 1 << 50)),
            f.take("sha256", _sha256),
        )
        if isinstance(entry.name, str) and entry_name(entry.name, "") != entry.name:
            f.reject("name", f"expected a plain relative name, got {entry.name[:80]!r}")
    return entry


def _sha256(value: object, loc: Loc) -> str:
    text = fields.string(value, loc)
    if not _SHA256.fullmatch(text):
        raise fields.fail(loc, "expected 64 hex digits")
    return text


def _model(value: object, loc: Loc) -> dict[str, Any]:
    """A manifest from a kit, which may have been written by anybody."""
    with fields.Fields(value, loc, lenient=True) as f:
        f.take("name", names.reader)
        f.take("family", names.reader)
        f.take("base", names.reader, None)
        f.take("source", fields.json_object)
        f.take("license", fields.json_object, {})
        f.take("architecture", fields.string, None)
        f.take("from", fields.string, None)
        f.take("preset", fields.json_object, None)
        files = f.take("files", fields.list_of(_file), [])
        resolved = f.take("resolved", fields.json_object, {})
        if isinstance(resolved, dict) and set(resolved) - {"commit_sha"}:
            f.reject("resolved", "expected commit_sha alone")
        _no_collisions(files, (*loc, "files"))
    return f.value


def _file(value: object, loc: Loc) -> dict[str, Any]:
    with fields.Fields(value, loc) as f:
        f.take("path", _path)
        f.take("size", fields.integer(0, 1 << 50))
        f.take("sha256", _sha256)
    return f.value


def _path(value: object, loc: Loc) -> str:
    try:
        return blobs.safe_name(value)
    except HubError:
        shown = str(value)[:80]
        raise fields.fail(loc, f"{shown!r} is refused: it could leave the model's folder") from None


def _no_collisions(files: list[dict[str, Any]], loc: Loc) -> None:
    """No two paths that some disk takes for the same, and no file that is a folder too."""
    paths = [file["path"].lower() for file in files]
    folders = {path[:at] for path in paths for at, char in enumerate(path) if char == "/"}
    if len(set(paths)) != len(paths) or folders & set(paths):
        raise fields.fail(loc, "two files would have one name")


def _wheels(value: object, loc: Loc) -> Wheels:
    with fields.Fields(value, loc) as f:
        wheels = Wheels(
            f.take("family", names.reader),
            f.take("target", fields.nonempty),
            f.take("build", fields.nonempty),
            f.take("files", fields.list_of(_wheel), []),
        )
        found = [file["file"].lower() for file in wheels.files]
        if len(set(found)) != len(found):
            f.reject("files", "two files would have one name")
    return wheels


def _wheel(value: object, loc: Loc) -> dict[str, Any]:
    with fields.Fields(value, loc) as f:
        name = f.take("file", fields.string)
        f.take("size", fields.integer(0, 1 << 50))
        f.take("sha256", _sha256)
        if isinstance(name, str) and not _WHEEL_NAME.fullmatch(name):
            f.reject("file", f"expected the name of a wheel, got {name[:80]!r}")
    return f.value
