"""What a pull will do: its settings, resolved field by field, and the manifest it leaves.

Precedence of a field: request, then environment, then config.json, then default. Offline implies
local files only. The token comes from the request or TOLLAMA_HF_TOKEN, never from config.json.

Not covered: the download (hub.py) and joining pulls of one model (daemon/pulling.py).
"""

from __future__ import annotations

import json
import os
from collections import namedtuple
from datetime import datetime, timezone

from tollama.core import config, fields, names
from tollama.core.errors import (
    HubError,
    InvalidRequest,
    LicenseRequired,
    ModelNotFound,
    Unsupported,
)
from tollama.models import families, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Request field -> key of config.json; the same names, so that one table serves all.
FIELDS = (
    "hf_home", "offline", "local_files_only", "insecure", "http_proxy", "https_proxy", "no_proxy",
    "max_workers", "endpoint", "ca_bundle", "limit_rate",
)  # fmt: skip


class PullRequest(
    namedtuple(
        "PullRequest", "name revision stream accept_license force token given peer no_config"
    )
):
    """The body of POST /api/pull, checked; `given` are the fields of FIELDS that it names."""

    __slots__ = ()

    @staticmethod
    def openapi() -> dict[str, Any]:
        """The JSON schema of the body, from the same tables that read it."""
        return body_schema()

    @classmethod
    def parse(cls, value: object) -> PullRequest:
        """Read a body; unknown fields are ignored here, since Ollama's clients send their own."""
        readers: dict[str, Any] = {
            "hf_home": fields.nonempty,
            "offline": fields.boolean,
            "local_files_only": fields.boolean,
            "insecure": fields.boolean,
            "http_proxy": fields.nonempty,
            "https_proxy": fields.nonempty,
            "no_proxy": fields.string,
            "max_workers": fields.integer(1, 64),
            "endpoint": fields.nonempty,
            "ca_bundle": fields.nonempty,
            "limit_rate": fields.integer(1),
        }
        with fields.Fields(value, lenient=True) as f:
            name = f.take("model", fields.nonempty, None) or f.take("name", fields.nonempty, None)
            revision = None
            if name is None:
                if not f.problems:
                    f.reject("model", "this field is required")
            else:
                try:
                    name, revision = names.with_revision(name)
                except InvalidRequest as error:
                    f.reject("model", error.message)
            given = {}
            for field, read in readers.items():
                taken = f.take(field, read, None)
                if taken is not None:
                    given[field] = taken
            request = cls(
                name=name,
                revision=f.take("revision", fields.nonempty, None) or revision,
                stream=f.take("stream", fields.boolean, True),
                accept_license=f.take("accept_license", fields.boolean, False),
                force=f.take("force", fields.boolean, False),
                token=f.take("token", fields.nonempty, None),
                given=given,
                peer=f.take("from", fields.nonempty, None),
                no_config=f.take("no_config", fields.boolean, False),
            )
        return request


def body_schema() -> dict[str, Any]:
    """The JSON schema of a pull's body, from the same tables."""
    kinds = {"offline": "boolean", "local_files_only": "boolean", "insecure": "boolean",
             "max_workers": "integer", "limit_rate": "integer"}  # fmt: skip
    properties: dict[str, Any] = {
        "model": {"type": "string", "description": "registry name or hf.co/ORG/REPO, @REVISION"},
        "revision": {"type": "string", "description": "branch, tag or commit"},
        "stream": {"type": "boolean", "description": "answer as NDJSON progress (default true)"},
        "accept_license": {"type": "boolean", "description": "accept the model's licence"},
        "force": {"type": "boolean", "description": "look at every file again"},
        "token": {"type": "string", "description": "hub token, never stored"},
        "no_config": {"type": "boolean", "description": "ignore the defaults in config.json"},
    }
    for name in FIELDS:
        properties[name] = {
            "type": kinds.get(name, "string"),
            "description": config.KEYS[f"pull.{name}"].doc,
        }
    return {"type": "object", "properties": properties, "required": ["model"]}


class Plan(
    namedtuple("Plan", "name base family source revision license settings token dest builtin")
):
    """A pull ready to run: where from, with which settings, into which folder."""

    __slots__ = ()


