"""The commands of tollama: one table, one parser a command, one place where errors become exit
codes.

Only the parser of the command that was asked for is built, and a command's module is imported when
it runs: that is what makes `tollama list` start in a few milliseconds.

Not covered: what commands do (models.py, run.py, serve.py ...) and how output looks (render.py).
"""

from __future__ import annotations

import os
import sys
from collections import namedtuple
from importlib import import_module

from tollama.core import redact
from tollama.core.errors import Cancelled, InvalidRequest, TollamaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any, NoReturn


class Command(namedtuple("Command", "name module summary examples")):
    """A command: `tollama.cli.<module>` has `add_<name>(parser)` and `<name>(args) -> code`."""

    __slots__ = ()


COMMANDS = (
    Command(
        "run",
        "run",
        "Forecast a file, standard input or a request",
        (
            "tollama run auto sales.csv --horizon 12",
            "tollama run auto retail.csv --horizon 28 --quantiles 0.1,0.5,0.9 -o forecast.csv",
            "cat load.csv | tollama run theta - --horizon 24 --format json",
            "tollama run mock --input examples/request.json --no-stream",
        ),
    ),
    Command(
        "serve",
        "serve",
        "Start the daemon",
        (
            "tollama serve",
            "tollama serve --port 0",
            "TOLLAMA_HOST=0.0.0.0:11435 tollama serve --tls-cert cert.pem --tls-key key.pem",
            "tollama serve --socket /run/tollama/tollama.sock",
        ),
    ),
    Command(
        "open",
        "open",
        "Open the page in the browser",
        ("tollama open", "tollama open --print"),
    ),
    Command(
        "backtest",
        "evaluate",
        "Compare models on rolling origins of your data",
        ("tollama backtest sales.csv --models auto,theta,seasonal-naive --horizon 12 --windows 5",),
    ),
    Command(
        "anomalies",
        "evaluate",
        "Find values that do not fit their forecast",
        ("tollama anomalies load.csv --level 99", "tollama anomalies load.csv --detection-size 48"),
    ),
    Command(
        "report",
        "report",
        "Write data quality, leaderboard and forecasts into one HTML file to mail or print",
        (
            "tollama report sales.csv -o report.html",
            "tollama report retail.csv --models auto,theta,naive --horizon 28 --charts 10",
        ),
    ),
    Command(
        "list",
        "models",
        "List models",
        ("tollama list", "tollama list --format json", "tollama list --format lock > models.lock"),
    ),
    Command(
        "show", "models", "Show a model", ("tollama show auto", "tollama show auto --modelfile")
    ),
    Command(
        "pull",
        "pull",
        "Download a model",
        (
            "tollama pull chronos2",
            "tollama pull hf.co/ORG/REPO@REVISION --hf-home /mnt/cache",
            "tollama pull chronos2 --https-proxy http://proxy:3128",
            "tollama pull mymodel --from-dir ./checkpoint",
            "tollama pull chronos2 --from http://HOST:11435",
            "tollama pull -r models.lock",
        ),
    ),
    Command("ps", "models", "List loaded models", ("tollama ps",)),
    Command("stop", "models", "Unload a model", ("tollama stop auto",)),
    Command("rm", "models", "Remove models", ("tollama rm mock",)),
    Command(
        "create",
        "create",
        "Make a named preset from a Modelfile, or a copy of a model in half the space",
        (
            "tollama create weekly -f Modelfile",
            "tollama create chronos2-half --from chronos2 --dtype float16",
            "tollama show auto --modelfile | tollama create mine -f -",
        ),
    ),
    Command("cp", "models", "Copy a model under another name", ("tollama cp auto timegpt-1",)),
    Command(
        "config",
        "settings",
        "Show or change persistent defaults",
        (
            "tollama config list",
            "tollama config set pull.https_proxy http://proxy:3128",
            "tollama config unset pull.https_proxy",
        ),
    ),
    Command(
        "runtime",
        "runtimes",
        "Install, list, remove or download the packages of a runner family",
        (
            "tollama runtime install torch --cpu",
            "tollama runtime install numpy --wheelhouse ./wheels",
            "tollama runtime list",
            "tollama runtime download numpy --python-version 3.11 -o wheels",
            "tollama runtime remove torch",
        ),
    ),
    Command(
        "export",
        "kits",
        "Pack models, runtimes and tollama itself into one file for a host without network",
        (
            "tollama export chronos2 -o kit.tollama",
            "tollama export chronos2 --runtime torch --python-version 3.11 "
            "--platform manylinux_2_28_x86_64 -o kit.tollama",
            "tollama export chronos2 --sign-key ~/.ssh/id_ed25519",
        ),
    ),
    Command(
        "import",
        "kits",
        "Check a kit and install what is inside",
        (
            "tollama import kit.tollama",
            "tollama import kit.tollama --models chronos2 --trust-key vendor.pub",
        ),
    ),
    Command(
        "inspect",
        "kits",
        "Check a kit and say what is inside",
        ("tollama inspect kit.tollama", "tollama inspect kit.tollama --format json"),
    ),
    Command(
        "verify",
        "verify",
        "Compare the files of models with their SHA-256s again, or two families' forecasts",
        ("tollama verify", "tollama verify chronos2", "tollama verify chronos2 --against torch"),
    ),
    Command(
        "mcp",
        "mcp",
        "Serve forecasting tools to an assistant (Model Context Protocol on stdio)",
        ("tollama mcp", "tollama mcp --dir ~/data"),
    ),
    Command(
        "doctor",
        "doctor",
        "Check this machine and say what to mend",
        ("tollama doctor", "tollama doctor --offline --quick"),
    ),
    Command(
        "keys",
        "keys",
        "Make, list or remove the API keys that this home's daemon asks for",
        (
            "tollama keys add --scope forecast --name dashboard",
            "tollama keys list",
            "tollama keys remove 3f9a01c2",
        ),
    ),
    Command(
        "service",
        "service",
        "Run the daemon as a service: systemd, launchd or a Windows task",
        (
            "tollama service print --user",
            "tollama service install --user --now",
            "sudo tollama service install --env TOLLAMA_HOST=0.0.0.0:11435",
            "tollama service remove --user",
        ),
    ),
    Command("info", "settings", "Diagnostics", ("tollama info", "tollama info --json")),
    Command("version", "settings", "Show versions", ("tollama version", "tollama version --json")),
    Command(
        "completion",
        "completion",
        "Print a script that completes commands, options, files and models in a shell",
        (
            'eval "$(tollama completion bash)"    # in ~/.bashrc',
            'eval "$(tollama completion zsh)"     # in ~/.zshrc, after compinit',
            "tollama completion fish > ~/.config/fish/completions/tollama.fish",
        ),
    ),
)
TABLE = {command.name: command for command in COMMANDS}
ALIASES = {"ls": "list", "delete": "rm", "copy": "cp"}


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
            sys.stderr.write("\n")
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
        args = parser.parse_args(rest)
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
        "tollama help COMMAND     options and examples of a command",
        "tollama --version        the version",
        "",
    ]
    return "\n".join(lines)
