"""Presets: a model under another name, with what a request leaves out.

    {"model": "sales", "from": "chronos2", "parameters": {"horizon": 28, "quantiles": [0.1, 0.9]}}
    {"model": "sales", "modelfile": "FROM chronos2\\nPARAMETER horizon 28"}

The preset lies in the manifest of a copy: its digest covers it, and whatever runs a model fills in
what a request does not say. Not covered: the text of Modelfiles (models/modelfile.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tollama.core import fields, names
from tollama.core.errors import InvalidRequest, Loc
from tollama.daemon.wire import part, read
from tollama.models import modelfile

if TYPE_CHECKING:
    from tollama.daemon.service import Service

REFUSED = ("files", "adapters", "template", "system", "messages", "quantize")


def _license(value: object, loc: Loc) -> str:
    """A licence as Ollama's clients send it: a text or several."""
    if isinstance(value, list):
        return "\n".join(fields.strings(value, loc))
    return fields.string(value, loc)


@dataclass(eq=False, repr=False, match_args=False)
class CreateBody:
    """What POST /api/create takes; `from` and its companions, or the text of a Modelfile."""

    model: str = part(names.reader, "name of the new model")
    from_: str | None = part(names.reader, "the model to begin with (sent as `from`)", None)
    parameters: dict[str, Any] | None = part(
        fields.json_object, "horizon, quantiles, and options of the model", None
    )
    description: str | None = part(fields.string, "a sentence about it", None)
    license: str | None = part(_license, "its licence", None)
    modelfile: str | None = part(fields.string, "all of this as a Modelfile", None)
    stream: bool = part(fields.boolean, "answer as NDJSON progress lines", True)


def parse(value: object) -> tuple[CreateBody, modelfile.Modelfile]:
    """A body and the Modelfile that it is; raises InvalidRequest with every bad field."""
    if isinstance(value, dict):
        value = {**value}
        if "from" in value:
            value["from_"] = value.pop("from")
        if "name" in value and "model" not in value:
            value["model"] = value["name"]
        refused: list[tuple[Loc, str]] = [
            ((name,), "means nothing to a forecasting model") for name in REFUSED if value.get(name)
        ]
        if refused:
            raise InvalidRequest.of(refused)
    body = read(CreateBody, value, lenient=True)
    if body.modelfile is not None:
        found = modelfile.parse(body.modelfile)
        if body.from_ is not None and not names.same(body.from_, found.source):
            raise InvalidRequest.of([(("from",), "expected the same as FROM in the modelfile")])
        return body, found
    if body.from_ is None:
        raise InvalidRequest.of([(("from",), "this field is required, or modelfile")])
    preset = modelfile.preset(body.parameters or {}, body.description, body.license)
    return body, modelfile.Modelfile(body.from_, preset)


def create(service: Service, name: str, wanted: modelfile.Modelfile) -> Iterator[dict[str, Any]]:
    """Make a preset; progress events, the last one with its digest. Work begins at once."""
    source = service.model(wanted.source)
    modelfile.check_options(wanted.preset, source.offer.options if source.offer else ())
    preset = modelfile.merged(source.defaults, wanted.preset)
    digest = service.copy(source.name, name, preset=preset)
    return iter(
        (
            {"status": f"using {source.name}"},
            {"status": "writing manifest"},
            {"status": "success", "model": name, "digest": digest},
        )
    )
