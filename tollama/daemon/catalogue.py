"""Models as the API shows them: tags, show, ps, the registry. Shapes that Ollama's clients read.

Not covered: changing anything (service.py does) and terminal tables (cli/render.py).
"""

from __future__ import annotations

from datetime import datetime, timezone

from tollama.daemon.launches import Model
from tollama.models import families, store
from tollama.models.modelfile import scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from tollama.daemon.scheduler import LoadedModel

# Built-in models came with this file: their "modification" is a constant, not the time of asking.
BUILT_IN_TIME = "2026-01-01T00:00:00Z"


def details(
    family: str, able: Sequence[str], parameters: int | None, dtype: str | None = None
) -> dict[str, Any]:
    """Ollama's `details` of a model; `dtype` is that of its stored weights, if not its source's."""
    return {
        "parent_model": "",
        "format": "safetensors" if parameters else "builtin",
        "family": family,
        "families": list(able) or [family],
        "parameter_size": parameter_size(parameters),
        "quantization_level": {"float16": "F16"}.get(dtype or "", ""),
    }


def parameter_size(count: int | None) -> str:
    """A number of weights as people write it: 119477664 -> "119M"."""
    if not count:
        return ""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def tags(home: str, known: Mapping[str, families.Family]) -> tuple[list[dict[str, Any]], list[str]]:
    """The items of GET /api/tags by name, built-in models included, and warnings."""
    installed, warnings = store.listed(home)
    items = [_tag_installed(model, known) for model in installed]
    taken = {item["name"].lower() for item in items}
    for offer in families.registry(known).values():
        if offer.builtin and offer.name.lower() not in taken:
            items.append(_tag_built_in(offer))
    return sorted(items, key=lambda item: item["name"].lower()), warnings


def _tag_installed(model: store.Installed, known: Mapping[str, families.Family]) -> dict[str, Any]:
    manifest = model.manifest
    base = manifest.get("base") or model.name
    offers = families.offers(known, base)
    able = [offer.family for offer in offers] or [manifest["family"]]
    parameters = offers[0].parameters if offers else None
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": manifest.get("installed_at") or BUILT_IN_TIME,
        "size": manifest.get("size_bytes") or 0,
        "digest": model.digest,
        "details": details(manifest["family"], able, parameters, manifest["source"].get("dtype")),
    }


def _tag_built_in(offer: families.Offer) -> dict[str, Any]:
    from tollama import __version__

    source = {"type": "builtin", "version": __version__}
    identity = {"name": offer.name, "base": offer.name, "family": offer.family, "source": source}
    return {
        "name": offer.name,
        "model": offer.name,
        "modified_at": BUILT_IN_TIME,
        "size": 0,
        "digest": store.digest_of(identity),
        "details": details(offer.family, [offer.family], offer.parameters),
    }


def show(
    model: Model, known: Mapping[str, families.Family], *, runs_on: str | None = None
) -> dict[str, Any]:
    """The answer of POST /api/show; `runs_on` is the family that would answer now, if one can."""
    manifest = model.manifest
    offer = next(
        (one for one in families.offers(known, model.base) if one.family == runs_on), model.offer
    )
    preset = model.defaults or {}
    license_ = dict(manifest.get("license") or (offer.license if offer else {}))
    capabilities = dict(offer.capabilities) if offer else _capabilities_by_family(model, known)
    parameters = offer.parameters if offer else None
    source = dict(offer.source if model.builtin else manifest["source"])
    return {
        "name": model.name,
        "model": model.name,
        "family": manifest["family"],
        "runs_on": runs_on,
        "source": source,
        "resolved": manifest.get("resolved") or {"commit_sha": None, "snapshot_path": None},
        "digest": model.digest,
        "size": manifest.get("size_bytes") or 0,
        "snapshot_path": model.path,
        "license": preset.get("license") or license_.get("type", ""),
        "license_state": license_,
        "description": preset.get("description") or (offer.description if offer else ""),
        "modelfile": modelfile(model),
        "parameters": preset_lines(preset),
        "preset": dict(preset) or None,
        "model_info": {
            "general.architecture": manifest.get("architecture") or manifest["family"],
            "general.parameter_count": parameters,
            "context_length": offer.context_length if offer else None,
            "max_horizon": offer.max_horizon if offer else None,
            "options": dict(offer.options) if offer else {},
            "files": manifest.get("files") or [],
        },
        "capabilities": ["forecast", *sorted(k for k, v in capabilities.items() if v is True)],
        "forecast_capabilities": capabilities,
        "details": details(
            manifest["family"], model.families, parameters, manifest["source"].get("dtype")
        ),
        "modified_at": manifest.get("installed_at") or BUILT_IN_TIME,
    }


