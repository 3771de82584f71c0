"""Opening a kit: every byte is checked before anything of it is used.

    digest      of the whole file: the one at its end, and the one that the caller expects
    kit.json    strict; each header, each padding and the end must be the bytes that follow from it
    entries     the SHA-256 of each file
    signature   by ssh-keygen, when a key to trust is given

A damaged kit is told from a badly made one: the digest is looked at first. Memory stays flat.

Not covered: installing what is inside (kit_import.py).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import namedtuple

from tollama.core.errors import CorruptDownload, InvalidRequest, NotFound, TollamaError
from tollama.models import kit_format, kit_signature
from tollama.models.kit_format import BLOCK, DIGEST, DIGEST_SIZE, END, INDEX, SIGNATURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Report = Callable[[str, int, int], None]

CHUNK = 1 << 20
TAIL = BLOCK + BLOCK + len(END)  # the entry with the digest, and the end


class Kit(namedtuple("Kit", "path file contents offsets sha256 size signer trusted")):
    """A kit that was checked, still open. `offsets` says where each (sha256, size) begins.

    `signer` is the fingerprint of the key that signed it, None without a signature; `trusted`
    whether that was checked.
    """

    __slots__ = ()

    def __enter__(self) -> Kit:
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()


def quiet(label: str, done: int, total: int) -> None:
    """A report of progress that nobody reads."""


def open_kit(
    path: str,
    *,
    sha256: str | None = None,
    trust_key: str | None = None,
    report: Report = quiet,
) -> Kit:
    """A kit, checked to its last byte; `sha256` is the digest of the file that is expected.

    Raises NotFound, InvalidRequest (no kit, or one that breaks the rules), CorruptDownload (damaged
    or cut off) and Forbidden (signature).
    """
    file, size = _open(path)
    try:
        return _check(path, file, size, sha256, trust_key, report)
    except OSError as error:
        file.close()
        raise TollamaError(f"{path}: cannot be read: {error.strerror or error}") from None
    except BaseException:
        file.close()
        raise


def _open(path: str) -> tuple[Any, int]:
    try:
        # Without O_NONBLOCK a named pipe would block here for ever.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file") from None
    except OSError as error:
        raise TollamaError(f"{path}: cannot be opened: {error.strerror or error}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise InvalidRequest(f"{path}: expected a kit, which is a file, got something else")
    return os.fdopen(descriptor, "rb", buffering=0), status.st_size


def _check(
    path: str,
    file: Any,
    size: int,
    expected: str | None,
    trust_key: str | None,
    report: Report,
) -> Kit:
    name = os.path.basename(path)
    reader = _Reader(file, size, f"checking {name}", report)
    first = reader.take(min(BLOCK, size))
    if not first.startswith(INDEX.encode() + b"\0"):
        raise InvalidRequest(
            f"{path}: not a tollama kit, or damaged at its very beginning "
            "(`tollama export MODEL` makes one)"
        )
    walk = _Walk(reader)
    problem: TollamaError | None = None
    try:
        walk.run(first)
    except _Damaged as error:
        problem = CorruptDownload(f"{path}: {error}")
    except InvalidRequest as error:
        problem = InvalidRequest(f"{path}: {error.message}", detail=error.detail)
    except _CutOff as error:
        raise CorruptDownload(
            f"{path} is cut off: it has {size} of {error.expected} bytes; copy it again"
        ) from None
    reader.rest()
    stored, body = reader.digests()
    if stored != body.encode():
        raise CorruptDownload(
            f"{path} is damaged: the SHA-256 of its bytes is not the one at its end; copy it again"
        )
    if expected is not None and expected.strip().lower() != reader.sha256():
        raise CorruptDownload(
            f"{path} is another kit than the expected one: its SHA-256 is {reader.sha256()}, "
            f"expected {expected.strip().lower()}"
        )
    if problem is not None:
        raise problem
    assert walk.contents is not None
    signer = None
    if walk.signature is not None:
        signer = kit_signature.signer(walk.signature)
    if trust_key is not None:
        kit_signature.verify(path, walk.signature, walk.signed, trust_key)
    return Kit(
        path=path,
        file=file,
        contents=walk.contents,
        offsets=walk.offsets,
        sha256=reader.sha256(),
        size=size,
        signer=signer,
        trusted=trust_key is not None,
    )


class _Damaged(Exception):
    """Bytes that are not the ones that kit.json calls for."""


class _CutOff(Exception):
    """A file that is shorter than what kit.json lists."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self.expected = expected


