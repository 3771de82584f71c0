"""What the operating system says of a child process: has it ended, how, how much memory it takes.

Not covered: the pipe to it (runner_process.py).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess

from tollama.daemon.bell import milliseconds


def wait_exit(child: subprocess.Popen[bytes], timeout: float) -> bool:
    """Whether the process has ended within `timeout`.

    It is left unreaped where that is possible: its number must stay its own until `kill_tree`.
    """
    if not hasattr(os, "waitid"):
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True
    if child.returncode is not None:
        return True
    if timeout > 0 and not hasattr(os, "pidfd_open"):
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True
    if timeout > 0:
        try:
            fd = os.pidfd_open(child.pid)
        except OSError:
            pass
        else:
            try:
                poller = select.poll()
                poller.register(fd, select.POLLIN)
                poller.poll(milliseconds(timeout))
            finally:
                os.close(fd)
    try:
        found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return found is not None


def kill_tree(child: subprocess.Popen[bytes]) -> None:
    """End a process that leads its own session, and what it has started, now."""
    if os.name != "posix":
        child.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def signal_name(number: int) -> str:
    """A signal as people know it."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def rss_bytes(pid: int) -> int | None:
    """The resident memory of a process, None when it cannot be told."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    if os.name != "posix" or os.path.isdir("/proc/self"):
        return None
    try:
        found = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, timeout=2, check=False
        )
        return int(found.stdout) * 1024
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
