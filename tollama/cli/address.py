"""Where the daemon listens: --base-url, TOLLAMA_HOST, config.json or the default."""

from __future__ import annotations

from tollama.core import config
from tollama.core.errors import InvalidRequest, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Address:
    """Where the daemon listens, and whether the user said so."""

    __slots__ = ("given", "host", "port", "prefix", "tls", "unix")

    def __init__(self, host: str, port: int, *, tls: bool, prefix: str, given: bool) -> None:
        # 0.0.0.0 and :: are places to listen on; to call them means loopback.
        self.host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
        self.port = port
        self.tls = tls
        self.prefix = prefix
        self.given = given
        self.unix: str | None = None

    @property
    def url(self) -> str:
        """The address as people write it."""
        if self.unix:
            return f"unix://{self.unix}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}{self.prefix}"


def address(base_url: str | None, environ: Mapping[str, str]) -> Address:
    """The daemon's address: --base-url, then TOLLAMA_HOST, then config.json, then the default."""
    text, name, given = base_url, "--base-url", True
    if not text:
        text, name = environ.get("TOLLAMA_HOST"), "TOLLAMA_HOST"
    if not text:
        given = False
        try:
            text, name = config.read(config.home(environ)).get("daemon.host"), "daemon.host"
        except config.ConfigUnreadable:
            text = None
    text = text or "127.0.0.1"
    scheme, separator, rest = text.partition("://")
    is_unix = text.startswith("unix:")
    if separator and not is_unix and scheme not in ("http", "https"):
        raise InvalidRequest(f"{name}: expected an http or https address, got {shown(text)}")
    tls = scheme == "https"
    netloc, slash, path = (rest if separator else text).partition("/")
    try:
        host, port = config.parse_host(text if is_unix else netloc)
    except ValueError as error:
        raise InvalidRequest(f"{name}: expected {error}, got {shown(text)}") from None
    if is_unix:
        found = Address("localhost", 0, tls=False, prefix="", given=given)
        found.unix = host.removeprefix("unix://")
        return found
    # Ollama's clients are given .../api as the base address; our paths begin with it.
    prefix = (slash + path).rstrip("/").removesuffix("/api")
    return Address(host, port, tls=tls, prefix=prefix, given=given)
