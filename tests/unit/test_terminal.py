"""cli.terminal: what a stream can show, and text measured, cut and worded for it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tollama.cli import terminal as t

COLOR = t.Terminal(80, 24, 256, True, True, True, None)


class Stream(io.StringIO):
    """A stream that says it is a terminal, without a descriptor to ask."""

    encoding = "utf-8"

    def isatty(self):
        return True


class Latin(Stream):
    encoding = "iso-8859-1"


DETECTED = [
    ({"TERM": "xterm-256color"}, {"colors": 256, "unicode": True, "is_tty": True, "moves": True}),
    ({"TERM": "xterm"}, {"colors": 16}),
    ({"TERM": "xterm", "COLORTERM": "truecolor"}, {"colors": t.TRUECOLOR}),
    ({"TERM": "xterm-direct"}, {"colors": t.TRUECOLOR}),
    ({"TERM": "xterm-256color", "NO_COLOR": "1"}, {"colors": 0, "unicode": True, "moves": True}),
    ({"TERM": "xterm-256color", "NO_COLOR": ""}, {"colors": 256}),
    ({"TERM": "dumb"}, {"colors": 0, "unicode": False, "is_tty": True, "moves": False}),
    ({"TERM": "linux"}, {"colors": 16, "unicode": False}),
    ({"TERM": "xterm", "COLORFGBG": "15;0"}, {"dark": True}),
    ({"TERM": "xterm", "COLORFGBG": "0;default;15"}, {"dark": False}),
    ({"TERM": "xterm"}, {"dark": None, "width": 80, "height": 24}),
    ({"TERM": "xterm", "COLUMNS": "132"}, {"width": 132}),
    ({"TERM": "xterm", "COLUMNS": "wide"}, {"width": 80}),
]


@pytest.mark.parametrize(("environ", "facts"), DETECTED)
def test_terminal_reads_the_environment(environ, facts):
    found = t.terminal(Stream(), environ)
    assert {name: getattr(found, name) for name in facts} == facts


def test_a_pipe_has_no_colours_unless_forced():
    environ = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    found = t.terminal(io.StringIO(), environ)
    assert (found.colors, found.is_tty, found.moves) == (0, False, False)
    assert t.terminal(io.StringIO(), {**environ, "FORCE_COLOR": "1"}).colors == t.TRUECOLOR


def test_an_encoding_without_unicode_is_believed():
    assert t.terminal(Latin(), {"TERM": "xterm"}).unicode is False


def test_a_real_terminal_tells_its_size():
    import fcntl
    import struct
    import termios

    main, other = os.openpty()
    try:
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        with open(other, "w", closefd=False) as stream:
            found = t.terminal(stream, {"TERM": "xterm"})
        assert (found.width, found.height, found.is_tty) == (101, 33, True)
    finally:
        os.close(main)
        os.close(other)


def test_paint_leaves_text_alone_without_colours():
    assert t.paint("x", "mean", t.PLAIN) == "x"
    assert t.paint("x", "mean", COLOR) == "\x1b[38;5;208mx\x1b[0m"
    assert t.paint("x", "bold", COLOR) == "\x1b[1mx\x1b[0m"
    assert t.code("faint", COLOR._replace(colors=16), background=True) == "100"


def test_control_characters_never_reach_the_terminal():
    assert t.clean("a\x1b[31mb\n\u202ec\x07", COLOR) == "a?[31mb ?c?"
    assert t.clean("Évora", COLOR._replace(unicode=False)) == "?vora"


def test_width_counts_columns():
    assert [t.width_of(s) for s in ("abc", "Évora", "東京", "e\u0301")] == [3, 5, 4, 1]
    assert t.cut("東京都庁", 5, COLOR) == "東京…"
    assert t.cut("abcdef", 4, COLOR._replace(unicode=False)) == "abc~"
    assert t.pad("東", 4, right=True) == "  東"


SIZES = [
    (0, "0 B"),
    (999, "999 B"),
    (1000, "1.0 KB"),
    (9_940, "9.9 KB"),
    (9_960, "10 KB"),
    (477_868_656, "478 MB"),
    (999_600, "1.0 MB"),
    (4_100_000_000, "4.1 GB"),
]


@pytest.mark.parametrize(("size", "text"), SIZES)
def test_sizes_have_three_digits(size, text):
    assert t.human_size(size) == text


DURATIONS = [(0, "0s"), (59.4, "59s"), (185, "3m05s"), (7800, "2h10m"), (356_400, "4d3h")]


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations_have_two_units(seconds, text):
    assert t.human_duration(seconds) == text


NOW = datetime(2024, 5, 1, 12, 0, 0, tzinfo=timezone.utc)
UNTIL = [
    ("2024-05-01T12:04:30Z", "4 minutes from now"),
    ("2024-05-01T12:01:00Z", "1 minute from now"),
    ("2024-05-01T14:00:00+02:00", "now"),
    ("2024-05-01T12:00:00.5Z", "less than a second from now"),
    ("2024-05-03T13:00:00Z", "2 days from now"),
    (None, "forever"),
]


@pytest.mark.parametrize(("moment", "text"), UNTIL)
def test_until_speaks_as_ollama_does(moment, text):
    assert t.until(moment, NOW) == text


AGO = [
    ("2024-05-01T11:59:50Z", "10 seconds ago"),
    ("2024-04-30T12:00:00Z", "1 day ago"),
    ("2024-04-10T12:00:00Z", "3 weeks ago"),
    ("2023-12-31T12:00:00Z", "4 months ago"),
    ("2020-01-01T12:00:00Z", "4 years ago"),
    ("2024-05-01T12:00:09Z", "less than a second ago"),
    (None, "-"),
]


@pytest.mark.parametrize(("moment", "text"), AGO)
def test_ago_speaks_as_ollama_does(moment, text):
    assert t.ago(moment, NOW) == text


def test_an_interrupt_is_silent_before_the_command_runs_and_an_exception_after():
    code = (
        "import signal, tollama.__main__ as entry\n"
        "entry.quiet()\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL\n"
        "from tollama.cli.main import main\n"
        "main(['help'])\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("environ", "unicode"),
    [
        ({"LANG": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),  # what Python makes of the line above
        ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, False),
        ({"LANG": "C", "PYTHONUTF8": "1"}, True),
        ({"LANG": "C", "LC_CTYPE": "de_DE.UTF-8"}, True),
        ({"LANG": "C.UTF-8"}, True),
        ({}, True),
    ],
)
def test_the_locale_c_means_ascii_on_a_terminal(environ, unicode):
    assert t.terminal(Stream(), {"TERM": "xterm", **environ}).unicode is unicode