class _Reader:
    """The file from its beginning to its end, once, hashed as it goes by."""

    def __init__(self, file: Any, size: int, label: str, report: Report) -> None:
        self.file = file
        self.size = size
        self.at = 0
        self.label = label
        self.report = report
        self.whole = hashlib.sha256()
        # The same up to the entry with the digest, which tells what this must be.
        self.body: Any = None
        self.tail = b""

    def take(self, size: int) -> bytes:
        """The next `size` bytes, all of them; only for small ones."""
        parts = []
        while size:
            data = self.some(size)
            size -= len(data)
            parts.append(bytes(data))
        return b"".join(parts)

    def some(self, most: int) -> bytes:
        """At least one and at most `most` of the next bytes."""
        data: bytes = self.file.read(min(most, CHUNK, self.size - self.at)) if most else b""
        if not data:
            raise _Damaged("it ends too early")
        split = self.size - TAIL - self.at
        if 0 <= split < len(data):
            self._hash(data[:split])
            self.body = self.whole.copy()
            self._hash(data[split:])
        else:
            self._hash(data)
        if self.at + len(data) > self.size - TAIL:
            self.tail += data[max(0, split) :]
        self.at += len(data)
        self.report(self.label, self.at, self.size)
        return data

    def _hash(self, data: bytes) -> None:
        if data:
            self.whole.update(data)

    def rest(self) -> None:
        """Read on to the end, whatever the bytes mean."""
        while self.at < self.size:
            try:
                self.some(CHUNK)
            except _Damaged:
                return  # the file was cut while it was read: the digest tells

    def digests(self) -> tuple[bytes, str]:
        """The digest that is written at the end, and the one that the bytes before it have."""
        if self.body is None:
            return b"", self.whole.hexdigest()
        return self.tail[BLOCK : BLOCK + DIGEST_SIZE - 1], self.body.hexdigest()

    def sha256(self) -> str:
        """The digest of the whole file, as sha256sum prints it."""
        return self.whole.hexdigest()


class _Walk:
    """The entries in their order, each byte compared with what it has to be."""

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader
        self.contents: kit_format.Contents | None = None
        self.offsets: dict[tuple[str, int], int] = {}
        self.signature: bytes | None = None
        self.signed = ""

    def run(self, first: bytes) -> None:
        """Walk to the end; raises _Damaged or InvalidRequest."""
        reader = self.reader
        size = kit_format.size_in(first)
        if size is None or size > kit_format.MAX_INDEX or first != kit_format.header(INDEX, size):
            raise _Damaged("its first header is damaged")
        if size > reader.size:
            raise _Damaged("it ends too early")
        self.contents = kit_format.read_index(reader.take(size))
        expected = kit_format.total(size, self.contents.entries, None)
        if reader.size < expected:
            raise _CutOff(expected)
        self._zeros(size)
        for entry in self.contents.entries:
            self._header(reader.take(BLOCK), entry.name, entry.size)
            self.offsets[(entry.sha256, entry.size)] = reader.at
            self._content(entry)
        before = reader.whole.copy()
        head = reader.take(BLOCK)
        if head.startswith(SIGNATURE.encode() + b"\0"):
            self.signed = before.hexdigest()
            head = self._signature(head)
        self._header(head, DIGEST, DIGEST_SIZE)
        if reader.size - reader.at != TAIL - BLOCK:
            raise _Damaged(f"its end is expected at byte {reader.at + TAIL - BLOCK}")
        if not reader.take(DIGEST_SIZE).endswith(b"\n"):
            raise _Damaged("the digest at its end is damaged")
        self._zeros(DIGEST_SIZE)
        if reader.take(len(END)) != END:
            raise _Damaged("its end is damaged")

    def _header(self, found: bytes, name: str, size: int) -> None:
        if found != kit_format.header(name, size):
            raise _Damaged(f"the header of {name} is not the one that {INDEX} calls for")

    def _zeros(self, size: int) -> None:
        missing = kit_format.padding(size)
        if self.reader.take(missing) != b"\0" * missing:
            raise _Damaged("there is something between its files")

    def _content(self, entry: kit_format.Entry) -> None:
        digest, left = hashlib.sha256(), entry.size
        while left:
            data = self.reader.some(left)
            digest.update(data)
            left -= len(data)
        if digest.hexdigest() != entry.sha256:
            raise _Damaged(f"{entry.name} has another SHA-256 than {INDEX} says")
        self._zeros(entry.size)

    def _signature(self, head: bytes) -> bytes:
        """The signature; what follows it is the next header."""
        size = kit_format.size_in(head)
        if size is None or size > kit_format.MAX_SIGNATURE:
            raise _Damaged("the signature is damaged")
        self._header(head, SIGNATURE, size)
        self.signature = self.reader.take(size)
        self._zeros(size)
        return self.reader.take(BLOCK)
