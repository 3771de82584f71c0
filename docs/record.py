"""Record docs/terminal.svg from the real program: `python docs/record.py` after `make build`.

Runs dist/tollama.pyz on a terminal of a fixed size, reads what it draws with pyte (the extra
`docs`) and writes the screens as one SVG that steps through them. Blocks, braille and lines are
drawn as shapes, so that no font is needed for the charts. The screens are those at each command's
end: the same program and data give the same file. Not covered: progress while a command runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from html import escape
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, LINES = 96, 38
CELL, ROW, SIZE = 8, 16, 13.3
SCENES = (
    # (what is typed, seconds that its answer stays, whether it begins on an empty screen)
    ("python3 tollama.pyz run auto air_passengers.csv --horizon 12", 8, True),
    ("python3 tollama.pyz backtest retail.csv --horizon 14", 6, True),
    ("python3 tollama.pyz anomalies retail.csv --detection-size 60", 6, False),
)
BACKGROUND, FOREGROUND = "#11151c", "#d6dbe3"
NAMES = {
    "black": "#3b4252", "red": "#d7503f", "green": "#3fb950", "brown": "#d29922", "blue": "#4f8fdc",
    "magenta": "#b877db", "cyan": "#39b5c0", "white": "#d6dbe3", "brightblack": "#80868e",
    "brightred": "#ff7b72", "brightgreen": "#56d364", "brightbrown": "#ffd866",
    "brightyellow": "#ffd866", "brightblue": "#79b8ff", "brightmagenta": "#d2a8ff",
    "brightcyan": "#76e3ea", "brightwhite": "#ffffff",
}  # fmt: skip
# Lines from the middle of a cell to its left, right, top and bottom.
STROKES = {
    "─": "lr", "│": "tb", "┤": "ltb", "└": "tr", "┴": "lrt", "├": "rtb", "┬": "lrb",
    "┼": "lrtb", "┌": "br", "┐": "bl", "┘": "tl",
}  # fmt: skip


def environment(home: str, **changes: str) -> dict[str, str]:
    """The variables of the recorded terminal: dark, all colours, UTF-8."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
    for name in ("NO_COLOR", "COLUMNS", "LINES", "LC_ALL"):
        kept.pop(name, None)
    return {
        **kept,
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "COLORFGBG": "15;0",
        "LANG": "C.UTF-8",
        "TOLLAMA_HOME": home,
        **changes,
    }


