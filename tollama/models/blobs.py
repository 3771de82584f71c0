"""Model files on disk: hashes, safe names, and the two places where a pull puts them.

A `folder` place is a plain directory that belongs to one model. A `cache` place is Hugging Face's
own layout, shared with other tools: blobs/<hash>, snapshots/<commit>/<path> linking to them,
refs/<branch>. Partial files live in `.parts` beside either and are named by the hash they shall
have, so that a part of another version of a file is never continued.

Not covered: manifests (models/store.py) and fetching (models/download.py).
"""

from __future__ import annotations

import os
import re
import shutil

from tollama.core.errors import DiskFull, HubError, TollamaError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable, Iterable
    from typing import Any

    Digest = Callable[[], "hashlib._Hash"]

BLOCK = 1 << 20
PARTS = ".parts"
RESERVE = 16 << 20  # bytes left free on the disk, for the manifest and for everybody else

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


class Hashes:
    """The sha256 of a file and, when its size is given, git's blob id, both in one pass."""

    __slots__ = ("_git", "_sha256")

    def __init__(self, git_size: int | None = None) -> None:
        import hashlib

        self._sha256 = hashlib.sha256()
        self._git = None
        if git_size is not None:
            self._git = hashlib.sha1(b"blob %d\0" % git_size, usedforsecurity=False)

    def update(self, data: bytes | memoryview) -> None:
        self._sha256.update(data)
        if self._git is not None:
            self._git.update(data)

    def read(self, path: str, stop: int | None = None) -> int:
        """Take in the first `stop` bytes of a file (all of it without one); how many there were."""
        done = 0
        buffer = bytearray(BLOCK)
        view = memoryview(buffer)
        with open(path, "rb", buffering=0) as stream:
            while stop is None or done < stop:
                want = BLOCK if stop is None else min(BLOCK, stop - done)
                size = stream.readinto(view[:want])
                if not size:
                    break
                self.update(view[:size])
                done += size
        return done

    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def blob_id(self) -> str | None:
        return None if self._git is None else self._git.hexdigest()


def mismatch(
    hashes: Hashes, *, sha256: str | None = None, blob_id: str | None = None
) -> str | None:
    """What is wrong with a file that should have these hashes, or None."""
    if sha256 and hashes.sha256() != sha256:
        return f"sha256 is {hashes.sha256()}, expected {sha256}"
    if blob_id and hashes.blob_id() != blob_id:
        return f"git blob id is {hashes.blob_id()}, expected {blob_id}"
    return None


def is_commit(revision: object) -> bool:
    """Whether a revision is a full commit id."""
    return isinstance(revision, str) and _COMMIT.fullmatch(revision) is not None


def safe_name(name: object) -> str:
    """A file's path as a repository gives it, if it stays inside a folder on every system."""
    parts = name.split("/") if isinstance(name, str) else []
    if isinstance(name, str) and len(name) <= 512 and all(map(_safe_part, parts)):
        return name
    raise HubError(
        f"file name {shown(name)} in the repository is refused: it could leave the model's folder"
    )


def _safe_part(part: str) -> bool:
    return (
        0 < len(part.encode("utf-8", "replace")) <= 255
        and part not in (".", "..", PARTS)
        and part[-1] not in ". "
        and not any(c in '\\:*?"<>|' or ord(c) < 32 or ord(c) == 127 for c in part)
        and not any(0xD800 <= ord(c) <= 0xDFFF for c in part)
        and not _DEVICE.fullmatch(part)
    )


def digest_of(files: Iterable[dict[str, Any]]) -> str:
    """One digest for a set of files: the sha256 of their sorted "<sha256>  <path>" lines."""
    lines = sorted(f"{file['sha256']}  {file['path']}\n" for file in files)
    import hashlib

    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def problem_on_disk(path: str, size: int | None, sha256: str | None) -> str | None:
    """What is wrong with a file on disk, re-hashed, or None."""
    try:
        found = os.path.getsize(path)
        if size is not None and found != size:
            return f"{found} bytes, expected {size}"
        hashes = Hashes()
        hashes.read(path)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return mismatch(hashes, sha256=sha256)


