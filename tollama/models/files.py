"""Files that survive a kill at any moment, and locks between processes.

A file is written to a temporary sibling, flushed to disk and renamed over the old one; the folder
is flushed too. A sibling that a killed process left goes with the next writing of the same file.
Locks are flock on a file that is never removed: the kernel drops them when a process dies.

Not covered: partial downloads, which keep their own `.part` files (download.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from tollama.core.errors import DiskFull, TollamaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Seconds after which nobody writes to a temporary file any more.
FORGOTTEN = 600.0


def translate(error: OSError, what: str) -> TollamaError:
    """An operating system's error as ours: a full disk is DiskFull, the rest says what to check."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"{what}: no space left on the disk")
    reason = (error.strerror or str(error)).lower()
    return TollamaError(f"{what}: {reason}; check the permissions of TOLLAMA_HOME")


def write(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file's content so that a reader sees the old or the new one, never a part."""
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        _sweep(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        sync_folder(os.path.dirname(path))
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise translate(error, f"cannot write {os.path.basename(path)}") from error


def _sweep(path: str) -> None:
    """Remove the temporary siblings of a file that killed processes left."""
    folder, name = os.path.split(path)
    for sibling in os.listdir(folder or "."):
        if sibling.startswith(name + ".") and sibling.endswith(".tmp"):
            with contextlib.suppress(OSError):
                full = os.path.join(folder, sibling)
                if time.time() - os.path.getmtime(full) > FORGOTTEN:
                    os.unlink(full)


def write_json(path: str, value: object, *, mode: int = 0o644) -> None:
    """`write` of an indented JSON document."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write(path, text.encode() + b"\n", mode=mode)


def sync_folder(path: str) -> None:
    """Flush a folder, so that a rename in it survives a power cut (not needed on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: str, *, mode: int = 0o755) -> None:
    """A folder with its parents; raises with what to check when that cannot be."""
    try:
        os.makedirs(path, mode=mode, exist_ok=True)
    except OSError as error:
        raise translate(error, f"cannot make the folder {path}") from error


@contextlib.contextmanager
def lock(path: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock between processes; yields False when not `wait` and it is taken."""
    make_folder(os.path.dirname(path), mode=0o700)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise translate(error, f"cannot open {os.path.basename(path)}") from error
    try:
        if fcntl is None:
            yield True
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
