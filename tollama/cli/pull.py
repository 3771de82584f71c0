"""`tollama pull`: progress of a download, done by the daemon or in this process."""

from __future__ import annotations

import os
import sys

from tollama.cli import call
from tollama.cli.main import add_client
from tollama.core.errors import DaemonUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import Any

FLAGS = ("insecure", "offline", "local_files_only", "no_config", "accept_license", "force")
VALUES = (
    "http_proxy", "https_proxy", "no_proxy", "hf_home", "token", "revision", "endpoint",
    "ca_bundle",
)  # fmt: skip


def add_pull(parser: ArgumentParser) -> None:
    """The arguments of `pull`."""
    parser.add_argument("model", help="a registry name or hf.co/ORG/NAME, with @REVISION if wanted")
    add = parser.add_argument
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
    add("--force", action="store_true", help="look at every file again")
    add("--from-dir", metavar="DIR", help="install your own checkpoint from a folder")
    add_client(parser)


def _rate(text: str) -> int:
    from tollama.core.config import KEYS

    return int(KEYS["pull.limit_rate"].parse(text))


def body_of(args: Namespace) -> dict[str, Any]:
    """The request body that the flags mean."""
    body: dict[str, Any] = {"model": args.model, "stream": True}
    body.update({name: True for name in FLAGS if getattr(args, name)})
    body.update({name: getattr(args, name) for name in VALUES if getattr(args, name) is not None})
    for name in ("max_workers", "limit_rate"):
        if getattr(args, name) is not None:
            body[name] = getattr(args, name)
    return body


def events_of(args: Namespace, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pull's events from the daemon, or from this process where none runs."""
    remote = call.connect(args.base_url, timeout=args.timeout)
    try:
        yield from remote.stream("POST", "/api/pull", body)
        return
    except DaemonUnreachable as error:
        if not call.falls_back(remote.where, error):
            raise
    here = call.Local()
    try:
        yield from here.stream("POST", "/api/pull", body)
    finally:
        here.close()


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
    return last


def pull(args: Namespace) -> int:
    """Download a model, or install one from a folder."""
    if args.from_dir:
        from tollama.cli.local_models import from_dir

        return from_dir(args)
    last = show_progress(events_of(args, body_of(args)), quiet=args.no_stream)
    if args.no_stream or not sys.stdout.isatty():
        from tollama.cli.models import print_json

        print_json(last)
    return 0
