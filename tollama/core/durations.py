"""Durations as Ollama writes them: seconds as a number, or Go's "5m", "1h30m", "300ms".

Negative means for ever, zero means not at all.
"""

from __future__ import annotations

import re

from tollama.core import fields
from tollama.core.errors import Loc, shown

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)")


def parse(text: str) -> float | None:
    """A duration in seconds, or None when the text is not one; a bare number is seconds."""
    if _NUMBER.fullmatch(text):
        return float(text)
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text.lstrip("+-") if len(text) - len(text.lstrip("+-")) <= 1 else ""
    if not rest:
        return None
    total, at = 0.0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None:
            return None
        total += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    return sign * total


def keep_alive(value: object, loc: Loc) -> float:
    """How long a model stays loaded, in seconds; negative = for ever."""
    if type(value) is str:
        seconds = parse(value)
        if seconds is not None:
            return seconds
    elif type(value) in fields.NUMBER_TYPES and fields.is_finite(value):
        return float(value)  # type: ignore[arg-type]
    raise fields.fail(
        loc, f"expected seconds or a duration such as '5m' or '1h30m', got {shown(value)}"
    )
