"""Strict readers of JSON values that collect every bad field with its exact path.

A reader is a function `(value, loc) -> checked value` that raises InvalidRequest. `Fields` reads an
object field by field, goes on after a bad one, and raises once for all of them. Nothing is coerced:
`true` is not a number, "5" is not 5, and an integer is fine where a float is wanted.

Not covered: what fields mean together (schemas.py does that) and the splitting of raw bytes
(splice.py).
"""

from __future__ import annotations

from math import isfinite

from tollama.core.errors import InvalidRequest, Loc, shown

# `Reader` would be Callable[[object, Loc], T]; typing is not imported at run time (it is slow).
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")
    Reader = Callable[[object, Loc], T]

NUMBER_TYPES = {int, float}
GAP = type(None)
MISSING: Any = object()


def fail(loc: Loc, message: str) -> InvalidRequest:
    """One bad field as an error."""
    return InvalidRequest.of([(loc, message)])


class Fields:
    """The fields of one JSON object; use it as a context manager.

    `take` reads one field and records its problems; leaving the block raises InvalidRequest with
    all problems, unknown fields included (with a "did you mean"), unless `lenient`.
    """

    def __init__(self, value: object, loc: Loc = (), *, lenient: bool = False) -> None:
        if not isinstance(value, dict):
            raise fail(loc, f"expected an object, got {shown(value)}")
        self.value = value
        self.loc = loc
        self.lenient = lenient
        self.known: dict[str, None] = {}
        self.problems: list[tuple[Loc, str]] = []

    def __enter__(self) -> Fields:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, InvalidRequest):
            self.problems += exc.problems()
        elif exc is not None:
            return
        if not (self.lenient or self.value.keys() <= self.known.keys()):
            for name in self.value:
                if name not in self.known:
                    self.problems.append(((*self.loc, name), unknown_field(name, self.known)))
        if self.problems:
            raise InvalidRequest.of(self.problems) from None

    def take(self, name: str, read: Reader[T], default: Any = MISSING) -> T:
        """The field `name` as `read` gives it; `default` when absent or null, else required."""
        self.known[name] = None
        value = self.value.get(name)
        if value is None and (default is not MISSING or name not in self.value):
            if default is MISSING:
                self.problems.append(((*self.loc, name), "this field is required"))
            return default  # type: ignore[no-any-return]
        try:
            return read(value, (*self.loc, name))
        except InvalidRequest as error:
            self.problems += error.problems()
            return default  # type: ignore[no-any-return]

    def given(self, readers: Mapping[str, Reader[Any]]) -> dict[str, Any]:
        """Those of the fields in `readers` that are there and not null, as `take` reads them."""
        self.known.update(dict.fromkeys(readers))
        return {
            name: self.take(name, readers[name], None)
            for name, value in self.value.items()
            if value is not None and name in readers
        }

    def reject(self, name: str, message: str) -> None:
        """Record a problem of the field `name` that its reader could not see."""
        self.problems.append(((*self.loc, name), message))


def unknown_field(name: object, known: Iterable[str]) -> str:
    """The message for a field that nothing reads, with the nearest known name."""
    from difflib import get_close_matches

    near = get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f"unknown field, did you mean {near[0]!r}?" if near else "unknown field"


