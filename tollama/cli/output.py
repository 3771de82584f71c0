"""Where an answer goes: the terminal, a pipe or a file, in which form.

Not covered: how tables and charts look (render.py, chart.py) and big files (bulk.py).
"""

from __future__ import annotations

import os
import sys

from tollama.core.errors import InvalidRequest, TollamaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

_BY_ENDING = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "table"}


def check(args: Namespace) -> None:
    """Refuse an output that cannot be written, before anything is computed; "-" is stdout."""
    if args.output == "-":
        args.output = None
    if args.output is None:
        return
    path = os.path.realpath(args.output)
    folder = os.path.dirname(path)
    if os.path.isdir(path) or args.output.endswith(os.sep):
        problem = "expected a file, got a folder"
    elif not os.path.isdir(folder):
        problem = "expected a file in a folder that exists, got"
    elif not os.access(path if os.path.exists(path) else folder, os.W_OK):
        problem = "expected a file that may be written, got"
    else:
        return
    raise InvalidRequest(f"--output: {problem} {args.output!r}")


def in_place(path: str) -> bool:
    """Whether it is a device or a pipe, which is written to and never replaced by a file."""
    return os.path.exists(path) and not os.path.isfile(path)


def form_of(args: Namespace) -> str:
    """The output form: asked for, by the file's ending, or by what stdout is."""
    if args.format:
        return str(args.format)
    if args.output:
        return _BY_ENDING.get(os.path.splitext(args.output)[1].lower(), "json")
    return "table" if sys.stdout.isatty() else "json"


def write(args: Namespace, request: dict[str, Any], response: dict[str, Any]) -> None:
    """Print or save the answer; its warnings go to stderr."""
    from tollama.cli import render

    form = form_of(args)
    if form == "json":
        import json

        indent = 2 if args.output or sys.stdout.isatty() else None
        separators = None if indent else (",", ":")
        text = json.dumps(response, ensure_ascii=False, indent=indent, separators=separators) + "\n"
    elif form == "csv":
        text = render.to_csv(response)
    elif form == "jsonl":
        text = render.to_jsonl(response)
    else:
        term = render.terminal(sys.stdout, os.environ)
        text = render.report(request, response, term, chart=not args.no_chart)
    if args.output:
        save(args.output, text.encode("utf-8", "replace"))
        sys.stderr.write(f"wrote {args.output}\n")
    else:
        sys.stdout.write(text)
    if form != "json":
        for warning in response.get("warnings") or ():
            sys.stderr.write(f"warning: {warning}\n")


def save(path: str, data: bytes) -> None:
    """Write a file whole, by replacing it; devices and pipes are written to."""
    if in_place(path):
        try:
            with open(path, "wb") as stream:
                stream.write(data)
        except OSError as error:
            raise TollamaError(f"cannot write {path}: {str(error.strerror).lower()}") from None
        return
    from tollama.models import files

    try:
        files.write(os.path.realpath(path), data)
    except TollamaError as error:  # its advice is about the folder of the models
        reason = error.message.partition(": ")[2].partition(";")[0]
        raise type(error)(f"cannot write {path}: {reason}") from None
