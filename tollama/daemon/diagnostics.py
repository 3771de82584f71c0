"""/api/info and `tollama info`: one view of the daemon, this machine's files and the settings.

Never fails on a bad config or manifest, and never shows a secret.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from tollama import __version__
from tollama.core import config, redact
from tollama.core.errors import TollamaError
from tollama.daemon import catalogue
from tollama.models import families, pulls

if TYPE_CHECKING:
    from tollama.daemon.service import Service

SECRET_VARIABLES = (
    "TOLLAMA_HF_TOKEN", "TOLLAMA_API_KEYS", "TOLLAMA_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
)  # fmt: skip
SHOWN_VARIABLES = (
    "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "ALL_PROXY", "all_proxy", "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
)  # fmt: skip


def info(service: Service, *, running: bool = True) -> dict[str, Any]:
    """The document of GET /api/info; `running` = False when no daemon answers for it."""
    home, environ = service.home, service.environ
    stored, config_error = _stored(home)
    items, warnings = catalogue.tags(home, service.families)
    loaded = service.scheduler.loaded()
    return {
        "daemon": {
            "version": __version__,
            "started_at": catalogue.iso(service.started_at),
            "uptime_seconds": round(time.monotonic() - service.started_clock, 3),
            "host_binding": service.host_binding,
            "read_only": settings(environ)["TOLLAMA_READ_ONLY"],
            "pid": os.getpid(),
        }
        if running
        else None,
        "paths": {
            "tollama_home": home,
            "config": config.path(home),
            "config_exists": os.path.exists(config.path(home)),
            "models": os.path.join(home, "models"),
            "runtimes": os.path.join(home, "runtimes"),
        },
        "config": config.to_file({k: _clean(v) for k, v in stored.items()}),
        "config_error": config_error,
        "env": environment(environ),
        "pull_defaults": pull_defaults(stored, environ),
        "settings": settings(environ),
        "models": {
            "installed": [
                {k: item[k] for k in ("name", "digest", "size", "modified_at")}
                for item in items
                if item["modified_at"] != catalogue.BUILT_IN_TIME
            ],
            "built_in": [
                item["name"] for item in items if item["modified_at"] == catalogue.BUILT_IN_TIME
            ],
            "loaded": catalogue.loaded(loaded, {}, service.families),
            "pulling": service.pulls.active(),
            "warnings": warnings,
        },
        "runners": [_runner(service, family, loaded) for family in service.families.values()],
        "machine": {
            "cpus": service.cpus,
            "python": sys.version.split()[0],
            "platform": sys.platform,
            **build(),
        },
    }


def _stored(home: str) -> tuple[dict[str, Any], str | None]:
    try:
        return config.read(home), None
    except config.ConfigUnreadable as error:
        return {}, redact.text(error.message)


def _clean(value: Any) -> Any:
    return redact.text(value) if isinstance(value, str) else value


def environment(environ: dict[str, str]) -> dict[str, Any]:
    """The variables that matter: values redacted, secrets only as present or not."""
    names = [s.name for s in config.SETTINGS if s.name not in SECRET_VARIABLES]
    found: dict[str, Any] = {
        name: redact.text(environ[name]) for name in (*names, *SHOWN_VARIABLES) if name in environ
    }
    for name in SECRET_VARIABLES:
        found[f"{name}_present"] = bool(environ.get(name))
    return found


def pull_defaults(stored: dict[str, Any], environ: dict[str, str]) -> dict[str, Any]:
    """Each pull setting with its value and source: env, config or default."""
    try:
        found = pulls.settings({}, stored, environ)
    except TollamaError as error:
        return {"error": redact.text(error.message)}
    return {name: {"value": _clean(v), "source": source} for name, (v, source) in found.items()}


def settings(environ: dict[str, str]) -> dict[str, Any]:
    """Every TOLLAMA_* setting that is safe to show, as it is in force."""
    found: dict[str, Any] = {}
    for setting in config.SETTINGS:
        if setting.name in SECRET_VARIABLES:
            continue
        try:
            value = config.get(setting.name, environ)
        except TollamaError as error:
            value = f"error: {error.message}"
        if isinstance(value, tuple):
            if setting.name == "TOLLAMA_HOST":
                value = value[:1] if value[0].startswith("unix:") else value
                value = ":".join(map(str, value))
            else:
                value = list(value)
        found[setting.name] = _clean(value)
    return found


def _runner(service: Service, family: families.Family, loaded: list[Any]) -> dict[str, Any]:
    from tollama.daemon import launches

    mine = [one for one in loaded if one.family == family.name]
    python: str | None = None
    problem: str | None = None
    try:
        python = launches.python_of(family, home=service.home, environ=service.environ)
    except TollamaError as error:
        problem = error.message
    return {
        "family": family.name,
        "command": [python, "-m", family.module] if python else None,
        "installed": python is not None,
        "missing": problem,
        "running": bool(mine),
        "pid": mine[0].pids[0] if mine and mine[0].pids else None,
        "pids": [pid for one in mine for pid in one.pids],
        "started_at": catalogue.iso(mine[0].started_at) if mine else None,
        "last_used_at": catalogue.iso(max((m.last_used_at or 0 for m in mine), default=0) or None),
        "restarts": sum(one.restarts for one in mine),
        "last_error": next((redact.text(one.last_error) for one in mine if one.last_error), None),
    }


def build() -> dict[str, Any]:
    """What this file is: its path, and if packed its contents' hash and vendored packages."""
    import json

    found: dict[str, Any] = {"interpreter": sys.executable, "source": families.root()}
    package = os.path.join(families.root(), "tollama")
    data = families.read_file(package, "_build.json")
    if data is not None:
        found.update(json.loads(data))
    return found


