"""The built file on a real terminal: charts in every kind of it, and what Ctrl-C leaves behind."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from checkpoints import make_checkpoint
from fake_hub import FakeHub

fcntl = pytest.importorskip("fcntl", reason="no pseudo terminals here")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

ROOT = Path(__file__).resolve().parents[2]
SGR = re.compile(r"\x1b\[([0-9;]*)m")
KINDS = {
    "truecolor": {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
    "256": {"TERM": "xterm-256color"},
    "16": {"TERM": "xterm"},
    "no color": {"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"},
    "dumb": {"TERM": "dumb"},
    "ascii": {"TERM": "xterm", "LANG": "C"},
}


class Terminal:
    """A pseudo terminal of a size with a command of the built file on it."""

    def __init__(self, pyz: Path, home: Path, columns: int = 80, **environ: str) -> None:
        self.pyz, self.columns = pyz, columns
        dropped = (
            "TOLLAMA_",
            "HF_",
            "LC_",
            "LANG",
            "NO_COLOR",
            "COLORTERM",
            "COLUMNS",
            "COLORFGBG",
        )
        kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        kept = {k: v for k, v in kept.items() if not k.lower().endswith("_proxy")}
        self.environ = {
            **kept, "TERM": "xterm", "LANG": "C.UTF-8", "TOLLAMA_HOME": str(home), **environ,
        }  # fmt: skip

    def run(self, *args: str, interrupt: str = "") -> tuple[int, str]:
        """Exit code and output; Ctrl-C is typed when the output has the pattern `interrupt`."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, self.columns, 0, 0))
        process = subprocess.Popen(
            # A session whose terminal is this one, so that Ctrl-C reaches it.
            [sys.executable, "-c", _ON_TERMINAL, str(self.pyz), *args],
            env=self.environ, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        watch = threading.Timer(120, process.kill)
        watch.start()
        data = b""
        with contextlib.suppress(OSError):  # a terminal that nobody holds any more is an EIO
            while part := os.read(master, 65536):
                data += part
                if interrupt and re.search(interrupt, data.decode("utf-8", "replace")):
                    os.write(master, b"\x03")
                    interrupt = ""
        os.close(master)
        code = process.wait(60)
        watch.cancel()
        assert not interrupt, data
        return code, data.decode("utf-8", "replace").replace("\r\n", "\n")


_ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-I", "-S", *sys.argv[1:]])
"""


def seen(text: str) -> list[str]:
    """The lines as a person sees them: carriage return and clear-to-end obeyed."""
    lines = []
    for line in text.split("\n"):
        shown = ""
        for part in line.split("\r"):
            at = 0
            for number, kept in enumerate(part.split("\x1b[K")):
                shown = shown[:at] if number else shown
                shown = shown[:at] + kept + shown[at + len(kept) :]
                at += len(kept)
        lines.append(SGR.sub("", shown).rstrip())
    return lines


@pytest.mark.parametrize(
    ("kind", "columns"),
    [*((kind, 80) for kind in KINDS), ("truecolor", 40), ("truecolor", 200), ("ascii", 40)],
)
def test_run_draws_a_chart_that_fits(pyz, tmp_path, kind, columns):
    terminal = Terminal(pyz, tmp_path, columns, **KINDS[kind])
    code, text = terminal.run("run", "auto", "examples/air_passengers.csv", "--horizon", "12")
    assert code == 0, text
    lines = seen(text)
    table = next(i for i, line in enumerate(lines) if line.startswith("time"))
    assert max(map(len, lines[table:])) <= columns
    plain = kind in ("dumb", "ascii")
    assert any(("+" if plain else "┤") in line for line in lines)
    assert any("1961-01" in line and "1958" in line for line in lines[table + 13 :])
    assert text.isascii() == plain
    codes = {part for found in SGR.findall(text) for part in [found.replace("\x1b", "")]}
    if kind in ("no color", "dumb"):
        assert "\x1b[" not in re.sub(r"\r[^\n]*\x1b\[K", "", text).replace("\x1b[K", "")
    else:
        assert any("38;2;" in c or "48;2;" in c for c in codes) == (kind == "truecolor")
        assert any("8;5;" in c for c in codes) == (kind == "256")


@pytest.fixture
def big(tmp_path):
    """A file that takes a while."""
    rows = [f"s{i},2020-{1 + k // 28:02}-{1 + k % 28:02},{(k * 7 + i) % 13}\n"
            for i in range(300) for k in range(330)]  # fmt: skip
    path = tmp_path / "big.csv"
    path.write_text("id,date,value\n" + "".join(rows))
    return str(path)


@pytest.mark.parametrize(
    ("args", "when"),
    [
        (("run", "auto", "FILE", "--horizon", "9"), r"\d/300 series"),
        (("run", "auto", "FILE", "--horizon", "9", "-o", "OUT"), r"forecasting +\d+"),
        (("backtest", "FILE", "--horizon", "9"), "backtesting"),
        (("anomalies", "FILE"), "looking for anomalies"),
        (("report", "FILE", "-o", "OUT", "--horizon", "9"), "backtesting"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value[::3]),
)
def test_interrupted_work_leaves_a_clean_line(pyz, tmp_path, big, args, when):
    args = [{"FILE": big, "OUT": str(tmp_path / "out.csv")}.get(arg, arg) for arg in args]
    code, text = Terminal(pyz, tmp_path / "home").run(*args, interrupt=when)
    assert code == 130, text
    assert "Traceback" not in text
    lines = seen(text)
    assert lines[-1] == "", text
    assert not [line for line in lines if "series/s" in line or ("..." in line and "▕" in line)], (
        lines
    )


def test_an_interrupted_pull_shows_how_far_it_came(pyz, tmp_path):
    made = make_checkpoint(tmp_path / "made", size=9_000_000)
    with FakeHub() as hub:
        hub.add("amazon/chronos-2", {path.name: path.read_bytes() for path in made.iterdir()})
        hub.pace = (6_000_000, threading.Event())
        terminal = Terminal(pyz, tmp_path / "home", HF_ENDPOINT=hub.url)
        code, text = terminal.run("pull", "chronos2", interrupt=r"[1-9] MB/9.0 MB|6.\d MB/")
        hub.pace[1].set()
    assert code == 130, text
    lines = seen(text)
    assert lines[-1] == "", text
    assert lines[-2].startswith("downloading") and "/9.0 MB" in lines[-2], lines


def test_a_daemon_and_the_page_end_by_an_interrupt(pyz, tmp_path):
    for args in (("serve", "--port", "0"), ("open",)):
        terminal = Terminal(pyz, tmp_path / "home", BROWSER="true")
        if args == ("open",):
            terminal.environ["TOLLAMA_HOST"] = ""
        code, text = terminal.run(*args, interrupt=r"listening on .*\n(?:http\S+\n)?")
        if "address already in use" in text:
            pytest.skip("the default port is taken")
        assert code in (0, 130), text
        assert seen(text)[-1] == "", text
