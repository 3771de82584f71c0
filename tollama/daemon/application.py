"""The daemon put together: settings, service, server, log, signals."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from typing import Any, TextIO

from tollama import __version__, _bytecode
from tollama.core import config, redact
from tollama.core.errors import InvalidRequest, TollamaError
from tollama.daemon.access import Access
from tollama.daemon.compat.errors import error_reply
from tollama.daemon.http import Server
from tollama.daemon.http_message import Limits
from tollama.daemon.limits import Clients
from tollama.daemon.routes import ROUTES, Router
from tollama.daemon.service import Service
from tollama.models import store

# How long running requests may take when we are told to end, and their last answers after that.
DRAIN_S = 7.0
CUT_S = 1.0
LEVELS = ("debug", "info", "warning", "error")


class Log:
    """Lines on stderr: one a request, and what happens to models; never values of a request."""

    def __init__(self, *, level: str, form: str, stream: TextIO) -> None:
        self.level = LEVELS.index(level)
        self.json = form == "json"
        self.stream = stream
        self.lock = threading.Lock()

    def write(self, level: str, fields: dict[str, Any]) -> None:
        """One line, if the level is shown."""
        if LEVELS.index(level) < self.level:
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.json:
            plain = {k: round(v, 2) if isinstance(v, float) else v for k, v in fields.items()}
            line = json.dumps({"time": now, "level": level, **plain}, ensure_ascii=True)
        else:
            text = " ".join(f"{k}={_plain(v)}" for k, v in fields.items() if v is not None)
            line = f"{now} {level} {text}"
        with self.lock:
            try:
                self.stream.write(redact.text(line) + "\n")
                self.stream.flush()
            except (OSError, ValueError):
                pass  # a closed stderr must not end a request

    def message(self, text: str, level: str = "info") -> None:
        """A sentence about the daemon itself."""
        self.write(level, {"msg": text})

    def request(self, fields: dict[str, Any]) -> None:
        """A request that has ended."""
        quiet = fields.get("status", 0) < 400 and str(fields.get("path", "")) in _QUIET
        level = "debug" if quiet else "error" if fields.get("status", 0) >= 500 else "info"
        self.write(level, fields)


_QUIET = {"/health/live", "/health/ready", "/metrics"}


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    text = str(value)
    # A line break or a quote in a field must not look like another log line.
    return json.dumps(text) if any(c <= " " or c in '"=\x7f' for c in text) or not text else text


def run(
    *,
    host: str | None,
    port: int | None,
    log_level: str | None,
    out: TextIO,
    socket: str | None = None,
    changes: dict[str, str] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then drain; returns the exit code.

    `socket` is a Unix socket to listen on in place of TCP, beside it with `host` or `port`.
    `changes` are variables that the command line replaces.
    """
    environ = {**os.environ, **(changes or {})}
    if sys.platform != "win32":
        import resource

        # What crashes, and a runner may, must not leave series and keys on the disk.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    home = config.home(environ)
    try:
        stored = config.read(home)
    except config.ConfigUnreadable as error:
        stored = {}
        print(f"warning: {error.message}", file=sys.stderr)
    named: tuple[str, int] = config.get("TOLLAMA_HOST", environ)
    if not environ.get("TOLLAMA_HOST") and stored.get("daemon.host"):
        named = config.parse_host(stored["daemon.host"])
    if host is not None:
        parsed = config.parse_host(host)
        explicit = host.rpartition(":")[2].isdigit() and (host.count(":") == 1 or "]:" in host)
        own = config.DEFAULT_PORT if _is_unix(named) else named[1]
        named = parsed if explicit or _is_unix(parsed) else (parsed[0], own)
    if port is not None:
        named = ("127.0.0.1" if _is_unix(named) else named[0], port)
    address: tuple[str, int] | None = named
    if _is_unix(named):
        address, socket = None, socket or named[0].removeprefix("unix://")
    elif socket is not None and host is None and port is None:
        address = None
    log = Log(
        level=log_level or config.get("TOLLAMA_LOG_LEVEL", environ),
        form=config.get("TOLLAMA_LOG_FORMAT", environ),
        stream=sys.stderr,
    )
    if store.has_debris(home):
        from tollama.models import staging

        staging.tidy(home)
    service = Service(home=home, environ=environ, log=log.message)
    try:
        server = make_server(service, address, log, socket=socket)
    except OSError as error:
        service.close()
        reason = (error.strerror or str(error)).lower()
        places = [f"{address[0]}:{address[1]}"] if address else []
        places += [socket] if socket else []
        hint = "; choose another with --port" if address else ""
        raise TollamaError(f"cannot listen on {' and '.join(places)}: {reason}{hint}") from None
    except BaseException:
        service.close()
        raise
    return _serve(service, server, log, out)


