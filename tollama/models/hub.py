"""Pull from a model hub: the parent's side of the download child, and the answer without network.

Covered: starting the child (vendored hub client in the .pyz, the installed one elsewhere), its
frames as progress events, cancelling, an existing Hugging Face cache when offline, checking files
on disk again.

Not covered: what the child does (models/hub_child.py), names, manifests, licences (models/store.py,
the daemon's service), joining two pulls of one model. Nothing here changes this process's
environment.
"""

from __future__ import annotations

import collections
import contextlib
import os
import subprocess
import sys
import threading
from typing import NamedTuple

import tollama
from tollama.core import protocol, redact
from tollama.core.errors import Cancelled, HubError, OfflineMiss, TollamaError
from tollama.models import blobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")
    OnEvent = Callable[[dict[str, Any]], None]

_BOOT = """\
import sys
core, vendor, *others = sys.argv[1:]
sys.path[:0] = [path for path in (vendor, core) if path]
sys.path += [path for path in others if path not in sys.path]
from tollama.models.hub_child import main
main()
"""
# What a download needs of this process's environment.
_KEPT = (
    "PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "WINDIR", "TMPDIR", "TEMP", "TMP", "LANG",
    "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_DIR", "OPENSSL_CONF", "NETRC",
    "RES_OPTIONS",
)  # fmt: skip
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class PullSpec(NamedTuple):
    """What to pull and how; the caller has applied request, environment and config to each field.

    Files go to `dest`, or to Hugging Face's cache under `hf_home` when that is set. `dest` belongs
    to the pull: files of another commit in it go away when the pull succeeds, and not before.
    With `into`, a new folder, `dest` is left alone: the files are put together there. `patterns`
    replaces the usual choice of files. With `inside` only these hosts may have addresses
    of a private network.
    """

    repo_id: str
    revision: str | None = None
    endpoint: str | None = None
    token: str | None = None
    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: str | None = None
    hf_home: str | None = None
    offline: bool = False
    local_files_only: bool = False
    insecure: bool = False
    max_workers: int = 4
    ca_bundle: str | None = None
    limit_rate: float | None = None
    dest: str | None = None
    patterns: tuple[str, ...] | None = None
    stall_timeout: float = 30.0
    tries: int = 8
    inside: list[str] | None = None
    into: str | None = None


class Pulled(NamedTuple):
    """A pull's result; each of `files` is {"path", "size", "sha256"}, `digest` covers them all."""

    commit_sha: str
    snapshot_path: str
    files: list[dict[str, Any]]
    size_bytes: int
    digest: str


def pull(
    spec: PullSpec,
    *,
    on_event: OnEvent,
    cancelled: threading.Event | None = None,
    finish: Callable[[Pulled], None] | None = None,
) -> Pulled:
    """Fetch and verify a model's files; raises HubError and its kin, DiskFull, Cancelled.

    What was received survives any end of this process or of the child; the next pull goes on from
    there. `finish` is called while no other process can pull into the same place.
    """

    def end(result: dict[str, Any]) -> Pulled:
        pulled = Pulled(**result)
        if finish is not None:
            finish(pulled)
        return pulled

    if spec.offline or spec.local_files_only:
        return end(_from_cache(spec, on_event)._asdict())
    return _ask_child("pull", spec, {}, on_event, cancelled, end)


def check_head(spec: PullSpec, cancelled: threading.Event | None = None) -> str:
    """The commit that the revision stands for on the hub now."""
    if spec.offline or spec.local_files_only:
        raise _miss(spec, "checking for a newer commit needs the hub")
    return str(look(spec, cancelled)["commit_sha"])


def look(spec: PullSpec, cancelled: threading.Event | None = None) -> dict[str, Any]:
    """The hub's commit_sha of a revision, and its date as the answer's header has it."""
    return _ask_child("head", spec, {}, _ignore, cancelled, dict)


