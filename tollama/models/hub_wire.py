"""The wire to a model hub: one session, one request, a file's bytes from an offset.

Covered: proxies, trust in certificates, credentials that never leave the hub's own origin,
redirects, limits on what is read. With hub_trouble.py the only module that imports huggingface_hub
and httpx; both run in the download child alone.

Not covered: listings (models/hub_listing.py), trying again, resuming and hashing
(models/download.py).
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import socket
import ssl
import sys
from contextlib import closing
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import proxy_bypass

import certifi
import httpx
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import (
    build_hf_headers,
    get_session,
    set_client_factory,
    validate_repo_id,
)

from tollama import __version__
from tollama.core import redact
from tollama.core.errors import InvalidRequest, shown
from tollama.models.hub_trouble import (
    Asked,
    PrivateAddress,
    SocksProxy,
    Trouble,
    of_exception,
    of_status,
    strange,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

DEFAULT_ENDPOINT = "https://huggingface.co"
MAX_LISTING = 32 << 20
MAX_ERROR = 64 << 10
MAX_HOPS = 8
READ_SIZE = 256 << 10
LONGEST_CONNECT = 20.0
NEAR = 2000  # microseconds to the hub and back, at most, on a line that is near


class Hub:
    """One repository at one revision of one hub."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.repo_id: str = spec["repo_id"]
        self.revision: str = spec["revision"] or "main"
        self.stall: float = spec["stall_timeout"]
        self.date: str | None = None  # of the last answer
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError:
            raise InvalidRequest(f"repository {shown(self.repo_id)}: expected ORG/NAME") from None
        token = spec["token"] or None
        self.endpoint, self._auth = credentials(spec["endpoint"] or DEFAULT_ENDPOINT, token)
        self._origin = origin(self.endpoint)
        self.asked = Asked(
            repo_id=self.repo_id, revision=self.revision, endpoint=self.endpoint,
            host=self._origin[1], token=token, stall=self.stall, known=self._auth is not None,
        )  # fmt: skip
        self._headers = build_hf_headers(
            token=False, library_name="tollama", library_version=__version__
        )
        self._headers["Accept-Encoding"] = "identity"  # hashes and offsets are of the plain bytes
        keep_outside(spec.get("inside"), str(urlsplit(self.endpoint).hostname))
        # The library refuses them even for hosts that need none.
        self._socks = [name for name in ("http", "https") if is_socks(f"{name}_proxy")]
        for name in self._socks:
            del os.environ[f"{name}_proxy"]
        context = trust(spec["ca_bundle"], insecure=spec["insecure"])
        timeout = httpx.Timeout(self.stall, connect=min(self.stall, LONGEST_CONNECT), pool=None)
        limits = httpx.Limits(max_connections=spec["max_workers"] + 2)
        set_client_factory(
            lambda: httpx.Client(
                verify=context, follow_redirects=False, timeout=timeout, limits=limits
            )
        )
        widen_reads()

    def file_url(self, path: str, revision: str | None = None) -> str:
        """The address of a file."""
        at = quote(revision or self.revision, safe="")
        return f"{self.endpoint}/{self.repo_id}/resolve/{at}/{quote(path)}"

    def open(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        follow: bool = True,
    ) -> closing[httpx.Response]:
        """A response with its body still to be read, after redirects; raises Trouble."""
        for _ in range(MAX_HOPS):
            sent = {**self._headers, **(headers or {})}
            try:
                parts = urlsplit(url)
                if parts.scheme in self._socks and not proxy_bypass(parts.hostname or ""):
                    raise SocksProxy
                # A credential is bound to the hub's origin: no redirect carries it elsewhere.
                if self._auth and origin(url) == self._origin:
                    sent["Authorization"] = self._auth
                session = get_session()
                request = session.build_request(method, url, headers=sent)
                response = session.send(request, stream=True)
                hold_little(response)
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
                raise of_exception(self.asked, error, url) from None
            self.date = response.headers.get("date")
            redirects = response.has_redirect_location
            if response.status_code < 300 or (redirects and not follow):
                return closing(response)
            with closing(response):
                if not redirects:
                    raise self._refused(response)
                url = self._next(url, response.headers["location"])
        raise strange(self.asked, f"redirects more than {MAX_HOPS} times")

    def chunks(self, response: httpx.Response) -> Iterator[bytes]:
        """The body's bytes as they come; raises Trouble when the line breaks."""
        body = response.iter_raw()
        while True:
            try:
                chunk = next(body, None)
            except (httpx.HTTPError, OSError) as error:
                raise of_exception(self.asked, error, str(response.url)) from None
            if chunk is None:
                return
            yield chunk

    def body(self, response: httpx.Response, limit: int = MAX_LISTING) -> bytes:
        """A whole body of bounded size."""
        whole = bytearray()
        for chunk in self.chunks(response):
            whole += chunk
            if len(whole) > limit:
                raise strange(self.asked, f"answers more than the {limit} bytes expected here")
        return bytes(whole)

    def json(self, url: str) -> object:
        """The JSON at an address."""
        with self.open(url) as response:
            body = self.body(response)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise strange(self.asked, "answers something that is not JSON") from None

    def _next(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
        if scheme not in ("http", "https") or (scheme == "http" and url.startswith("https:")):
            raise strange(self.asked, f"redirects away from https, to {scheme}")
        return target

    def _refused(self, response: httpx.Response) -> Trouble:
        body = b""
        for chunk in self.chunks(response):
            body += chunk
            if len(body) > MAX_ERROR:
                break
        own = origin(str(response.url)) == self._origin
        return of_status(self.asked, response, body, own=own)


def credentials(endpoint: str, token: str | None) -> tuple[str, str | None]:
    """The address without credentials, and the Authorization value for its origin alone.

    A token wins over USER:PASSWORD in the address, which wins over the machine's netrc.
    """
    parts = urlsplit(endpoint.strip().rstrip("/"))
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidRequest(
            f"endpoint {shown(redact.text(endpoint))}: expected http://HOST or https://HOST"
        )
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    if token:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise InvalidRequest("token: expected printable ASCII without spaces")
        return address, f"Bearer {token}"
    if parts.username is not None:
        return address, basic(unquote(parts.username), unquote(parts.password or ""))
    if address != DEFAULT_ENDPOINT:
        import netrc

        try:
            found = netrc.netrc(os.environ.get("NETRC")).authenticators(str(parts.hostname))
        except (OSError, netrc.NetrcParseError, ValueError):
            found = None
        if found:
            return address, basic(found[0] or "", found[2] or "")
    return address, None


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what a credential is bound to."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def is_socks(variable: str) -> bool:
    """Whether a variable of the environment names a socks proxy."""
    return os.environ.get(variable, "").lower().startswith("socks")


def keep_outside(inside: list[str] | None, hub: str) -> None:
    """Let this process connect to no address that a caller or a redirect must not reach.

    Link-local ones, where clouds keep their credentials, are for the hub's own name alone. With
    `inside` the same holds for every private address and these hosts, unless the hub itself is one
    of them and private: then it may redirect within its network.
    """
    look_up = socket.getaddrinfo
    near = False

    def checked(host: Any, *rest: Any, **named: Any) -> Any:
        nonlocal near
        found = look_up(host, *rest, **named)
        name = (host.decode() if isinstance(host, bytes) else str(host)).lower()
        own = name == hub if inside is None else name in [one.strip("[]") for one in inside]
        for entry in found:
            address = ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
            address = getattr(address, "ipv4_mapped", None) or address
            if own:
                near = near or (name == hub and not address.is_global)
            elif address.is_link_local or not (inside is None or near or address.is_global):
                raise PrivateAddress(f"{name} is at {address}, inside of a private network")
        return found

    socket.getaddrinfo = checked


def trust(ca_bundle: str | None, *, insecure: bool) -> ssl.SSLContext:
    """Which certificates count: the system's, the packed public roots, and the given bundle."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    # Python 3.13 refuses roots that lack some RFC 5280 extensions; many inspecting proxies' do.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=certifi.contents())  # read, not unpacked to a file
    if ca_bundle:
        try:
            context.load_verify_locations(cafile=ca_bundle)
        except OSError as error:  # ssl.SSLError is one too
            raise InvalidRequest(
                f"ca bundle {shown(ca_bundle)}: expected a file of PEM certificates, "
                f"found: {error.strerror or error}"
            ) from None
    return context


def hold_little(response: httpx.Response) -> None:
    """On a near line let the system keep less of what we have not read.

    What lies in a socket when this process is killed has to be fetched again. A far line needs the
    large window that the system finds for it.
    """
    stream = response.extensions.get("network_stream")
    line = stream.get_extra_info("socket") if stream is not None else None
    if line is None or not hasattr(socket, "TCP_INFO"):
        return
    try:
        facts = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 72)
        if int.from_bytes(facts[68:72], sys.byteorder) < NEAR:  # tcpi_rtt
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_SIZE)
    except OSError:
        return


def widen_reads() -> None:
    """Read the socket in larger pieces: at 64 KiB a fast line waits for us between pieces."""
    from httpcore._sync import http11

    if hasattr(http11.HTTP11Connection, "READ_NUM_BYTES"):
        http11.HTTP11Connection.READ_NUM_BYTES = READ_SIZE