def text(document: dict[str, Any], *, verbose: bool = False) -> str:
    """The document for people."""
    daemon, client, paths = document["daemon"], document["client"], document["paths"]
    state = f"reachable, version {daemon['version']}" if daemon else "not reachable"
    exists = "exists" if paths["config_exists"] else "not there"
    lines = [
        "Tollama",
        f"  Home: {paths['tollama_home']}",
        f"  Config: {paths['config']} ({exists})",
        f"  Daemon: {client['base_url']} ({state})",
    ]
    if daemon:
        lines[-1] = f"  Daemon: {client['base_url']} (reachable) version={daemon['version']}"
        if daemon.get("read_only"):
            lines.append("  Read-only: pull, delete, copy and create are refused")
        lines.append(f"  Uptime: {daemon['uptime_seconds']:.0f} s, pid {daemon['pid']}")
    elif client["problem"]:
        lines.append(f"  {client['problem']}")
    if document["config_error"]:
        lines.append(f"  Config error: {document['config_error']}")
    lines += ["", "Pull defaults (effective)"]
    for name, one in document["pull_defaults"].items():
        if isinstance(one, str):
            lines.append(f"  {name}: {one}")
        else:
            lines.append(f"  {name}: {_word(one['value'])} (source={one['source']})")
    models = document["models"]
    lines += ["", "Models"]
    lines.append(f"  built in: {', '.join(models['built_in']) or '-'}")
    lines.append(f"  installed: {', '.join(m['name'] for m in models['installed']) or '-'}")
    lines.append(f"  loaded: {', '.join(m['name'] for m in models['loaded']) or '-'}")
    lines += [f"  warning: {warning}" for warning in models["warnings"]]
    lines += ["", "Runner families"]
    for runner in document["runners"]:
        state = "ready" if runner["installed"] else runner["missing"]
        if runner["running"]:
            state = f"running, pid {runner['pid']}"
        lines.append(f"  {runner['family']}: {state}")
    if verbose:
        for title in ("settings", "env", "machine"):
            lines += ["", title.capitalize()]
            lines += [f"  {name}: {_word(value)}" for name, value in document[title].items()]
    return "\n".join(lines) + "\n"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value == []:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