def read_file(
    spec: PullSpec, path: str, *, limit: int = 1 << 20, cancelled: threading.Event | None = None
) -> tuple[str, str]:
    """The commit and the text of one small file, such as config.json, before anything is pulled."""
    if not (spec.offline or spec.local_files_only):
        extra = {"path": path, "limit": limit}
        answer = _ask_child("read", spec, extra, _ignore, cancelled, dict)
        return str(answer["commit_sha"]), str(answer["text"])
    place, commit = _cached(spec)
    try:
        with open(os.path.join(place.snapshot, *path.split("/")), encoding="utf-8") as stream:
            return commit, stream.read(limit)
    except (OSError, ValueError):
        raise _miss(spec, f"{path} is not in the cache") from None


def verify(path: str, files: list[dict[str, Any]], on_event: OnEvent) -> list[dict[str, str]]:
    """Re-hash a snapshot's files; the problems found, each {"path", "problem"}."""
    total = sum(file["size"] for file in files)
    done, problems = 0, []
    for count, file in enumerate(files):
        on_event(
            {
                "status": "verifying sha256 digest", "digest": "sha256:" + file["sha256"],
                "completed": done, "total": total, "files_completed": count,
                "files_total": len(files),
            }
        )  # fmt: skip
        full = os.path.join(path, *blobs.safe_name(file["path"]).split("/"))
        problem = blobs.problem_on_disk(full, file["size"], file["sha256"])
        if problem is not None:
            problems.append({"path": file["path"], "problem": problem})
        done += file["size"]
    return problems


# -- without network ----------------------------------------------------------------------------


def _from_cache(spec: PullSpec, on_event: OnEvent) -> Pulled:
    """The model as Hugging Face's cache under hf_home has it, verified; no connection is made."""
    place, commit = _cached(spec)
    on_event({"status": "resolving digest", "digest": commit})
    on_event({"status": "verifying sha256 digest"})
    files = []
    for folder, _, names in os.walk(place.snapshot):
        for name in names:
            full = os.path.join(folder, name)
            path = os.path.relpath(full, place.snapshot).replace(os.sep, "/")
            files.append(_cached_file(spec, path, full))
    files.sort(key=lambda file: str(file["path"]))
    names = [str(file["path"]) for file in files]
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise _miss(spec, "the cache has only a part of it")
    size = sum(file["size"] for file in files)
    return Pulled(commit, place.snapshot, files, size, blobs.digest_of(files))


def _cached(spec: PullSpec) -> tuple[blobs.Place, str]:
    place = blobs.Place(dest=spec.dest, hf_home=spec.hf_home, repo_id=spec.repo_id)
    commit = place.commit_of(spec.revision or "main")
    if commit is not None:
        place.use_commit(commit)
    if commit is None or not spec.hf_home or not os.path.isdir(place.snapshot):
        raise _miss(spec, "it is not on this machine")
    return place, commit


def _cached_file(spec: PullSpec, path: str, full: str) -> dict[str, Any]:
    """One file of a cache; the name of the blob behind it is the hash that it must have."""
    try:
        size = os.path.getsize(full)
        hashes = blobs.Hashes(git_size=size)
        hashes.read(full)
    except OSError:
        raise _miss(spec, f"{path} is missing in the cache") from None
    name = os.path.basename(os.path.realpath(full))
    wrong = None
    if os.path.islink(full) and len(name) in (40, 64):
        key = "sha256" if len(name) == 64 else "blob_id"
        wrong = blobs.mismatch(hashes, **{key: name})
    if wrong:
        raise _miss(spec, f"{path} is damaged in the cache")
    return {"path": path, "size": size, "sha256": hashes.sha256()}


def _miss(spec: PullSpec, why: str) -> OfflineMiss:
    usual = os.path.expanduser(os.path.join("~", ".cache", "huggingface"))
    folder = "models--" + spec.repo_id.replace("/", "--")
    if not spec.hf_home and os.path.isdir(os.path.join(usual, "hub", folder)):
        why += f" (other tools have files of it: try --hf-home {usual})"
    return OfflineMiss(
        f"offline, and {spec.repo_id} cannot be pulled: {why}; pull it without --offline, or bring "
        "it with `export` on a connected machine and `import` here"
    )


# -- the child ----------------------------------------------------------------------------------


