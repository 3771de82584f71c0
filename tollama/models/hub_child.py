"""The download child: reads one task on stdin, writes events and one result as frames on stdout.

    {"id":"1","method":"pull"|"head"|"read","params":<PullSpec and what the method adds>}
    -> {"id":"1","event":{...}} ... {"id":"1","result":{...}} or {"id":"1","error":{...}}

A process of its own, so that proxy, token and endpoint never touch the daemon's environment and
ending the process cancels a pull at once. The task comes through the pipe: neither `ps` nor /proc
shows a token. When stdin ends the child ends, whatever it is doing. Which files a pull takes is
decided here.

Not covered: the parent's side (models/hub.py), HTTP (models/hub_wire.py), one file
(models/download.py).
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import os
import re
import signal
import sys
import threading
import time

from tollama.core import protocol, redact
from tollama.core.errors import HubError, TollamaError, Unsupported
from tollama.models.blobs import Place, check_space, digest_of, disk_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    from tollama.models.download import Download, Progress
    from tollama.models.hub_listing import Remote

TICK = 0.2
FIRST_TRIES = 3  # to reach the hub at all; who is cut off later is given more
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")


def main() -> None:
    """Do the task that stands on stdin; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who ends us
    frames = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not break a frame
    line = sys.stdin.buffer.readline()
    frame = protocol.decode(line)
    if frame is None:
        os._exit(2)
    threading.Thread(target=end_with_parent, daemon=True).start()
    task = Task(frames, frame["id"], frame["params"])
    try:
        task.send(result=getattr(task, frame["method"])())
        # The place stays locked until the parent, who has work to do there, ends us.
        threading.Event().wait()
    except TollamaError as error:
        task.fail(error)
    except BaseException as error:
        task.fail(translated(error))
    finally:
        os._exit(0)  # not waiting for other files' threads: their bytes are on disk already


def end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def translated(error: BaseException) -> TollamaError:
    """Whatever went wrong in a task as an error for people."""
    if isinstance(error, ModuleNotFoundError):  # the parent knows what to say to its last words
        os.write(2, f"{error}\n".encode())
        os._exit(1)
    from tollama.models.hub_trouble import Trouble

    if isinstance(error, Trouble):
        return error.error
    if isinstance(error, OSError):
        return disk_error(error)
    return HubError(f"the download failed: {type(error).__name__}: {error}")


class Task:
    """One task and the pipe to whoever asked for it; its methods are the pipe's methods."""

    def __init__(self, frames: BinaryIO, frame_id: str, spec: dict[str, Any]) -> None:
        self._frames = frames
        self._id = frame_id
        self._lock = threading.Lock()
        self.spec = spec
        set_environment(spec)

    def send(self, **content: object) -> None:
        with self._lock:
            self._frames.write(protocol.encode({"id": self._id, **content}))

    def event(self, status: str, **fields: object) -> None:
        self.send(event={"status": status, **fields})

    def warn(self, message: str) -> None:
        self.event("warning", message=redact.text(message, self.spec["token"]))

    def fail(self, error: TollamaError) -> None:
        error.message = redact.text(error.message, self.spec["token"])
        self.send(error=protocol.error_to_frame(error))

    # -- methods ----------------------------------------------------------------------------

    def head(self) -> dict[str, Any]:
        """The commit that the revision stands for."""
        from tollama.models import hub_listing
        from tollama.models.download import patiently
        from tollama.models.hub_wire import Hub

        hub = Hub(self.spec)
        found = patiently(lambda: hub_listing.commit(hub), self._patience(FIRST_TRIES))
        return {"commit_sha": found, "date": hub.date}

    def read(self) -> dict[str, Any]:
        """The commit and the text of one small file, to look at before anything is downloaded."""
        from tollama.models import hub_listing
        from tollama.models.download import patiently
        from tollama.models.hub_wire import Hub

        hub = Hub(self.spec)
        commit = patiently(lambda: hub_listing.commit(hub), self._patience(FIRST_TRIES))

        def fetch() -> bytes:
            with hub.open(hub.file_url(self.spec["path"], commit)) as response:
                return hub.body(response, self.spec["limit"])

        body = patiently(fetch, self._patience(FIRST_TRIES))
        return {"commit_sha": commit, "text": body.decode("utf-8", "replace")}

    def pull(self) -> dict[str, Any]:
        """Fetch what a model needs; the files with their hashes."""
        from tollama.models import hub_listing
        from tollama.models.download import Download, Limiter, Progress, patiently
        from tollama.models.hub_wire import Hub

        spec = self.spec
        hub = Hub(spec)
        commit, listed = patiently(lambda: hub_listing.files(hub), self._patience(FIRST_TRIES))
        self.event("resolving digest", digest=commit)
        files = []
        for file in wanted(listed, spec["patterns"], spec["repo_id"]):
            measure = functools.partial(hub_listing.measured, hub, file, commit)
            file = patiently(measure, self._patience(FIRST_TRIES))
            files.append(file)
            if not (file.sha256 or file.blob_id):
                self.warn(f"{file.path}: the hub gives no hash for it, so it cannot be verified")
        place = Place(
            dest=spec["dest"], hf_home=spec["hf_home"], repo_id=spec["repo_id"], into=spec["into"]
        )
        place.use_commit(commit)
        progress = Progress(sum(file.size or 0 for file in files), len(files))
        limiter = Limiter(spec["limit_rate"])
        with locked(place, self):
            downloads = [
                Download(
                    hub, place, file, commit, progress=progress, limiter=limiter,
                    patience=self._patience(spec["tries"]),
                )
                for file in files
            ]  # fmt: skip
            check_space(place.parts, sum(download.missing() for download in downloads))
            fetched = self._run(downloads, progress, largest_hash(files))
            self.event("verifying sha256 digest")
            for download in downloads:
                download.settle()
            place.note_ref(hub.revision, commit)
            place.tidy({file.path for file in files})
        found = [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in fetched]
        found.sort(key=lambda file: str(file["path"]))
        return {
            "commit_sha": commit,
            "snapshot_path": place.into or place.snapshot,
            "files": found,
            "size_bytes": sum(f.size for f in fetched),
            "digest": digest_of(found),
        }

    def _run(self, downloads: list[Download], progress: Progress, digest: str) -> list[Any]:
        """All files, `max_workers` at a time, with a line of progress now and then."""
        from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

        pool = ThreadPoolExecutor(self.spec["max_workers"])
        # The large ones first: the small ones fill the gaps while the last large one is on its way.
        order = sorted(downloads, key=lambda d: -(d.file.size or 0))
        futures = [pool.submit(download.run) for download in order]
        shown = None
        while True:
            done, pending = wait(futures, timeout=TICK, return_when=FIRST_EXCEPTION)
            now = (progress.done(), progress.files_done)
            if now != shown:
                shown = now
                self.event(
                    "downloading",
                    completed_bytes=now[0], total_bytes=progress.total,
                    files_completed=now[1], files_total=progress.files,
                    digest=digest, completed=now[0], total=progress.total,
                )  # fmt: skip
            for future in done:
                future.result()
            if not pending:
                return [future.result() for future in futures]

    def _patience(self, tries: int) -> Any:
        from tollama.models.download import Patience

        return Patience(tries, self.warn)


