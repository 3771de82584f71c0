"""/openapi.json, generated from ROUTES and the dataclasses, so that it cannot drift from them."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from tollama.core.errors import BY_CODE
from tollama.daemon import wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollama.daemon.route import Route

_SIMPLE = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "Any": {},
    "dict": {"type": "object"},
}


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 description of the API."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    error = _reference(wire.Error, schemas)
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, error)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tollama",
            "version": version,
            "description": "Ollama for time series forecasting, in one file.",
            "license": {"name": "MIT"},
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(route: Route, schemas: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    answer = _reference(route.answer, schemas) if route.answer else {"type": "object"}
    content: dict[str, Any] = {"application/json": {"schema": answer}}
    if route.handle.__name__ in ("pull", "forecast"):
        content["application/x-ndjson"] = {"schema": {"type": "object"}}
    if route.plain:
        content = {"text/plain": {"schema": {"type": "string"}}}
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{re.sub('[^a-zA-Z0-9]+', '_', route.path)}",
        "summary": route.summary,
        "responses": {
            "200": {"description": "done", "content": content},
            "default": {
                "description": "failed; codes: " + ", ".join(sorted(BY_CODE)),
                "content": {"application/json": {"schema": error}},
            },
        },
    }
    if route.body is not None:
        body: dict[str, Any] = {"application/json": {"schema": _reference(route.body, schemas)}}
        if route.stream_body:
            body["application/x-ndjson"] = {"schema": {"type": "string"}}
        operation["requestBody"] = {"required": True, "content": body}
    names = re.findall(r"{(\w+)}", route.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
    return operation


def _reference(cls: type, schemas: dict[str, Any]) -> dict[str, Any]:
    if cls.__name__ not in schemas:
        schemas[cls.__name__] = {}  # a placeholder, so that a cycle ends
        schemas[cls.__name__] = _schema(cls, schemas)
    return {"$ref": f"#/components/schemas/{cls.__name__}"}


def _schema(cls: type, schemas: dict[str, Any]) -> dict[str, Any]:
    openapi = getattr(cls, "openapi", None)
    if openapi is not None:
        schema: dict[str, Any] = openapi()
        return schema
    assert is_dataclass(cls)
    properties: dict[str, Any] = {}
    required = []
    for one in fields(cls):
        doc = one.metadata.get("doc")
        if doc is None and cls.__name__ == "Series":
            continue  # derived inside the runner, not part of the wire
        name = one.name.rstrip("_")  # `from_` is `from` on the wire
        properties[name] = _type(str(one.type), schemas)
        if doc:
            properties[name] = {**properties[name], "description": doc}
        if one.default is MISSING and one.default_factory is MISSING:
            required.append(name)
    if cls.__name__ == "Series":
        required.remove("id")  # series_0, series_1, ... when absent
    schema = {"type": "object", "properties": properties}
    if cls.__doc__:
        schema["description"] = cls.__doc__.splitlines()[0]
    if required:
        schema["required"] = required
    return schema


def _type(text: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema for an annotation as it is written in the dataclasses."""
    options = [part.strip() for part in _split(text, "|")]
    if len(options) > 1:
        found = [_type(part, schemas) for part in options if part != "None"]
        if "None" in options:
            found.append({"type": "null"})
        return {"anyOf": found}
    if text in _SIMPLE:
        return dict(_SIMPLE[text])
    outer, _, inner = text.partition("[")
    inner = inner.removesuffix("]")
    if outer in ("list", "tuple"):
        return {"type": "array", "items": _type(_split(inner, ",")[0].strip(), schemas)}
    if outer == "dict":
        return {
            "type": "object",
            "additionalProperties": _type(_split(inner, ",")[1].strip(), schemas),
        }
    from tollama.core import schemas as core_schemas

    cls = getattr(core_schemas, text, None) or getattr(wire, text, None)
    if cls is None:
        raise TypeError(f"no JSON schema for the annotation {text!r}")
    return _reference(cls, schemas)


def _split(text: str, mark: str) -> list[str]:
    """Split at a mark that is not inside brackets."""
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if letter == mark and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]