def settings(
    given: Mapping[str, Any], stored: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, tuple[Any, str]]:
    """Every pull setting as (value, source); source is request, env, config or default.

    `given` are fields of a request, `stored` what config.json has.
    """
    effective = config.effective(stored, environ)
    found = {name: effective[f"pull.{name}"] for name in FIELDS}
    found.update({name: (value, "request") for name, value in given.items()})
    if found["offline"][0]:
        found["local_files_only"] = (True, found["offline"][1])
    return found


def plan(
    request: PullRequest,
    known: Mapping[str, families.Family],
    *,
    home: str,
    environ: Mapping[str, str],
) -> Plan:
    """Check a pull before any work: settings, registry, licence, in this order."""
    stored = config.read(home)
    chosen = settings(request.given, {} if request.no_config else stored, environ)
    if request.name.startswith(names.HUB_PREFIX):
        offer = None
        source = {
            "type": "huggingface",
            "repo_id": request.name[len(names.HUB_PREFIX) :],
            "revision": request.revision or "main",
        }
        license_ = {"type": "see the repository", "needs_acceptance": False}
    else:
        offer = families.find_offer(known, request.name)
        source = dict(offer.source)
        license_ = dict(offer.license)
        if source["type"] == "huggingface":
            source["revision"] = request.revision or source.get("revision") or "main"
        elif request.revision:
            raise InvalidRequest(f"model '{request.name}' has no revisions, it comes with tollama")
    if license_.get("needs_acceptance") and not request.accept_license:
        try:
            accepted = store.get(home, request.name).manifest["license"].get("accepted")
        except (ModelNotFound, KeyError):
            accepted = False
        if not accepted:
            raise LicenseRequired(
                f"model '{request.name}' has the licence {license_.get('type')}, which must be "
                f"accepted first: tollama pull {request.name} --accept-license"
            )
    name = offer.name if offer else request.name
    return Plan(
        name=name,
        base=name,
        family=offer.family if offer else None,
        source=source,
        revision=request.revision,
        license={**license_, "accepted": bool(request.accept_license)},
        settings={key: value for key, (value, _) in chosen.items()},
        token=request.token or environ.get("TOLLAMA_HF_TOKEN") or None,
        dest=os.path.join(store.folder(home, name), "snapshot"),
        builtin=bool(offer and offer.builtin),
    )


def now() -> str:
    """The present moment as the manifests write it: ISO 8601, UTC, whole seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def local_manifest(plan: Plan) -> dict[str, Any]:
    """The manifest of a model without weights, such as mock."""
    return {
        "name": plan.name,
        "base": plan.base,
        "family": plan.family,
        "source": plan.source,
        "resolved": {"commit_sha": None, "snapshot_path": None},
        "size_bytes": 0,
        "pulled_at": now(),
        "installed_at": now(),
        "license": plan.license,
        "files": [],
    }


def snapshot_manifest(
    plan: Plan,
    known: Mapping[str, families.Family],
    *,
    snapshot: str,
    commit: str | None,
    files: list[dict[str, Any]],
) -> dict[str, Any]:
    """The manifest of files that are here; raises Unsupported if no family can run them."""
    architecture = architecture_of(snapshot)
    able = [f.name for f in known.values() if architecture in f.architectures]
    family = plan.family or (able[0] if able else None)
    if family is None:
        raise Unsupported(
            f"model '{plan.name}': no runner family recognises the architecture "
            f"{architecture or 'of its config.json'!r}"
        )
    return {
        **local_manifest(plan),
        "family": family,
        "architecture": architecture,
        "resolved": {"commit_sha": commit, "snapshot_path": snapshot},
        "size_bytes": sum(file["size"] for file in files),
        "files": files,
    }


def architecture_of(snapshot: str) -> str | None:
    """The architecture that a snapshot's config.json names first; None when it names none."""
    try:
        with open(os.path.join(snapshot, "config.json"), "rb") as stream:
            value = json.loads(stream.read(1 << 22))
    except FileNotFoundError:
        raise HubError("the repository has no config.json, so it is not a model") from None
    except (OSError, ValueError, RecursionError) as error:
        raise HubError(f"the repository's config.json cannot be read: {error}") from None
    named = value.get("architectures") if isinstance(value, dict) else None
    if isinstance(named, list) and named and isinstance(named[0], str):
        return named[0]
    return None
