"""Readers of the fields of a forecast request, as fields.py has them for plain values.

Not covered: what the fields mean together (schemas.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tollama.core import calendar, fields, names
from tollama.core.errors import InvalidRequest, Loc, shown
from tollama.core.metrics import METRICS

COVARIATE_MODES = ("best_effort", "strict")


def model(value: object, loc: Loc) -> str:
    """A model's name as the client wrote it: answers echo that."""
    names.reader(value, loc)
    return str(value)


def target(value: object, loc: Loc) -> list[Any]:
    """Numbers and nulls, or lists of them of equal length."""
    items = fields.json_list(value, loc)
    if not items or type(items[0]) is not list:
        if not items:
            raise fields.fail(loc, "expected at least one value, got an empty list")
        return fields.numbers_or_null(items, loc)
    problems: list[tuple[Loc, str]] = []
    for index, row in enumerate(items):
        try:
            fields.numbers_or_null(row, (*loc, index))
        except InvalidRequest as error:
            problems += error.problems()
            continue
        if len(row) != len(items[0]):
            problems.append(
                (
                    (*loc, index),
                    f"expected {len(items[0])} values as in target[0], got {len(row)}",
                )
            )
    if not items[0]:
        problems.append(((*loc, 0), "expected at least one value, got an empty list"))
    if problems:
        raise InvalidRequest.of(problems)
    return items


def covariates(value: object, loc: Loc) -> dict[str, list[Any]]:
    """Lists of numbers or of texts by name."""
    problems: list[tuple[Loc, str]] = []
    items = fields.json_object(value, loc)
    for name, values in items.items():
        try:
            fields.string(name, loc)
            fields.covariate(values, (*loc, name))
        except InvalidRequest as error:
            problems += error.problems()
    if problems:
        raise InvalidRequest.of(problems)
    return items


def quantiles(value: object, loc: Loc) -> tuple[float, ...]:
    """Probability levels, each once; ascending."""
    problems: list[tuple[Loc, str]] = []
    levels: list[float] = []
    for index, level in enumerate(fields.json_list(value, loc)):
        if type(level) not in fields.NUMBER_TYPES or not 0 < level < 1:
            problems.append(
                ((*loc, index), f"expected a number between 0 and 1, got {shown(level)}")
            )
        elif level in levels:
            problems.append(
                ((*loc, index), f"expected each quantile once, got {shown(level)} twice")
            )
        else:
            levels.append(float(level))
    if problems:
        raise InvalidRequest.of(problems)
    return tuple(sorted(levels))


def metrics(value: object, loc: Loc) -> tuple[str, ...]:
    """Names of scores."""
    return tuple(fields.list_of(fields.choice(*METRICS))(value, loc))


def options(value: object, loc: Loc) -> dict[str, Any]:
    """Options of a model: those that every model knows are checked, others kept as they are."""
    given = fields.json_object(value, loc)
    problems: list[tuple[Loc, str]] = []
    for name, read in COMMON_OPTIONS.items():
        if given.get(name) is not None:
            try:
                read(given[name], (*loc, name))
            except InvalidRequest as error:
                problems += error.problems()
    if problems:
        raise InvalidRequest.of(problems)
    return given


def _season_length(value: object, loc: Loc) -> object:
    if type(value) is list and value:
        return fields.list_of(fields.integer(1, 100_000))(value, loc)
    return fields.integer(1, 100_000)(value, loc)


def _parsed_by(parse: Callable[[str], object]) -> Callable[[object, Loc], str]:
    """A reader of texts that `parse` takes; the text stays as the client wrote it."""

    def read(value: object, loc: Loc) -> str:
        text = fields.nonempty(value, loc)
        try:
            parse(text)
        except InvalidRequest as error:
            raise fields.fail(loc, error.message) from None
        return text

    return read


freq = _parsed_by(calendar.parse_freq)
timestamp = _parsed_by(calendar.parse_timestamp)

# Options that every model understands; a model's own are declared by its runner.
COMMON_OPTIONS: dict[str, Any] = {
    "covariates_mode": fields.choice(*COVARIATE_MODES),
    "timestamps": fields.boolean,
    "non_negative": fields.boolean,
    "season_length": _season_length,
    "stream_series": fields.boolean,
    "tz": _parsed_by(calendar.zone),
    "family": fields.nonempty,
}
