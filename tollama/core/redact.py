"""Secrets taken out of what people see: logs, errors, /api/info, progress lines.

Covered: hub tokens (hf_...), API keys (tk-...), bearer and basic credentials, `token=` parameters
and passwords in URLs. Not covered: secrets that look like ordinary words; nothing is logged with
values of a request in the first place.
"""

from __future__ import annotations

import re

HIDDEN = "***"

_RULES = (
    # user:password@ in a URL; the user name alone may be a token too
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@\"']+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), f"hf_{HIDDEN}"),
    (re.compile(r"\btk-[A-Za-z0-9_-]{3,}"), f"tk-{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{3,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(?i)\b((?:access_)?token|api_?key|password)=[^&\s\"']+"), rf"\1={HIDDEN}"),
)


def text(value: str, *secrets: str | None) -> str:
    """The text without anything that looks like a secret, and without the given ones."""
    for secret in secrets:
        if secret:
            value = value.replace(secret, HIDDEN)
    for pattern, replacement in _RULES:
        value = pattern.sub(replacement, value)
    return value
