"""Request bytes as they came, and where each series lies in them.

The daemon parses a body once and keeps the text: a request travels to the runner as the client
wrote it, and a bulk request is cut into slices of series without being written anew. `split` walks
the top level of the object in Python and lets the C scanner read each value, so it costs what
json.loads costs plus about a microsecond a series. The scanner holds the interpreter's lock, so a
large text is read in steps, between which other threads get their turn.

Most of json.loads' time goes into making floats that the daemon only counts: the model's process
reads them anew. `skim` leaves them out where that cannot hide anything: it is several times faster.

Not covered: what the fields mean (schemas.py), and answers, which `join_answers` in answer.py puts
together.
"""

from __future__ import annotations

import json
import json.scanner
import re

from tollama.core.errors import InvalidRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Scan = Callable[[str, int], tuple[Any, int]]
    Read = Callable[[str, int, Scan], tuple[Any, int]]

_SPACE = re.compile(r"[ \t\n\r]*").match
_DECODER = json.JSONDecoder()
_scan = json.scanner.make_scanner(_DECODER)  # type: ignore[arg-type]
# A number with a point becomes the length of its text: an int, made without a look at its digits.
_skim = json.scanner.make_scanner(json.JSONDecoder(parse_float=len))  # type: ignore[arg-type]
_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
_LONG = b"0" * 300

Span = tuple[int, int]

STEP = 1 << 16
"""Characters that the C scanner reads at once of a large text: about a millisecond."""
LARGE = 4 * STEP


class Body:
    """A JSON object, its text on one line, and the spans of the items of one list field in it."""

    __slots__ = ("array", "items", "skimmed", "text", "value")

    def __init__(
        self, text: str, value: dict[str, Any], array: Span, items: list[Span], skimmed: bool
    ) -> None:
        self.skimmed = skimmed
        self.text = text
        self.value = value
        self.array = array
        self.items = items

    def slice(self, first: int, last: int) -> str:
        """The object's text with only the items [first, last) of the list."""
        if first == 0 and last >= len(self.items):
            return self.text
        begin, end = self.items[first][0], self.items[last - 1][1]
        start, stop = self.array
        return f"{self.text[: start + 1]}{self.text[begin:end]}{self.text[stop - 1 :]}"

    def items_text(self) -> str:
        """The text between the brackets of the list."""
        begin, end = self.array
        return self.text[begin + 1 : end - 1]


def read_text(body: bytes) -> str:
    """A body as text on one line; raises InvalidRequest when it is not UTF-8 or is empty."""
    if not body:
        raise InvalidRequest("the body is empty, expected a JSON object")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the body is not valid UTF-8 at byte {error.start}, expected JSON in UTF-8"
        ) from None
    # Raw line breaks are legal in JSON only as white space, but they would end a frame of the pipe.
    if "\n" in text or "\r" in text:
        text = text.replace("\n", " ").replace("\r", " ")
    return text


def parse(body: bytes) -> Any:
    """A body as a JSON value; raises InvalidRequest with the position of the first mistake."""
    text = read_text(body)
    return _guarded(json.loads if len(text) < LARGE else _whole, text)


def split(body: bytes, field: str = "series") -> Body:
    """A body as an object whose list `field` can be cut; other shapes give an empty `items`."""
    text: str = read_text(body)
    result: Body = _guarded(lambda t: _split(t, field, _scan), text)
    return result


def skim(body: bytes, field: str = "series") -> Body:
    """As `split`, but numbers with a point inside the list are only some int in their place.

    Types, lengths and finiteness of all numbers are as they were; the result says whether it was
    `skimmed`. A text with exponents or very long numbers, whose floats may overflow, is read whole.
    """
    shape = body.translate(_SHAPE)
    scan = _scan if b"0e" in shape or _LONG in shape else _skim
    text: str = read_text(body)
    result: Body = _guarded(lambda t: _split(t, field, scan), text)
    return result


def _guarded(read: Any, text: str) -> Any:
    try:
        return read(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"the body is not valid JSON: {error.msg.lower()} at character {error.pos}"
        ) from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    except ValueError as error:  # an integer of over 4300 digits
        raise InvalidRequest(f"the body is not valid JSON: {str(error).lower()[:80]}") from None


