"""What a pull will do: its settings, resolved field by field, and the manifest it leaves.

Precedence of a field: request, then environment, then config.json, then default. Offline implies
local files only. The token comes from the request or TOLLAMA_HF_TOKEN, never from config.json.

Not covered: the download (hub.py) and joining pulls of one model (daemon/pulling.py).
"""

from __future__ import annotations

import json
import os
import re
from collections import namedtuple
from datetime import datetime, timezone

from tollama.core import config, fields, names, tokens
from tollama.core.errors import (
    Forbidden,
    HubError,
    InvalidRequest,
    LicenseRequired,
    TollamaError,
    Unsupported,
    shown,
)
from tollama.models import families, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT_ENDPOINT = "https://huggingface.co"
# Request field -> key of config.json; the same names, so that one table serves all.
FIELDS = (
    "hf_home", "offline", "local_files_only", "insecure", "http_proxy", "https_proxy", "no_proxy",
    "max_workers", "endpoint", "ca_bundle", "limit_rate", "stall_timeout",
)  # fmt: skip
_PATHS = ("hf_home", "ca_bundle")
_ADDRESSES = ("endpoint", "http_proxy", "https_proxy")
_PLAIN = re.compile(r"https?://[a-z0-9.:\[\]_-]+(/[a-z0-9._~-]+)*").fullmatch
_READERS: dict[str, Any] = {
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
    "stall_timeout": fields.integer(1, 86_400),
}


class PullRequest(
    namedtuple(
        "PullRequest", "name revision stream accept_license force token given peer no_config"
    )
):
    """The body of POST /api/pull, checked; `given` are the fields of FIELDS that it names.

    `peer` is the address of another tollama to take the model from.
    """

    __slots__ = ()

    @staticmethod
    def openapi() -> dict[str, Any]:
        """The JSON schema of the body, from the same tables that read it."""
        return body_schema()

    @classmethod
    def parse(cls, value: object) -> PullRequest:
        """Read a body; unknown fields are ignored here, since Ollama's clients send their own."""
        with fields.Fields(value, lenient=True) as f:
            name, revision = _name(f)
            given = {}
            for field, read in _READERS.items():
                taken = f.take(field, read, None)
                if taken is not None:
                    given[field] = taken
            _check_given(f, given)
            peer = _peer(f, given)
            request = cls(
                name=name,
                revision=revision,
                stream=f.take("stream", fields.boolean, True),
                accept_license=f.take("accept_license", fields.boolean, False),
                force=f.take("force", fields.boolean, False),
                token=f.take("token", _token, None),
                given=given,
                peer=peer,
                no_config=f.take("no_config", fields.boolean, False),
            )
        return request


def _name(f: fields.Fields) -> tuple[Any, str | None]:
    """The model and the revision, which may stand behind an @ or in a field of its own."""
    name = f.take("model", fields.nonempty, None) or f.take("name", fields.nonempty, None)
    asked = f.take("revision", fields.nonempty, None)
    revision = None
    if name is None:
        if not f.problems:
            f.reject("model", "this field is required")
        return None, None
    try:
        name, revision = names.with_revision(name)
    except InvalidRequest as error:
        f.reject("model", error.message.removeprefix(f"model {shown(name)}: "))
        return None, None
    if asked is not None:
        try:
            names.with_revision(f"{name}@{asked}")
        except InvalidRequest:
            f.reject("revision", f"expected a branch, tag or commit, got {shown(asked)}")
        if revision not in (None, asked):
            f.reject("revision", f"expected {shown(revision)}, as the model's name has it")
    return name, asked or revision


def _check_given(f: fields.Fields, given: dict[str, Any]) -> None:
    if "endpoint" in given:
        try:
            given["endpoint"] = config.KEYS["pull.endpoint"].parse(given["endpoint"])
        except ValueError as error:
            f.reject("endpoint", f"expected {error}")
    for name in _PATHS:
        if name in given and not os.path.isabs(os.path.expanduser(given[name])):
            # The daemon's working directory is not the caller's.
            f.reject(name, f"expected an absolute path, got {shown(given[name])}")


def _peer(f: fields.Fields, given: Mapping[str, Any]) -> str | None:
    """The address of another tollama: http://HOST:11435, or HOST alone."""
    text = f.take("from", fields.nonempty, None)
    if text is None:
        return None
    if "endpoint" in given:
        f.reject("from", "expected either 'from' or 'endpoint', got both")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    netloc, slash, path = rest.rstrip("/").partition("/")
    try:
        host, port = config.parse_host(netloc)
    except ValueError:
        host = ""
    if scheme not in ("http", "https") or not netloc or not host or not port:
        f.reject("from", "expected the address of a tollama such as http://HOST:11435")
        return None
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port}{slash}{path}"


