"""Tokens by host: TOLLAMA_HF_TOKEN holds one token, or HOST=TOKEN pairs for several hubs.

    TOLLAMA_HF_TOKEN=hf_xxx                                   for whatever hub is configured
    TOLLAMA_HF_TOKEN="hub.corp=aaa, 10.0.0.7:11435=bbb"       each for its host only

Not covered: sending them, which models/hub_wire.py binds to one origin.
"""

from __future__ import annotations

import re

_PAIR = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(:\d+)?=(?=[A-Za-z0-9])(.+)")


def pairs(text: str) -> list[tuple[str, str]]:
    """The (host, token) pairs of a value; host is "" for a token that is not bound to one."""
    found = []
    for part in text.replace(",", " ").split():
        match = _PAIR.fullmatch(part)
        if match:
            found.append((match[1].lower() + (match[2] or ""), match[3]))
        else:
            found.append(("", part))
    return found


def for_address(text: str | None, url: str, *, named: bool = False) -> str | None:
    """The token for a hub's address, or None; `named`: only one that names the host."""
    netloc = url.partition("://")[2].partition("/")[0].rpartition("@")[2].lower()
    name = host(url)
    found: dict[str, str] = {}
    for where, token in pairs(text or ""):
        found.setdefault(where, token)
    return found.get(netloc) or found.get(name) or (None if named else found.get(""))


def host(url: str) -> str:
    """The host of an address, without port and credentials."""
    netloc = url.rpartition("://")[2].partition("/")[0].rpartition("@")[2].lower()
    return netloc if netloc.endswith("]") else re.sub(r":\d+$", "", netloc)


def secrets(text: str | None) -> list[str]:
    """Every token in a value, to be hidden wherever it might be shown."""
    return [token for _, token in pairs(text or "")]