def _split(text: str, field: str, scan: Scan) -> Body:
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return Body(text, json.loads(text), (0, 0), [], False)
    read = _value if len(text) < LARGE else _in_steps
    value, array, items, at = _object(text, at, read, scan, field)
    _end(text, at)
    return Body(text, value, array, items, scan is _skim)


def _whole(text: str) -> Any:
    value, at = _in_steps(text, _skip(text, 0), _scan)
    _end(text, at)
    return value


def _end(text: str, at: int) -> None:
    end = _skip(text, at)
    if end != len(text):
        raise json.JSONDecodeError("extra data", text, end)


def _object(
    text: str, at: int, read: Read, scan: Scan, field: str | None = None
) -> tuple[dict[str, Any], Span, list[Span], int]:
    """An object; with a `field` only that list's items are read by `scan`, all else as it is."""
    other = scan if field is None else _scan
    value: dict[str, Any] = {}
    array: Span = (0, 0)
    items: list[Span] = []
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        return value, array, items, at + 1
    while True:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError(
                "expecting property name enclosed in double quotes", text, at
            )
        key, at = _value(text, at, _scan)
        if text[at : at + 1] != ":":
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                raise json.JSONDecodeError("expecting ':' delimiter", text, at)
        at += 1
        if text[at : at + 1] <= " ":
            at = _skip(text, at)
        if key == field and text[at : at + 1] == "[":
            start = at
            value[key], items, at = _list(text, at, read, scan)
            array = (start, at)
        else:
            value[key], at = read(text, at, other)
            if key == field:
                array, items = (0, 0), []
        mark = text[at : at + 1]
        if mark <= " ":
            at = _skip(text, at)
            mark = text[at : at + 1]
        if mark == "}":
            return value, array, items, at + 1
        if mark != ",":
            raise json.JSONDecodeError("expecting ',' delimiter", text, at)
        at += 1
        if text[at : at + 1] <= " ":
            at = _skip(text, at)


def _list(text: str, at: int, read: Read, scan: Scan) -> tuple[list[Any], list[Span], int]:
    values: list[Any] = []
    spans: list[Span] = []
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        return values, spans, at + 1
    while True:
        item, end = read(text, at, scan)
        values.append(item)
        spans.append((at, end))
        mark = text[end : end + 1]
        if mark != "," and mark != "]":
            end = _skip(text, end)
            mark = text[end : end + 1]
        if mark == "]":
            return values, spans, end + 1
        if mark != ",":
            raise json.JSONDecodeError("expecting ',' delimiter", text, end)
        at = end + 1
        if text[at : at + 1] <= " ":
            at = _skip(text, at)


def _in_steps(text: str, at: int, scan: Scan) -> tuple[Any, int]:
    """As `_value`; what seems to be longer than a step is read piece by piece."""
    mark = text[at : at + 1]
    if mark == "{" and text.find("}", at, at + STEP) < 0:
        value, _, _, end = _object(text, at, _in_steps, scan)
        return value, end
    if mark == "[":
        inside = _skip(text, at + 1)
        first = text[inside : inside + 1]
        close = text.find("]", at)
        if first == "{" or (first == "[" and close - at > STEP):
            values, _, end = _list(text, at, _in_steps, scan)
            return values, end
        if close - at > STEP and not any(text.find(c, at, close) > at for c in '"[{'):
            values = _numbers(text, at + 1, close, scan)
            if values:
                return values, close + 1
    return _value(text, at, scan)


def _numbers(text: str, at: int, end: int, scan: Scan) -> list[Any]:
    """The values between two commas or brackets; none when that is not what they are."""
    values: list[Any] = []
    while True:
        stop = text.find(",", at + STEP, end)
        try:
            part, _ = scan(f"[{text[at : stop if stop > 0 else end]}]", 0)
        except (StopIteration, json.JSONDecodeError):
            return []  # read again as a whole, for the position of the mistake
        if not part:
            return []
        values += part
        if stop < 0:
            return values
        at = stop + 1


def _value(text: str, at: int, scan: Scan) -> tuple[Any, int]:
    try:
        return scan(text, at)
    except StopIteration as stop:
        raise json.JSONDecodeError("expecting value", text, stop.value) from None


def _skip(text: str, at: int) -> int:
    match = _SPACE(text, at)
    assert match is not None  # the pattern matches the empty string
    return match.end()