def _token(value: object, loc: Any) -> str:
    """A token; what was found is not shown."""
    text = fields.nonempty(value, loc)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise fields.fail(loc, "expected printable ASCII without spaces")
    return text


def body_schema() -> dict[str, Any]:
    """The JSON schema of a pull's body, from the same tables."""
    kinds = {"offline": "boolean", "local_files_only": "boolean", "insecure": "boolean",
             "max_workers": "integer", "limit_rate": "integer",
             "stall_timeout": "integer"}  # fmt: skip
    properties: dict[str, Any] = {
        "model": {"type": "string", "description": "registry name or hf.co/ORG/REPO, @REVISION"},
        "revision": {"type": "string", "description": "branch, tag or commit"},
        "stream": {"type": "boolean", "description": "answer as NDJSON progress (default true)"},
        "accept_license": {"type": "boolean", "description": "accept the model's licence"},
        "force": {"type": "boolean", "description": "look at every file again"},
        "token": {"type": "string", "description": "hub token, never stored"},
        "from": {"type": "string", "description": "address of another tollama to take it from"},
        "no_config": {"type": "boolean", "description": "ignore the defaults in config.json"},
    }
    for name in FIELDS:
        properties[name] = {
            "type": kinds.get(name, "string"),
            "description": config.KEYS[f"pull.{name}"].doc,
        }
    return {"type": "object", "properties": properties, "required": ["model"]}


class Plan(
    namedtuple(
        "Plan",
        "name base family source revision license settings token dest builtin repo_id",
        defaults=(None,),
    )
):
    """A pull ready to run: where from, with which settings, into which folder."""

    __slots__ = ()

    @property
    def identity(self) -> tuple[Any, ...]:
        """What two pulls of one model must have in common to be one."""
        chosen = self.settings
        where = tuple(chosen.get(name) for name in ("endpoint", "hf_home", "local_files_only"))
        return (self.repo_id, self.source.get("revision"), self.token, *where)


def settings(
    given: Mapping[str, Any], stored: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, tuple[Any, str]]:
    """Every pull setting as (value, source); source is request, env, config or default.

    `given` are fields of a request, `stored` what config.json has.
    """
    effective = config.effective(stored, environ)
    found = {name: effective[f"pull.{name}"] for name in FIELDS}
    found.update({name: (value, "request") for name, value in given.items()})
    for name in _PATHS:
        value, source = found[name]
        if value:
            found[name] = (os.path.abspath(os.path.expanduser(value)), source)
    if found["offline"][0]:
        found["local_files_only"] = (True, found["offline"][1])
    return found


def plan(
    request: PullRequest,
    known: Mapping[str, families.Family],
    *,
    home: str,
    environ: Mapping[str, str],
    trusted: bool = True,
) -> Plan:
    """Check a pull before any work: settings, registry, licence, in this order.

    A caller that is not `trusted`, since it is on another machine, names no paths of this one, and
    no addresses inside of this one's network.
    """
    paths = [] if trusted else [name for name in _PATHS if name in request.given]
    if paths:
        raise Forbidden(f"{paths[0]}: a path of the daemon's machine is for callers on it")
    stored = {} if request.no_config else config.read(home)
    chosen = {name: v for name, (v, _) in settings(request.given, stored, environ).items()}
    offer, source = _source(request, known)
    license_ = dict(offer.license) if offer else {"type": "see the repository"}
    license_.setdefault("needs_acceptance", False)
    accepted = request.accept_license or _accepted(home, request.name)
    if license_["needs_acceptance"] and not accepted:
        raise LicenseRequired(
            f"model '{request.name}' has the licence {license_.get('type')}, which must be "
            f"accepted first: tollama pull {request.name} --accept-license"
        )
    if request.peer:
        chosen["endpoint"] = request.peer + "/hub"
        # Another machine of the same network: a proxy leads out of it.
        chosen.update({name: request.given.get(name) for name in ("http_proxy", "https_proxy")})
    endpoint = chosen["endpoint"] or DEFAULT_ENDPOINT
    if source.get("repo_id"):
        check_allowed(config.get("TOLLAMA_ALLOWED_HUBS", environ), endpoint, source["repo_id"])
    if not trusted:
        own = {**chosen, "endpoint": None if request.peer else endpoint}
        known_here = [own[name] for name in _ADDRESSES if own[name] and name not in request.given]
        chosen["inside"] = [tokens.host(address) for address in known_here]
    token = tokens.for_address(request.token, endpoint) or tokens.for_address(
        environ.get("TOLLAMA_HF_TOKEN"), endpoint, named=bool(request.peer)
    )
    name = offer.name if offer else request.name
    return Plan(
        name=name,
        base=name,
        family=offer.family if offer else None,
        source=source,
        revision=request.revision,
        license={**license_, "accepted": accepted},
        settings=chosen,
        token=token,
        dest=os.path.join(store.folder(home, name), "snapshot"),
        builtin=bool(offer and offer.builtin),
        repo_id=source.get("repo_id"),
    )