def play(command: list[str], *, folder: str, environ: dict[str, str], screen: pyte.Screen) -> int:
    """Run a command on a terminal of the screen's size, feed the screen; the exit code."""
    master, slave = pty.openpty()
    size = struct.pack("HHHH", screen.lines, screen.columns, 0, 0)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    stream = pyte.ByteStream(screen)
    process = subprocess.Popen(
        command, cwd=folder, env=environ, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    with contextlib.suppress(OSError):  # a terminal that nobody holds any more is an EIO
        while data := os.read(master, 65536):
            stream.feed(data)
    os.close(master)
    return process.wait()


def rows(screen: pyte.Screen) -> list[str]:
    """Each line of the screen as the inside of an SVG group."""
    return [row([screen.buffer[y][x] for x in range(screen.columns)]) for y in range(screen.lines)]


def row(cells: list[pyte.screens.Char]) -> str:
    """One line: backgrounds, then shapes by colour, then runs of text."""
    grounds: list[tuple[int, int, str]] = []
    shapes: dict[str, list[str]] = {}
    texts: list[tuple[int, str, str, bool]] = []
    for x, cell in enumerate(cells):
        ink, ground = colour(cell.fg, FOREGROUND), colour(cell.bg, BACKGROUND)
        if cell.reverse:
            ink, ground = ground, ink
        if ground != BACKGROUND:
            if grounds and grounds[-1][1:] == (x, ground):
                grounds[-1] = (grounds[-1][0], x + 1, ground)
            else:
                grounds.append((x, x + 1, ground))
        letter, style = cell.data or " ", (ink, cell.bold)
        if letter == " ":
            continue
        drawn = shape(letter, x * CELL)
        if drawn:
            shapes.setdefault(ink, []).append(drawn)
        elif texts and 0 <= x - texts[-1][0] - len(texts[-1][1]) <= 1 and texts[-1][2:] == style:
            # One blank between two words of one colour keeps them in one run.
            begin, before = texts[-1][:2]
            texts[-1] = (begin, before.ljust(x - begin) + letter, *style)
        else:
            texts.append((x, letter, *style))
    parts = [
        f'<rect x="{_n(a * CELL)}" width="{_n((b - a) * CELL)}" height="{ROW}" fill="{ink}"/>'
        for a, b, ink in grounds
    ]
    parts += [f'<path d="{"".join(found)}" fill="{ink}"/>' for ink, found in shapes.items()]
    for x, text, ink, bold in texts:
        weight = ' font-weight="bold"' if bold else ""
        parts.append(
            f'<text x="{_n(x * CELL)}" y="{ROW - 4.5}" textLength="{_n(len(text) * CELL)}" '
            f'fill="{ink}"{weight}>{escape(text, quote=False)}</text>'
        )
    return "".join(parts)


def colour(name: str, default: str) -> str:
    """A colour of pyte's as SVG has it."""
    return default if name == "default" else NAMES.get(name) or f"#{name}"


def shape(letter: str, left: float) -> str:
    """The path of a braille, block or line letter; "" for any other."""
    code = ord(letter)
    if 0x2800 < code < 0x2900:
        dots = []
        for bit, (x, y) in enumerate(
            [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]
        ):
            if code >> bit & 1:
                at = (left + (x + 0.5) * CELL / 2 - 1, (y + 0.5) * ROW / 4 - 1)
                dots.append(_box(*at, 2, 2))
        return "".join(dots)
    if 0x2581 <= code <= 0x2588:
        high = (code - 0x2580) * ROW / 8
        return _box(left, ROW - high, CELL, high)
    if 0x2589 <= code <= 0x258F:
        return _box(left, 0, (0x2590 - code) * CELL / 8, ROW)
    if letter == "┊":
        return "".join(_box(left + CELL / 2 - 0.5, y, 1, 2) for y in (1, 5, 9, 13))
    x, y = left + CELL / 2, ROW / 2
    lines = {
        "l": (left, y - 0.5, CELL / 2, 1),
        "r": (x, y - 0.5, CELL / 2, 1),
        "t": (x - 0.5, 0, 1, ROW / 2),
        "b": (x - 0.5, ROW / 2, 1, ROW / 2),
    }
    return "".join(_box(*lines[way]) for way in STROKES.get(letter, ""))


def _box(x: float, y: float, width: float, height: float) -> str:
    return f"M{_n(x)} {_n(y)}h{_n(width)}v{_n(height)}h{_n(-width)}z"


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def svg(frames: list[tuple[list[str], float]]) -> str:
    """Screens and the seconds that each stays as one SVG; equal lines are stored once."""
    names: dict[str, str] = {}
    groups = []
    for found, _ in frames:
        used = []
        for y, text in enumerate(found):
            if text:
                name = names.setdefault(text, f"r{len(names)}")
                used.append(f'<use href="#{name}" y="{y * ROW}"/>')
        groups.append("".join(used))
    whole = sum(seconds for _, seconds in frames)
    rules, at = [], 0.0
    for number, (_, seconds) in enumerate(frames):
        begin, end = 100 * at / whole, 100 * (at + seconds) / whole
        last = number == len(frames) - 1
        rules.append(
            f"@keyframes f{number}{{0%{{visibility:{'visible' if number == 0 else 'hidden'}}}"
            f"{begin:.3f}%{{visibility:visible}}"
            f"{'100' if last else f'{end:.3f}'}%{{visibility:{'visible' if last else 'hidden'}}}}}"
            f"#f{number}{{animation:f{number} {whole:g}s step-end infinite}}"
        )
        at += seconds
    width, height = COLUMNS * CELL + 32, LINES * ROW + 56
    defs = "".join(f'<g id="{name}">{text}</g>' for text, name in names.items())
    shown = "".join(
        f'<g id="f{number}"{"" if number == len(groups) - 1 else " visibility="}'
        f"{'' if number == len(groups) - 1 else chr(34) + 'hidden' + chr(34)}>{text}</g>"
        for number, text in enumerate(groups)
    )
    lights = "".join(
        f'<circle cx="{20 + 18 * i}" cy="20" r="5.5" fill="{ink}"/>'
        for i, ink in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {height}" '
        f'width="{_n(width)}" height="{height}" role="img" '
        'aria-label="tollama in a terminal: a forecast with its chart, a backtest, anomalies">\n'
        f"<style>g rect{{shape-rendering:crispEdges}}text{{font:{SIZE}px ui-monospace,"
        "SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}"
        "@media (prefers-reduced-motion:no-preference){"
        f"{''.join(rules)}}}</style>\n<defs>{defs}</defs>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>{lights}\n'
        f'<g transform="translate(16 40)">{shown}</g>\n</svg>\n'
    )


def record(pyz: Path) -> list[tuple[list[str], float]]:
    """The frames: each command as it is typed, then its answer."""
    frames: list[tuple[list[str], float]] = []
    screen = pyte.Screen(COLUMNS, LINES)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as home:
        for name in ("air_passengers.csv", "retail.csv"):
            shutil.copy(ROOT / "examples" / name, folder)
        shutil.copy(pyz, Path(folder, "tollama.pyz"))
        for typed, seconds, clear in SCENES:
            if clear:
                screen.reset()
            stream = pyte.Stream(screen)
            stream.feed("\x1b[1;32m$\x1b[0m " if clear else "\r\n\x1b[1;32m$\x1b[0m ")
            frames.append((rows(screen), 0.6))
            for begin in range(0, len(typed), 6):
                stream.feed(typed[begin : begin + 6])
                frames.append((rows(screen), 0.15))
            frames.append((frames.pop()[0], 0.7))
            stream.feed("\r\n")
            command = [sys.executable, *typed.split()[1:]]
            code = play(command, folder=folder, environ=environment(home), screen=screen)
            assert code == 0, "\n".join(screen.display)
            frames.append((rows(screen), seconds))
    return frames


if __name__ == "__main__":
    (ROOT / "docs" / "terminal.svg").write_text(svg(record(ROOT / "dist" / "tollama.pyz")))
