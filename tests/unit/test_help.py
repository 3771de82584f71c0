"""The help of every command: texts, examples that parse, suggestions for typing errors."""

from __future__ import annotations

import re
import shlex
from importlib import import_module

import pytest

from tollama.cli import main


def parser_of(command):
    return main.build(command, import_module(f"tollama.cli.{command.module}"))


@pytest.mark.parametrize("command", main.COMMANDS, ids=lambda command: command.name)
def test_help_has_a_text_for_every_argument_and_examples(command, capsys):
    for action in parser_of(command)._actions:
        assert action.help or action.choices, f"{command.name} {action.dest}"
    for line in ([command.name, "--help"], ["help", command.name]):
        assert main.main(line) == 0
        shown = capsys.readouterr().out
        assert f"usage: tollama {command.name}" in shown
        assert "examples:\n  " in shown


@pytest.mark.parametrize("line", [["--help"], ["help"], ["-h"]])
def test_the_overview_names_every_command_and_has_examples(line, capsys):
    assert main.main(line) == 0
    shown = capsys.readouterr().out
    assert "examples:\n  tollama run" in shown
    assert all(f"\n  {command.name} " in shown for command in main.COMMANDS)


@pytest.mark.parametrize("command", main.COMMANDS, ids=lambda command: command.name)
def test_every_example_parses(command):
    used = set()
    for example in command.examples:
        within = re.findall(r"\$\((.*?)\)", example)
        for part in re.split(r" \| | > ", re.sub(r"\s+#.*", "", example)) + within:
            words = shlex.split(part)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            if words[:1] == ["tollama"]:
                used.add(words[1])
                parser_of(main.TABLE[words[1]]).parse_args(words[2:])
    assert command.name in used


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (["lst"], "did you mean 'list'?"),
        (["frobnicate"], "see: tollama --help"),
        (["help", "bactest"], "did you mean 'backtest'?"),
        (["run", "auto", "x.csv", "--horizn", "3"], "did you mean --horizon?"),
        (["list", "--format", "tabel"], "expected one of table, json, lock"),
        (["run"], "required: model; see: tollama help run"),
        (["show", "seasonalnaive"], "did you mean seasonal-naive"),
    ],
)
def test_a_typing_error_is_answered_with_what_was_meant(line, hint, capsys):
    assert main.main(line) in (2, 3)
    told = capsys.readouterr()
    assert hint in told.err
    assert not told.out
