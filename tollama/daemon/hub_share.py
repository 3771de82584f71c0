"""This machine's models as a hub for others: `tollama pull NAME --from http://HOST:11435`.

Served below /hub in the wire of Hugging Face's hub, so that the ordinary download resumes and
verifies (and other tools can read from it with HF_ENDPOINT=http://HOST:11435/hub):

    GET /hub/api/models/<repo>/revision/<rev>   the commit, and every file with size and sha256
    GET /hub/api/models/<repo>/tree/<rev>       the same as a tree listing
    GET /hub/<repo>/resolve/<rev>/<path>        a file, with Range and If-Range

<repo> is ORG/NAME of a model that was pulled from a hub, or the model's own name here. Only files
of a manifest are served, and only by the names that it gives them.

Not covered: who may read (access.py) and uploads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from tollama.core import protocol
from tollama.core.errors import BadHttp
from tollama.daemon.http_message import Reply, Request
from tollama.models import blobs, store

PREFIX = "/hub/"
BLOCK = 1 << 20


def answer(home: str, request: Request) -> Reply:
    """The answer to a GET or HEAD below /hub."""
    parts = [unquote(part) for part in request.raw_path[len(PREFIX) :].split("/")]
    listing = parts[:2] == ["api", "models"]
    if listing:
        parts = parts[2:]
    for at in (1, 2):  # a repository is NAME or ORG/NAME
        if len(parts) > at + 1 and parts[at] in ("revision", "tree", "resolve"):
            repo, what, revision, rest = parts[:at], parts[at], parts[at + 1], parts[at + 2 :]
            break
    else:
        if not listing or not 1 <= len(parts) <= 2:
            return _refused(404, None, "no such page")
        repo, what, revision, rest = parts, "revision", "main", []
    if listing == (what == "resolve") or bool(rest) != (what == "resolve"):
        return _refused(404, None, "no such page")
    named = _named(home, "/".join(repo))
    if not named:
        return _refused(404, "RepoNotFound", f"no model {'/'.join(repo)[:100]} is installed here")
    model = next((one for one in named if revision in _revisions(one)), None)
    if model is None:
        return _refused(404, "RevisionNotFound", f"revision {revision[:100]} is not here")
    if what == "resolve":
        return _file(model, "/".join(rest), request)
    files = [_listed(file, what) for file in model.manifest["files"]]
    if what == "tree":
        return Reply(body=protocol.dumps(files))
    info = {"id": "/".join(repo), "sha": commit_of(model), "siblings": files}
    return Reply(body=protocol.dumps(info))


def commit_of(model: store.Installed) -> str:
    """The commit of a model; for one without, 40 digits that change with any byte of it."""
    commit = model.manifest["resolved"].get("commit_sha")
    if blobs.is_commit(commit):
        return str(commit)
    return blobs.digest_of(model.manifest["files"]).removeprefix("sha256:")[:40]


def _named(home: str, repo: str) -> list[store.Installed]:
    """The installed models with files that a repository's name means."""
    found = []
    for model in store.listed(home)[0]:
        source = model.manifest["source"]
        own = source.get("repo_id") if source.get("type") == "huggingface" else None
        if repo.lower() in (str(own).lower(), model.name.lower()) and _served(model):
            found.append(model)
    # One that was pulled by its branch speaks for the branch, before a pinned one and copies.
    return sorted(found, key=lambda one: one.manifest["source"].get("revision") != "main")


def _served(model: store.Installed) -> bool:
    return bool(model.manifest.get("files")) and model.snapshot is not None


def _revisions(model: store.Installed) -> set[str]:
    return {"main", str(model.manifest["source"].get("revision")), commit_of(model)}


def _listed(file: dict[str, Any], what: str) -> dict[str, Any]:
    """A file as the two listings of a hub have it."""
    path, size, sha256 = file["path"], file["size"], file["sha256"]
    # What stands for a git blob is not one: only sha256 is known of every file.
    if what == "tree":
        lfs = {"oid": sha256, "size": size, "pointerSize": 0}
        return {"type": "file", "path": path, "size": size, "oid": sha256[:40], "lfs": lfs}
    lfs = {"sha256": sha256, "size": size, "pointerSize": 0}
    return {"rfilename": path, "size": size, "blobId": sha256[:40], "lfs": lfs}


def _file(model: store.Installed, path: str, request: Request) -> Reply:
    """A file's bytes, or those of the range that was asked for."""
    file = next((one for one in model.manifest["files"] if one["path"] == path), None)
    if file is None:
        return _refused(404, "EntryNotFound", f"no file {path[:100]}")
    full = os.path.join(model.snapshot or "", *path.split("/"))
    size = file["size"]
    try:
        found = os.path.getsize(full)
    except OSError:
        return _refused(404, "EntryNotFound", f"{path[:100]} is missing on this machine")
    if found != size:
        return _refused(404, "EntryNotFound", f"{path[:100]} is damaged on this machine")
    etag = f'"{file["sha256"]}"'
    headers = [
        ("ETag", etag),
        ("X-Repo-Commit", commit_of(model)),
        ("X-Linked-Etag", etag),
        ("X-Linked-Size", str(size)),
        ("Accept-Ranges", "bytes"),
    ]
    start, stop, status = 0, size, 200
    asked = request.headers.get("range")
    if asked is not None and request.headers.get("if-range") in (None, etag):
        part = _range(asked, size)
        if part is not None:
            start, stop = part
            status = 206
            if start >= stop:
                return Reply(416, b"", headers=(("Content-Range", f"bytes */{size}"),))
            headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
    return Reply(
        status,
        content_type="application/octet-stream",
        headers=tuple(headers),
        stream=_blocks(full, start, stop),
        length=stop - start,
    )


def _range(text: str, size: int) -> tuple[int, int] | None:
    """The bytes of one range as (start, stop); None for what is not one, which is ignored."""
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", text.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return max(0, size - int(match[2])), size
    start = int(match[1])
    stop = min(size, int(match[2]) + 1) if match[2] else size
    if match[2] and int(match[2]) < start:
        raise BadHttp(f"header range: expected a range that begins before it ends, got {text[:60]}")
    return start, stop


def _blocks(path: str, start: int, stop: int) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as stream:
        stream.seek(start)
        left = stop - start
        while left:
            block = stream.read(min(BLOCK, left))
            if not block:
                return
            left -= len(block)
            yield block


def _refused(status: int, code: str | None, text: str) -> Reply:
    headers = [("X-Error-Message", text.encode("ascii", "replace").decode())]
    if code is not None:
        headers.append(("X-Error-Code", code))
    body = protocol.dumps({"error": text, "code": "not_found", "detail": text})
    return Reply(status, body, headers=tuple(headers))