class Place:
    """Where one pull puts its files; `snapshot` is the folder that a runner will load.

    With `into` the files are put together there, and those that are in `dest` already are shared:
    whoever asked puts the new folder in the old one's place.
    """

    def __init__(
        self, *, dest: str | None, hf_home: str | None, repo_id: str, into: str | None = None
    ) -> None:
        self.cache: str | None = None
        self.into = None if hf_home else into
        self.snapshot = dest or ""
        if hf_home:
            folder = "models--" + repo_id.replace("/", "--")
            self.cache = os.path.join(hf_home, "hub", folder)
            self.snapshot = ""
        self.parts = os.path.join(self.cache or dest or "", PARTS)

    def use_commit(self, commit: str) -> None:
        """Settle the commit, which names the snapshot folder of a cache."""
        if self.cache:
            self.snapshot = os.path.join(self.cache, "snapshots", commit)

    def commit_of(self, revision: str) -> str | None:
        """The commit that a cache knows for a branch or tag, without any network."""
        if is_commit(revision):
            return revision
        if self.cache is None:
            return None
        try:
            with open(os.path.join(self.cache, "refs", safe_name(revision))) as stream:
                commit = stream.read(64).strip()
        except (OSError, ValueError, HubError):
            return None
        return commit if is_commit(commit) else None

    def prepare(self) -> None:
        """Create the folders; the error says what to do when the disk refuses."""
        try:
            os.makedirs(self.parts, exist_ok=True)
        except OSError as error:
            raise disk_error(error) from None

    def part(self, key: str, path: str) -> str:
        """Where a file grows; the path's own mark keeps two files of equal content apart."""
        import hashlib

        mark = hashlib.sha256(path.encode()).hexdigest()[:8]
        return os.path.join(self.parts, f"{key}-{mark}.part")

    def target(self, path: str, key: str) -> str:
        """The path of a finished file's bytes."""
        if self.cache:
            return os.path.join(self.cache, "blobs", key)
        return os.path.join(self.snapshot, *path.split("/"))

    def finish(self, path: str, key: str) -> None:
        """Put a part, complete and verified, in its place, where the file is not there already."""
        part, target = self.part(key, path), self.target(path, key)
        if self.into:
            name = os.path.join(self.into, *path.split("/"))
            os.makedirs(os.path.dirname(name), exist_ok=True)
            share(part if os.path.exists(part) else target, name)
        elif os.path.exists(part):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.replace(part, target)

    def link(self, path: str, key: str) -> None:
        """Show a blob of a cache under its name in the snapshot."""
        if not self.cache:
            return
        blob = self.target(path, key)
        name = os.path.join(self.snapshot, *path.split("/"))
        os.makedirs(os.path.dirname(name), exist_ok=True)
        if os.path.lexists(name):
            if os.path.exists(name) and os.path.samefile(name, blob):
                return
            os.unlink(name)
        try:
            os.symlink(os.path.relpath(blob, os.path.dirname(name)), name)
        except OSError:  # no links here (Windows without the right)
            share(blob, name)

    def note_ref(self, revision: str, commit: str) -> None:
        """Record which commit a branch stood for, as other tools do."""
        if not self.cache or is_commit(revision):
            return
        path = os.path.join(self.cache, "refs", safe_name(revision))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(path + ".tmp", "w") as stream:
                stream.write(commit)
            os.replace(path + ".tmp", path)
        except OSError:
            forget(path + ".tmp")
            raise

    def tidy(self, paths: set[str]) -> None:
        """After a success: drop other versions' parts and, in a folder, other commits' files."""
        if self.into:
            return
        shutil.rmtree(self.parts, ignore_errors=True)
        if self.cache:
            return
        for folder, _, names in os.walk(self.snapshot):
            for name in names:
                full = os.path.join(folder, name)
                if os.path.relpath(full, self.snapshot).replace(os.sep, "/") not in paths:
                    forget(full)


def check_space(folder: str, needed: int) -> None:
    """Raise DiskFull unless `needed` more bytes fit."""
    free = shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise DiskFull(
            f"the download needs {size_text(needed)}, the disk has {size_text(free)} free: "
            "make room, or set TOLLAMA_HOME to a larger disk"
        )


def disk_error(error: OSError) -> TollamaError:
    """What a failed write means for the person who pulls."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(
            f"the disk is full ({error.strerror}): make room and pull again, what was fetched is "
            "kept"
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return TollamaError(
            f"the models folder cannot be written ({error.strerror}): set TOLLAMA_HOME to a folder "
            "that you own"
        )
    return TollamaError(f"the models folder cannot be used: {error.strerror or error}")


def size_text(size: float) -> str:
    """A size as people read it."""
    if size < 1000:
        return f"{size:.0f} bytes"
    units = ["kB", "MB", "GB", "TB", "PB"]
    size /= 1000
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.1f} {units[0]}"


def share(source: str, name: str) -> None:
    """A second name for a file's bytes, a copy where the disk has no such thing."""
    try:
        os.link(source, name)
    except OSError:
        shutil.copyfile(source, name)


def forget(path: str) -> None:
    """Delete a file that may be gone already."""
    try:
        os.unlink(path)
    except OSError:
        return
