"""`tollama pull`: progress of a download, done by the daemon or in this process.

Ctrl-C ends the pull, also the daemon's, unless somebody else watches it too. What was fetched is
kept either way.

Not covered: drawing the bar (progress.py) and folders as models (local_models.py).
"""

from __future__ import annotations

import os
import sys

from tollama.cli import call
from tollama.cli.main import add_client
from tollama.core.errors import (
    CorruptDownload,
    DaemonUnreachable,
    InvalidRequest,
    TollamaError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import Any

FLAGS = ("insecure", "offline", "local_files_only", "no_config", "accept_license", "force")
VALUES = (
    "http_proxy", "https_proxy", "no_proxy", "revision", "endpoint", "limit_rate", "max_workers",
    "stall_timeout",
)  # fmt: skip
PATHS = ("hf_home", "ca_bundle")


def add_pull(parser: ArgumentParser) -> None:
    """The arguments of `pull`."""
    parser.add_argument(
        "model", nargs="?", help="a registry name or hf.co/ORG/NAME, with @REVISION if wanted"
    )
    add = parser.add_argument
    add("-r", "--requirements", metavar="FILE", help="pull every model of a models.lock")
    add("--no-stream", action="store_true", help="print only the last line of the progress")
    add("--insecure", action="store_true", help="do not verify TLS certificates")
    add("--offline", action="store_true", help="make no connection at all")
    add("--local-files-only", action="store_true", help="use only files that are on this machine")
    add("--http-proxy", metavar="URL", help="proxy for http:// addresses")
    add("--https-proxy", metavar="URL", help="proxy for https:// addresses")
    add("--no-proxy", metavar="HOSTS", help="hosts that need no proxy")
    add("--hf-home", metavar="DIR", help="Hugging Face cache to share with other tools")
    add("--token", help="hub token (better: TOLLAMA_HF_TOKEN, which ps does not show)")
    add("--no-config", action="store_true", help="ignore the defaults in config.json")
    add("--accept-license", action="store_true", help="accept the model's licence")
    add("--revision", metavar="REV", help="branch, tag or commit (default main)")
    add("--endpoint", metavar="URL", help="address of the hub or of a mirror")
    add("--ca-bundle", metavar="FILE", help="certificates to trust (PEM)")
    add("--limit-rate", type=_rate, metavar="BYTES", help="bytes per second at most, such as 5M")
    add("--max-workers", type=int, metavar="N", help="files downloaded at once")
    add("--stall-timeout", type=int, metavar="SECONDS", help="give up a line that gives nothing")
    add("--from", dest="peer", metavar="URL", help="another tollama, such as http://HOST:11435")
    add("--force", action="store_true", help="look at every file again")
    add("--from-dir", metavar="DIR", help="install your own checkpoint from a folder")
    add_client(parser)


def _rate(text: str) -> int:
    from tollama.core.config import KEYS

    return int(KEYS["pull.limit_rate"].parse(text))


def body_of(args: Namespace, model: str | None = None) -> dict[str, Any]:
    """The request body that the flags mean."""
    body: dict[str, Any] = {"model": model or args.model, "stream": True}
    body.update({name: True for name in FLAGS if getattr(args, name)})
    body.update({name: getattr(args, name) for name in VALUES if getattr(args, name) is not None})
    for name in PATHS:
        if getattr(args, name) is not None:
            # The daemon's working directory is another one.
            body[name] = os.path.abspath(os.path.expanduser(getattr(args, name)))
    if args.peer is not None:
        body["from"] = args.peer
    if args.token is not None:
        body["token"] = args.token
    return body


def events_of(args: Namespace, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pull's events from the daemon, or from this process where none runs."""
    remote = call.connect(args.base_url, timeout=args.timeout)
    try:
        yield from remote.stream("POST", "/api/pull", {**_from_here(remote, body), **body})
        return
    except DaemonUnreachable as error:
        if not call.falls_back(remote.where, error):
            raise
    if not args.no_stream:
        sys.stderr.write("no daemon is running, pulling in this process\n")
    here = call.Local()
    try:
        yield from here.stream("POST", "/api/pull", body)
    finally:
        here.close()


def _from_here(remote: call.Remote, body: dict[str, Any]) -> dict[str, Any]:
    """What this shell says and a daemon on the same machine may not know: token and offline."""
    from tollama.core import config, tokens

    where = remote.where
    found: dict[str, Any] = {}
    if not (where.unix or where.host in ("localhost", "::1") or where.host.startswith("127.")):
        return found
    given = tokens.pairs(remote.environ.get("TOLLAMA_HF_TOKEN") or "")
    if body.get("from"):  # another tollama gets no token that was not meant for it
        given = [(host, token) for host, token in given if host]
    if given:
        found["token"] = ",".join(f"{host}={token}" if host else token for host, token in given)
    if config.effective({}, {k: v for k, v in remote.environ.items() if k == "HF_HUB_OFFLINE"})[
        "pull.offline"
    ][0]:
        found["offline"] = True
    return found


def _cancel(args: Namespace, model: str) -> None:
    """Tell the daemon, if it does the pull, that nobody waits for it any more."""
    import contextlib

    with contextlib.suppress(TollamaError):
        remote = call.connect(args.base_url, timeout=5.0)
        remote.call("DELETE", "/api/pull", {"model": model, "unless_watched": True})


def show_progress(events: Iterator[dict[str, Any]], *, quiet: bool = False) -> dict[str, Any]:
    """Print a pull's events as they come: a bar on a terminal, else lines; returns the last."""
    from tollama.cli.progress import PullProgress

    progress = PullProgress(sys.stderr, os.environ, quiet=quiet)
    last: dict[str, Any] = {}
    try:
        for event in events:
            last = event
            progress.show(event)
    finally:
        progress.end()
        close = getattr(events, "close", None)
        if close is not None:
            close()
    return last


def pull(args: Namespace) -> int:
    """Download a model, those of a list, or install one from a folder."""
    if args.token is not None:
        from tollama.cli.argv import hide

        hide(args.token)
    if (args.model is None) == (args.requirements is None):
        raise InvalidRequest("pull: expected a model, or -r FILE")
    if args.requirements is not None:
        if args.from_dir or args.revision:
            raise InvalidRequest("pull: -r takes neither --from-dir nor --revision")
        return _pull_list(args)
    if args.from_dir:
        from tollama.cli.local_models import from_dir

        return from_dir(args)
    last = _pull_one(args, args.model)
    if args.no_stream or not sys.stdout.isatty():
        from tollama.cli.models import print_json

        print_json(last)
    return 0


def _pull_one(args: Namespace, model: str) -> dict[str, Any]:
    try:
        return show_progress(events_of(args, body_of(args, model)), quiet=args.no_stream)
    except KeyboardInterrupt:
        _cancel(args, model)
        raise


def _pull_list(args: Namespace) -> int:
    """Pull the models of a lock file one after another; goes on after one that fails."""
    from tollama.cli import lock
    from tollama.cli.models import print_json

    failed: TollamaError | None = None
    for entry in lock.read(args.requirements):
        sys.stderr.write(f"{entry.model}\n")
        try:
            last = _pull_one(args, entry.model)
            if entry.digest is not None:
                _check(args, entry, lock)
            if args.no_stream or not sys.stdout.isatty():
                print_json(last)
        except TollamaError as error:
            from tollama.cli.main import report

            report(error)
            failed = error
    return 0 if failed is None else failed.exit_code


def _check(args: Namespace, entry: Any, lock: Any) -> None:
    name = entry.model.partition("@")[0]
    found = lock.digest(call.ask(args, "POST", "/api/show", {"model": name}))
    if found != entry.digest:
        raise CorruptDownload(
            f"model '{name}': its files have the digest {found}, {args.requirements} says "
            f"{entry.digest}"
        )