def set_environment(spec: dict[str, Any]) -> None:
    """What the library reads at import; the process did not start with any of it."""
    values = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HOME": spec["hf_home"],
        "http_proxy": spec["http_proxy"],
        "https_proxy": spec["https_proxy"],
        "no_proxy": spec["no_proxy"],
    }
    for name, value in values.items():
        if value:
            os.environ[name] = value


def wanted(files: list[Remote], patterns: list[str] | None, repo_id: str) -> list[Remote]:
    """The files that a pull takes: configuration, tokenizer, licence, weights in safetensors."""
    if patterns:
        found = [f for f in files if any(fnmatch.fnmatchcase(f.path, p) for p in patterns)]
        if not found:
            raise HubError(f"{repo_id} has none of the files {', '.join(patterns)}")
    else:
        found = [f for f in files if "/" not in f.path and needed(f.path)]
        spare = unneeded({f.path for f in found})
        found = [f for f in found if f.path not in spare]
        if not any(f.path.endswith(".safetensors") for f in found):
            pickles = [f.path for f in files if f.path.endswith(PICKLES)]
            hint = f" ({pickles[0]} is a pickle, which could run code)" if pickles else ""
            raise Unsupported(
                f"{repo_id}: expected weights in safetensors, found none{hint}: pull a repository "
                "that has model.safetensors"
            )
    folded = {f.path.lower() for f in found}
    if len(folded) != len(found):
        raise HubError(f"{repo_id} has file names that differ by case alone, which is refused")
    return found


def needed(path: str) -> bool:
    """Whether a file at the top of a repository is one that a model is loaded from."""
    name = path.lower()
    if name.endswith((".safetensors", ".safetensors.index.json")):
        return True
    if name.startswith(("license", "licence", "notice")):
        return True
    return name.endswith(".json") and name != "trainer_state.json"


def unneeded(paths: set[str]) -> set[str]:
    """Weights beside those that a model is loaded from: other precisions, adapters, other forms."""
    main, index = "model.safetensors", "model.safetensors.index.json"
    weights = {path for path in paths if path.endswith((".safetensors", ".safetensors.index.json"))}
    if main in paths:
        return weights - {main}
    parts = {path for path in weights if re.fullmatch(r"model-\d+-of-\d+\.safetensors", path)}
    if index in paths and parts:
        return weights - parts - {index}
    return set()


def largest_hash(files: list[Remote]) -> str:
    """The digest that stands for the whole pull in progress lines: its largest file's."""
    hashed = [file for file in files if file.sha256] or files
    largest = max(hashed, key=lambda file: file.size or 0)
    return f"sha256:{largest.sha256 or '0' * 64}"


@contextlib.contextmanager
def locked(place: Place, task: Task) -> Iterator[None]:
    """Hold the place against other processes that pull into it, until this process ends."""
    try:
        import fcntl
    except ImportError:  # Windows: the daemon alone keeps two pulls of one model apart
        place.prepare()
        yield
        return
    told = False
    while True:
        place.prepare()
        path = os.path.join(place.parts, "lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who held it before us may have removed the file: then lock the new one.
            if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(descriptor)):
                break
        except BlockingIOError:
            if not told:
                told = True
                task.warn("another process is pulling this model; waiting for it")
            time.sleep(TICK)
        os.close(descriptor)
    yield
