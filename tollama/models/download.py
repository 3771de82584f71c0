"""Fetch one file of a repository: resume, verify while it streams, try again with patience.

Bytes go straight to a `.part` file with os.write, so that whatever was received survives the end of
this process at any moment. A part is continued by a Range request bound to its ETag; a hub that
ignores the range, or has another ETag, makes that file start again. The hash of what was kept is
taken from disk, so nothing is fetched twice.

Not covered: which files, and how many at once (models/hub_child.py); HTTP itself
(models/hub_wire.py).
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import threading
import time
from collections import namedtuple

from tollama.core.errors import CorruptDownload, HubError
from tollama.models.blobs import Hashes, Place, disk_error, forget, mismatch
from tollama.models.hub_listing import Remote
from tollama.models.hub_trouble import Trouble
from tollama.models.hub_wire import Hub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

FIRST_WAIT = 0.5
LONGEST_WAIT = 20.0
ANSWERED = 6
LONGEST_RETRY_AFTER = 300.0
SLOWEST = 256  # bytes per second over a whole stall time; below that a line counts as dead

# tries without progress before giving up; `warn` shows a line to the person who waits
Patience = namedtuple("Patience", ["tries", "warn"])
# a finished file: the path, its size and its sha256, and the name of its bytes in a cache
Fetched = namedtuple("Fetched", ["path", "size", "sha256", "key"])


class Progress:
    """Bytes and files done so far, added up over all files."""

    def __init__(self, total: int, files: int) -> None:
        self.total = total
        self.files = files
        self.files_done = 0
        self._done: dict[str, int] = {}
        self._lock = threading.Lock()

    def set(self, path: str, done: int) -> None:
        self._done[path] = done

    def finish(self, path: str, size: int) -> None:
        with self._lock:
            self._done[path] = size
            self.files_done += 1

    def done(self) -> int:
        return sum(list(self._done.values()))


class Limiter:
    """A shared bound on bytes per second; without a rate it never waits."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def pay(self, size: int) -> None:
        if not self.rate:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size / self.rate
            wait = self._free_at - now
        time.sleep(wait)


def patiently(call: Callable[[], T], patience: Patience) -> T:
    """Call until it works, pausing longer after each failure that may pass.

    A hub that answers, and only has trouble, is given more time than one that is not there.
    """
    for attempt in itertools.count(1):
        try:
            return call()
        except Trouble as trouble:
            tries = patience.tries if trouble.status is None else max(patience.tries, ANSWERED)
            if not trouble.retry or attempt >= tries:
                raise
            pause(trouble, attempt - 1, patience)
    raise AssertionError("the loop ends by itself")


def pause(trouble: Trouble, attempt: int, patience: Patience) -> None:
    """Wait before another try: what the hub asked for, else twice as long each time."""
    wait = trouble.wait
    if wait is None:
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.7, 1.0)
    elif wait > LONGEST_RETRY_AFTER:
        raise Trouble(trouble.error, retry=False)
    if wait >= 1:
        patience.warn(f"{trouble.error.message}; trying again in {wait:.0f} s")
    time.sleep(wait)