def _ask_child(
    method: str,
    spec: PullSpec,
    extra: dict[str, Any],
    on_event: OnEvent,
    cancelled: threading.Event | None,
    finish: Callable[[dict[str, Any]], T],
) -> T:
    params = {**spec._asdict(), **extra}
    params["ca_bundle"] = spec.ca_bundle or _ca_of_environment()
    with _start() as child:
        tail: collections.deque[str] = collections.deque(maxlen=20)
        drain = threading.Thread(target=_keep_tail, args=(child.stderr, tail), daemon=True)
        drain.start()
        watch = threading.Thread(target=_kill_when_cancelled, args=(child, cancelled), daemon=True)
        watch.start()
        try:
            return finish(_conversation(child, method, params, on_event, cancelled, tail, drain))
        finally:
            child.kill()
            child.wait()
            drain.join(5)
            watch.join(5)


def _conversation(
    child: subprocess.Popen[bytes],
    method: str,
    params: dict[str, Any],
    on_event: OnEvent,
    cancelled: threading.Event | None,
    tail: collections.deque[str],
    drain: threading.Thread,
) -> dict[str, Any]:
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(protocol.encode({"id": "1", "method": method, "params": params}))
        child.stdin.flush()
    except BrokenPipeError:  # it ended already; why is said below
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()  # with what could not be written still in its buffer
    for line in child.stdout:
        frame = protocol.decode(line)
        if frame is None:
            continue
        if "event" in frame:
            on_event(frame["event"])
        elif "result" in frame:
            result: dict[str, Any] = frame["result"]
            return result
        elif "error" in frame:
            raise protocol.error_from_frame(frame["error"])
    if cancelled is not None and cancelled.is_set():
        raise Cancelled(f"the pull of {params['repo_id']} was cancelled; what was fetched is kept")
    status = child.wait()
    drain.join(5)
    raise _ended(status, "\n".join(tail), params["token"])


def _ended(status: int, stderr: str, token: str | None) -> TollamaError:
    if "No module named 'huggingface_hub'" in stderr or "No module named 'httpx'" in stderr:
        return HubError(
            "pulling needs the Python package huggingface_hub, which this installation lacks: use "
            "tollama.pyz, which carries it, or `pip install huggingface_hub`"
        )
    last = redact.text(stderr.strip().rpartition("\n")[2], token)
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    return HubError(
        f"the download process ended {how}{': ' + last if last else ''}; pull again to go on, what "
        "was fetched is kept"
    )


def _start() -> subprocess.Popen[bytes]:
    core = os.path.dirname(os.path.dirname(os.path.abspath(tollama.__file__)))
    vendor = os.path.join(core, "tollama", "_vendor") if _is_packed(core) else ""
    # The .pyz needs nothing of this machine's site-packages; elsewhere we pass on what we have.
    flags = ["-I", "-S"] if vendor else ["-I"]
    others = [] if vendor else [path for path in sys.path if os.path.isabs(path)]
    # Neither tokens nor proxies are in it: `ps e` and /proc show what a process was started with.
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return subprocess.Popen(
        [sys.executable, *flags, "-c", _BOOT, core, vendor, *others],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=os.path.dirname(core) if os.path.isfile(core) else core,
    )


def _is_packed(core: str) -> bool:
    """Whether `core` is an archive that carries the hub client."""
    if not os.path.isfile(core):
        return False
    import zipfile

    with zipfile.ZipFile(core) as archive:
        try:
            archive.getinfo("tollama/_vendor/huggingface_hub/__init__.py")
        except KeyError:
            return False
    return True


def _kill_when_cancelled(child: subprocess.Popen[bytes], cancelled: threading.Event | None) -> None:
    while cancelled is not None and child.poll() is None:
        if cancelled.wait(0.1):
            child.kill()
            return


def _keep_tail(stream: Any, tail: collections.deque[str]) -> None:
    for line in stream:
        tail.append(line.decode("utf-8", "replace").rstrip())


def _ca_of_environment() -> str | None:
    return next((os.environ[name] for name in _CA_VARIABLES if os.environ.get(name)), None)


def _ignore(event: dict[str, Any]) -> None:
    """For calls whose progress nobody watches."""
