"""The small bodies and answers of the API as dataclasses: they are read by them and documented by
them.

Each field carries its reader and a sentence; /openapi.json is generated from both. They live for
one request, so they are made the cheap way: frozen ones cost the start of the daemon 5 ms. The
forecast itself is in core/schemas.py, a pull in models/pulls.py.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Any, TypeVar

from tollama.core import durations, fields, names

T = TypeVar("T")


def part(read: Any, doc: str, default: Any = MISSING) -> Any:
    """A dataclass field with its reader and doc."""
    metadata = {"read": read, "doc": doc}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def read(cls: type[T], value: object, *, lenient: bool = False) -> T:
    """A body as one of the dataclasses below; raises InvalidRequest with every bad field."""
    with fields.Fields(value, lenient=lenient) as f:
        taken = {}
        for one in dataclass_fields(cls):  # type: ignore[arg-type]
            if one.default is MISSING:
                taken[one.name] = f.take(one.name, one.metadata["read"])
            else:
                taken[one.name] = f.take(one.name, one.metadata["read"], one.default)
    return cls(**taken)


@dataclass(eq=False, repr=False, match_args=False)
class ModelBody:
    """One model by name."""

    model: str = part(names.reader, "name of the model")


@dataclass(eq=False, repr=False, match_args=False)
class ShowBody:
    """What POST /api/show takes; Ollama's older clients say `name`."""

    model: str | None = part(names.reader, "name of the model", None)
    name: str | None = part(names.reader, "the same, as older clients send it", None)
    verbose: bool | None = part(fields.boolean, "accepted and without effect", None)


@dataclass(eq=False, repr=False, match_args=False)
class DeleteBody:
    """What DELETE /api/delete takes."""

    model: str | None = part(names.reader, "name of the model", None)
    name: str | None = part(names.reader, "the same, as older clients send it", None)
    purge: bool = part(fields.boolean, "remove the files from a shared cache too", False)


@dataclass(eq=False, repr=False, match_args=False)
class CancelPullBody:
    """What DELETE /api/pull takes."""

    model: str | None = part(fields.nonempty, "name of the model", None)
    name: str | None = part(fields.nonempty, "the same, as older clients send it", None)
    unless_watched: bool = part(fields.boolean, "not while another client watches it", False)


@dataclass(eq=False, repr=False, match_args=False)
class CopyBody:
    """What POST /api/copy takes."""

    source: str = part(names.reader, "name of an installed or built-in model")
    destination: str = part(names.reader, "name of the copy")


@dataclass(eq=False, repr=False, match_args=False)
class LicensedPullBody:
    """What POST /v1/models/pull takes."""

    name: str = part(fields.nonempty, "name of a model in the registry, or hf.co/ORG/REPO")
    accept_license: bool = part(fields.boolean, "accept the model's licence", False)


@dataclass(eq=False, repr=False, match_args=False)
class EmbedBody:
    """What POST /api/embed takes."""

    model: str = part(names.reader, "name of a model that can make embeddings")
    series: list[Any] = part(fields.json_list, "the histories, as for a forecast")
    options: dict[str, Any] | None = part(fields.json_object, "options of the model", None)
    keep_alive: Any = part(durations.keep_alive, "how long the model stays loaded", None)
    timeout: float | None = part(fields.positive, "seconds to wait", None)


@dataclass(eq=False, repr=False, match_args=False)
class Version:
    """The daemon's version."""

    version: str = part(fields.string, "version of tollama")


@dataclass(eq=False, repr=False, match_args=False)
class Status:
    """That all is well."""

    status: str = part(fields.string, "ok")


@dataclass(eq=False, repr=False, match_args=False)
class Deleted:
    """What was deleted."""

    deleted: bool = part(fields.boolean, "true")
    model: str = part(fields.string, "name of the model")


@dataclass(eq=False, repr=False, match_args=False)
class ForecastItem:
    """The forecast of one series."""

    id: str = part(fields.string, "id of the series, as asked")
    freq: str | None = part(fields.string, "its frequency, given or inferred")
    start_timestamp: str | None = part(fields.string, "time of the first future step")
    mean: list[Any] = part(fields.json_list, "horizon numbers, or D lists of them")
    quantiles: dict[str, Any] | None = part(fields.json_object, "level to horizon numbers")
    timestamps: list[str] | None = part(
        fields.strings, "times of all steps, with options.timestamps", None
    )


@dataclass(eq=False, repr=False, match_args=False)
class ForecastAnswer:
    """One forecast per series, in order."""

    model: str = part(fields.string, "the model, as asked")
    forecasts: list[ForecastItem] = part(fields.json_list, "one per series")
    usage: dict[str, Any] | None = part(fields.json_object, "what was chosen and used")
    warnings: list[str] = part(fields.strings, "what was mended, ignored or replaced")
    metrics: dict[str, Any] | None = part(fields.json_object, "scores, when asked for", None)


@dataclass(eq=False, repr=False, match_args=False)
class Error:
    """Every failure has this form."""

    error: str = part(fields.string, "what happened and what to do, for people")
    code: str = part(fields.string, "stable code, for programs")
    detail: Any = part(fields.json_object, "the text, or for validation a list of bad fields", None)


def generate_body(value: object) -> tuple[str, float | None]:
    """Ollama's load and unload idiom: (model, keep_alive). Anything with a prompt is refused."""
    with fields.Fields(value, lenient=True) as f:
        model = f.take("model", names.reader)
        keep_alive = f.take("keep_alive", durations.keep_alive, None)
        f.take("stream", fields.boolean, None)
        for name in ("prompt", "suffix", "images", "template", "system"):
            if f.value.get(name):
                f.reject(name, "tollama forecasts and generates no text, use POST /api/forecast")
    return model, keep_alive
