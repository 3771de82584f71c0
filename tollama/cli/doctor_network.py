"""The half of `tollama doctor` that looks outside: daemon, port, what it serves with, proxies,
clock, hub.
"""

from __future__ import annotations

import os
import time

from tollama.cli import call
from tollama.cli.doctor import Finding
from tollama.core import config, redact
from tollama.core.errors import DaemonUnreachable, DeadlineExceeded, TollamaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SKEW = 300.0  # seconds that two clocks may differ
BUILT = 1_760_000_000  # October 2025: no clock is right that says less
WAIT = 4.0


def daemon(timeout: float) -> Iterator[Finding]:
    """The daemon, or whether its port is free."""
    remote = call.connect(None, timeout=timeout)
    url = remote.where.url
    try:
        version = remote.call("GET", "/api/version")["version"]
    except DaemonUnreachable as error:
        if error.detail == call.NO_DAEMON:
            yield Finding("daemon", "note", f"none runs at {url}", "")
            yield from port(remote.where)
            return
        yield Finding("daemon", "problem", error.message, _elsewhere(url))
        return
    except DeadlineExceeded as error:
        yield Finding("daemon", "problem", error.message, _elsewhere(url))
        return
    except (TollamaError, KeyError, TypeError):
        text = f"something else answers at {url}"
        yield Finding("daemon", "problem", text, _elsewhere(url))
        return
    from tollama import __version__

    yield Finding("daemon", "ok", f"version {version} at {url}", "")
    if version != __version__:
        yield Finding("daemon", "warning", f"this file is {__version__}", "restart the daemon")


def _elsewhere(url: str) -> str:
    return f"see what runs at {url}, or choose another port: tollama serve --port N, TOLLAMA_HOST"


