"""Folders in which something is put together before it is installed in one step.

    models/.staging/<id>         on the same disk as the models, so that a rename is enough
    models/.staging/<id>.lock    held while <id> is in use; the kernel drops it when a process dies

What a killed process left is cleared by the next one that stages something or pulls, and by the
daemon when it starts.

Not covered: the step that installs (store.install) and partial downloads, kept on purpose.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time

from tollama.core.errors import DiskFull, TollamaError
from tollama.models import blobs, files, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds after which nobody is at work any more, where there are no locks to tell (Windows).
FORGOTTEN = 86400.0


def root(home: str) -> str:
    """Where the folders lie."""
    return os.path.join(store.models_folder(home), ".staging")


@contextlib.contextmanager
def folder(home: str) -> Iterator[str]:
    """A new empty folder of one's own, gone at the end with whatever is still in it."""
    base = root(home)
    path = os.path.join(base, os.urandom(8).hex())
    with contextlib.ExitStack() as stack:
        # Clearing and beginning exclude each other: a folder is never seen without its lock held.
        with store.changing(home):
            files.make_folder(base)
            _sweep(base)
            stack.enter_context(files.lock(path + ".lock"))
            files.make_folder(path)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            with store.changing(home), contextlib.suppress(OSError):
                os.unlink(path + ".lock")
                os.rmdir(base)


def tidy(home: str) -> None:
    """Clear what killed processes left, here and beside the models; never raises."""
    with contextlib.suppress(OSError, TollamaError), store.changing(home):
        store.sweep(home)
        if os.path.isdir(root(home)):
            _sweep(root(home))
            with contextlib.suppress(OSError):
                os.rmdir(root(home))


def _sweep(base: str) -> None:
    for name in os.listdir(base):
        if not name.endswith(".lock"):
            continue
        lock = os.path.join(base, name)
        with files.lock(lock, wait=False) as free:
            if free and _forgotten(lock):
                shutil.rmtree(lock.removesuffix(".lock"), ignore_errors=True)
                with contextlib.suppress(OSError):
                    os.unlink(lock)


def _forgotten(lock: str) -> bool:
    return os.name == "posix" or time.time() - os.path.getmtime(lock) > FORGOTTEN


def check_room(folder: str, needed: int, what: str) -> None:
    """Raise DiskFull unless `needed` more bytes fit where `folder` is, or will be."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free
    if needed + blobs.RESERVE > free:
        raise DiskFull(
            f"{what} needs {blobs.size_text(needed)}, the disk has {blobs.size_text(free)} free: "
            "make room, or set TOLLAMA_HOME to a larger disk"
        )
