"""`tollama completion SHELL`: a script that completes commands, options, choices, files and models.

It is made from the argparse tree; only the names of models are asked for at the time of the
tab, by `tollama completion models` (here or built in), `known` (also the registry's), `installed`.

Not covered: the scripts themselves (completion_scripts.py), and names that only a daemon on another
machine has.
"""

from __future__ import annotations

import os
import sys
from collections import namedtuple

from tollama.core import config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Action, ArgumentParser, Namespace

ASKED = {"MODEL": "models", "KNOWN": "known", "INSTALLED": "installed"}
"""Kinds of an argument, and what a script asks for its values."""

Option = namedtuple("Option", "strings help kind repeats")
"""`kind`: "" takes no value, FILE, DIR, MODEL, MODELS (a comma between), KNOWN, INSTALLED, ANY, or
the words to choose from."""

Place = namedtuple("Place", "title kind many")
"""An argument without a name: its kind as above; `many`: it takes all that follow."""

Spec = namedtuple("Spec", "name aliases summary options places")


def add_completion(parser: ArgumentParser) -> None:
    """The arguments of `completion`."""
    parser.add_argument(
        "shell",
        choices=("bash", "zsh", "fish", *ASKED.values()),
        metavar="SHELL",
        help="bash, zsh or fish",
    )


def completion(args: Namespace) -> int:
    """Print a shell's script, or names for it."""
    if args.shell in ASKED.values():
        text = "".join(f"{name}\n" for name in names(args.shell))
    else:
        from tollama.cli import completion_scripts

        text = getattr(completion_scripts, args.shell)(tree(), program())
    sys.stdout.write(text)
    return 0


def names(which: str) -> list[str]:
    """Models that are installed, with the built-in `models`, or with all that are `known`."""
    home = config.home()
    try:
        folders = os.listdir(os.path.join(home, "models"))
    except OSError:
        folders = []
    # hf.co/ORG/NAME lies in hf.co--ORG--NAME
    found = {
        name.replace("--", "/") if name.startswith("hf.co--") else name
        for name in folders
        if not name.startswith(".")
    }
    if which != "installed":
        from tollama.models import families

        offers = families.registry(families.find(home)[0])
        found.update(name for name in offers if which == "known" or offers[name].builtin)
    return sorted(found)


def program() -> str:
    """How a script calls this program again: through the file that runs, where it is a .pyz."""
    path = os.path.abspath(sys.argv[0])
    if not os.path.isfile(path) or path.endswith("__main__.py"):
        return "tollama"
    import shlex

    return shlex.join([sys.executable, path] if path.endswith(".pyz") else [path])


def tree() -> list[Spec]:
    """Every command with its options and places, from its parser."""
    from importlib import import_module

    from tollama.cli import main

    specs = []
    for command in main.COMMANDS:
        parser = main.build(command, import_module(f"tollama.cli.{command.module}"))
        options, places = [], []
        for action in parser._actions:
            text = (action.help or action.dest).replace("%%", "%")
            many = action.nargs in ("*", "+")
            if action.option_strings:
                kind = "" if action.nargs == 0 else _kind(command.name, action)
                repeats = type(action).__name__ == "_AppendAction"
                options.append(Option(tuple(action.option_strings), text, kind, repeats))
            else:
                places.append(Place(action.dest, _kind(command.name, action), many))
        aliases = [name for name, target in main.ALIASES.items() if target == command.name]
        specs.append(Spec(command.name, aliases, command.summary, options, places))
    commands = " ".join([*main.TABLE, *main.ALIASES])
    specs.append(
        Spec("help", [], "Options and examples of a command", [], [Place("command", commands, 0)])
    )
    return specs


def _kind(command: str, action: Action) -> str:
    """What an argument takes, by its choices, its metavar and its name."""
    if command == "completion":
        return "bash zsh fish"
    if action.choices:
        return " ".join(map(str, action.choices))
    if action.metavar == "FAMILY" or action.dest == "family":
        from tollama.models import families

        known, _ = families.find(config.home())
        return " ".join(sorted(name for name, one in known.items() if one.requirements))
    if action.dest == "key":
        return " ".join(config.KEYS)
    if action.metavar == "DIR":
        return "DIR"
    if action.metavar in ("FILE", "PATH") or action.dest in ("file", "kit"):
        return "FILE"
    if action.dest == "models":
        return "MODELS"
    if action.dest in ("model", "source", "prefix") and command != "create":
        kinds = {"run": "KNOWN", "pull": "KNOWN"}
        return kinds.get(command, "INSTALLED" if command in ("rm", "export", "verify") else "MODEL")
    return "MODEL" if action.metavar == "MODEL" else "ANY"