def check_allowed(hubs: tuple[str, ...], endpoint: str, repo_id: str) -> None:
    """Raise Forbidden unless TOLLAMA_ALLOWED_HUBS has the hub, organisation or repository."""
    if not hubs:
        return
    scheme, _, rest = endpoint.lower().partition("://")
    netloc, slash, path = rest.partition("/")
    address = f"{scheme}://{netloc.rpartition('@')[2]}{slash}{path}".rstrip("/")
    whole = f"{address}/{repo_id.lower()}"
    # What a server could read as another path is not compared.
    plain = _PLAIN(whole) and not {".", ".."} & set(whole.split("/"))
    if not (plain and any(f"{whole}/".startswith(f"{hub}/") for hub in hubs)):
        raise Forbidden(f"{whole} is not among the hubs of TOLLAMA_ALLOWED_HUBS")


def _source(
    request: PullRequest, known: Mapping[str, families.Family]
) -> tuple[families.Offer | None, dict[str, Any]]:
    """The registry's entry of a model, if it has one, and where its files come from."""
    revision = request.revision or "main"
    if request.name.startswith(names.HUB_PREFIX):
        repo_id = request.name[len(names.HUB_PREFIX) :]
        return None, {"type": "huggingface", "repo_id": repo_id, "revision": revision}
    if request.peer and not families.offers(known, request.name):
        # Somebody's own checkpoint, which only the other tollama knows by this name.
        return None, {"type": "tollama", "repo_id": request.name, "revision": revision}
    offer = families.find_offer(known, request.name)
    source = dict(offer.source)
    if source["type"] == "huggingface":
        source["revision"] = request.revision or source.get("revision") or "main"
    elif request.revision:
        raise InvalidRequest(f"model '{request.name}' has no revisions, it comes with tollama")
    return offer, source


def _accepted(home: str, name: str) -> bool:
    """Whether the licence was accepted when the model was pulled before."""
    try:
        return bool(store.get(home, name).manifest["license"].get("accepted"))
    except (TollamaError, KeyError, AttributeError):
        return False


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
    architecture, able = families.recognise(known, _config_of(snapshot))
    family = plan.family or (able[0] if able else None)
    if family is None:
        raise unrecognised(plan.name, architecture, known)
    return {
        **local_manifest(plan),
        "family": family,
        "architecture": architecture,
        "resolved": {"commit_sha": commit, "snapshot_path": snapshot},
        "size_bytes": sum(file["size"] for file in files),
        "files": files,
    }


def unrecognised(
    name: str, architecture: str | None, known: Mapping[str, families.Family]
) -> Unsupported:
    """The error for a repository that no family can run."""
    able = sorted({a for family in known.values() for a in family.architectures})
    asked = sorted({k for family in known.values() for k in family.config_keys.values()})
    hint = f" (some with {', '.join(asked)} in config.json)" if asked else ""
    found = f"its architecture {shown(architecture)}" if architecture else "its config.json"
    return Unsupported(
        f"model '{name}': no runner family recognises {found}; known ones: "
        f"{', '.join(able) or 'none'}{hint}"
    )


def architecture_of(snapshot: str) -> str | None:
    """The architecture that a snapshot's config.json names first; None when it names none."""
    return families.recognise({}, _config_of(snapshot))[0]


def _config_of(snapshot: str) -> object:
    try:
        with open(os.path.join(snapshot, "config.json"), "rb") as stream:
            value: object = json.loads(stream.read(1 << 22))
    except FileNotFoundError:
        raise HubError("the repository has no config.json, so it is not a model") from None
    except (OSError, ValueError, RecursionError) as error:
        raise HubError(f"the repository's config.json cannot be read: {error}") from None
    return value
