"""The HTTP front: `http.server` with threads, in the one form of it that holds under load.

The standard library's ThreadingHTTPServer gives each connection a thread: 256 of them starve each
other (p99 over a second), and a client that dribbles its bytes keeps one for ever. Server keeps
the listening half of `http.server` and replaces the rest:

    http_loop.py        one selector for all sockets; total deadlines; idle costs no thread
    http_workers.py     the threads: one runs the loop and cheap handlers, more while requests wait
    http_connection.py  a connection: its states, one write an answer
    http_intake.py      from bytes to a request
    http_exchange.py    from a request to its reply, and from exceptions to statuses
    http_stream.py      answers and bodies that flow
    http_parser.py      strict and lean parsing of heads and chunked bodies (pure functions, fuzzed)
    http_guard.py       Host, Origin, CORS
    http_message.py     Request, Reply, Later, Limits
    http_states.py      the states of a connection

Covered: HTTP/1.0 and 1.1, keep-alive, pipelining, HEAD, OPTIONS, Expect, chunked both ways, TLS,
Unix sockets, IPv6, backpressure, drain. Not covered: HTTP/2, compression, ranges, files, API keys.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import ssl
import stat
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

from tollama.core.errors import TollamaError, TooManyRequests, Unavailable
from tollama.daemon import http_message, http_stream
from tollama.daemon.http_connection import Connection
from tollama.daemon.http_exchange import Route
from tollama.daemon.http_guard import Guard, is_loopback
from tollama.daemon.http_loop import Loop, Parked
from tollama.daemon.http_message import Limits, Reply, Request
from tollama.daemon.limits import named

__all__ = ["Limits", "Reply", "Request", "Server"]

_OVER = 128  # connections over the limit that are read on from, so that they see why; more may not
_END_S = 2.0
_FDS = 512  # file descriptors for all but connections: runners' pipes, files, listeners


class Server(HTTPServer):
    """An HTTP server: `resolve(method, path)` finds the route of a request, or raises.

    It listens as soon as it is made and serves after `start` or `serve_forever`. `log` gets one
    record a request; `error_reply` shapes errors (by default errors.to_wire as JSON);
    `unix_socket` is a path to listen on, beside `host` or with host=None instead of it.
    """

    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(
        self,
        resolve: Callable[[str, str], Route],
        *,
        host: str | None = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        allowed_hosts: tuple[str, ...] = (),
        origins: tuple[str, ...] = (),
        log: Callable[[dict[str, object]], None] | None = None,
        error_reply: Callable[[Request | None, TollamaError], Reply] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        unix_socket: str | None = None,
        unix_mode: int = 0o600,
        on_ready: Callable[[Server], None] | None = None,
    ) -> None:
        self.resolve = resolve
        self.limits = limits or Limits()
        self.guard = Guard(
            allowed_hosts=tuple(allowed_hosts), origins=tuple(origins), tls=ssl_context is not None
        )
        self.log = log or (lambda record: None)
        self.error_reply = error_reply or http_message.error_reply
        self._ssl = ssl_context
        self._unix_path = unix_socket
        self._unix_file: os.stat_result | None = None
        self._on_ready = on_ready
        self._in_flight = 0
        self._count_lock = threading.Lock()
        self._ended = threading.Event()
        self._started = False
        self._cut = False
        self._ringer: socket.socket | None = None
        self._stopping = threading.RLock()
        if host is None and unix_socket is None:
            raise ValueError("a server needs a host or a unix_socket")
        self.address_family = socket.AF_INET6 if host and ":" in host else socket.AF_INET
        super().__init__((host or "", port), BaseHTTPRequestHandler, bind_and_activate=False)
        self._listeners: list[socket.socket] = []
        try:
            if host is not None:
                self.server_bind()
                self.server_activate()
                self._listeners.append(self.socket)
            else:
                self.socket.close()
            if unix_socket is not None:
                unix = _listen_unix(unix_socket, self.request_queue_size, unix_mode)
                self._listeners.append(unix)
                self._unix_file = os.stat(unix_socket)
        except BaseException:
            self.server_close()
            raise
        for listener in self._listeners:
            listener.setblocking(False)
        self.loop = Loop(
            self._admit,
            limit=self.limits.workers,
            retire_s=self.limits.retire_s,
            stall_s=self.limits.stall_s,
        )

    def server_bind(self) -> None:
        """Bind, without http.server's look-up of our own name (seconds, where DNS is broken)."""
        if os.name == "posix":  # elsewhere it would let two servers share a port
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it listens on; ("", 0) with a Unix socket alone."""
        return (str(self.server_address[0]), int(self.server_address[1]))

    @property
    def draining(self) -> bool:
        """Whether it accepts no more connections."""
        return self.loop.draining

    def start(self) -> None:
        """Serve on threads of its own; does nothing once it was stopped."""
        with self._stopping:  # a signal may drain us at any moment
            if self._started or self._ended.is_set():
                return
            self._started = True
            _raise_fd_limit(self.limits.max_connections + _OVER + _FDS)
            self.loop.start(self._listeners)
        if self._on_ready is not None:
            self._on_ready(self)

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `drain` or `stop`, called by another thread or by a signal, has ended."""
        if threading.current_thread() is not threading.main_thread():
            self.start()
            self._ended.wait()
            return
        # A signal that arrives just before a lock is waited for would be handled only after it. A
        # socket that the signal itself writes to cannot be missed.
        bell, ringer = socket.socketpair()
        with bell, ringer:
            ringer.setblocking(False)
            before = signal.set_wakeup_fd(ringer.fileno(), warn_on_full_buffer=False)
            try:
                self._ringer = ringer
                self.start()
                while not self._ended.is_set():
                    bell.recv(64)
            finally:
                self._ringer = None
                signal.set_wakeup_fd(before)

    def drain(self, timeout: float = 10.0) -> bool:
        """Accept no more, let running requests end, then stop; False when some were cut.

        A second call, while the first one waits, stops at once.
        """
        if self.loop.draining or not self._started:
            self.stop()
            return False
        self.loop.drain()
        whole = self.loop.drained.wait(timeout) and not self._cut
        self._end()
        return whole

    def stop(self) -> None:
        """Stop at once: every connection is cut."""
        self._cut = True
        self.loop.drained.set()  # a drain that waits has nothing to wait for
        self._end()

    def _end(self) -> None:
        with self._stopping:
            if self._ended.is_set():
                return
            self.loop.stop(_END_S)
            self.server_close()
            self._ended.set()
            if self._ringer is not None:
                with contextlib.suppress(OSError):
                    self._ringer.send(b"!")

    def shutdown(self) -> None:
        """As in socketserver: the same as `stop`."""
        self.stop()

    def server_close(self) -> None:
        """Close the listening sockets."""
        super().server_close()
        for listener in self._listeners:
            listener.close()
        if self._unix_file is not None and self._unix_path is not None:
            with contextlib.suppress(OSError):
                # Not that of another daemon, which has taken the place meanwhile.
                if os.path.samestat(os.stat(self._unix_path), self._unix_file):
                    os.unlink(self._unix_path)
            self._unix_file = None

    def reserve(self, size: int) -> bool:
        """Count so many more (or fewer) bytes of bodies in flight; False when over the limit."""
        with self._count_lock:
            if size > 0 and self._in_flight + size > self.limits.max_in_flight:
                return False
            self._in_flight += size
            return True

    @property
    def in_flight(self) -> int:
        """Bytes of bodies in flight."""
        return self._in_flight

    def _admit(self, sock: socket.socket, address: object, count: int) -> Parked | None:
        """A new client's connection; None when there is not even room to refuse it."""
        sock.setblocking(False)
        if isinstance(address, tuple):
            client = str(address[0])
            loopback = is_loopback(client)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            client, loopback = "unix", True
        most = self.limits.max_connections
        full = Unavailable(f"{most} connections are open already", retry_after=1)
        if count >= most and (self._ssl is not None or count >= most + _OVER):
            if self._ssl is None:
                reply = http_message.error_reply(None, full)
                head = http_message.reply_head(
                    reply, request_id=http_message.request_id(), keep=False
                )
                sock.send(head + reply.body)
            return None
        if self._ssl is not None and client != "unix":
            # The handshake is done later, piece by piece by the loop, within the head's deadline.
            sock = self._ssl.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        conn = Connection(self, sock, client, loopback)
        if count >= most:
            conn.refuse(full)
        elif self.limits.max_per_client:
            return self._among_its_own(conn)
        return conn

    def _among_its_own(self, conn: Connection) -> Connection | None:
        """The connection, refused when its address has too many."""
        most, who = self.limits.max_per_client, named(conn.client)
        count = sum(
            isinstance(one, Connection) and named(one.client) == who
            for one in self.loop.connections
        )
        if count < most:
            return conn
        if conn.tls or count >= most + _OVER:
            return None
        text = f"{most} connections of this address are open already"
        conn.refuse(TooManyRequests(f"{text} (TOLLAMA_MAX_CLIENT_CONNECTIONS)", retry_after=1))
        return conn


def _listen_unix(path: str, backlog: int, mode: int) -> socket.socket:
    """A Unix socket with these permissions; one that nobody listens on is replaced."""
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this system has no unix sockets")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.exists(path):
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise OSError("expected a socket or nothing there, found something else")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)  # one with a full backlog is alive
                if probe.connect_ex(path) != errno.ECONNREFUSED:
                    raise OSError("another server listens there")
            os.unlink(path)
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def _raise_fd_limit(wanted: int) -> None:
    """Allow this process the file descriptors that its limits promise, where the system lets it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        print(f"warning: cannot open {wanted} files: {error}", file=sys.stderr)


_ = http_stream  # imported here, not at the first stream: the file may have been replaced by then
