"""config, info, version: settings and diagnostics; they work when the daemon is down."""

from __future__ import annotations

import os
import sys

from tollama.cli import call
from tollama.cli.main import add_client
from tollama.cli.models import add_format, as_json, print_json
from tollama.core import config, redact
from tollama.core.errors import DaemonUnreachable, InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any


def add_config(parser: ArgumentParser) -> None:
    """The arguments of `config`, and the table of keys."""
    parser.add_argument("action", choices=("list", "get", "set", "unset"))
    parser.add_argument("key", nargs="?", metavar="KEY", help="one of the keys below")
    parser.add_argument("value", nargs="?", metavar="VALUE", help="for set")
    add_format(parser, "table", "json")
    keys = "\n".join(f"  {key.name:<24} {key.doc}" for key in config.CONFIG_KEYS)
    note = "Tokens are never stored: use TOLLAMA_HF_TOKEN or pull --token."
    parser.epilog = f"{parser.epilog}\n\nkeys:\n{keys}\n\n{note}"


def _redacted(value: Any) -> Any:
    return redact.text(value) if isinstance(value, str) else value


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(_redacted(value))


def config_(args: Namespace) -> int:
    """Show or change config.json."""
    from tollama.models import files

    home = config.home()
    needed = {"list": 0, "get": 1, "unset": 1, "set": 2}[args.action]
    given = sum(part is not None for part in (args.key, args.value))
    if given != needed:
        words = ("", " KEY", " KEY VALUE")[needed]
        raise InvalidRequest(f"config {args.action}: expected: tollama config {args.action}{words}")
    if args.key is not None and args.key not in config.KEYS:
        raise InvalidRequest(config.unknown_key(args.key))
    if args.action == "list":
        values = {k: _redacted(v) for k, v in config.read(home).items()}
        if as_json(args):
            print_json(config.to_file(values))
            return 0
        for name, (value, source) in config.effective(config.read(home)).items():
            shown = "-" if value is None else _word(value)
            sys.stdout.write(f"{name:<24} {shown}  ({source})\n")
        return 0
    if args.action == "get":
        value = config.effective(config.read(home))[args.key][0]
        sys.stdout.write(f"{'' if value is None else _word(value)}\n")
        return 0
    files.make_folder(home, mode=0o700)
    with files.lock(os.path.join(home, ".lock")):
        values = config.read(home)
        if args.action == "set":
            values[args.key] = config.parse_key(args.key, args.value)
        else:
            values.pop(args.key, None)
        files.write_json(config.path(home), config.to_file(values), mode=0o600)
    return 0


def add_info(parser: ArgumentParser) -> None:
    """The arguments of `info`."""
    parser.add_argument("--json", action="store_true", help="print the whole document as JSON")
    parser.add_argument("--verbose", action="store_true", help="print every section in full")
    parser.add_argument("--local", action="store_true", help="do not ask the daemon")
    parser.add_argument(
        "--remote", action="store_true", help="fail when the daemon does not answer"
    )
    add_client(parser)


def info(args: Namespace) -> int:
    """Diagnostics of the daemon and of this machine's files."""
    if args.local and args.remote:
        raise InvalidRequest("info: expected --local or --remote, got both")
    remote = call.connect(args.base_url, timeout=args.timeout or 5.0)
    document: dict[str, Any] | None = None
    problem: str | None = None
    if not args.local:
        try:
            document = remote.call("GET", "/api/info")
        except DaemonUnreachable as error:
            if args.remote:
                raise
            problem = error.message
    from tollama.daemon import diagnostics

    if document is None:
        here = call.Local()
        try:
            document = diagnostics.info(here.service, running=False)
        finally:
            here.close()
    document["client"] = {
        "base_url": redact.text(remote.where.url),
        "reachable": document["daemon"] is not None,
        "problem": problem,
    }
    if args.json:
        print_json(document)
    else:
        sys.stdout.write(diagnostics.text(document, verbose=args.verbose))
    return 0


def add_version(parser: ArgumentParser) -> None:
    """The arguments of `version`."""
    parser.add_argument(
        "--verbose", action="store_true", help="build, interpreter, vendored packages"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    add_client(parser)


def version(args: Namespace) -> int:
    """The version of this file, and of the daemon when it is another one."""
    from tollama import __version__

    if not args.json:
        sys.stdout.write(f"tollama {__version__}\n")
    if args.verbose and not args.json:
        from tollama.daemon import diagnostics

        for name, value in diagnostics.build().items():
            if isinstance(value, dict):
                value = ", ".join(f"{part} {found}" for part, found in value.items())
            sys.stdout.write(f"  {name:<12} {value}\n")
    try:
        remote = call.connect(args.base_url, timeout=args.timeout or 2.0)
        found = remote.call("GET", "/api/version")["version"]
    except (DaemonUnreachable, KeyError, TypeError):
        found = None
    if args.json:
        from tollama.daemon import diagnostics

        print_json({"version": __version__, "daemon": found, **diagnostics.build()})
    elif found not in (None, __version__):
        sys.stdout.write(f"daemon  {found}\n")
    return 0
