"""Write docs/tollama.1, the manual page, from the program's own tables; generate.py does it too."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from textwrap import wrap

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

import tollama  # noqa: E402
from tollama.cli import main as cli  # noqa: E402
from tollama.core import config  # noqa: E402

DATE = "2026-11-24"
STATUS = (
    ("0", "done"),
    ("1", "internal failure, or no disk space"),
    ("2", "wrong usage or request"),
    ("3", "not found, or a runtime is missing"),
    ("4", "daemon or hub unreachable, or busy"),
    ("5", "the model failed, or the deadline passed"),
    ("130", "interrupted"),
)


def page() -> str:
    """The manual page in man(7) macros."""
    lines = [
        f'.TH TOLLAMA 1 {DATE} "tollama {tollama.__version__}" "User Commands"',
        ".SH NAME",
        "tollama \\- Ollama for time series forecasting, in one file",
        ".SH SYNOPSIS",
        ".B tollama",
        ".I COMMAND",
        "[options]",
        ".SH DESCRIPTION",
        text(
            "Forecasts files, serves forecasting models over HTTP, and manages them. Data go to "
            "standard output, everything else to standard error. On a terminal the output is "
            "tables, bars and a chart; piped, it is JSON as the API gives it."
        ),
        ".SH COMMANDS",
    ]
    for command in cli.COMMANDS:
        lines += section(command)
    lines.append(".SH EXIT STATUS")
    for code, meaning in STATUS:
        lines += [".TP", f".B {code}", text(meaning)]
    lines.append(".SH ENVIRONMENT")
    for setting in config.SETTINGS:
        lines += [".TP", f".B {text(setting.name)}", text(setting.doc)]
    lines += [
        ".SH FILES",
        ".TP",
        ".I ~/.tollama",
        "models, runtimes and config.json, unless TOLLAMA_HOME says otherwise",
        ".TP",
        ".I ~/.tollama/config.json",
        "defaults that",
        ".B tollama config",
        "changes",
    ]
    return "\n".join(lines) + "\n"


def section(command: cli.Command) -> list[str]:
    """One command: usage, arguments, examples."""
    parser = cli.build(command, import_module(f"tollama.cli.{command.module}"))
    usage = [f"tollama {command.name} [options]"]
    for action in parser._actions:
        if not action.option_strings:
            name = action.metavar or action.dest
            many = " ..." if action.nargs in ("*", "+") else ""
            usage.append(f"[{name}{many}]" if action.nargs in ("?", "*") else name + many)
    lines = [f".SS {command.name}", text(command.summary) + ".", ".PP", text(" ".join(usage))]
    for action in parser._actions:
        if action.dest == "help":
            continue
        value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
        if action.choices and not action.metavar:
            value = "|".join(map(str, action.choices))
        names = [f"\\fB{text(name)}\\fR" for name in action.option_strings]
        shown = ", ".join(names) + (f" \\fI{text(value)}\\fR" if value else "")
        if not names:
            shown = f"\\fI{text(value if action.choices else action.metavar or action.dest)}\\fR"
        lines += [".TP", shown.strip()]
        lines += [text((action.help or "").replace("%%", "%"))] if action.help else ["\\&"]
    lines += [".PP", "Examples:", ".PP", ".nf"]
    lines += [f".RS 4\n{literal(line)}\n.RE" for line in command.examples]
    return [*lines, ".fi"]


def text(words: object) -> str:
    """Words as lines of text that roff takes as they are."""
    lines = wrap(str(words), 72, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(literal, lines))


def literal(line: str) -> str:
    """A command as roff prints it, unbroken."""
    line = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{line}" if line[0] in ".'" else line


if __name__ == "__main__":
    (DOCS / "tollama.1").write_text(page())
