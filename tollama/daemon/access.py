"""Who may do what: API keys with scopes, and the rule for callers from elsewhere when there are
none.

Scopes, each including the ones before it: open (health, version), read, forecast, admin (pull,
delete, copy, create). Keys come from TOLLAMA_API_KEYS or from $TOLLAMA_HOME/api_keys, which must be
readable by its owner only: one KEY or SCOPE:KEY a line, or SCOPE:sha256:HEX so that no key lies on
the disk (`tollama keys add` writes those); what follows a space is a note. The file is read again
when it changes. In memory keys are hashes, compared in constant time.

Not covered: the Host and Origin headers (http_guard.py), how much a caller may ask (limits.py).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable

from tollama.core.errors import Forbidden, InvalidRequest, ReadOnly, Unauthorized
from tollama.daemon.http_message import Request
from tollama.daemon.limits import named

SCOPES = ("open", "read", "forecast", "admin")
ADMIN = SCOPES.index("admin")
MIN_KEY = 8
LOOK_S = 1.0  # a key that was removed is refused after this


class Access:
    """The keys of a daemon. Once it asks for keys it does so until it ends."""

    def __init__(
        self,
        keys: Iterable[str],
        home: str,
        *,
        read_only: bool = False,
        log: Callable[[str, str], None] = lambda text, level: None,
    ) -> None:
        self._fixed = [_parse(key, "TOLLAMA_API_KEYS") for key in keys]
        self._path = os.path.join(home, "api_keys")
        self._stamp = _stamp(self._path)
        self._next_look = time.monotonic() + LOOK_S
        self._keys = self._fixed + read(self._path)
        self._read_only = read_only
        self._log = log
        self.required = bool(self._keys)

    def check(self, request: Request, scope: str) -> None:
        """Raise Unauthorized or Forbidden unless the caller may use a route of this scope."""
        if time.monotonic() >= self._next_look:
            self._look()
        if self.required or scope == "admin":  # without keys the rest is for everybody
            self.demand(request, scope, self._find(request)[0])

    def find(self, request: Request) -> tuple[int | None, str]:
        """The caller's highest scope as its place in SCOPES, None without a valid key; and whom it
        counts as: its key's hash, else its address."""
        if time.monotonic() >= self._next_look:
            self._look()
        level, digest = self._find(request)
        return level, named(request.client) if digest is None else digest.hex()

    def demand(self, request: Request, scope: str, granted: int | None) -> None:
        """Raise unless a caller with this highest scope may use a route of `scope`."""
        if granted is None:
            raise Unauthorized(
                "an API key is needed: send it in the header X-API-Key or Authorization (the "
                "command line takes it from TOLLAMA_API_KEY)"
            )
        level = SCOPES.index(scope)
        if granted < level:
            if not self.required:
                raise Forbidden(
                    f"{request.method} {request.path} is open to loopback only, because the daemon "
                    "has no API keys (make one: tollama keys add)"
                )
            raise Forbidden(
                f"this API key has the scope '{SCOPES[granted]}', "
                f"{request.method} {request.path} needs '{scope}'"
            )
        if level == ADMIN and self._read_only:
            raise ReadOnly(
                f"{request.method} {request.path}: this daemon is read-only (TOLLAMA_READ_ONLY)"
            )

    def _find(self, request: Request) -> tuple[int | None, bytes | None]:
        """The caller's highest scope, and the hash of its key if that is a valid one."""
        if not self.required:
            return ADMIN if is_local(request) else ADMIN - 1, None
        import hashlib
        import hmac

        headers = request.headers
        given = dict.get(headers, "x-api-key") or ""
        scheme, _, value = (dict.get(headers, "authorization") or "").partition(" ")
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
        return found, None if found is None else digest

    def _look(self) -> None:
        """Read the file of keys again if it has changed."""
        self._next_look = time.monotonic() + LOOK_S
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._fixed + read(self._path)
        except InvalidRequest as error:
            self._log(f"the API keys before it stay in use: {error.message}", "warning")
            return
        self.required = self.required or bool(self._keys)
        self._log(f"read the API keys again: {len(self._keys)}", "info")


def is_local(request: Request) -> bool:
    """Whether the caller is on this machine, and not behind a proxy that is."""
    headers = request.headers
    return request.is_loopback and not ("x-forwarded-for" in headers or "forwarded" in headers)


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
    import hashlib

    return hashlib.sha256(key.encode()).digest(), SCOPES.index(scope)


def read(path: str) -> list[tuple[bytes, int]]:
    """The keys of a file as (hash, scope); raises InvalidRequest for one that others may read."""
    return [
        _parse(line.split()[0], "api_keys") for line in lines(path) if line[:1] not in ("", "#")
    ]


def lines(path: str) -> list[str]:
    """The lines of a file of keys; none when it is not there."""
    try:
        with open(path, encoding="utf-8") as stream:
            if os.name == "posix" and stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise InvalidRequest(
                    f"{path}: expected to be readable by its owner only (chmod 600 {path})"
                )
            return [line.strip() for line in stream]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InvalidRequest(f"{path}: cannot be read: {reason}") from None


def _stamp(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode
