"""What a terminal can show, and text measured, cut, coloured and worded for it.

`terminal` detects the facts once; everything else takes them as an argument, so it is tested
without a terminal. Not covered: tables (`render`), charts (`chart`), bars (`progress`).
"""

from __future__ import annotations

import os
import re
import sys
from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import TextIO

TRUECOLOR = 1 << 24

Terminal = namedtuple("Terminal", "width height colors unicode is_tty moves dark")
"""`colors`: 0, 16, 256 or TRUECOLOR; `moves`: the cursor can go back; `dark`: the background, None
when it does not say."""

PLAIN = Terminal(80, 24, 0, True, False, False, None)
"""A file or a pipe."""


def terminal(stream: TextIO, environ: Mapping[str, str]) -> Terminal:
    """The facts of a stream, by its descriptor and encoding, TERM, COLORTERM, NO_COLOR, COLUMNS."""
    try:
        is_tty = stream.isatty()
    except (AttributeError, ValueError):
        is_tty = False
    width, height = _size(stream, environ)
    name = environ.get("TERM", "")
    able = name not in ("dumb", "") or sys.platform == "win32"
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    unicode = encoding.startswith("utf") and name not in ("linux", "dumb")
    if is_tty and _is_c(environ):
        unicode = False
    forced = environ.get("FORCE_COLOR", "0") not in ("", "0")
    colors = _colors(name, environ) if (is_tty and able) or forced else 0
    if environ.get("NO_COLOR"):
        colors = 0
    background = environ.get("COLORFGBG", "").rpartition(";")[2]
    dark = background not in ("7", "15") if background.isdigit() else None
    return Terminal(width, height, colors, unicode, is_tty, is_tty and able, dark)


def _is_c(environ: Mapping[str, str]) -> bool:
    """Whether the locale is said to be C: Python writes UTF-8 then, and sets LC_CTYPE itself."""
    kind = environ.get("LC_CTYPE", "")
    kind = "" if kind in ("C.UTF-8", "C.utf8", "UTF-8") else kind
    said = environ.get("LC_ALL") or kind or environ.get("LANG")
    return said in ("C", "POSIX") and environ.get("PYTHONUTF8") != "1"


def _size(stream: TextIO, environ: Mapping[str, str]) -> tuple[int, int]:
    try:
        width, height = os.get_terminal_size(stream.fileno())
    except (AttributeError, OSError, ValueError):
        width = height = 0
    told = environ.get("COLUMNS", "")
    if told.isdigit() and int(told) > 0:
        width = int(told)
    return width or 80, height or 24


def _colors(name: str, environ: Mapping[str, str]) -> int:
    if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit") or "WT_SESSION" in environ:
        return TRUECOLOR
    if name.endswith("-direct"):
        return TRUECOLOR
    return 256 if "256color" in name else 16


# -- colour ---------------------------------------------------------------------------------------

# name: (truecolor, of 256, of 16), chosen to be read on light and on dark backgrounds.
_PALETTE = {
    "history": None,
    "mean": ((240, 130, 20), 208, 3),
    "mean on band": ((255, 226, 110), 228, 11),
    "mean on band dark": ((255, 214, 90), 221, 11),
    "mean on band light": ((168, 58, 0), 130, 1),
    "inner": ((37, 99, 176), 25, 4),
    "outer": ((120, 168, 222), 110, 6),
    "inner dark": ((41, 86, 148), 25, 4),
    "outer dark": ((30, 54, 94), 17, 6),
    "inner light": ((140, 187, 235), 111, 4),
    "outer light": ((206, 226, 247), 189, 6),
    "faint": ((128, 134, 142), 245, 8),
    "good": ((46, 160, 67), 71, 2),
    "bad": ((215, 58, 73), 167, 1),
}


def shade(name: str, term: Terminal) -> str:
    """The palette's name for a colour that depends on the background."""
    return name if term.dark is None else f"{name} {'dark' if term.dark else 'light'}"


def code(name: str, term: Terminal, *, background: bool = False) -> str:
    """The SGR parameters that set a palette colour; "" where there is none to set."""
    entry = _PALETTE[name]
    if entry is None or not term.colors:
        return ""
    ground = 40 if background else 30
    rgb, wide, narrow = entry
    if term.colors >= TRUECOLOR:
        return f"{ground + 8};2;{rgb[0]};{rgb[1]};{rgb[2]}"
    if term.colors >= 256:
        return f"{ground + 8};5;{wide}"
    return str(ground + narrow if narrow < 8 else ground + 52 + narrow)


def paint(text: str, name: str, term: Terminal) -> str:
    """Text in a colour of the palette, or "bold"; as it is where there are no colours."""
    if not term.colors or not text:
        return text
    codes = "1" if name == "bold" else code(name, term)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes else text


SGR = re.compile("\x1b\\[[0-9;]*m")
"""What `paint` adds: to be taken away before text is measured."""


# -- text -----------------------------------------------------------------------------------------


def clean(text: object, term: Terminal) -> str:
    """A value as one printable line: no control characters, no letters the terminal lacks."""
    line = str(text)
    if not line.isprintable():
        line = "".join(ch if ch.isprintable() else " " if ch in "\n\r\t" else "?" for ch in line)
    return line if term.unicode else line.encode("ascii", "replace").decode()


def width_of(text: str) -> int:
    """How many columns a printable line takes: wide letters two, combining marks none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(ch) else 2 if east_asian_width(ch) in "WF" else 1 for ch in text)


def cut(text: str, width: int, term: Terminal) -> str:
    """A line cut to at most `width` columns, with a sign that it was."""
    if width_of(text) <= width:
        return text
    mark = "…" if term.unicode else "~"
    while text and width_of(text) + 1 > width:
        text = text[:-1]
    return text + mark


def pad(text: str, width: int, *, right: bool = False) -> str:
    """A line filled with blanks to `width` columns; `right` puts the text at the right."""
    blanks = " " * (width - width_of(text))
    return blanks + text if right else text + blanks


# -- words ----------------------------------------------------------------------------------------


def human_size(size: float) -> str:
    """Bytes in decimal units of three digits: 478 MB, 4.1 GB."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("KB", "MB", "GB", "TB", "PB"):
        size /= 1000
        if size < 999.5 or unit == "PB":
            break
    return f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"


def human_count(number: float) -> str:
    """A whole number with its thousands parted."""
    return f"{number:,.0f}"


def human_duration(seconds: float) -> str:
    """A time left, in its two largest units: 12s, 3m05s, 2h10m, 4d3h."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    if seconds < 86400:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02}m"
    return f"{seconds // 86400}d{seconds % 86400 // 3600}h"


def about(seconds: float) -> str:
    """A span in words, as Ollama says it: 4 minutes, 2 days, less than a second."""
    if seconds < 1:
        return "less than a second"
    for limit, size, unit in (
        (60, 1, "second"),
        (3600, 60, "minute"),
        (86400, 3600, "hour"),
        (14 * 86400, 86400, "day"),
        (60 * 86400, 7 * 86400, "week"),
        (730 * 86400, 30.44 * 86400, "month"),
    ):
        if seconds < limit:
            count = int(seconds // size)
            return f"{count} {unit}" + ("s" if count != 1 else "")
    return f"{int(seconds // (365.25 * 86400))} years"


def ago(moment: str | None, now: datetime | None = None) -> str:
    """An ISO time in the past in words: 3 days ago; "-" for none."""
    seconds = _seconds_until(moment, now)
    return "-" if seconds is None else f"{about(max(0.0, -seconds))} ago"


def until(moment: str | None, now: datetime | None = None) -> str:
    """An ISO time to come in words: 4 minutes from now; "forever" for none, "now" when past."""
    seconds = _seconds_until(moment, now)
    if seconds is None:
        return "forever"
    return f"{about(seconds)} from now" if seconds > 0 else "now"


def _seconds_until(moment: str | None, now: datetime | None) -> float | None:
    if not moment:
        return None
    from datetime import datetime, timezone

    from tollama.core.timestamps import parse_timestamp

    then = parse_timestamp(moment)
    if then.tzinfo is None:
        then = then.replace(tzinfo=timezone.utc)
    return (then - (now or datetime.now(timezone.utc))).total_seconds()
