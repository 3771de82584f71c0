"""Failing disks: every change below a folder is counted, and one of them fails or ends the process.

`arm` patches the functions of `os` and `io` in this process, so it belongs into a child that does
one thing. Several processes share one count through a file.

Not covered: changes made by C code without them (sqlite, shutil's sendfile, which is turned off).
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
import shutil
import signal

# What may fail; the others are only counted, since a crash may come after them.
FAILING = ("open", "write", "fsync", "replace", "rename", "link", "symlink", "mkdir", "ftruncate")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Disk:
    """The count and the fault: `at` is the number of the change that goes wrong."""

    def __init__(self, folder: str, counter: str, kind: str, at: int) -> None:
        self.folder = os.path.realpath(folder) + os.sep
        self.kind = kind
        self.at = at
        self.real = {"open": os.open, "write": os.write}
        self.path = counter
        self.owner = -1
        self.counter = -1

    def inside(self, target: object) -> bool:
        """Whether a path or a descriptor lies in the folder."""
        if isinstance(target, int):
            try:
                path = os.readlink(f"/proc/self/fd/{target}")
            except OSError:
                return False
        else:
            path = os.path.abspath(os.fsdecode(target))  # type: ignore[arg-type]
        return path.startswith(self.folder)

    def change(self, name: str, target: object) -> None:
        """One more change is about to be made."""
        if not self.inside(target):
            return
        if self.owner != os.getpid():  # a lock is shared with the child of a fork
            self.owner = os.getpid()
            self.counter = self.real["open"](self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        fcntl.flock(self.counter, fcntl.LOCK_EX)
        number = os.fstat(self.counter).st_size
        if self.kind == "crash" and number == self.at:
            os.killpg(0, signal.SIGKILL)
        self.real["write"](self.counter, b".")
        fcntl.flock(self.counter, fcntl.LOCK_UN)
        if self.kind != "crash" and number == self.at and name in FAILING:
            code = getattr(errno, self.kind)
            raise OSError(code, os.strerror(code))


class Stream:
    """A file object whose writes are changes."""

    def __init__(self, file: io.IOBase, disk: Disk) -> None:
        self._file = file
        self._disk = disk

    def write(self, data: bytes) -> int:
        self._disk.change("write", self._file.fileno())
        return self._file.write(data)  # type: ignore[no-any-return,attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __iter__(self) -> object:
        return iter(self._file)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def arm(folder: str, counter: str, kind: str, at: int) -> None:
    """From now on the change number `at` below `folder` goes wrong: ENOSPC, EIO or crash."""
    disk = Disk(folder, counter, kind, at)
    shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]
    shutil._USE_CP_COPY_FILE_RANGE = False  # type: ignore[attr-defined]

    def patch(name: str, where: int = 0) -> None:
        real = getattr(os, name)

        def patched(*args: object, **options: object) -> object:
            # A removal below a folder's descriptor is one in the folder.
            target = options.get("dir_fd") if options.get("dir_fd") is not None else args[where]
            disk.change(name, target)
            return real(*args, **options)

        setattr(os, name, patched)

    for name in ("write", "fsync", "ftruncate", "mkdir", "unlink", "remove", "rmdir"):
        patch(name)
    for name in ("replace", "rename", "link", "symlink"):
        patch(name, 1)

    real_open, real_fdopen, real_io = os.open, os.fdopen, io.open

    def open_(path: object, flags: int, *args: object, **options: object) -> int:
        if flags & WRITES:
            disk.change("open", path)
        return real_open(path, flags, *args, **options)  # type: ignore[arg-type]

    def wrapped(file: object, mode: str = "r", *args: object, **options: object) -> object:
        if not set(mode) & set("wax+"):
            return real_io(file, mode, *args, **options)  # type: ignore[call-overload]
        if not isinstance(file, int):
            disk.change("open", file)
        made = real_io(file, mode, *args, **options)  # type: ignore[call-overload]
        return Stream(made, disk) if disk.inside(made.fileno()) else made

    def fdopen(fd: int, mode: str = "r", *args: object, **options: object) -> object:
        made = real_fdopen(fd, mode, *args, **options)  # type: ignore[call-overload]
        return Stream(made, disk) if disk.inside(fd) and set(mode) & set("wax+") else made

    os.open, os.fdopen = open_, fdopen  # type: ignore[assignment]
    builtins.open = io.open = wrapped  # type: ignore[assignment]
