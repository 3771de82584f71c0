"""list, show, ps, stop, rm, cp: the models on this machine, with or without a daemon."""

from __future__ import annotations

import json
import os
import sys

from tollama.cli.call import ask, connect
from tollama.cli.main import add_client
from tollama.core.errors import TollamaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any


def add_format(parser: ArgumentParser, *formats: str) -> None:
    """--format: a table on a terminal, JSON when piped, unless said otherwise."""
    parser.add_argument(
        "--format",
        choices=formats or ("table", "json"),
        help="output form (default: table on a terminal, json when piped)"
        + ("; lock: pinned to commits, for pull -r" if "lock" in formats else ""),
    )


def as_json(args: Namespace) -> bool:
    """Whether the output is JSON: asked for, or not a terminal."""
    if args.format:
        return bool(args.format == "json")
    return not sys.stdout.isatty()


def print_json(value: Any) -> None:
    """A JSON document as the API gives it, indented on a terminal."""
    indent = 2 if sys.stdout.isatty() else None
    separators = None if indent else (",", ":")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    sys.stdout.write(text + "\n")


def print_table(headers: list[str], rows: list[list[Any]]) -> None:
    """An aligned table, cut to the terminal's width."""
    from tollama.cli import render

    sys.stdout.write(render.table(rows, headers, render.terminal(sys.stdout, os.environ)))


def add_list(parser: ArgumentParser) -> None:
    """The arguments of `list`."""
    parser.add_argument("prefix", nargs="?", default="", help="only models whose name begins so")
    add_format(parser, "table", "json", "lock")
    add_client(parser)


def list_(args: Namespace) -> int:
    """Installed and built-in models."""
    answer = ask(args, "GET", "/api/tags")
    items = [m for m in answer["models"] if m["name"].lower().startswith(args.prefix.lower())]
    if args.format == "lock":
        return _lock(args)
    if as_json(args):
        print_json({"models": items})
        return 0
    from tollama.cli import render

    rows = [
        [
            item["name"],
            item["details"]["family"],
            "built in" if _built_in(item) else item["digest"][:12],
            "-" if _built_in(item) else render.human_size(item["size"]),
            "-" if _built_in(item) else render.ago(item["modified_at"]),
        ]
        for item in items
    ]
    print_table(["NAME", "FAMILY", "ID", "SIZE", "MODIFIED"], rows)
    return 0


def _lock(args: Namespace) -> int:
    """The installed models pinned to their commits, as `pull -r` takes them."""
    from tollama.cli import lock

    lines = [lock.HEAD]
    models = [model["name"] for model in ask(args, "GET", "/v1/models")["installed"]]
    for name in models:
        if not name.lower().startswith(args.prefix.lower()):
            continue
        line = lock.line(ask(args, "POST", "/api/show", {"model": name}))
        if line is None:
            sys.stderr.write(f"warning: '{name}' came from no hub, it is left out (see export)\n")
        else:
            lines.append(line)
    sys.stdout.write("".join(lines))
    return 0


def _built_in(item: dict[str, Any]) -> bool:
    return bool(item["details"]["format"] == "builtin" and item["size"] == 0)


def add_show(parser: ArgumentParser) -> None:
    """The arguments of `show`."""
    parser.add_argument("model", help="an installed or built-in model")
    parser.add_argument("--modelfile", action="store_true", help="print the Modelfile of the model")
    parser.add_argument("--license", action="store_true", help="print the licence")
    parser.add_argument("--parameters", action="store_true", help="print the preset parameters")
    add_format(parser, "table", "json")
    add_client(parser)


def show(args: Namespace) -> int:
    """One model in full."""
    answer = ask(args, "POST", "/api/show", {"model": args.model})
    for part in ("modelfile", "license", "parameters"):
        if getattr(args, part):
            sys.stdout.write(str(answer[part]).rstrip("\n") + "\n")
            return 0
    if as_json(args):
        print_json(answer)
        return 0
    sys.stdout.write(show_text(answer))
    return 0


