"""create: a named preset from a Modelfile."""

from __future__ import annotations

import os
import sys

from tollama.cli.call import ask
from tollama.cli.main import add_client
from tollama.core.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

MAX_SIZE = 1 << 20


def add_create(parser: ArgumentParser) -> None:
    """The arguments of `create`."""
    parser.add_argument("model", help="name of the new model")
    parser.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        default="Modelfile",
        help="the Modelfile, - for standard input (default: ./Modelfile)",
    )
    add_client(parser)


def create(args: Namespace) -> int:
    """Make a preset of a model that is here."""
    body = {"model": args.model, "modelfile": read(args.file), "stream": False}
    ask(args, "POST", "/api/create", body)
    sys.stderr.write(f"created '{args.model}'\n")
    return 0


def read(path: str) -> str:
    """The text of a Modelfile; a folder means the Modelfile in it."""
    if path == "-":
        data = sys.stdin.buffer.read(MAX_SIZE + 1)
    else:
        if os.path.isdir(path):
            path = os.path.join(path, "Modelfile")
        try:
            with open(path, "rb") as stream:
                data = stream.read(MAX_SIZE + 1)
        except OSError as error:
            raise InvalidRequest(
                f"{path}: cannot be read: {(error.strerror or str(error)).lower()}"
            ) from None
    if len(data) > MAX_SIZE:
        raise InvalidRequest(f"{path}: expected at most 1 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path}: not valid UTF-8 at byte {error.start}") from None
