"""What a failure on the way to a hub means for the person who pulls: one line, with what to do.

Covered: statuses by the hub's own error codes (through huggingface_hub), and failures below HTTP:
proxy, TLS inspection, DNS, refused, timed out. Not covered: trying again (models/download.py).
"""

from __future__ import annotations

import socket
import ssl
from collections import namedtuple
from urllib.parse import unquote, urlsplit

import httpx
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import hf_raise_for_status

from tollama.core import redact
from tollama.core.errors import (
    HubError,
    HubForbidden,
    HubNotFound,
    HubUnreachable,
    TollamaError,
    shown,
)

RETRIED = {408, 425, 429, 500, 502, 503, 504}

# What messages name: the repository, its revision, the hub's address and host, the token, the stall
# time, and whether a credential of any kind goes with requests.
Asked = namedtuple("Asked", ["repo_id", "revision", "endpoint", "host", "token", "stall", "known"])


class Trouble(Exception):
    """A failure on the wire: the error, whether to try again, how long to wait first."""

    def __init__(
        self, error: TollamaError, *, retry: bool, wait: float | None = None, status: int = 0
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.retry = retry
        self.wait = wait
        self.status = status


class PrivateAddress(OSError):
    """An address that the caller, or a redirect, must not make us connect to."""


class SocksProxy(OSError):
    """A proxy of a kind that needs a package which is not packed."""


def final(error: TollamaError) -> Trouble:
    """A failure that another try cannot mend."""
    return Trouble(error, retry=False)


def strange(asked: Asked, what: str) -> Trouble:
    """An answer that no hub gives: a captive portal, a proxy's page, a wrong address."""
    return final(
        HubError(f"{asked.host} {what}: check --endpoint, and that no proxy answers for it")
    )


def of_status(asked: Asked, response: httpx.Response, body: bytes, *, own: bool) -> Trouble:
    """A status that is not a success; `own` says whether the hub itself gave it, not its CDN."""
    headers = [(k, v) for k, v in response.headers.items() if k.lower().startswith("x-")]
    status = response.status_code
    answer = httpx.Response(status, headers=headers, content=body, request=response.request)
    refusal: Exception | None = None
    try:
        hf_raise_for_status(answer)
    except HfHubHTTPError as error:
        refusal = error
    host = urlsplit(str(response.url)).hostname
    if status in (401, 403) and own and b'"code"' in body and b'"detail"' in body:
        what = "wants an API key" if status == 401 and not asked.token else "refuses the API key"
        return final(
            HubForbidden(
                f"the tollama at {host} {what} ({status}): pass one with --token, or as "
                "HOST=KEY in TOLLAMA_HF_TOKEN"
            )
        )
    if isinstance(refusal, GatedRepoError):
        return final(
            HubForbidden(
                f"{asked.repo_id} is gated: accept its terms at {asked.endpoint}/{asked.repo_id}, "
                "then pass a token of that account (--token or TOLLAMA_HF_TOKEN)"
            )
        )
    if isinstance(refusal, RevisionNotFoundError):
        return final(HubNotFound(f"{asked.repo_id} has no revision {shown(asked.revision)}"))
    named = response.headers.get("x-error-code") == "RepoNotFound"
    missing = isinstance(refusal, RepositoryNotFoundError) and (named or not asked.known)
    if missing or (status == 404 and own and "/api/models/" in str(response.url)):
        hint = "" if asked.token else ", or it is private: pass --token or set TOLLAMA_HF_TOKEN"
        return final(HubNotFound(f"{asked.host} has no repository {asked.repo_id}{hint}"))
    if status in RETRIED:
        wait = retry_after(response.headers.get("retry-after"))
        text = "asks to slow down (429)" if status == 429 else f"answers status {status}"
        kind = HubError if status == 429 else HubUnreachable
        return Trouble(
            kind(f"{host} {text}: try again later", retry_after=wait),
            retry=True, wait=wait, status=status,
        )  # fmt: skip
    if status == 401 and own:
        what = "refuses the token" if asked.token else "wants credentials"
        return final(
            HubForbidden(f"{host} {what} (401): pass a valid one with --token or TOLLAMA_HF_TOKEN")
        )
    if status == 407:
        return final(
            HubUnreachable(f"the proxy on the way to {host} wants credentials (407): {PROXY_HELP}")
        )
    if status in (401, 403):
        return final(
            HubForbidden(
                f"{host} forbids {asked.repo_id} ({status}): check the token's permissions, and "
                "that no proxy blocks it"
            )
        )
    if status in (404, 410):
        path = redact.text(unquote(urlsplit(str(response.url)).path), asked.token)
        return final(HubNotFound(f"{host} has no {path}"))
    failure = HubError(f"{host} answers status {status} for {asked.repo_id}")
    return Trouble(failure, retry=False, status=status)


PROXY_HELP = (
    "check --https-proxy, --http-proxy and --no-proxy (credentials go before the host, with an @)"
)


def of_exception(asked: Asked, error: BaseException, url: str) -> Trouble:
    """A failure below HTTP."""
    host = urlsplit(url).hostname or "the hub"
    cause = root_cause(error)
    text = redact.text((str(cause) or type(cause).__name__).partition("?")[0], asked.token)
    if isinstance(cause, PrivateAddress):
        return final(HubForbidden(f"refused: {text}"))
    if isinstance(error, SocksProxy):
        return final(
            HubUnreachable(
                f"the way to {host} leads through a socks proxy, which is not supported: pass an "
                "http proxy with --https-proxy, or unset ALL_PROXY"
            )
        )
    if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError)):
        return final(HubUnreachable(f"an address on the way to {host} cannot be used: {text}"))
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = getattr(cause, "verify_message", "") or text
        return final(
            HubUnreachable(
                f"the TLS certificate of {host} is not trusted ({reason}): if a proxy inspects "
                "TLS, pass its root certificate with --ca-bundle FILE or TOLLAMA_CA_BUNDLE"
            )
        )
    proxy = proxy_for(url)
    connecting = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
    if isinstance(error, httpx.ProxyError) or (proxy and connecting):
        shown_proxy = redact.text(proxy, asked.token)
        return Trouble(
            HubUnreachable(
                f"{host} cannot be reached through the proxy {shown_proxy} ({text}): {PROXY_HELP}"
            ),
            retry=not text.startswith(("403", "407")),
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
        text = f"no answer for {asked.stall:g} s"
    return Trouble(
        HubUnreachable(
            f"{host} cannot be reached ({text}): check the network, or pass --https-proxy or "
            "--endpoint"
        ),
        retry=True,
    )


def proxy_for(url: str) -> str:
    """The proxy that a request to this address goes through, or nothing."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    known = getproxies()
    if not parts.hostname or proxy_bypass(parts.hostname):
        return ""
    return known.get(parts.scheme) or known.get("all") or ""


def retry_after(value: str | None) -> float | None:
    """The seconds of a Retry-After header, which is a number or a date."""
    import email.utils
    import time

    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if seconds < 1e9 else None


def root_cause(error: BaseException) -> BaseException:
    """The lowest exception under the library's wrappers."""
    for _ in range(10):
        below = error.__cause__ or error.__context__
        if below is None:
            break
        error = below
    return error
