"""models.lock: the models of a machine, pinned to commits, one a line.

    chronos2@<commit> sha256:<digest of its files>
    hf.co/ORG/NAME@<commit> sha256:<digest>
    mock

`tollama list --format lock > models.lock` writes it, `tollama pull -r models.lock` reads it. A line
may be a plain NAME or NAME@REVISION too; "#" begins a comment.

Not covered: what came from no hub, such as your own checkpoints (`tollama export` carries those).
"""

from __future__ import annotations

import sys
from collections import namedtuple

from tollama.core import names
from tollama.core.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEAD = "# models.lock: on another machine, tollama pull -r models.lock\n"

# a model with its revision as `pull` takes it; the digest that its files must have, or None
Entry = namedtuple("Entry", ["model", "digest"])


def parse(text: str, path: str) -> list[Entry]:
    """The entries of a lock file; raises InvalidRequest with every bad line."""
    found: list[Entry] = []
    wrong = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        digest = words[1] if len(words) > 1 else None
        try:
            names.with_revision(words[0])
        except InvalidRequest as error:
            wrong.append(f"{path}:{number}: {error.message}")
            continue
        if len(words) > 2 or (digest is not None and not _is_digest(digest)):
            wrong.append(f"{path}:{number}: expected NAME[@COMMIT] [sha256:DIGEST]")
            continue
        found.append(Entry(words[0], digest))
    if wrong:
        raise InvalidRequest("; ".join(wrong[:5]))
    return found


def _is_digest(text: str) -> bool:
    value = text.removeprefix("sha256:")
    return text != value and len(value) == 64 and not set(value) - set("0123456789abcdef")


def read(path: str) -> list[Entry]:
    """The entries of a file, or of standard input for "-"."""
    try:
        if path == "-":
            return parse(sys.stdin.read(), "stdin")
        with open(path, encoding="utf-8") as stream:
            return parse(stream.read(), path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidRequest(f"{path}: cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path}: expected UTF-8 text") from None


def line(shown: dict[str, Any]) -> str | None:
    """The line for a model as POST /api/show describes it; None when no pull can give it."""
    source, commit = shown["source"], (shown.get("resolved") or {}).get("commit_sha")
    if shown["name"] != base(shown):
        return None  # a copy or a preset: its base has a line of its own
    if source.get("type") == "local" and not shown["model_info"]["files"]:
        return f"{shown['name']}\n"
    if source.get("type") != "huggingface" or not commit:
        return None
    return f"{shown['name']}@{commit} {digest(shown)}\n"


def base(shown: dict[str, Any]) -> str:
    """The model that another one was made from, as its Modelfile says; itself for most."""
    return str(shown["modelfile"].partition("\n")[0].removeprefix("FROM ").strip())


def digest(shown: dict[str, Any]) -> str:
    """The digest of a model's files, whatever revision they were pulled by."""
    from tollama.models.blobs import digest_of

    return digest_of(shown["model_info"]["files"])
