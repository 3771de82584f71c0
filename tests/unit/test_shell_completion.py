"""tollama completion: the scripts, driven by the shells that they are for."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tollama.cli import completion, completion_scripts, main

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = shlex.join(["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tollama"])

BASH = r"""
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_tollama
printf '%s\n' "${COMPREPLY[@]}"
"""

# An interactive zsh on a terminal of its own, whose compadd says what it was given.
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "unset zle_bracketed_paste; PS1= RPS1=; stty -echo
autoload -Uz compinit; compinit -D -u; source ${(q)1}
compadd() {
  builtin compadd -A hits \"\$@\"; (( \$#hits )) && print -rl -- H\"\"IT:\${^hits}
  builtin compadd \"\$@\"
}
show() { _main_complete; compstate[insert]= compstate[list]=; print -r -- DO\"\"NE }
zle -C show complete-word show; bindkey '^T' show; print REA\"\"DY"
while zpty -r shell line && [[ $line != *READY* ]]; do :; done
zpty -n -w shell "$2"$'\x14'
while zpty -r shell line && [[ $line != *DONE* ]]; do
  [[ $line == *HIT:* ]] && print -r -- ${${line#*HIT:}%%$'\r'*}
done
zpty -d shell
"""


@pytest.fixture(scope="module")
def specs():
    return completion.tree()


@pytest.fixture
def offered(request, specs, tmp_path, monkeypatch):
    """What a shell offers for the words of a line, the last of which is being typed."""
    shell = request.param
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "home" / "models" / "mine").mkdir(parents=True)
    (tmp_path / "home" / "models" / "hf.co--org--name").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sales.csv").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm")
    script = tmp_path / "script"
    script.write_text(getattr(completion_scripts, shell)(specs, PROGRAM))

    def ask(*words: str) -> set[str]:
        line = shlex.join(words[:-1]) + " " + words[-1]
        command = {
            "bash": [path, "--norc", "-c", BASH, "bash", str(script), *words],
            "zsh": [path, "-f", "-c", ZSH, "zsh", str(script), line],
            "fish": [path, "-N", "-c", f"source {script}; complete -C {shlex.quote(line)}"],
        }[shell]
        if shell == "bash":  # readline gives it "--name=value" in three words
            parted = [part for word in words for part in _parted(word)]
            command[6:] = parted
        found = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert not found.stderr, found.stderr
        # fish says what each is for; some give the whole word, some its last part
        texts = [text.partition("\t")[0] for text in found.stdout.splitlines()]
        return {text.rpartition("=")[2].rpartition(",")[2].rstrip("/") for text in texts if text}

    return ask


def _parted(word: str) -> list[str]:
    name, equals, value = word.partition("=")
    return [name, equals, *filter(None, [value])] if equals else [word]


@pytest.mark.parametrize("offered", ["bash", "zsh", "fish"], indirect=True)
def test_a_shell_completes_commands_options_choices_files_and_models(offered):
    assert offered("tollama", "ru") == {"run", "runtime"}
    assert offered("tollama", "run", "--hor") == {"--horizon"}
    assert offered("tollama", "run", "--format", "js") == {"json", "jsonl"}
    assert offered("tollama", "run", "--format=js") == {"json", "jsonl"}
    assert offered("tollama", "ls", "--format", "l") == {"lock"}
    assert "auto" in offered("tollama", "run", "au")
    assert offered("tollama", "run", "--horizon", "12", "seasonal-n") == {"seasonal-naive"}
    found = {text.rpartition("/")[2] for text in offered("tollama", "run", "auto", "data/sa")}
    assert found - {"data"} == {"sales.csv"}
    assert offered("tollama", "pull", "--hf-home", "dat") == {"data"}
    assert offered("tollama", "backtest", "x.csv", "--models", "auto,thet") == {"theta"}
    assert offered("tollama", "rm", "mine", "m") == {"mine"}
    assert "chronos2" in offered("tollama", "pull", "chr")
    assert offered("tollama", "show", "hf.co/o") == {"hf.co/org/name"}
    assert offered("tollama", "help", "backt") == {"backtest"}
    assert offered("tollama", "config", "set", "pull.no") == {"pull.no_proxy"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_has_every_command_and_option(shell, specs):
    script = getattr(completion_scripts, shell)(specs, "tollama")
    assert "@" not in script.replace("$@", "").replace("{@:", "").replace("@REVISION", "")
    for command in main.COMMANDS:
        assert command.name in script
    for spec in specs:
        for option in spec.options:
            for text in option.strings:
                assert (f"-l {text[2:]} " if shell == "fish" and text[1] == "-" else text) in script


def test_an_option_takes_a_value_in_every_command_or_in_none(specs):
    """The scripts for bash and fish count arguments by one list for all commands."""
    valued = {t for s in specs for o in s.options if o.kind for t in o.strings}
    flags = {t for s in specs for o in s.options if not o.kind for t in o.strings}
    assert not valued & flags


def test_names_are_printed_one_a_line(capsys):
    assert main.main(["completion", "known"]) == 0
    assert {"auto", "chronos2", "mock"} <= set(capsys.readouterr().out.split())
    assert main.main(["completion", "models"]) == 0
    names = capsys.readouterr().out.split()
    assert "auto" in names and "chronos2" not in names
    assert main.main(["completion", "installed"]) == 0
    assert capsys.readouterr().out == ""


def test_the_file_that_runs_is_asked_for_names(tmp_path, monkeypatch):
    file = tmp_path / "a file.pyz"
    file.touch()
    monkeypatch.setattr(sys, "argv", [str(file)])
    assert completion.program() == shlex.join([sys.executable, str(file)])
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "tollama" / "__main__.py")])
    assert completion.program() == "tollama"
