"""The wire to a model hub: one session, the listing of a repository, a file's bytes from an offset.

The only module that imports huggingface_hub and httpx; it runs in the download child alone. Covered:
proxies, trust in certificates, credentials that never leave the hub's own origin, redirects, mirrors that
leave out the hub's own headers, and what each failure means for the person who pulls.

Not covered: retries, resuming, hashing (models/download.py); environment (models/hub_child.py).
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import ssl
from collections import namedtuple
from contextlib import closing
from urllib.parse import quote, unquote, urljoin, urlsplit

import certifi
import httpx
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (
    build_hf_headers,
    get_session,
    hf_raise_for_status,
    set_client_factory,
    validate_repo_id,
)

from tollama import __version__
from tollama.core import redact
from tollama.core.errors import (
    HubError,
    HubForbidden,
    HubNotFound,
    HubUnreachable,
    InvalidRequest,
    TollamaError,
    shown,
)
from tollama.models.blobs import is_commit, safe_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

DEFAULT_ENDPOINT = "https://huggingface.co"
MAX_LISTING = 32 << 20
MAX_ERROR = 64 << 10
MAX_HOPS = 8
READ_SIZE = 256 << 10
RETRIED = {408, 425, 429, 500, 502, 503, 504}

# path; size in bytes, sha256 and git blob id, each None when the hub does not say
Remote = namedtuple("Remote", ["path", "size", "sha256", "blob_id"])


class Trouble(Exception):
    """A failure on the wire: the error for people, whether to try again, how long to wait first."""

    def __init__(
        self, error: TollamaError, *, retry: bool, wait: float | None = None, status: int = 0
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.retry = retry
        self.wait = wait
        self.status = status


class Hub:
    """One repository at one revision of one hub."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.repo_id: str = spec["repo_id"]
        self.revision: str = spec["revision"] or "main"
        self.token: str | None = spec["token"] or None
        self.stall: float = spec["stall_timeout"]
        self.ca_bundle: str | None = spec["ca_bundle"]
        self.workers: int = spec["max_workers"]
        self.insecure: bool = spec["insecure"]
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError:
            raise InvalidRequest(f"repository {shown(self.repo_id)}: expected ORG/NAME") from None
        self.endpoint, self.auth = endpoint_and_credentials(
            spec["endpoint"] or DEFAULT_ENDPOINT, self.token
        )
        self.origin = origin_of(self.endpoint)
        self.headers = build_hf_headers(
            token=False, library_name="tollama", library_version=__version__
        )
        self.headers["Accept-Encoding"] = (
            "identity"  # hashes and offsets are those of the plain bytes
        )
        context = self._trust()
        set_client_factory(lambda: self._client(context))
        widen_reads()

    def _client(self, context: ssl.SSLContext) -> httpx.Client:
        return httpx.Client(
            verify=context,
            follow_redirects=False,
            timeout=httpx.Timeout(self.stall, connect=min(self.stall, 20.0), pool=None),
            limits=httpx.Limits(max_connections=self.workers + 2),
        )

    def _trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        # Python 3.13 began to refuse roots without every RFC 5280 extension; TLS-inspecting proxies have those.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.load_verify_locations(cadata=certifi.contents())  # read without unpacking it
        if self.ca_bundle:
            try:
                context.load_verify_locations(cafile=self.ca_bundle)
            except OSError as error:  # ssl.SSLError too
                raise InvalidRequest(
                    f"ca bundle {shown(self.ca_bundle)}: expected a file of PEM certificates, "
                    f"found: {error.strerror or error}"
                ) from None
        return context

    # -- the repository ---------------------------------------------------------------------

    def commit(self) -> str:
        """The commit that the revision stands for now."""
        return self._commit(self._json(self._api("revision")))

    def listing(self) -> tuple[str, list[Remote]]:
        """The commit and its files; file names are checked, hashes come from wherever the hub has them."""
        info = self._json(self._api("revision") + "?blobs=true")
        siblings = info.get("siblings")
        if not isinstance(siblings, list):
            raise self.strange("lists no files")
        commit = self._commit(info)
        files = [self._remote(item, "rfilename", "blobId", "sha256") for item in siblings]
        if any(file.size is None or not (file.sha256 or file.blob_id) for file in files):
            known = {file.path: file for file in self._tree(commit)}
            files = [known.get(file.path, file) for file in files]
        return commit, files

    def _commit(self, info: dict[str, Any]) -> str:
        commit = info.get("sha")
        if is_commit(commit):
            if is_commit(self.revision) and commit != self.revision:
                raise self.strange(f"answers commit {commit} for revision {self.revision}")
            return str(commit)
        if is_commit(self.revision):
            return self.revision
        with self.open(self.file_url("config.json"), method="HEAD", follow=False) as response:
            commit = response.headers.get("x-repo-commit")
        if is_commit(commit):
            return str(commit)
        raise HubError(
            f"{self.where()} does not say which commit revision {shown(self.revision)} is: "
            "pin one with NAME@COMMIT"
        )

    def _tree(self, commit: str) -> Iterator[Remote]:
        """The files as the tree listing has them; nothing when a mirror has no such listing."""
        url: str | None = f"{self._api('tree', commit)}?recursive=true"
        for _ in range(100):
            if url is None:
                return
            try:
                with self.open(url) as response:
                    items = json.loads(self._body(response))
                    link = response.links.get("next", {}).get("url")
            except Trouble as trouble:
                if isinstance(trouble.error, HubNotFound):
                    return
                raise
            except ValueError:
                return
            for item in items if isinstance(items, list) else []:
                if isinstance(item, dict) and item.get("type") == "file":
                    yield self._remote(item, "path", "oid", "oid")
            url = urljoin(url, link) if link else None

    def measured(self, file: Remote) -> Remote:
        """A file's size and hash from the headers of its address, where the listing had none."""
        with self.open(self.file_url(file.path), method="HEAD", follow=False) as response:
            headers = response.headers
            tag = (headers.get("x-linked-etag") or headers.get("etag") or "").strip('W/"').lower()
            size = headers.get("x-linked-size") or headers.get("content-length")
            redirected = response.has_redirect_location
        if "x-linked-size" not in headers and redirected:
            size = None
        return file._replace(
            size=int(size) if size and size.isdigit() and file.size is None else file.size,
            sha256=tag if re.fullmatch(r"[0-9a-f]{64}", tag) else None,
            blob_id=tag if re.fullmatch(r"[0-9a-f]{40}", tag) else None,
        )

    def _remote(self, item: object, name: str, oid: str, lfs_oid: str) -> Remote:
        if not isinstance(item, dict):
            raise self.strange("lists a file without a name")
        path = safe_name(item.get(name))
        lfs = item.get("lfs")
        size, sha256, blob_id = item.get("size"), None, item.get(oid)
        if isinstance(lfs, dict):
            size = lfs.get("size", size)
            sha256, blob_id = lfs.get(lfs_oid), None
            if isinstance(sha256, str):
                sha256 = sha256.removeprefix("sha256:").lower()
        if not (type(size) is int and size >= 0):
            size = None
        if not (isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256)):
            sha256 = None
        if not (isinstance(blob_id, str) and re.fullmatch(r"[0-9a-f]{40}", blob_id)):
            blob_id = None
        return Remote(path, size, sha256, blob_id)

    def _api(self, what: str, revision: str | None = None) -> str:
        revision = quote(revision or self.revision, safe="")
        return f"{self.endpoint}/api/models/{self.repo_id}/{what}/{revision}"

    def file_url(self, path: str, revision: str | None = None) -> str:
        revision = quote(revision or self.revision, safe="")
        return f"{self.endpoint}/{self.repo_id}/resolve/{revision}/{quote(path)}"

    def _json(self, url: str) -> dict[str, Any]:
        with self.open(url) as response:
            body = self._body(response)
        try:
            info = json.loads(body)
        except (ValueError, RecursionError):
            raise self.strange("answers something that is not JSON") from None
        if not isinstance(info, dict):
            raise self.strange("answers JSON of another form")
        return info

    def _body(self, response: httpx.Response, limit: int = MAX_LISTING) -> bytes:
        body = b""
        for chunk in self.chunks(response):
            body += chunk
            if len(body) > limit:
                raise self.strange(f"answers more than {limit} bytes where a listing was asked for")
        return body

    def text_file(self, path: str, commit: str, limit: int) -> bytes:
        """A small file's bytes, for a look before anything is downloaded."""
        with self.open(self.file_url(path, commit)) as response:
            return self._body(response, limit)

    # -- one request ------------------------------------------------------------------------

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
            sent = {**self.headers, **(headers or {})}
            try:
                # A credential is bound to the hub's origin: no redirect carries it elsewhere.
                if self.auth and origin_of(url) == self.origin:
                    sent["Authorization"] = self.auth
                session = get_session()
                request = session.build_request(method, url, headers=sent)
                response = session.send(request, stream=True)
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
                raise self._trouble(error, url) from None
            if response.status_code < 300 or not follow and response.has_redirect_location:
                return closing(response)
            with closing(response):
                if not response.has_redirect_location:
                    raise self._refused(response)
                url = self._next(url, response.headers["location"])
        raise self.strange(f"redirects more than {MAX_HOPS} times")

    def chunks(self, response: httpx.Response) -> Iterator[bytes]:
        """The body's bytes as they come; raises Trouble when the line breaks."""
        body = response.iter_raw()
        while True:
            try:
                chunk = next(body, None)
            except (httpx.HTTPError, OSError) as error:
                raise self._trouble(error, str(response.url)) from None
            if chunk is None:
                return
            yield chunk

    def _next(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
        if scheme not in ("http", "https") or (scheme == "http" and url.startswith("https:")):
            raise self.strange(f"redirects to {shown(self._clean(target))}, which is not https")
        return target

    def _refused(self, response: httpx.Response) -> Trouble:
        """What a status that is not a success means, by the hub's own error codes where it has them."""
        body = b""
        for chunk in self.chunks(response):
            body += chunk
            if len(body) > MAX_ERROR:
                break
        headers = [(k, v) for k, v in response.headers.items() if k.lower().startswith("x-")]
        answer = httpx.Response(
            response.status_code, headers=headers, content=body, request=response.request
        )
        try:
            hf_raise_for_status(answer)
        except HfHubHTTPError as error:
            return self._refusal(error, response)
        return self.strange(f"answers status {response.status_code}")

    # -- what a failure means ---------------------------------------------------------------

    def where(self) -> str:
        return str(urlsplit(self.endpoint).hostname) if self.endpoint else "the hub"

    def strange(self, what: str) -> Trouble:
        return Trouble(HubError(f"{self.where()} {what}; is it a model hub?"), retry=False)

    def _clean(self, text: str) -> str:
        return redact.text(text.partition("?")[0], self.token)

    def _refusal(self, refusal: HfHubHTTPError, response: httpx.Response) -> Trouble:
        status = response.status_code
        own = origin_of(str(response.url)) == self.origin
        if isinstance(refusal, GatedRepoError):
            how = (
                "with a token of an account" if self.token is None else "with this token's account"
            )
            return final(
                HubForbidden(
                    f"{self.repo_id} is gated: accept its terms at {self.endpoint}/{self.repo_id} "
                    f"{how}, then pass the token (--token or TOLLAMA_HF_TOKEN)"
                )
            )
        if isinstance(refusal, RevisionNotFoundError):
            return final(HubNotFound(f"{self.repo_id} has no revision {shown(self.revision)}"))
        named = response.headers.get("x-error-code") == "RepoNotFound"
        missing = isinstance(refusal, RepositoryNotFoundError) and (named or self.auth is None)
        if missing or (status == 404 and own and "/api/models/" in str(response.url)):
            hint = "" if self.token else ", or it is private: pass --token or set TOLLAMA_HF_TOKEN"
            return final(HubNotFound(f"{self.where()} has no repository {self.repo_id}{hint}"))
        if status in RETRIED:
            wait = retry_after(response.headers.get("retry-after"))
            text = {429: "asks to slow down (429)"}.get(status, f"answers status {status}")
            kind = HubError if status == 429 else HubUnreachable
            trouble = kind(f"{self.where()} {text}: try again later", retry_after=wait)
            return Trouble(trouble, retry=True, wait=wait)
        if status == 401 and own:
            what = "refuses the token (401)" if self.token else "wants credentials (401)"
            return final(
                HubForbidden(f"{self.where()} {what}: pass a valid --token or TOLLAMA_HF_TOKEN")
            )
        if status in (401, 403):
            host = urlsplit(str(response.url)).hostname
            return final(
                HubForbidden(
                    f"{host} forbids {self.repo_id} ({status}): check the token's permissions, and "
                    "that no proxy blocks it"
                ),
            )
        if status in (404, 410):
            path = unquote(urlsplit(str(response.url)).path)
            return final(HubNotFound(f"{self.where()} has no {self._clean(path)}"))
        error = HubError(f"{self.where()} answers status {status} for {self.repo_id}")
        return Trouble(error, retry=False, status=status)

    def _trouble(self, error: BaseException, url: str) -> Trouble:
        """A failure below HTTP as the error that says what to do."""
        host = urlsplit(url).hostname or "the hub"
        cause = root_cause(error)
        text = self._clean(str(cause) or type(cause).__name__)
        if isinstance(error, ImportError):
            return final(HubUnreachable("socks proxies are not supported: use an http proxy"))
        if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError)):
            return final(
                HubUnreachable(f"address {shown(self._clean(url))} cannot be used: {text}")
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = getattr(cause, "verify_message", "") or text
            return final(
                HubUnreachable(
                    f"the TLS certificate of {host} is not trusted ({reason}): if a proxy inspects TLS, "
                    "pass its root certificate with --ca-bundle FILE or TOLLAMA_CA_BUNDLE"
                )
            )
        proxy = self._proxy_for(url)
        if isinstance(error, httpx.ProxyError) or (proxy and is_connect(error)):
            final_refusal = "407" in text or "403" in text
            return Trouble(
                HubUnreachable(
                    f"{host} cannot be reached through the proxy {self._clean(proxy)} ({text}): check --https-proxy, "
                    "--http-proxy and --no-proxy"
                ),
                retry=not final_refusal,
            )
        if isinstance(cause, socket.gaierror):
            return Trouble(
                HubUnreachable(
                    f"the name {host} cannot be resolved ({text}): check the network, or pass "
                    "--https-proxy or --endpoint"
                ),
                retry=True,
            )
        if isinstance(error, httpx.TimeoutException):
            text = f"no answer for {self.stall:g} s"
        return Trouble(
            HubUnreachable(
                f"{host} cannot be reached ({text}): check the network, or pass --https-proxy or "
                "--endpoint"
            ),
            retry=True,
        )

    def _proxy_for(self, url: str) -> str:
        """The proxy that a request to this address goes through, or nothing."""
        from urllib.request import getproxies, proxy_bypass

        parts = urlsplit(url)
        known = getproxies()
        if not parts.hostname or proxy_bypass(parts.hostname):
            return ""
        return known.get(parts.scheme) or known.get("all") or ""


def final(error: TollamaError) -> Trouble:
    """A failure that another try cannot mend."""
    return Trouble(error, retry=False)


def endpoint_and_credentials(endpoint: str, token: str | None) -> tuple[str, str | None]:
    """The address without credentials, and the Authorization value for its origin alone.

    A token wins over user:password in the address, which wins over the machine's netrc.
    """
    parts = urlsplit(endpoint.strip().rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname:
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
            found = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname)
        except (OSError, netrc.NetrcParseError, ValueError):
            found = None
        if found:
            return address, basic(found[0] or "", found[2] or "")
    return address, None


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what a credential is bound to."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def retry_after(value: str | None) -> float | None:
    """The seconds of a Retry-After header, as a number or as a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value)) if float(value) < 1e9 else None
    except ValueError:
        import email.utils
        import time

    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def is_connect(error: BaseException) -> bool:
    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))


def root_cause(error: BaseException) -> BaseException:
    """The lowest exception under the library's wrappers."""
    for _ in range(10):
        below = error.__cause__ or error.__context__
        if below is None:
            break
        error = below
    return error


def widen_reads() -> None:
    """Read the socket in larger pieces: at 64 KiB a pull spends its time on the way between pieces."""
    from httpcore._sync import http11

    if hasattr(http11.HTTP11Connection, "READ_NUM_BYTES"):
        http11.HTTP11Connection.READ_NUM_BYTES = READ_SIZE
