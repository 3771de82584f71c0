"""`tollama open`: the daemon's page in the browser; a daemon is started here when none runs.

Not covered: the page itself (daemon/web).
"""

from __future__ import annotations

import os
import sys

from tollama.cli import call
from tollama.cli.main import add_client
from tollama.core.errors import DaemonUnreachable, InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

TRY = 2.0  # seconds to wait for a daemon that is perhaps not there


def add_open(parser: ArgumentParser) -> None:
    """The arguments of `open`."""
    parser.add_argument(
        "--print", action="store_true", dest="only_print", help="print the address, open nothing"
    )
    add_client(parser)


def open_(args: Namespace) -> int:
    """Open the page of the daemon that answers, else of one started in this process."""
    remote = call.connect(args.base_url, timeout=args.timeout or TRY)
    where = remote.where
    if where.unix:
        raise InvalidRequest(f"a browser cannot open {where.url}: start the daemon on a port")
    try:
        remote.call("GET", "/api/version")
    except DaemonUnreachable:
        if where.given or args.only_print:
            raise
        return _serve(where.url)
    _show(where.url, only_print=args.only_print)
    return 0


def _show(url: str, *, only_print: bool) -> None:
    sys.stdout.write(f"{url}/\n")
    sys.stdout.flush()
    if only_print or _browse(f"{url}/"):
        return
    sys.stderr.write("no browser was found here: open the address above in one\n")


def _browse(url: str) -> bool:
    import webbrowser

    # Without a display a text browser would take over the terminal.
    if sys.platform == "linux" and not any(
        map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    ):
        return False
    return webbrowser.open(url)


class _Opening:
    """What the daemon writes to; its line about the address also opens the page."""

    def write(self, text: str) -> int:
        """Pass the text on; the daemon listens when it says so."""
        import threading

        url = text.split()[-1] if " listening on " in text else None
        sys.stdout.write(text)
        if url:
            # The browser asks at once: it must find the loop running, not this thread waiting.
            threading.Thread(target=_show, args=(url,), kwargs={"only_print": False}).start()
        return len(text)

    def flush(self) -> None:
        """As of a file."""
        sys.stdout.flush()


def _serve(url: str) -> int:
    from typing import TextIO, cast

    from tollama.daemon.application import run

    sys.stderr.write(f"no daemon at {url}: starting one here, Ctrl-C ends it\n")
    code = run(host=None, port=None, log_level="warning", out=cast(TextIO, _Opening()))
    if sys.stderr.isatty():  # the shell's prompt must not follow the "^C"
        sys.stderr.write("\n")
    return code
