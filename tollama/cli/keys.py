"""`tollama keys`: the API keys in $TOLLAMA_HOME/api_keys, of which only the hashes are kept.

A running daemon reads the file again within a second. Not covered: keys in TOLLAMA_API_KEYS.
"""

from __future__ import annotations

import os
import sys
import time

from tollama.cli.models import add_format, as_json, print_json
from tollama.core import config
from tollama.core.errors import InvalidRequest, NotFound, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SCOPES = ("read", "forecast", "admin")


def add_keys(parser: ArgumentParser) -> None:
    """The arguments of `keys`."""
    parser.add_argument("action", choices=("add", "list", "remove"))
    parser.add_argument("id", nargs="?", metavar="ID", help="the key to remove, as list shows it")
    parser.add_argument(
        "--scope", choices=SCOPES, default="forecast",
        help="what the key may do: each includes the ones before it (default forecast)",
    )  # fmt: skip
    parser.add_argument("--name", default="", metavar="TEXT", help="a note on whose key it is")
    add_format(parser, "table", "json")


def keys(args: Namespace) -> int:
    """Make, list or remove keys."""
    import hashlib

    from tollama.daemon import access
    from tollama.models import files

    if (args.action == "remove") != (args.id is not None):
        raise InvalidRequest(f"keys {args.action}: {'expected' if args.id is None else 'no'} ID")
    if not args.name.isprintable():
        raise InvalidRequest(f"--name: expected printable text, got {shown(args.name)}")
    home = config.home()
    path = os.path.join(home, "api_keys")
    if args.action == "list":
        rows = [row for line in access.lines(path) if (row := _row(line))]
        if as_json(args):
            print_json({"keys": rows})
        for row in [] if as_json(args) else rows:
            sys.stdout.write(f"{row['id']}  {row['scope']:<8}  {row['note']}\n")
        if not rows and not as_json(args):
            sys.stderr.write("no keys: who is on this machine may do everything\n")
        return 0
    files.make_folder(home, mode=0o700)
    with files.lock(os.path.join(home, ".lock")):
        lines = access.lines(path)
        if args.action == "add":
            key = f"tk-{os.urandom(24).hex()}"
            note = f"{args.name} {time.strftime('%Y-%m-%d')}".strip()
            lines.append(f"{args.scope}:sha256:{hashlib.sha256(key.encode()).hexdigest()} {note}")
        else:
            kept = [line for line in lines if (_row(line) or {}).get("id") != args.id]
            if len(kept) == len(lines):
                raise NotFound(f"no key {shown(args.id)}; see: tollama keys list")
            lines = kept
        files.write(path, "".join(f"{line}\n" for line in lines).encode(), mode=0o600)
    if args.action == "add":
        sys.stderr.write("this key is shown once, only its hash is kept:\n")
        sys.stdout.write(f"{key}\n")
    return 0


def _row(line: str) -> dict[str, str] | None:
    """A line of the file for people; the id is the begin of the key's hash."""
    import hashlib

    value, _, note = line.partition(" ")
    if not value or value.startswith("#"):
        return None
    head, colon, rest = value.partition(":")
    scope, key = (head, rest) if colon and head in SCOPES else ("admin", value)
    plain = not key.startswith("sha256:")
    digest = hashlib.sha256(key.encode()).hexdigest() if plain else key.removeprefix("sha256:")
    note = note.strip() + (" (in plain text in the file)" if plain else "")
    return {"id": digest[:8].lower(), "scope": scope, "note": note.strip()}
