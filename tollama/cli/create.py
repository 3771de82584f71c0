"""create: a named preset from a Modelfile or another model, or a model in half the space.

Presets are made by the daemon, converted weights here, on TOLLAMA_HOME itself; a running daemon
sees both at once.
"""

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
        help="the Modelfile, - for standard input (default: ./Modelfile)",
    )
    parser.add_argument(
        "--from", dest="source", metavar="MODEL", help="begin with a model, without a Modelfile"
    )
    parser.add_argument(
        "--dtype",
        choices=["float16"],
        help="with --from: store its weights in this number format, half the size",
    )
    add_client(parser)


def create(args: Namespace) -> int:
    """Make a preset of a model that is here, or its copy in another number format."""
    if args.source is None:
        if args.dtype is not None:
            raise InvalidRequest("--dtype: expected --from MODEL beside it")
        body = {"model": args.model, "modelfile": read(args.file or "Modelfile"), "stream": False}
    elif args.file is not None:
        raise InvalidRequest("expected either --file or --from, got both")
    elif args.dtype is not None:
        return convert(args)
    else:
        body = {"model": args.model, "from": args.source, "stream": False}
    ask(args, "POST", "/api/create", body)
    sys.stderr.write(f"created '{args.model}'\n")
    return 0


def convert(args: Namespace) -> int:
    """Install the copy of a model with weights in float16."""
    from tollama.cli.kits import Progress, size_text
    from tollama.core import config
    from tollama.models import conversion, families

    home = config.home()
    known, _ = families.find(home)
    with Progress() as progress:
        model = conversion.convert(
            args.model,
            args.source,
            home,
            known,
            environ=os.environ,
            report=progress.report,
        )
    size = size_text(model.manifest["size_bytes"])
    sys.stderr.write(f"created '{model.name}', {size} in {args.dtype}\n")
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