class Download:
    """One file on its way to its place."""

    def __init__(
        self, hub: Hub, place: Place, file: Remote, commit: str, *, progress: Progress,
        limiter: Limiter, patience: Patience,
    ) -> None:  # fmt: skip
        self.hub = hub
        self.place = place
        self.file = file
        self.commit = commit
        self.progress = progress
        self.limiter = limiter
        self.patience = patience
        self.key = key_of(file, commit)
        self.part = place.part(self.key, file.path)
        self.note = self.part + ".json"
        self.size: int | None = file.size
        self.hashes = self._fresh()
        self.offset = 0

    def missing(self) -> int:
        """How many bytes still have to be stored, by the sizes on disk."""
        target = self.place.target(self.file.path, self.key)
        if os.path.isfile(target) and os.path.getsize(target) == self.file.size:
            return 0
        kept = os.path.getsize(self.part) if os.path.isfile(self.part) else 0
        return max(0, (self.file.size or 0) - kept)

    def run(self) -> Fetched:
        """The file, verified; `settle` puts it in its place; raises Trouble or TollamaError."""
        try:
            kept = self._kept()
            if kept is not None:
                return kept
            return self._fetch()
        except OSError as error:
            raise disk_error(error) from None

    def _kept(self) -> Fetched | None:
        """The file as an earlier pull, or another tool, left it; only when its hash is right."""
        if not (self.file.sha256 or self.file.blob_id):
            return None
        target = self.place.target(self.file.path, self.key)
        if not os.path.isfile(target) or os.path.getsize(target) != self.file.size:
            return None
        hashes = self._fresh()
        hashes.read(target)
        if mismatch(hashes, sha256=self.file.sha256, blob_id=self.file.blob_id):
            return None
        forget(self.part)
        return self._finished(hashes, self.file.size)

    def _fetch(self) -> Fetched:
        wrong: str | None = None
        for again in (True, False):
            self._receive()
            wrong = self._wrong()
            if wrong is None:
                forget(self.note)
                return self._finished(self.hashes, self.offset)
            self._restart()
            if again:
                self.patience.warn(f"{self.file.path}: {wrong}; fetching this file again")
        raise CorruptDownload(
            f"{self.file.path}: {wrong}, twice: the hub, or something on the way, changes the "
            "file; pull again later or from another --endpoint"
        )

    def _wrong(self) -> str | None:
        if self.size is not None and self.offset != self.size:
            return f"{self.offset} bytes, expected {self.size}"
        if self.file.blob_id and self.hashes.blob_id() is None:  # its size was not known in time
            self.hashes = Hashes(git_size=self.offset)
            self.hashes.read(self.part)
        return mismatch(self.hashes, sha256=self.file.sha256, blob_id=self.file.blob_id)

    def settle(self) -> None:
        """Put the verified file in its place.

        Done for all files at the end of a pull: one that breaks off leaves the snapshot that was
        there before whole.
        """
        try:
            self.place.finish(self.file.path, self.key)
            self.place.link(self.file.path, self.key)
        except OSError as error:
            raise disk_error(error) from None

    def _finished(self, hashes: Hashes, size: int) -> Fetched:
        self.progress.finish(self.file.path, size)
        return Fetched(self.file.path, size, hashes.sha256(), self.key)

    # -- receiving --------------------------------------------------------------------------

    def _receive(self) -> None:
        """Bring the part to its full length, over as many connections as that takes."""
        self._reopen()
        failures, furthest = 0, self.offset
        while True:
            try:
                if self._complete() or self._stream():
                    return
                trouble = Trouble(HubError(f"{self.file.path}: the line broke"), retry=True)
            except Trouble as caught:
                trouble = caught
            if self.offset > furthest:
                failures, furthest = 0, self.offset
                if trouble.wait is None and trouble.retry:
                    time.sleep(0.05)  # the line carried something: go on at once
                    continue
            failures += 1
            if not trouble.retry or failures >= self.patience.tries:
                raise trouble
            pause(trouble, failures - 1, self.patience)

    def _complete(self) -> bool:
        return self.size is not None and self.offset >= self.size

    def _reopen(self) -> None:
        """Take up a part that an earlier process left."""
        self.hashes = self._fresh()
        self.offset = 0
        if os.path.exists(self.part):
            if self.size is not None and os.path.getsize(self.part) > self.size:
                forget(self.part)
            else:
                self.offset = self.hashes.read(self.part)
        self.progress.set(self.file.path, self.offset)

    def _restart(self) -> None:
        forget(self.part)
        forget(self.note)
        self.hashes = self._fresh()
        self.offset = 0
        self.progress.set(self.file.path, 0)

    def _stream(self) -> bool:
        """One connection; whether the file is complete. The part grows by what came."""
        etag = self._read_note() if self.offset else None
        headers = {}
        if self.offset:
            headers["Range"] = f"bytes={self.offset}-"
            if etag and not etag.startswith("W/"):
                headers["If-Range"] = etag
        try:
            opened = self.hub.open(self.hub.file_url(self.file.path, self.commit), headers=headers)
        except Trouble as trouble:
            if trouble.status == 416 and self.offset:
                self._restart()
                return False
            raise
        with opened as response:
            tag = response.headers.get("etag")
            total = self._take_up(response.status_code, response.headers)
            if total is not None and self.size is not None and total != self.size:
                self._restart()
                raise Trouble(
                    CorruptDownload(
                        f"{self.file.path}: the hub sends {total} bytes and lists {self.size}: "
                        "pull again later or from another --endpoint"
                    ),
                    retry=False,
                )
            other = self.offset and etag and tag and tag != etag
            if other or (self.offset == 0 and response.status_code == 206):
                self._restart()
                return False
            if self.offset == 0:
                if tag:
                    self._write_note(tag)
                if self.size is None and total is not None:
                    self.size = total
                    self.hashes = self._fresh()
            self._pour(response)
            return self._complete() or self.size is None

    def _take_up(self, status: int, headers: Any) -> int | None:
        """Settle where this answer's bytes belong; the file's whole length when it says so."""
        if status == 206:
            match = re.fullmatch(
                r"bytes (\d+)-\d+/(\d+|\*)", headers.get("content-range", "").strip()
            )
            if match and int(match[1]) == self.offset:
                return None if match[2] == "*" else int(match[2])
            self._restart()  # a range that was not asked for
            return None
        if self.offset:
            self._restart()  # the hub ignored the range, or the file changed
        length = headers.get("content-length", "")
        return int(length) if length.isdigit() else None

    def _pour(self, response: Any) -> None:
        stalled_at, mark = time.monotonic() + self.hub.stall, self.offset
        slowest = 0 if self.limiter.rate else SLOWEST * self.hub.stall
        descriptor = os.open(
            self.part, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644
        )
        try:
            os.ftruncate(descriptor, self.offset)
            os.lseek(descriptor, self.offset, os.SEEK_SET)
            for chunk in self.hub.chunks(response):
                self._append(descriptor, chunk)
                if self._complete():
                    continue  # whatever else comes is not part of the file
                self.limiter.pay(len(chunk))
                now = time.monotonic()
                if now > stalled_at:
                    if self.offset - mark < slowest:
                        raise self._stalled()
                    stalled_at, mark = now + self.hub.stall, self.offset
            if self._complete():
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _append(self, descriptor: int, chunk: bytes) -> None:
        view = memoryview(chunk)
        if self.size is not None:
            view = view[: self.size - self.offset]
        while view:
            written = os.write(descriptor, view)
            self.hashes.update(view[:written])
            self.offset += written
            view = view[written:]
        self.progress.set(self.file.path, self.offset)

    def _stalled(self) -> Trouble:
        return Trouble(
            HubError(f"{self.file.path}: the line gave almost nothing for {self.hub.stall:g} s"),
            retry=True,
        )

    # -- notes ------------------------------------------------------------------------------

    def _fresh(self) -> Hashes:
        return Hashes(git_size=self.size if self.file.blob_id else None)

    def _read_note(self) -> str | None:
        try:
            with open(self.note) as stream:
                etag = json.load(stream)["etag"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return etag if isinstance(etag, str) else None

    def _write_note(self, etag: str) -> None:
        with open(self.note + ".tmp", "w") as stream:
            json.dump({"path": self.file.path, "etag": etag}, stream)
        os.replace(self.note + ".tmp", self.note)


def key_of(file: Remote, commit: str) -> str:
    """The name of a file's bytes: their hash; where the hub gives none, one of commit and path."""
    if file.sha256 or file.blob_id:
        return str(file.sha256 or file.blob_id)
    import hashlib

    return hashlib.sha256(f"{commit}\0{file.path}".encode()).hexdigest()
