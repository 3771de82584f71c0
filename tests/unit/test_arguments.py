"""Options may stand anywhere among a command's words."""

from __future__ import annotations

from importlib import import_module

import pytest

from tollama.cli import main


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["run", "auto", "--horizon", "2", "x.csv"], "file", "x.csv"),
        (["run", "--horizon", "2", "auto", "x.csv"], "file", "x.csv"),
        (["run", "auto", "x.csv", "--horizon", "2"], "file", "x.csv"),
        (["config", "get", "--format", "json", "pull.offline"], "key", "pull.offline"),
        (["runtime", "install", "--python", "x", "torch"], "family", "torch"),
        (["export", "a", "-o", "kit", "b"], "model", ["a", "b"]),
    ],
)
def test_options_may_stand_between_words(words, field, value, monkeypatch):
    command = main.TABLE[words[0]]
    module = import_module(f"tollama.cli.{command.module}")
    seen = []

    def handler(args):
        seen.append(getattr(args, field))
        return 0

    monkeypatch.setattr(module, f"{command.name}_", handler, raising=False)
    assert main.dispatch(words) == 0
    assert seen == [value]
