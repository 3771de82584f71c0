"""How the command line reaches the API: a daemon over a socket, or the service in this process.

    Remote   the daemon (remote.py)
    Local    a Service of this process, for when no daemon runs (local.py)

Both give `call` (one JSON answer) and `stream` (NDJSON objects as they come), and raise the errors
of core/errors.py.
"""

from __future__ import annotations

import os

from tollama.cli.address import Address, address
from tollama.cli.local import Local
from tollama.cli.remote import NO_DAEMON, Remote
from tollama.core.errors import DaemonUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["NO_DAEMON", "Local", "Remote", "ask", "connect", "falls_back"]


def connect(
    base_url: str | None, *, timeout: float | None = None, environ: Mapping[str, str] | None = None
) -> Remote:
    """The daemon at the address that the user means."""
    variables = os.environ if environ is None else environ
    return Remote(address(base_url, variables), timeout=timeout, environ=variables)


def ask(args: Any, method: str, path: str, body: object = None, *, local: bool = True) -> Any:
    """One call to the daemon; where none runs and none was named, the same in this process."""
    remote = connect(args.base_url, timeout=args.timeout)
    try:
        return remote.call(method, path, body)
    except DaemonUnreachable as error:
        if not local or not falls_back(remote.where, error):
            raise
    here = Local()
    try:
        return here.call(method, path, body)
    finally:
        here.close()


def falls_back(where: Address, error: DaemonUnreachable) -> bool:
    """Whether a command may do its work without the daemon: none runs, and no address was given."""
    return error.detail == NO_DAEMON and not where.given