def _capabilities_by_family(model: Model, known: Mapping[str, families.Family]) -> dict[str, Any]:
    """A hub model has no registry entry: one of the same architecture speaks for it."""
    for name in model.families:
        if name in known:
            offer = families.offer_in(known[name], model.base, model.manifest.get("architecture"))
            if offer is not None:
                return dict(offer.capabilities)
    return {}


def modelfile(model: Model) -> str:
    """A Modelfile that makes the same model."""
    preset = model.defaults or {}
    source = model.manifest.get("from") or model.base
    lines = [f"FROM {source}", *(f"PARAMETER {line}" for line in preset_lines(preset).splitlines())]
    if preset.get("description"):
        lines.append(f'DESCRIPTION """{preset["description"]}"""')
    if preset.get("license"):
        lines.append(f'LICENSE """{preset["license"]}"""')
    return "\n".join(lines) + "\n"


def modelfile_word(value: Any) -> str:
    """A parameter's value so that a Modelfile with it means the same value again."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    plain = value and not any(c.isspace() or c == '"' for c in value)
    return value if plain and scalar(value) == value else '"' + value.replace('"', '\\"') + '"'


def preset_lines(preset: Mapping[str, Any]) -> str:
    """A preset's parameters, one `name value...` a line, as Modelfiles write them."""
    lines = []
    values = {k: preset[k] for k in ("horizon", "quantiles") if preset.get(k) is not None}
    for name, value in {**values, **(preset.get("options") or {})}.items():
        items = value if isinstance(value, list) else [value]
        lines.append(" ".join([name, *map(modelfile_word, items)]))
    return "\n".join(lines)


def loaded(
    models: Sequence[LoadedModel], digests: Mapping[str, str], known: Mapping[str, families.Family]
) -> list[dict[str, Any]]:
    """The items of GET /api/ps, the one that stays longest first."""
    items = []
    for model in models:
        name = model.model.partition("@")[0]
        offers = families.offers(known, name)
        facts = model.facts or {}
        items.append(
            {
                "name": name,
                "model": name,
                "expires_at": iso(model.expires_at),
                "size": model.rss_bytes,
                "size_vram": model.vram_bytes,
                "digest": digests.get(name, ""),
                "context_length": facts.get("context_length")
                or (offers[0].context_length if offers else None),
                "details": details(
                    model.family,
                    [offer.family for offer in offers],
                    offers[0].parameters if offers else None,
                ),
                "family": model.family,
                "device": facts.get("device", "cpu"),
                "dtype": facts.get("dtype"),
                "warnings": facts.get("warnings") or [],
                "queue_depth": model.queue_depth,
                "running": model.running,
                "processes": len(model.pids),
            }
        )
    # None means for ever: "~" sorts after every digit.
    return sorted(items, key=lambda item: item["expires_at"] or "~", reverse=True)


def iso(epoch: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601 in UTC; None stays None (for ever)."""
    if epoch is None:
        return None
    moment = datetime.fromtimestamp(epoch, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def models(home: str, known: Mapping[str, families.Family]) -> dict[str, Any]:
    """The answer of GET /v1/models: what can be had and what is here, with licence states."""
    installed, _ = store.listed(home)
    by_name = {model.name.lower(): model for model in installed}
    available = []
    for offer in families.registry(known).values():
        here = by_name.get(offer.name.lower())
        accepted = bool(here and (here.manifest.get("license") or {}).get("accepted"))
        available.append(
            {
                "name": offer.name,
                "family": offer.family,
                "families": [o.family for o in families.offers(known, offer.name)],
                "description": offer.description,
                "source": offer.source,
                "installed": offer.builtin or here is not None,
                "builtin": offer.builtin,
                "license": {
                    **offer.license,
                    "accepted": accepted or not offer.license.get("needs_acceptance", False),
                },
                "capabilities": offer.capabilities,
                "context_length": offer.context_length,
                "max_horizon": offer.max_horizon,
                "parameters": offer.parameters,
                "size_bytes": offer.size_bytes,
            }
        )
    present = [
        {
            "name": model.name,
            "family": model.manifest["family"],
            "source": model.manifest["source"],
            "license": model.manifest.get("license") or {},
            "size": model.manifest.get("size_bytes") or 0,
            "digest": model.digest,
            "installed_at": model.manifest.get("installed_at"),
        }
        for model in installed
    ]
    return {"available": available, "installed": present}


def digests(home: str, known: Mapping[str, families.Family]) -> dict[str, str]:
    """Digest by name for everything that tags lists."""
    return {item["name"]: item["digest"] for item in tags(home, known)[0]}
