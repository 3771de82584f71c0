"""Request bytes as they came, and where each series lies in them.

The daemon parses a body once and keeps the text: a request travels to the runner as the client
wrote it, and a bulk request is cut into slices of series without being written anew. `split` walks
the top level of the object in Python and lets the C scanner read each value, so it costs what
json.loads costs plus about a microsecond a series. The scanner holds the interpreter's lock, so a
large text is read in steps, between which other threads get their turn.

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

    Read = Callable[[str, int], tuple[Any, int]]

_SPACE = re.compile(r"[ \t\n\r]*").match
_DECODER = json.JSONDecoder()
_scan = json.scanner.make_scanner(_DECODER)  # type: ignore[arg-type]

Span = tuple[int, int]

STEP = 1 << 16
"""Characters that the C scanner reads at once of a large text: about a millisecond."""
LARGE = 4 * STEP


class Body:
    """A JSON object, its text on one line, and the spans of the items of one list field in it."""

    __slots__ = ("array", "items", "text", "value")

    def __init__(self, text: str, value: dict[str, Any], array: Span, items: list[Span]) -> None:
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
    result: Body = _guarded(lambda t: _split(t, field), text)
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


def _split(text: str, field: str) -> Body:
    if field == "series" and len(text) < LARGE and text.count("{") <= 2:
        # A request with hardly more than one series: C reads it all, and there is nothing to cut.
        value = json.loads(text)
        items = value.get(field) if isinstance(value, dict) else None
        if not isinstance(items, list) or len(items) < 2:
            return Body(text, value, (0, 0), [(0, 0)] if items else [])
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return Body(text, json.loads(text), (0, 0), [])
    read = _value if len(text) < LARGE else _in_steps
    value, array, items, at = _object(text, at, read, field)
    _end(text, at)
    return Body(text, value, array, items)


def _whole(text: str) -> Any:
    value, at = _in_steps(text, _skip(text, 0))
    _end(text, at)
    return value


def _end(text: str, at: int) -> None:
    end = _skip(text, at)
    if end != len(text):
        raise json.JSONDecodeError("extra data", text, end)


def _object(
    text: str, at: int, read: Read, field: str | None = None
) -> tuple[dict[str, Any], Span, list[Span], int]:
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
        key, at = _value(text, at)
        if text[at : at + 1] != ":":
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                raise json.JSONDecodeError("expecting ':' delimiter", text, at)
        at += 1
        if text[at : at + 1] <= " ":
            at = _skip(text, at)
        if key == field and text[at : at + 1] == "[":
            start = at
            value[key], items, at = _list(text, at, read)
            array = (start, at)
        else:
            value[key], at = read(text, at)
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


def _list(text: str, at: int, read: Read) -> tuple[list[Any], list[Span], int]:
    values: list[Any] = []
    spans: list[Span] = []
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        return values, spans, at + 1
    while True:
        item, end = read(text, at)
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


def _in_steps(text: str, at: int) -> tuple[Any, int]:
    """As `_value`; what seems to be longer than a step is read piece by piece."""
    mark = text[at : at + 1]
    if mark == "{" and text.find("}", at, at + STEP) < 0:
        value, _, _, end = _object(text, at, _in_steps)
        return value, end
    if mark == "[":
        inside = _skip(text, at + 1)
        first = text[inside : inside + 1]
        close = text.find("]", at)
        if first == "{" or (first == "[" and close - at > STEP):
            values, _, end = _list(text, at, _in_steps)
            return values, end
        if close - at > STEP and not any(text.find(c, at, close) > at for c in '"[{'):
            values = _numbers(text, at + 1, close)
            if values:
                return values, close + 1
    return _value(text, at)


def _numbers(text: str, at: int, end: int) -> list[Any]:
    """The values between two commas or brackets; none when that is not what they are."""
    values: list[Any] = []
    while True:
        stop = text.find(",", at + STEP, end)
        try:
            part, _ = _scan(f"[{text[at : stop if stop > 0 else end]}]", 0)
        except (StopIteration, json.JSONDecodeError):
            return []  # read again as a whole, for the position of the mistake
        if not part:
            return []
        values += part
        if stop < 0:
            return values
        at = stop + 1


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        result: tuple[Any, int] = _scan(text, at)
        return result
    except StopIteration as stop:
        raise json.JSONDecodeError("expecting value", text, stop.value) from None


def _skip(text: str, at: int) -> int:
    match = _SPACE(text, at)
    assert match is not None  # the pattern matches the empty string
    return match.end()
