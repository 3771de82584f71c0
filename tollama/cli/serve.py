"""`tollama serve`: the daemon in the foreground, until SIGTERM or SIGINT."""

from __future__ import annotations

import sys

from tollama.core.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_serve(parser: ArgumentParser) -> None:
    """The arguments of `serve`; the settings of the environment follow the examples."""
    from tollama.core.config import SETTINGS

    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument(
        "--port", type=_port, help="port to listen on, 0 = any free one (default 11435)"
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        help="Unix socket to listen on, in place of a port (beside it with --host or --port)",
    )
    parser.add_argument(
        "--tls-cert", metavar="FILE", help="serve https with this certificate (PEM)"
    )
    parser.add_argument(
        "--tls-key", metavar="FILE", help="its private key, unless it is in there too"
    )
    parser.add_argument(
        "--read-only", action="store_true", help="refuse to pull, delete, copy and create over HTTP"
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        help="what is logged on stderr (default info)",
    )
    lines = "\n".join(f"  {s.name:<30} {s.doc}" for s in SETTINGS)
    parser.epilog = f"{parser.epilog}\n\nenvironment:\n{lines}"


def _port(text: str) -> int:
    from argparse import ArgumentTypeError

    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def serve(args: Namespace) -> int:
    """Run the daemon; returns when it has drained."""
    from tollama.daemon.application import run

    if args.socket == "":
        raise InvalidRequest("--socket: expected a path, got nothing")
    changes = {
        "TOLLAMA_TLS_CERT": args.tls_cert,
        "TOLLAMA_TLS_KEY": args.tls_key,
        "TOLLAMA_READ_ONLY": "true" if args.read_only else None,
    }
    return run(
        host=args.host,
        port=args.port,
        log_level=args.log_level,
        out=sys.stdout,
        socket=args.socket,
        changes={name: value for name, value in changes.items() if value is not None},
    )
