"""Model names: the grammar, and the one function that turns a name into a folder.

    NAME               [A-Za-z0-9][A-Za-z0-9._-]{0,127}, unique without regard to case
    NAME:latest        the same as NAME; other tags are refused
    hf.co/ORG/REPO     any repository of a Hugging Face hub; its folder is hf.co--ORG--REPO
    ...@REVISION       (pull only) a branch, tag or commit after either form

Paths are built here only, from checked names only.
"""

from __future__ import annotations

import re

from tollama.core.errors import InvalidRequest, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10)}
HUB_PREFIX = "hf.co/"
_EXPECTED = (
    "expected a name of letters, digits, '.', '_' and '-' that begins with a letter or digit, "
    "or hf.co/ORG/REPO"
)


# Names that were good before: every request names its model.
_good: dict[str, str] = {}


def check(name: object) -> str:
    """A model name in its canonical form (without :latest); raises InvalidRequest otherwise."""
    known = _good.get(name) if type(name) is str else None
    if known is not None:
        return known
    base, problem = _read(name)
    if problem:
        raise InvalidRequest(f"model {shown(name)}: {problem}")
    if len(_good) > 1000:
        _good.clear()
    _good[str(name)] = base
    return base


def reader(value: object, loc: Any) -> str:
    """`check` as a reader of fields.py, so that the error has the field's path."""
    known = _good.get(value) if type(value) is str else None
    if known is not None:
        return known
    base, problem = _read(value)
    if problem:
        raise InvalidRequest.of([(loc, f"{problem}, got {shown(value)}")])
    return base


def _read(name: object) -> tuple[str, str]:
    """The canonical form of a name, and what is wrong with it."""
    if type(name) is not str:
        return "", _EXPECTED
    base, colon, tag = name.partition(":")
    if colon and tag != "latest":
        return base, "expected no tag or ':latest'"
    if base.startswith(HUB_PREFIX):
        org, slash, repo = base[len(HUB_PREFIX) :].partition("/")
        if not slash or not _part(org) or not _part(repo):
            return base, "expected hf.co/ORG/REPO"
        return base, ""
    if not _NAME.fullmatch(base) or ".." in base or base.endswith("."):
        return base, _EXPECTED
    # Windows gives these names to devices, whatever their ending.
    if base.partition(".")[0].lower() in _RESERVED:
        return base, "expected another name, this one is reserved on Windows"
    if base.lower().startswith("hf.co--"):
        return base, "expected hf.co/ORG/REPO for a hub model"
    return base, ""


def _part(text: str) -> bool:
    return bool(_PART.fullmatch(text)) and ".." not in text and "--" not in text


def with_revision(name: object) -> tuple[str, str | None]:
    """A name as `pull` takes it: (canonical name, revision or None)."""
    if type(name) is not str:
        raise InvalidRequest(f"model {shown(name)}: {_EXPECTED}")
    base, at, revision = name.partition("@")
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise InvalidRequest(
            f"model {shown(name)}: expected a branch, tag or commit after '@', "
            f"got {shown(revision)}"
        )
    return check(base), revision or None


def folder(name: str) -> str:
    """The folder of a canonical name under models/: lower case, '/' as '--'."""
    return check(name).replace("/", "--").lower()


def same(one: str, other: str) -> bool:
    """Whether two canonical names mean one model (names do not differ by case alone)."""
    return one.lower() == other.lower()
