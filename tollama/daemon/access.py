"""Who may do what: API keys with scopes, and the rule for callers from elsewhere when there are
none.

Scopes, each including the ones before it: open (health, version), read, forecast, admin (pull,
delete, copy, create). Keys come from TOLLAMA_API_KEYS or from $TOLLAMA_HOME/api_keys, which must be
readable by its owner only: one KEY or SCOPE:KEY a line, or SCOPE:sha256:HEX so that no key lies on
the disk. In memory they are hashes, compared in constant time.

Not covered: the Host and Origin headers (http_guard.py).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from collections.abc import Iterable

from tollama.core.errors import Forbidden, InvalidRequest, Unauthorized
from tollama.daemon.http_message import Request

SCOPES = ("open", "read", "forecast", "admin")
MIN_KEY = 8


class Access:
    """The keys of a daemon."""

    def __init__(self, keys: Iterable[str], home: str) -> None:
        self._keys: list[tuple[bytes, int]] = [_parse(key, "TOLLAMA_API_KEYS") for key in keys]
        self._keys += [_parse(line, "api_keys") for line in _lines(os.path.join(home, "api_keys"))]

    @property
    def required(self) -> bool:
        """Whether callers need a key."""
        return bool(self._keys)

    def check(self, request: Request, scope: str) -> None:
        """Raise Unauthorized or Forbidden unless the caller may use a route of this scope."""
        level = SCOPES.index(scope)
        if level == 0:
            return
        granted = self.level(request)
        if granted is None:
            raise Unauthorized(
                "an API key is needed: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY' "
                "(the command line takes it from TOLLAMA_API_KEY)"
            )
        if granted < level:
            if not self._keys:
                raise Forbidden(
                    f"{request.method} {request.path} is open to loopback only, because the daemon "
                    "has no API keys (TOLLAMA_API_KEYS)"
                )
            raise Forbidden(
                f"this API key has the scope '{SCOPES[granted]}', "
                f"{request.method} {request.path} needs '{scope}'"
            )

    def level(self, request: Request) -> int | None:
        """The caller's highest scope as its place in SCOPES; None without a valid key."""
        if not self._keys:
            return SCOPES.index("admin" if request.is_loopback else "forecast")
        given = request.headers.get("x-api-key") or ""
        scheme, _, value = (request.headers.get("authorization") or "").partition(" ")
        if scheme.lower() == "bearer":
            given = value.strip()
        elif scheme == "AWS4-HMAC-SHA256":
            # boto3 signs and sends no token: the name of its access key is the key.
            given = value.partition("Credential=")[2].partition("/")[0]
        digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).digest()
        found: int | None = None
        for key, level in self._keys:  # all of them, whichever matches: the time says nothing
            if hmac.compare_digest(key, digest):
                found = level if found is None else max(found, level)
        return found

    def is_admin(self, request: Request) -> bool:
        """Whether the caller may do everything."""
        return self.level(request) == SCOPES.index("admin")


def _parse(text: str, where: str) -> tuple[bytes, int]:
    head, colon, rest = text.partition(":")
    scope, key = (head, rest) if colon and head in SCOPES[1:] else ("admin", text)
    if key.startswith("sha256:"):
        try:
            digest = bytes.fromhex(key.removeprefix("sha256:"))
        except ValueError:
            digest = b""
        if len(digest) != 32:
            raise InvalidRequest(f"{where}: expected 64 hex digits after 'sha256:'")
        return digest, SCOPES.index(scope)
    if len(key) < MIN_KEY:
        raise InvalidRequest(f"{where}: expected keys of at least {MIN_KEY} characters")
    return hashlib.sha256(key.encode()).digest(), SCOPES.index(scope)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as stream:
            if os.name == "posix" and stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise InvalidRequest(
                    f"{path}: expected to be readable by its owner only (chmod 600 {path})"
                )
            return [line.strip() for line in stream if line.strip() and line[0] != "#"]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read: {error.strerror}") from None
