"""Who may ask: the Host header, the Origin header, and what a browser is told about it (CORS).

A page on any site can make the visitor's browser send requests to a daemon on loopback. The Host
check stops DNS rebinding (a name of the attacker that resolves to 127.0.0.1), the Origin check
stops pages that call the daemon by its address.

Not covered: API keys and scopes.
"""

from __future__ import annotations

import re
import socket

from tollama.core.errors import BadHttp, Forbidden, shown
from tollama.daemon.http_parser import Headers, tokens

_HOST = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\]|[A-Za-z0-9._~-]+)(?::[0-9]{0,5})?"
).fullmatch
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._~-]*)(?P<port>:[0-9]{1,5})?"
).fullmatch
_KNOWN = 256  # names remembered: a client that invents hosts must not grow the daemon


def is_ip(name: str) -> bool:
    """Whether `name` is an IP literal in its canonical form (IPv6 with or without brackets)."""
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        socket.inet_pton(family, name.strip("[]").partition("%")[0])
    except OSError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Whether an IP address (or "localhost") is this machine talking to itself."""
    address = address.strip("[]").removeprefix("::ffff:")
    return address in ("localhost", "::1") or (address.startswith("127.") and is_ip(address))


class Guard:
    """The Host and Origin rules of one server.

    `allowed_hosts` are further names ("*" allows any); `origins` are further origins, exact or with
    "*" for any run of characters other than "/".
    """

    def __init__(
        self,
        *,
        allowed_hosts: tuple[str, ...] = (),
        origins: tuple[str, ...] = (),
        tls: bool = False,
    ) -> None:
        self._any_host = "*" in allowed_hosts
        self._names = {"localhost", *(_bare(name) for name in allowed_hosts)}
        self._scheme = "https" if tls else "http"
        self._asked_dns = False
        patterns = (re.escape(o.rstrip("/").lower()).replace(r"\*", "[^/]*") for o in origins)
        self._origins = [re.compile(p).fullmatch for p in patterns]
        self._any_origin = "*" in origins
        self._good_hosts: set[str] = set()

    def check(self, headers: Headers, *, minor: int, trusted: bool) -> str | None:
        """The request's origin if it has one; raises BadHttp or Forbidden.

        `trusted` is a Unix socket, which no browser reaches: any well-formed Host will do there.
        """
        host = dict.get(headers, "host")
        if host not in self._good_hosts:
            self._check_host(host, minor=minor, trusted=trusted)
        origin = dict.get(headers, "origin")
        if origin is not None and not self._origin_allowed(origin.lower(), (host or "").lower()):
            raise Forbidden(
                f"origin {shown(origin)} is not allowed here; add it to TOLLAMA_ORIGINS"
            )
        return origin

    def _check_host(self, host: str | None, *, minor: int, trusted: bool) -> None:
        if host is None:
            if minor == 0:
                return
            raise BadHttp("header host: HTTP/1.1 needs it")
        match = _HOST(host)
        if match is None:
            raise BadHttp(f"header host: expected a name or address, got {shown(host)}")
        if trusted:
            return
        name = _bare(match["name"])
        if not (self._any_host or is_ip(name) or self._is_ours(name)):
            raise Forbidden(
                f"host {shown(host)} is not this machine's; add it to TOLLAMA_ALLOWED_HOSTS"
            )
        if len(self._good_hosts) < _KNOWN:
            self._good_hosts.add(host)

    def _is_ours(self, name: str) -> bool:
        if name in self._names or name.endswith(".localhost"):
            return True
        if (
            not self._asked_dns
        ):  # the full name may take a slow look-up: only once, only if asked for
            self._asked_dns = True
            here = socket.gethostname()
            short = here.partition(".")[0]
            names = (here, short, f"{short}.local", socket.getfqdn())
            self._names |= {_bare(n) for n in names if n}
        return name in self._names

    def _origin_allowed(self, origin: str, host: str) -> bool:
        if self._any_origin or any(match(origin) for match in self._origins):
            return True
        match = _ORIGIN(origin)
        if match is None or match["scheme"] not in ("http", "https"):
            return False
        if is_loopback(match["name"]) or match["name"].endswith(".localhost"):
            return True
        standard = ":443" if match["scheme"] == "https" else ":80"
        same = match["name"] + (match["port"] or standard)
        return match["scheme"] == self._scheme and same in (host, host + standard)


def cors(origin: str) -> list[tuple[str, str]]:
    """What an allowed page of another origin needs to be shown an answer."""
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", "X-Request-ID, Retry-After"),
        ("Vary", "Origin"),
    ]


def preflight(headers: Headers, allow: str) -> list[tuple[str, str]]:
    """The further headers of an answer to a browser's question before a request."""
    asked = dict.get(headers, "access-control-request-headers", "")
    names = [name for name in tokens(asked) if re.fullmatch(r"[a-z0-9-]{1,64}", name)]
    answer = [("Access-Control-Allow-Methods", allow), ("Access-Control-Max-Age", "600")]
    if names:
        answer.append(("Access-Control-Allow-Headers", ", ".join(names[:32])))
    return answer


def _bare(name: str) -> str:
    """A host name as it is compared: lower case, without the root's dot."""
    return name.lower().removesuffix(".")
