"""One runner: a child process and the pipe to it, with every wait bounded.

Covered: spawn, handshake, sending without ever blocking, reading lines, its stderr, a graceful end
and a hard one. A runner that stops reading, writes half a line, floods, closes its output or hangs
costs the caller no more than its own timeout. Not covered: what to do about it (replica.py,
lane.py).

Windows has no poll for pipes: reader threads feed the bell's queue there (untested).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from tollama.core import protocol
from tollama.core.errors import (
    DeadlineExceeded,
    ProtocolError,
    RunnerCrashed,
    TollamaError,
    shown,
)
from tollama.core.lines import Lines
from tollama.daemon.bell import POLLS, Bell, milliseconds
from tollama.daemon.child import kill_tree, signal_name, wait_exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from tollama.daemon.call import Launch

CHUNK = 1 << 18
STDERR_LINES = 50
STDERR_LINE = 2000
# How long an end may take: after the end of stdin, then after SIGTERM.
EOF_GRACE = 2.0
TERM_GRACE = 2.0


# fcntl(2) of Linux; Python names it from 3.10 on, but not on every build.
_F_SETPIPE_SZ = 1031
_PIPE = 1 << 20


def _widen(*fds: int) -> None:
    """Let pipes hold a large frame, where the system can: fewer turns for it between processes."""
    if sys.platform != "linux":
        return
    import fcntl

    for fd in fds:
        with contextlib.suppress(OSError):  # over the user's limit: they stay as they are
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE)


class RunnerProcess:
    """A live runner; used by one thread, but `send` and `kill` may be called by any."""

    def __init__(self, launch: Launch, *, bell: Bell, log: Callable[[str], None]) -> None:
        self.model = launch.model
        self.bell = bell
        self.log = log
        self.started_at = time.time()
        self.stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._lines = Lines(protocol.MAX_LINE)
        self._stderr_partial = b""
        self._out = bytearray()
        self._out_lock = threading.Lock()
        self._broken = False
        self._eof = False
        self._closed = False
        self._failure: TollamaError | None = None
        self._watched = False
        options: dict[str, Any] = {}
        if os.name == "posix":
            # A Ctrl-C on the daemon's terminal must not reach runners before the drain is over.
            options["start_new_session"] = True
        else:
            options["creationflags"] = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        try:
            self._child = subprocess.Popen(
                launch.argv,
                env=launch.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                **options,
            )
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise RunnerCrashed(
                f"cannot start the runner of {self.model}: {launch.argv[0]}: {reason}"
            ) from None
        self.pid = self._child.pid
        assert self._child.stdin and self._child.stdout and self._child.stderr
        self._in_fd = self._child.stdin.fileno()
        self._out_fd = self._child.stdout.fileno()
        self._err_fd = self._child.stderr.fileno()
        if POLLS:
            for fd in (self._in_fd, self._out_fd, self._err_fd):
                os.set_blocking(fd, False)
            _widen(self._in_fd, self._out_fd)
            self._poller = select.poll()
            for fd in (self._out_fd, self._err_fd, bell.fd):
                self._poller.register(fd, select.POLLIN)
            self._wants_write = False
        else:
            self._start_readers()

    # Sending

    def send(self, data: bytes) -> None:
        """Queue bytes for the runner and write what the pipe takes now; never blocks."""
        with self._out_lock:
            if self._broken or self._closed:
                return
            if self._out:
                self._out += data
                return
            written = self._write(data)
            if written < len(data) and not self._broken:
                self._out += memoryview(data)[written:]
            waiting = bool(self._out) or self._broken
        if waiting:
            self.bell.ring()

    def _write(self, data: bytes | bytearray) -> int:
        view = memoryview(data)
        done = 0
        try:
            while done < len(view):
                done += os.write(self._in_fd, view[done : done + (1 << 20)])
        except BlockingIOError:
            pass
        except OSError:
            self._broken = True
        finally:
            view.release()
        return done

    def _flush(self) -> None:
        with self._out_lock:
            if self._out and not self._closed:
                del self._out[: self._write(self._out)]
                if self._broken:
                    self._out.clear()

    # Reading

    def watch(self) -> int:
        """The descriptor of its output, which `poll` leaves to the caller of `take` from now on."""
        self._watched = True
        self._poller.unregister(self._out_fd)
        return self._out_fd

    def take(self, fd: int) -> list[bytes]:
        """The complete lines that are there now; at the end or a failure `poll` raises it."""
        lines: list[bytes] = []
        try:
            self._read_out(lines, fd)
        except TollamaError as error:
            self._failure = error
        return lines

    @property
    def over(self) -> bool:
        """Whether no line will follow."""
        return self._eof or self._failure is not None

    def poll(self, timeout: float | None) -> list[bytes]:
        """The complete lines that came within `timeout`, without their ends.

        Empty when time is up, the bell rang or only stderr spoke. Raises RunnerCrashed when the
        runner has gone and ProtocolError when a line is longer than protocol.MAX_LINE.
        """
        if self._failure is not None:
            raise self._failure
        if self._eof or self._broken:
            raise self._obituary()
        lines: list[bytes] = []
        if not POLLS:
            self._poll_queue(timeout, lines)
            return lines
        wants_write = bool(self._out)
        if wants_write != self._wants_write:
            self._wants_write = wants_write
            if wants_write:
                self._poller.register(self._in_fd, select.POLLOUT)
            else:
                self._poller.unregister(self._in_fd)
        for fd, _ in self._poller.poll(milliseconds(timeout)):
            if fd == self._out_fd:
                self._read_out(lines, fd)
            elif fd == self._err_fd:
                self._read_err()
            elif fd == self.bell.fd:
                self.bell.clear()
            else:
                self._flush()
        if self._eof and not lines:
            raise self._obituary()
        return lines

    def _read_out(self, lines: list[bytes], fd: int) -> None:
        try:
            chunk = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        if chunk:
            lines += self._lines.feed(chunk)
        else:
            self._eof = True

    def _read_err(self) -> None:
        try:
            chunk = os.read(self._err_fd, CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._poller.unregister(self._err_fd)
        self._keep_err(chunk)

    def _keep_err(self, chunk: bytes) -> None:
        *complete, rest = (self._stderr_partial + chunk).split(b"\n")
        self._stderr_partial = rest[:STDERR_LINE]
        if not chunk and rest:
            complete.append(rest)
            self._stderr_partial = b""
        for line in complete:
            text = line[:STDERR_LINE].decode(errors="replace").rstrip()
            if text:
                self.stderr.append(text)
                self.log(f"{self.model}[{self.pid}]: {text}")

    # Calls before the first job

    def call(
        self,
        frame_id: str,
        method: str,
        params: dict[str, Any],
        *,
        until: Callable[[], float | None],
        on_event: Callable[[Any], None] = lambda event: None,
    ) -> Any:
        """Call a method and wait for its result; errors of the runner are raised.

        `until` is asked before every wait: seconds that are left, None to give up.
        """
        self.send(protocol.encode({"id": frame_id, "method": method, "params": params}))
        while True:
            left = until()
            if left is None:
                raise DeadlineExceeded(
                    f"the runner of {self.model} did not answer {method} in time"
                )
            for line in self.poll(left):
                frame = protocol.decode(line)
                if frame is None or frame.get("id") != frame_id:
                    self.stray(line)
                elif "event" in frame:
                    on_event(frame["event"])
                elif "error" in frame:
                    raise protocol.error_of_runner(frame["error"])
                else:
                    return frame.get("result")

    def hello(self, until: Callable[[], float | None]) -> dict[str, Any]:
        """Shake hands; raises ProtocolError when the runner speaks another protocol."""
        found = self.call("hello", "hello", {"protocol": protocol.PROTOCOL}, until=until)
        spoken = found.get("protocol") if isinstance(found, dict) else None
        if not isinstance(found, dict) or spoken != protocol.PROTOCOL:
            raise ProtocolError(
                f"the runner of {self.model} speaks protocol {shown(spoken)}, "
                f"this tollama speaks {protocol.PROTOCOL}"
            )
        return found

    def stray(self, line: bytes) -> None:
        """Log a line that is no frame, or one for nobody."""
        if line.strip():
            text = line[:200].decode(errors="replace").rstrip()
            self.log(f"{self.model}[{self.pid}]: ignored a line on stdout: {json.dumps(text)}")

    # The end

    def kill(self) -> None:
        """End the runner and its children now."""
        if not self._closed:
            kill_tree(self._child)

    def alive(self) -> bool:
        """Whether the process has not ended."""
        return not self._closed and wait_exit(self._child, 0) is False

    def close(self, eof_grace: float = EOF_GRACE, term_grace: float = TERM_GRACE) -> None:
        """End the runner: end of stdin, SIGTERM, SIGKILL; reaps it and frees the pipes."""
        if self._closed:
            return
        with self._out_lock:
            assert self._child.stdin
            self._child.stdin.close()
            self._broken = True
        if not self._wait(eof_grace):
            self._child.terminate()
            self._wait(term_grace)
        self.kill()  # what is left of its process group, too
        self._closed = True
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self.log(f"{self.model}[{self.pid}]: cannot be killed")
        if POLLS:
            self._drain_err()
            for stream in (self._child.stdout, self._child.stderr):
                assert stream
                stream.close()

    def _wait(self, timeout: float) -> bool:
        """Wait for the exit while what the runner still says is read and dropped."""
        until = time.monotonic() + timeout
        if not POLLS:
            return wait_exit(self._child, timeout)
        poller = select.poll()
        open_fds = {self._out_fd, self._err_fd}
        if self._eof:
            open_fds.discard(self._out_fd)
        for fd in open_fds:
            poller.register(fd, select.POLLIN)
        while open_fds:
            left = until - time.monotonic()
            events = poller.poll(milliseconds(left)) if left > 0 else []
            if not events:
                return wait_exit(self._child, 0)
            for fd, _ in events:
                chunk = os.read(fd, CHUNK)
                if fd == self._err_fd:
                    self._keep_err(chunk)
                if not chunk:
                    poller.unregister(fd)
                    open_fds.discard(fd)
            if wait_exit(self._child, 0):
                return True
        return wait_exit(self._child, max(0.0, until - time.monotonic()))

    def _drain_err(self) -> None:
        try:
            for _ in range(256):
                chunk = os.read(self._err_fd, CHUNK)
                self._keep_err(chunk)
                if not chunk:
                    return
        except OSError:
            return

    def _obituary(self) -> RunnerCrashed:
        """Why the runner has gone, with its last line on stderr."""
        wait_exit(self._child, 0.5)
        if POLLS and not self._closed:
            self._drain_err()
        code = None if self._closed else self._child.poll()
        if code is None:
            how = "closed its pipe"
        elif code < 0:
            how = f"was killed by {signal_name(-code)}"
        else:
            how = f"ended with status {code}"
        last = next((line for line in reversed(self.stderr) if line.strip()), "")
        reason = f": {last.strip()[:300]}" if last else ""
        return RunnerCrashed(f"the runner of {self.model} {how}{reason}")

    # Windows

    def _start_readers(self) -> None:
        def read(fd: int, source: object) -> None:
            while True:
                try:
                    chunk = os.read(fd, CHUNK)
                except OSError:
                    chunk = b""
                if source is self:
                    self.bell.queue.put((self, chunk))
                else:
                    self._keep_err(chunk)
                if not chunk:
                    return

        for fd, source in ((self._out_fd, self), (self._err_fd, None)):
            threading.Thread(target=read, args=(fd, source), daemon=True).start()

    def _poll_queue(self, timeout: float | None, lines: list[bytes]) -> None:
        import queue

        try:
            item = self.bell.queue.get(timeout=None if timeout == math.inf else timeout)
        except queue.Empty:
            return
        if item is None:
            self.bell.clear()
        elif item[0] is self:
            if item[1]:
                lines += self._lines.feed(item[1])
            else:
                self._eof = True
                raise self._obituary()
