'''Modelfiles: a model, and what a request for it leaves out.

    # a comment
    FROM chronos2
    PARAMETER horizon 28
    PARAMETER quantiles 0.1 0.5 0.9
    PARAMETER context_length 2048
    DESCRIPTION four weeks of sales
    LICENSE """
    several lines
    """

Instructions are read in any case and order; the last PARAMETER of a name counts. `horizon` and
`quantiles` are fields of the request, any other name is an option of the model.

Not covered: making the model (daemon/presets.py). Ollama's TEMPLATE, SYSTEM, MESSAGE and ADAPTER
mean nothing to a forecast and are refused.
'''

from __future__ import annotations

import re
from collections import namedtuple
from math import isfinite

from tollama.core import fields, names, readers, schemas
from tollama.core.errors import InvalidRequest, Loc, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

INSTRUCTIONS = ("FROM", "PARAMETER", "DESCRIPTION", "LICENSE")
OF_OLLAMA = ("TEMPLATE", "SYSTEM", "MESSAGE", "ADAPTER")
QUOTES = '"""'
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


class Modelfile(namedtuple("Modelfile", "source preset")):
    """The model to begin with, and the preset.

    A preset is a dict of horizon, quantiles, options, description, license.
    """

    __slots__ = ()


def parse(text: str) -> Modelfile:
    """A Modelfile's text; raises InvalidRequest that names the line."""
    source: str | None = None
    parameters: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for number, instruction, rest in _instructions(text):
        where = f"Modelfile line {number}"
        if instruction == "FROM":
            if source is not None:
                raise InvalidRequest(f"{where}: expected FROM once, got it twice")
            source = _source(rest, where)
        elif instruction == "PARAMETER":
            name, values = _parameter(rest, where)
            parameters[name] = values
        elif instruction in INSTRUCTIONS:
            texts[instruction.lower()] = rest
        elif instruction in OF_OLLAMA:
            raise InvalidRequest(f"{where}: {instruction} means nothing to a forecasting model")
        else:
            raise InvalidRequest(
                f"{where}: expected one of {', '.join(INSTRUCTIONS)}, got {shown(instruction)}"
            )
    if source is None:
        raise InvalidRequest("Modelfile: expected a line FROM MODEL, found none")
    return Modelfile(source, preset(parameters, **texts))


def _instructions(text: str) -> Iterable[tuple[int, str, str]]:
    lines = iter(enumerate(text.removeprefix("\ufeff").splitlines(), 1))
    for number, line in lines:
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        word, _, rest = stripped.partition(" ")
        rest = rest.strip()
        if rest.startswith(QUOTES):
            body = rest[len(QUOTES) :]
            while QUOTES not in body:
                more = next(lines, None)
                if more is None:
                    raise InvalidRequest(
                        f'Modelfile line {number}: expected a closing """, found none'
                    )
                body += "\n" + more[1]
            inside, _, after = body.partition(QUOTES)
            if after.strip():
                raise InvalidRequest(
                    f'Modelfile line {number}: expected nothing after """, got {shown(after)}'
                )
            rest = inside.strip("\n")
        yield number, word.upper(), rest


def _source(text: str, where: str) -> str:
    try:
        return names.check(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{where}: {error.message}") from None


def _parameter(text: str, where: str) -> tuple[str, Any]:
    name, _, rest = text.partition(" ")
    values = [
        match[1].replace('\\"', '"') if match[1] is not None else scalar(match[2])
        for match in _WORD.finditer(rest)
    ]
    if not name or not values:
        raise InvalidRequest(f"{where}: expected PARAMETER NAME VALUE...")
    return name, values if len(values) > 1 or name == "quantiles" else values[0]


def scalar(word: str) -> Any:
    """A word as the value that JSON would have for it: a number, true, false, else the word."""
    if word in ("true", "false"):
        return word == "true"
    if _NUMBER.fullmatch(word):
        # Python reads no integer of thousands of digits. What floats cannot hold stays a word.
        if not isfinite(float(word)):
            return word
        return int(word) if word.lstrip("+-").isdigit() else float(word)
    return word


def preset(
    parameters: dict[str, Any], description: str | None = None, license: str | None = None
) -> dict[str, Any]:
    """The preset that parameters and texts make; raises InvalidRequest with every bad one."""
    problems: list[tuple[Loc, str]] = []
    found: dict[str, Any] = {}
    options = {k: v for k, v in parameters.items() if k not in ("horizon", "quantiles")}
    own: dict[str, Any] = {
        "horizon": fields.integer(1, schemas.MAX_HORIZON),
        "quantiles": lambda value, loc: list(readers.quantiles(value, loc)),
    }
    for name, read in own.items():
        if parameters.get(name) is not None:
            try:
                found[name] = read(parameters[name], ("parameters", name))
            except InvalidRequest as error:
                problems += error.problems()
    try:
        readers.options(options, ("parameters",))
    except InvalidRequest as error:
        problems += error.problems()
    for name, text in (("description", description), ("license", license)):
        if text and QUOTES in text:
            problems.append(((name,), f"expected a text without {QUOTES}"))
    if problems:
        raise InvalidRequest.of(problems)
    if options:
        found["options"] = options
    if description:
        found["description"] = description
    if license:
        found["license"] = license
    return found


def merged(under: dict[str, Any] | None, over: dict[str, Any]) -> dict[str, Any]:
    """A preset made from a model that has one: what it leaves out is taken from there."""
    found = {**(under or {}), **over}
    options = {**((under or {}).get("options") or {}), **(over.get("options") or {})}
    if options:
        found["options"] = options
    return found


def check_options(preset: dict[str, Any], known: Iterable[str]) -> None:
    """Raise InvalidRequest for options that a model does not have, when it says which it has."""
    known = list(known)
    if not known:
        return
    allowed = [*known, *readers.COMMON_OPTIONS]
    problems: list[tuple[Loc, str]] = [
        (("parameters", name), fields.unknown_field(name, ["horizon", "quantiles", *allowed]))
        for name in preset.get("options") or {}
        if name not in allowed
    ]
    if problems:
        raise InvalidRequest.of(problems)