def show_text(answer: dict[str, Any]) -> str:
    """The facts of a model as aligned lines, grouped."""
    info = answer["model_info"]
    facts = {
        "model": answer["name"],
        "description": answer["description"],
        "family": _family(answer),
        "licence": answer["license"],
        "parameters": answer["details"]["parameter_size"] or "-",
        "context length": info["context_length"] or "any",
        "max horizon": info["max_horizon"] or "any",
        "source": _source(answer),
        "digest": answer["digest"][:12],
    }
    width = max(map(len, facts)) + 2
    lines = [f"  {name:<{width}}{value}" for name, value in facts.items() if value != ""]
    able = {k: v for k, v in answer["forecast_capabilities"].items()}
    lines += ["", "  can"]
    for name, value in able.items():
        text = "yes" if value is True else "no" if value is False else str(value)
        lines.append(f"    {name.replace('_', ' '):<24}{text}")
    options = info.get("options") or {}
    if options:
        lines += ["", "  options"]
        lines += [f"    {name:<24}{text}" for name, text in options.items()]
    if answer["parameters"]:
        lines += ["", "  preset"]
        lines += [f"    {line}" for line in answer["parameters"].splitlines()]
    return "\n".join(lines) + "\n"


def _family(answer: dict[str, Any]) -> str:
    """The family that would run it, and which others could."""
    able, now = answer["details"]["families"], answer.get("runs_on")
    if now is None:
        return f"{', '.join(able)} (not installed: tollama runtime install {able[0]})"
    others = ", ".join(family for family in able if family != now)
    return f"{now} (or {others})" if others else str(now)


def _source(answer: dict[str, Any]) -> str:
    source = answer["source"]
    if source["type"] == "huggingface":
        commit = (answer["resolved"].get("commit_sha") or "")[:12]
        return f"{source['repo_id']}@{commit or source.get('revision', 'main')}"
    if source["type"] == "converted":
        return f"{source['made_from']['model']}, weights in {source['dtype']}"
    return str(source["type"])


def add_ps(parser: ArgumentParser) -> None:
    """The arguments of `ps`."""
    add_format(parser, "table", "json")
    add_client(parser)


def ps(args: Namespace) -> int:
    """Models that are loaded in the daemon."""
    answer = ask(args, "GET", "/api/ps", local=False)
    if as_json(args):
        print_json(answer)
        return 0
    from tollama.cli import render

    rows = [
        [
            item["name"],
            item["family"],
            render.human_size(item["size"] or 0),
            f"{item['device']}{' ' + item['dtype'] if item['dtype'] else ''}",
            item["queue_depth"],
            render.until(item["expires_at"]),
        ]
        for item in answer["models"]
    ]
    print_table(["NAME", "FAMILY", "SIZE", "DEVICE", "QUEUE", "UNTIL"], rows)
    return 0


def add_stop(parser: ArgumentParser) -> None:
    """The arguments of `stop`."""
    parser.add_argument("model", nargs="+", help="loaded models")
    add_client(parser)


def stop(args: Namespace) -> int:
    """Unload models."""
    remote = connect(args.base_url, timeout=args.timeout)
    for name in args.model:
        remote.call("POST", "/api/generate", {"model": name, "keep_alive": 0})
    return 0


def add_rm(parser: ArgumentParser) -> None:
    """The arguments of `rm`."""
    parser.add_argument("model", nargs="+", help="installed models")
    parser.add_argument(
        "--purge", action="store_true", help="remove the files from a shared Hugging Face cache too"
    )
    add_client(parser)


def rm(args: Namespace) -> int:
    """Remove models; goes on after one that fails."""
    failed: TollamaError | None = None
    for name in args.model:
        try:
            ask(args, "DELETE", "/api/delete", {"model": name, "purge": args.purge})
            sys.stderr.write(f"deleted '{name}'\n")
        except TollamaError as error:
            if len(args.model) > 1:
                sys.stderr.write(f"error: {error.message}\n")
            failed = error
    if failed is None:
        return 0
    if len(args.model) == 1:
        raise failed
    return failed.exit_code


def add_cp(parser: ArgumentParser) -> None:
    """The arguments of `cp`."""
    parser.add_argument("source", help="an installed or built-in model")
    parser.add_argument("destination", help="its second name")
    add_client(parser)


def cp(args: Namespace) -> int:
    """Copy a model under another name."""
    body = {"source": args.source, "destination": args.destination}
    ask(args, "POST", "/api/copy", body)
    sys.stderr.write(f"copied '{args.source}' to '{args.destination}'\n")
    return 0