def string(value: object, loc: Loc) -> str:
    """A string that UTF-8 can carry (a lone surrogate cannot)."""
    if type(value) is not str:
        raise fail(loc, f"expected a string, got {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise fail(loc, "expected a string of valid Unicode, got a lone surrogate") from None
    return value


def nonempty(value: object, loc: Loc) -> str:
    """A string of at least one character."""
    text = string(value, loc)
    if not text:
        raise fail(loc, "expected a non-empty string")
    return text


def boolean(value: object, loc: Loc) -> bool:
    """true or false."""
    if type(value) is not bool:
        raise fail(loc, f"expected true or false, got {shown(value)}")
    return value


def integer(low: int | None = None, high: int | None = None) -> Reader[int]:
    """A reader of integers within [low, high]."""

    def read(value: object, loc: Loc) -> int:
        if type(value) is not int:
            raise fail(loc, f"expected an integer, got {shown(value)}")
        if low is not None and value < low:
            raise fail(loc, f"expected an integer >= {low}, got {shown(value)}")
        if high is not None and value > high:
            raise fail(loc, f"expected an integer <= {high}, got {shown(value)}")
        return value

    return read


def finite(value: object, loc: Loc) -> float:
    """A finite number; an integer is kept as it is."""
    if type(value) not in NUMBER_TYPES or not is_finite(value):
        raise fail(loc, f"expected a finite number, got {shown(value)}")
    return value  # type: ignore[return-value]


def is_finite(value: object) -> bool:
    """Whether a number is finite as a float (10**400 is not)."""
    try:
        return isfinite(value)  # type: ignore[arg-type]
    except (OverflowError, TypeError):
        return False


def positive(value: object, loc: Loc) -> float:
    """A finite number above zero."""
    number = finite(value, loc)
    if number <= 0:
        raise fail(loc, f"expected a number > 0, got {shown(value)}")
    return number


def json_object(value: object, loc: Loc) -> dict[str, Any]:
    """An object, its fields unread."""
    if not isinstance(value, dict):
        raise fail(loc, f"expected an object, got {shown(value)}")
    return value


def plain_object(value: object, loc: Loc) -> dict[str, Any]:
    """An object of any values that JSON can carry: no NaN, no infinity, no lone surrogate."""
    items = json_object(value, loc)
    problems: list[tuple[Loc, str]] = []
    waiting: list[tuple[object, Loc]] = [(items, loc)]
    while waiting:
        item, at = waiting.pop()
        try:
            if type(item) is float:
                finite(item, at)
            elif type(item) is str:
                string(item, at)
            elif isinstance(item, dict):
                for name in item:
                    string(name, at)
                waiting += [(one, (*at, name)) for name, one in reversed(item.items())]
            elif isinstance(item, list):
                waiting += [(one, (*at, i)) for i, one in reversed(list(enumerate(item)))]
        except InvalidRequest as error:
            problems += error.problems()
    if problems:
        raise InvalidRequest.of(problems)
    return items


def json_list(value: object, loc: Loc) -> list[Any]:
    """A list, its items unread."""
    if not isinstance(value, list):
        raise fail(loc, f"expected a list, got {shown(value)}")
    return value


def choice(*allowed: str) -> Reader[str]:
    """A reader of one of the strings `allowed`."""

    def read(value: object, loc: Loc) -> str:
        if type(value) is not str or value not in allowed:
            names = ", ".join(repr(name) for name in allowed)
            raise fail(loc, f"expected one of {names}, got {shown(value)}")
        return value

    return read


def list_of(read: Reader[T]) -> Reader[list[T]]:
    """A reader of lists whose items `read` checks one by one (for short lists)."""

    def read_all(value: object, loc: Loc) -> list[T]:
        problems: list[tuple[Loc, str]] = []
        items: list[T] = []
        for index, item in enumerate(json_list(value, loc)):
            try:
                items.append(read(item, (*loc, index)))
            except InvalidRequest as error:
                problems += error.problems()
        if problems:
            raise InvalidRequest.of(problems)
        return items

    return read_all


def numbers_or_null(value: object, loc: Loc) -> list[float | None]:
    """A list of finite numbers and nulls, checked at C speed; bad items are searched only then."""
    items = json_list(value, loc)
    kinds = set(map(type, items))
    if kinds <= NUMBER_TYPES:
        if _all_finite(items):
            return items
    elif kinds <= {int, float, GAP} and _all_finite([x for x in items if x is not None]):
        return items
    raise _bad_items(items, loc, NUMBER_TYPES | {GAP}, "a finite number or null")


def numbers(value: object, loc: Loc) -> list[float]:
    """A list of finite numbers without nulls."""
    items = json_list(value, loc)
    if set(map(type, items)) <= NUMBER_TYPES and _all_finite(items):
        return items
    raise _bad_items(items, loc, NUMBER_TYPES, "a finite number")


def strings(value: object, loc: Loc) -> list[str]:
    """A list of strings."""
    items = json_list(value, loc)
    if set(map(type, items)) <= {str}:
        return items
    raise _bad_items(items, loc, {str}, "a string")


def covariate(value: object, loc: Loc) -> list[Any]:
    """A list of numbers and nulls, or of strings and nulls (a categorical covariate)."""
    items = json_list(value, loc)
    kinds = set(map(type, items))
    if str in kinds:
        if kinds <= {str, GAP}:
            _check_texts(items, loc)
            return items
        raise _bad_items(items, loc, {str, GAP}, "a string or null, as the other values")
    return numbers_or_null(items, loc)


def _check_texts(items: list[Any], loc: Loc) -> None:
    """Refuse lone surrogates, at C speed where there are none."""
    try:
        "".join(filter(None, items)).encode()
    except UnicodeEncodeError:
        for index, item in enumerate(items):
            if item is not None:
                string(item, (*loc, index))


def _all_finite(items: list[Any]) -> bool:
    # One C loop. Its result is not finite when an item is not, but also where huge ones overflow:
    # the slow look at each item tells the two apart.
    try:
        if isfinite(sum(items)):
            return True
    except (OverflowError, ValueError):
        pass
    return all(map(is_finite, items))


def _bad_items(items: list[Any], loc: Loc, kinds: set[type], wanted: str) -> InvalidRequest:
    problems: list[tuple[Loc, str]] = []
    for index, item in enumerate(items):
        bad = type(item) not in kinds or (type(item) in NUMBER_TYPES and not is_finite(item))
        if bad:
            problems.append(((*loc, index), f"expected {wanted}, got {shown(item)}"))
            if len(problems) == 20:
                problems.append((loc, "more bad values follow, only the first 20 are listed"))
                break
    return InvalidRequest.of(problems)
