"""Whether a model's files on disk are still what its manifest says.

Not covered: repairing, which `pull --force` and `import` do.
"""

from __future__ import annotations

import hashlib
import os
import stat

from tollama.core.errors import CorruptDownload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tollama.models.store import Installed

    Report = Callable[[str, int, int], None]

CHUNK = 1 << 20


def problems(model: Installed, report: Report) -> list[dict[str, str]]:
    """What is wrong with a model's files, each {"path", "problem"}; empty when nothing is."""
    files = model.manifest.get("files") or ()
    total = sum(file["size"] for file in files)
    found, done = [], 0
    for file in files:
        path = os.path.join(model.snapshot or model.folder, *file["path"].split("/"))
        problem = _problem(path, file, f"verifying {model.name}", done, total, report)
        if problem is not None:
            found.append({"path": file["path"], "problem": problem})
        done += file["size"]
    return found


def _problem(
    path: str, file: dict[str, Any], label: str, before: int, total: int, report: Report
) -> str | None:
    digest, done = hashlib.sha256(), 0
    try:
        with open(path, "rb", buffering=0) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                return "not a file"
            if status.st_size != file["size"]:
                return f"{status.st_size} bytes, expected {file['size']}"
            while data := stream.read(CHUNK):
                digest.update(data)
                done += len(data)
                report(label, before + done, total)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    if digest.hexdigest() != file["sha256"]:
        return f"sha256 is {digest.hexdigest()[:16]}..., expected {file['sha256'][:16]}..."
    return None


def failure(model: Installed, found: list[dict[str, str]]) -> CorruptDownload:
    """The error for files that are not what they should be, with the command that mends them."""
    name = model.name
    shown = "; ".join(f"{one['path']}: {one['problem']}" for one in found[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    source = model.manifest["source"]
    if source.get("type") == "local-dir":
        mend = f"tollama pull {name} --from-dir DIR"
    elif source.get("type") == "converted":
        mend = f"tollama create {name} --from MODEL --dtype {source.get('dtype')}"
    else:
        mend = f"tollama pull {name} --force, or, without network, tollama import KIT"
    return CorruptDownload(
        f"model '{name}': {shown}{more}; get it again with: {mend}", detail=found
    )
