"""What a repository holds: its commit, and its files with sizes and hashes.

Mirrors answer less than the hub does. A hash is taken from the model's listing, else from the tree
listing, else from the headers of the file's own address; a commit from the listing, else from a
pinned revision, else from X-Repo-Commit. Names are checked here: nothing unsafe goes any further.

Not covered: which of the files a pull takes (models/hub_child.py).
"""

from __future__ import annotations

import json
import re
from collections import namedtuple
from urllib.parse import quote, urljoin

from tollama.core.errors import HubError, HubNotFound, shown
from tollama.models.blobs import is_commit, safe_name
from tollama.models.hub_trouble import Trouble, strange
from tollama.models.hub_wire import Hub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_PAGES = 100

# path; size in bytes, sha256 and git blob id, each None when the hub does not say
Remote = namedtuple("Remote", ["path", "size", "sha256", "blob_id"])


def commit(hub: Hub) -> str:
    """The commit that the revision stands for now."""
    return _commit(hub, _listing(hub, ""))


def files(hub: Hub) -> tuple[str, list[Remote]]:
    """The commit and all its files."""
    info = _listing(hub, "?blobs=true")
    siblings = info.get("siblings")
    if not isinstance(siblings, list):
        raise strange(hub.asked, "lists no files")
    found = _commit(hub, info)
    listed = [_remote(hub, item, "rfilename", "blobId", "sha256") for item in siblings]
    if any(_incomplete(file) for file in listed):
        known = {file.path: file for file in _tree(hub, found)}
        listed = [known.get(file.path, file) for file in listed]
    return found, listed


def measured(hub: Hub, file: Remote, commit: str) -> Remote:
    """A file with size and hash from the headers of its address, where the listings had none."""
    if not _incomplete(file):
        return file
    url = hub.file_url(file.path, commit)
    with hub.open(url, method="HEAD", follow=False) as response:
        headers = response.headers
        tag = (headers.get("x-linked-etag") or headers.get("etag") or "").strip('W/"').lower()
        size = headers.get("x-linked-size")
        if size is None and not response.has_redirect_location:
            size = headers.get("content-length")
    known = int(size) if size and size.isdigit() else None
    return file._replace(
        size=known if file.size is None else file.size,
        sha256=tag if _is_hash(tag, 64) else None,
        blob_id=tag if _is_hash(tag, 40) else None,
    )


def _incomplete(file: Remote) -> bool:
    return file.size is None or not (file.sha256 or file.blob_id)


def _listing(hub: Hub, query: str) -> dict[str, Any]:
    info = hub.json(f"{_api(hub, 'revision', hub.revision)}{query}")
    if not isinstance(info, dict):
        raise strange(hub.asked, "answers a listing of another form")
    return info


def _api(hub: Hub, what: str, revision: str) -> str:
    return f"{hub.endpoint}/api/models/{hub.repo_id}/{what}/{quote(revision, safe='')}"


def _commit(hub: Hub, info: dict[str, Any]) -> str:
    found, pinned = info.get("sha"), is_commit(hub.revision)
    if is_commit(found):
        if pinned and found != hub.revision:
            raise strange(hub.asked, f"answers commit {found} for revision {hub.revision}")
        return str(found)
    if pinned:
        return hub.revision
    with hub.open(hub.file_url("config.json"), method="HEAD", follow=False) as response:
        found = response.headers.get("x-repo-commit")
    if is_commit(found):
        return str(found)
    raise HubError(
        f"{hub.asked.host} does not say which commit revision {shown(hub.revision)} is: pin one "
        "with NAME@COMMIT"
    )


def _tree(hub: Hub, commit: str) -> Iterator[Remote]:
    """The files as the tree listing has them; nothing from a mirror that has no such listing."""
    url: str | None = f"{_api(hub, 'tree', commit)}?recursive=true"
    for _ in range(MAX_PAGES):
        if url is None:
            return
        try:
            with hub.open(url) as response:
                items = json.loads(hub.body(response))
                link = response.links.get("next", {}).get("url")
        except Trouble as trouble:
            if isinstance(trouble.error, HubNotFound):
                return
            raise
        except (ValueError, RecursionError):
            return
        for item in items if isinstance(items, list) else []:
            if isinstance(item, dict) and item.get("type") == "file":
                yield _remote(hub, item, "path", "oid", "oid")
        url = urljoin(url, link) if link else None


def _remote(hub: Hub, item: object, name: str, oid: str, lfs_oid: str) -> Remote:
    if not isinstance(item, dict):
        raise strange(hub.asked, "lists a file without a name")
    path, size = safe_name(item.get(name)), item.get("size")
    sha256, blob_id = None, item.get(oid)
    lfs = item.get("lfs")
    if isinstance(lfs, dict):  # then the blob id is that of the pointer, not of the file
        size = lfs.get("size", size)
        sha256, blob_id = str(lfs.get(lfs_oid)).removeprefix("sha256:").lower(), None
    return Remote(
        path,
        size if type(size) is int and size >= 0 else None,
        sha256 if _is_hash(sha256, 64) else None,
        blob_id if _is_hash(blob_id, 40) else None,
    )


def _is_hash(value: object, length: int) -> bool:
    return isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{length}}}", value) is not None