def port(where: Any) -> Iterator[Finding]:
    """Whether a daemon could listen where none does."""
    import errno
    import socket

    if where.unix:
        folder = os.path.dirname(os.path.abspath(where.unix))
        if not os.access(folder, os.W_OK):
            yield Finding("port", "problem", f"{folder} cannot be written", "choose another socket")
        return
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((where.host, where.port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            text = f"{where.host}:{where.port}: {reason}"
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                hint = "start the daemon there, or unset TOLLAMA_HOST"
                yield Finding("port", "warning", f"{text}: not this machine's", hint)
            else:
                yield Finding("port", "problem", text, "choose another: tollama serve --port N")
        else:
            yield Finding("port", "ok", f"{where.port} is free", "")


def serving(home: str) -> Iterator[Finding]:
    """What a daemon of this home would serve with: keys, certificate, who may reach it."""
    from tollama.daemon import access

    keys = list(config.get("TOLLAMA_API_KEYS")) + access.read(os.path.join(home, "api_keys"))
    host = config.get("TOLLAMA_HOST")[0]
    local = host in ("localhost", "::1") or host.startswith(("127.", "unix:"))
    cert = config.get("TOLLAMA_TLS_CERT")
    if not local and not keys:
        text = f"TOLLAMA_HOST is {host} without API keys: others may read and forecast"
        yield Finding("access", "warning", text, "tollama keys add --scope forecast")
    if not local and keys and not cert:
        text = f"TOLLAMA_HOST is {host} without TLS: API keys can be read on the way"
        yield Finding("access", "warning", text, "tollama serve --tls-cert, or a proxy in front")
    if cert:
        yield from certificate(cert, config.get("TOLLAMA_TLS_KEY"))


def certificate(cert: str, key: str | None) -> Iterator[Finding]:
    """The daemon's certificate: readable, fitting its key, in force."""
    import ssl

    from tollama.daemon.tls import Context

    said: list[str] = []
    Context.of(cert, key, lambda text, level: said.append(text))
    for text in said:
        yield Finding("tls", "warning", text, "")
    try:
        facts: Any = ssl._ssl._test_decode_cert(cert)  # type: ignore[attr-defined]
        begin, end = (ssl.cert_time_to_seconds(facts[k]) for k in ("notBefore", "notAfter"))
    except (AttributeError, KeyError, ValueError, OSError):
        return
    left = (end - time.time()) / 86400
    if left < 0 or time.time() < begin:
        text = f"{cert} is in force from {facts['notBefore']} to {facts['notAfter']}"
        yield Finding("tls", "problem", text, "renew it: a running daemon takes the new one up")
    elif left < 14:
        text = f"{cert} ends in {left:.0f} days"
        yield Finding("tls", "warning", text, "renew it: a running daemon takes the new one up")
    else:
        yield Finding("tls", "ok", f"{cert} is in force for {left:.0f} days", "")


def proxies() -> Iterator[Finding]:
    """Proxies and certificates, as a pull would use them."""
    import socket
    from urllib.parse import urlsplit

    chosen = config.effective(config.read(config.home()))
    for key in ("pull.https_proxy", "pull.http_proxy"):
        value, source = chosen[key]
        if not value:
            continue
        name = f"{key.partition('.')[2]} {redact.text(value)} (from {source})"
        try:
            parts = urlsplit(value if "://" in value else f"http://{value}")
            address = (parts.hostname or "", parts.port or 80)
            socket.create_connection(address, WAIT).close()
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            text = f"{name} cannot be reached: {reason}"
            yield Finding("proxy", "problem", text, "mend the address, or unset it")
        else:
            yield Finding("proxy", "ok", name, "")
    bundle, source = chosen["pull.ca_bundle"]
    if bundle:
        import ssl

        from tollama.core import trust

        try:
            ssl.create_default_context(cafile=bundle)
        except OSError as error:
            text = f"ca_bundle {bundle} (from {source}): {trust.plain(error)}"
            yield Finding("tls", "problem", text, "point it at a file of PEM certificates")


def clock(now: float, hub: str | None = None) -> Iterator[Finding]:
    """This machine's clock, against a hub's when it has told the time."""
    fix = "set the clock (timedatectl set-ntp true): certificates and stamps depend on it"
    if hub is None:
        if now < BUILT:
            said = time.strftime("%Y-%m-%d", time.gmtime(now))
            yield Finding("clock", "problem", f"it is not {said}", fix)
        return
    from email.utils import parsedate_to_datetime

    try:
        skew = now - parsedate_to_datetime(hub).timestamp()
    except (TypeError, ValueError):
        return
    if abs(skew) > SKEW:
        way = "ahead of" if skew > 0 else "behind"
        text = f"this machine is {abs(skew) / 60:,.0f} minutes {way} the hub"
        yield Finding("clock", "problem", text, fix)
    else:
        yield Finding("clock", "ok", "agrees with the hub's", "")


def hub(home: str, *, offline: bool) -> Iterator[Finding]:
    """Whether the hub answers, and whether it agrees with this machine's clock."""
    from tollama.models import hub as hub_module
    from tollama.models import pulls

    chosen = config.effective(config.read(home))
    if offline:
        return
    if chosen["pull.offline"][0]:
        yield Finding("hub", "note", f"offline (from {chosen['pull.offline'][1]})", "")
        return
    endpoint = chosen["pull.endpoint"][0] or pulls.DEFAULT_ENDPOINT
    try:
        pulls.check_allowed(config.get("TOLLAMA_ALLOWED_HUBS"), endpoint, "amazon/chronos-2")
    except TollamaError as error:
        yield Finding("hub", "note", error.message, "")
        return
    fields = ("endpoint", "http_proxy", "https_proxy", "no_proxy", "ca_bundle", "insecure")
    spec = hub_module.PullSpec(
        repo_id="amazon/chronos-2",
        token=os.environ.get("TOLLAMA_HF_TOKEN") or None,
        stall_timeout=5.0,
        tries=1,
        **{name: chosen[f"pull.{name}"][0] for name in fields},
    )
    try:
        found = hub_module.look(spec)
    except TollamaError as error:
        kits = "models can be carried in: tollama export / import (docs/air-gap.md)"
        yield Finding("hub", "warning", error.message, kits)
        return
    text = f"{endpoint} is reachable (amazon/chronos-2 is at {found['commit_sha'][:12]})"
    yield Finding("hub", "ok", redact.text(text), "")
    yield from clock(time.time(), found["date"] or "")