def make_server(
    service: Service, address: tuple[str, int] | None, log: Log, *, socket: str | None = None
) -> Server:
    """The HTTP front over a service, listening but not yet serving."""
    access = Access(
        service.setting("TOLLAMA_API_KEYS"),
        service.home,
        read_only=service.setting("TOLLAMA_READ_ONLY"),
        log=log.message,
    )
    service.setting("TOLLAMA_ALLOWED_HUBS")  # a list that cannot be read is said now
    rate, at_once = service.setting("TOLLAMA_RATE_LIMIT"), service.setting("TOLLAMA_MAX_PER_CLIENT")
    clients = Clients(rate=rate, at_once=at_once) if rate or at_once else None
    router = Router(service, access, clients)
    limits = Limits(
        max_connections=service.setting("TOLLAMA_MAX_CONNECTIONS"),
        max_body=service.setting("TOLLAMA_MAX_BODY"),
        max_in_flight=service.setting("TOLLAMA_MAX_INFLIGHT"),
        max_per_client=service.setting("TOLLAMA_MAX_CLIENT_CONNECTIONS"),
    )
    cert, key = service.setting("TOLLAMA_TLS_CERT"), service.setting("TOLLAMA_TLS_KEY")
    if key and not cert:
        raise InvalidRequest("TOLLAMA_TLS_KEY: expected TOLLAMA_TLS_CERT with it (--tls-cert)")
    context = None
    if cert and address is not None:
        from tollama.daemon.tls import Context

        context = Context.of(cert, key, log.message)
    server = Server(
        router.resolve,
        host=address[0] if address else None,
        port=address[1] if address else 0,
        limits=limits,
        allowed_hosts=service.setting("TOLLAMA_ALLOWED_HOSTS"),
        origins=service.setting("TOLLAMA_ORIGINS"),
        log=service.metrics.watch(log.request, ROUTES),
        error_reply=error_reply,
        ssl_context=context,
        unix_socket=socket,
        unix_mode=int(service.setting("TOLLAMA_SOCKET_MODE"), 8),
    )
    service.scheduler.watch = server.loop.watch
    service.metrics.server = server
    service.urls = [f"unix://{os.path.abspath(socket)}"] if socket else []
    if address is None:
        service.host_binding = service.urls[0]
        return server
    bound_host, bound_port = server.address[:2]
    shown = f"[{bound_host}]" if ":" in bound_host else bound_host
    service.host_binding = f"{shown}:{bound_port}"
    service.urls.append(f"http{'s' if context else ''}://{service.host_binding}")
    if not _loopback(bound_host) and not access.required:
        log.message(
            f"listening on {service.host_binding} without API keys: callers that are not on "
            "loopback may read and forecast, not pull, delete or copy (make one: tollama keys add)",
            "warning",
        )
    return server


def _is_unix(address: tuple[str, int]) -> bool:
    return address[0].startswith("unix:")


def _loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _serve(service: Service, server: Server, log: Log, out: TextIO) -> int:
    stopping = threading.Event()

    def stop(number: int, frame: object) -> None:
        if stopping.is_set():
            # A second signal means now. Runners see the end of their stdin.
            os._exit(0)
        stopping.set()
        threading.Thread(target=drain, name="drain", daemon=True).start()

    def drain() -> None:
        log.message("stopping: running requests end first", "info")
        # Those that do not are told so, in time for a supervisor that kills after ten seconds.
        late = threading.Timer(DRAIN_S, service.scheduler.close, (0.0,))
        late.daemon = True
        late.start()
        service.pulls.close(2.0)  # they go on at the next start; nobody waits for hours here
        server.drain(DRAIN_S + CUT_S)
        late.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    service.preload()
    # What is there now stays: the collector need not look at it again, over and over.
    gc.freeze()
    out.write(f"tollama {__version__} listening on {' and '.join(service.urls)}\n")
    out.flush()
    _bytecode.save()
    try:
        server.serve_forever()
    finally:
        service.close(CUT_S)
    return 0
