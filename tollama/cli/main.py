"""The command line: one parser a command, one place where errors become exit codes.

Only the parser of the command that was asked for is built, and a command's module is imported when
it runs: that is what makes `tollama list` start in a few milliseconds.

Not covered: which commands there are (commands.py), what they do (models.py, run.py ...) and how
output looks (render.py).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from tollama.cli.commands import ALIASES, COMMANDS, TABLE, Command
from tollama.core import redact
from tollama.core.errors import Cancelled, InvalidRequest, TollamaError

__all__ = ["ALIASES", "COMMANDS", "TABLE", "Command", "main"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any, NoReturn


def main(argv: list[str]) -> int:
    """Run a command line; returns the exit code of the table in core/errors.py."""
    # A caller may have closed them (`>&-`): what is written then goes nowhere.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    speak_utf8(sys.stdout)
    try:
        catch_interrupts()
        code = dispatch(argv)
        sys.stdout.flush()
        return code
    except TollamaError as error:
        return report(error)
    except KeyboardInterrupt:
        # Ctrl-C is silent; on a terminal the shell's prompt must not follow the "^C".
        if sys.stderr.isatty():
            dumb = os.environ.get("TERM", "dumb") == "dumb"
            sys.stderr.write("\n" if dumb else "\r\x1b[K")
        return Cancelled.exit_code
    except BrokenPipeError:
        # `tollama list | head`: the reader has seen enough. stdout must not be flushed again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return report(TollamaError(f"{error.filename or ''}: {reason}".lstrip(": ")))


def speak_utf8(stream: Any) -> None:
    """Make data UTF-8 in every locale; a terminal of another one shows what letters it has."""
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
    if encoding not in ("utf-8", "utf8") and hasattr(stream, "reconfigure"):
        if stream.isatty():
            stream.reconfigure(errors="replace")
        else:
            stream.reconfigure(encoding="utf-8")


def catch_interrupts() -> None:
    """Make Ctrl-C an exception again, which __main__.quiet has put off."""
    import _signal  # type: ignore[import-not-found]

    if _signal.getsignal(_signal.SIGINT) is _signal.SIG_DFL:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def report(error: TollamaError) -> int:
    """An error on stderr, without secrets; returns its exit code."""
    from tollama.core import tokens

    text = redact.text(error.message, *tokens.secrets(os.environ.get("TOLLAMA_HF_TOKEN")))
    sys.stderr.write(f"error: {text}\n")
    return error.exit_code


def dispatch(argv: list[str]) -> int:
    """Find the command, read its arguments, run it."""
    if not argv:
        sys.stdout.write(start_page())
        return 0
    name, rest = argv[0], argv[1:]
    if name in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0
    if name in ("-v", "-V", "--version"):
        name = "version"
    if name == "help":
        if not rest:
            sys.stdout.write(overview())
            return 0
        name, rest = rest[0], ["--help"]
    command = TABLE.get(ALIASES.get(name, name))
    if command is None:
        sys.stderr.write(f"error: {unknown(name)}\n")
        return 2
    module = import_module(f"tollama.cli.{command.module}")
    parser = build(command, module)
    try:
        args = parser.parse_intermixed_args(rest)  # run MODEL --horizon 12 FILE too
    except SystemExit as stop:  # argparse has printed the help
        return stop.code if isinstance(stop.code, int) else 2
    if getattr(args, "ca_bundle", None):
        os.environ["TOLLAMA_CA_BUNDLE"] = os.path.abspath(args.ca_bundle)
    # `list_` and `config_` would hide a builtin and a module under their own names.
    handler = getattr(module, f"{command.name}_", None) or getattr(module, command.name)
    code: int = handler(args)
    return code


def build(command: Command, module: Any) -> ArgumentParser:
    """A command's parser, with its examples below the options."""
    from argparse import ArgumentParser, RawDescriptionHelpFormatter

    class Parser(ArgumentParser):
        """A parser whose mistakes are errors like all others, instead of a page of usage."""

        def error(self, message: str) -> NoReturn:
            raise InvalidRequest(mistake(self, command.name, message))

    columns = width()
    parser = Parser(
        prog=f"tollama {command.name}",
        description=command.summary + ".",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in command.examples),
        # Told the width, argparse need not import shutil to look for it.
        formatter_class=lambda prog: RawDescriptionHelpFormatter(prog, width=columns),
        allow_abbrev=False,
    )
    getattr(module, f"add_{command.name}")(parser)
    return parser


def width() -> int:
    """The columns of a help text."""
    told = os.environ.get("COLUMNS", "")
    if told.isdigit() and int(told) > 0:
        return max(20, int(told) - 2)
    try:
        return max(20, os.get_terminal_size(1).columns - 2)
    except OSError:
        return 78


def mistake(parser: ArgumentParser, name: str, message: str) -> str:
    """What argparse found wrong, in our words and with the option that was meant."""
    import re

    message = message.removeprefix("argument ")
    message = message.replace("invalid int value:", "expected an integer, got")
    message = message.replace("invalid float value:", "expected a number, got")
    choice = re.fullmatch(r"(.*): invalid choice: (.*) \(choose from (.*)\)", message)
    if choice:
        allowed = choice[3].replace("'", "")
        message = f"{choice[1]}: expected one of {allowed}, got {choice[2]}"
    rest = message.removeprefix("unrecognized arguments: ")
    hint = ""
    if rest != message and rest.startswith("-"):
        from difflib import get_close_matches

        given = rest.split(" ")[0].partition("=")[0]
        known = [text for action in parser._actions for text in action.option_strings]
        near = get_close_matches(given, known, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
    return f"{name}: {message}{hint or f'; see: tollama help {name}'}"


def add_client(parser: ArgumentParser) -> None:
    """The flags of every command that calls the daemon."""
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help="address of the daemon (default TOLLAMA_HOST or http://localhost:11435)",
    )
    if "--ca-bundle" not in parser._option_string_actions:  # `pull` has it for the hub too
        parser.add_argument(
            "--ca-bundle", metavar="FILE", help="certificates to trust for https (PEM)"
        )
    parser.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="give up when nothing comes for so long"
    )


def seconds(text: str) -> float:
    """A number of seconds above zero, as an argument."""
    from argparse import ArgumentTypeError

    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ArgumentTypeError(f"expected seconds above zero, got {text!r}")
    return value


def unknown(name: str) -> str:
    """The message for a command that does not exist."""
    from difflib import get_close_matches

    near = get_close_matches(name, [*TABLE, *ALIASES], n=1)
    hint = f", did you mean '{near[0]}'?" if near else "; see: tollama --help"
    return f"unknown command '{name}'{hint}"


def start_page() -> str:
    """What `tollama` alone prints: the things to try first."""
    return (
        "tollama: Ollama for time series forecasting, in one file\n\n"
        "  tollama run auto sales.csv --horizon 12    forecast a file, with intervals\n"
        "  tollama open                               the page in the browser\n"
        "  tollama serve                              start the daemon (port 11435)\n"
        "  tollama list                               the models on this machine\n\n"
        "All commands: tollama --help\n"
    )


def overview() -> str:
    """The text of `tollama --help`."""
    lines = ["usage: tollama COMMAND [options]", "", "commands:"]
    lines += [f"  {command.name:<12} {command.summary}" for command in COMMANDS]
    lines += [
        "",
        "examples:",
        *(f"  {TABLE[name].examples[0]}" for name in ("run", "backtest", "serve", "completion")),
        "",
        "tollama help COMMAND     options and examples of a command",
        "tollama --version        the version",
        "",
    ]
    return "\n".join(lines)
