"""A pull from a hub, from the plan to the manifest: newer commit or not, recognised or not,
installed.

Not covered: the download itself (models/hub.py) and joining pulls (pulling.py).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tollama.core.errors import (
    HubError,
    InvalidRequest,
    ModelNotFound,
    Unsupported,
)
from tollama.models import families, hub, pulls, store

OnEvent = Callable[[dict[str, Any]], None]


def spec_of(plan: pulls.Plan) -> hub.PullSpec:
    """The plan as the download engine takes it."""
    chosen = plan.settings
    return hub.PullSpec(
        repo_id=plan.source["repo_id"],
        revision=plan.source.get("revision"),
        endpoint=chosen["endpoint"],
        token=plan.token,
        http_proxy=chosen["http_proxy"],
        https_proxy=chosen["https_proxy"],
        no_proxy=chosen["no_proxy"],
        hf_home=chosen["hf_home"],
        offline=chosen["offline"],
        local_files_only=chosen["local_files_only"],
        insecure=chosen["insecure"],
        max_workers=chosen["max_workers"],
        ca_bundle=chosen["ca_bundle"],
        limit_rate=chosen["limit_rate"],
        dest=plan.dest,
    )


def run(
    plan: pulls.Plan,
    *,
    home: str,
    known: Mapping[str, families.Family],
    force: bool,
    on_event: OnEvent,
    cancelled: threading.Event,
) -> store.Installed:
    """Pull a plan's repository and install it; gives the installed model."""
    spec = spec_of(plan)
    if spec.insecure:
        on_event({"status": "warning", "message": "TLS certificates are not verified (insecure)"})
    installed = _installed(home, plan.name)
    if installed is not None and not force and _current(installed, plan, spec, cancelled):
        on_event({"status": "already present"})
        return installed
    if plan.family is None:
        _recognised(plan, spec, known, cancelled)
    if installed is None and not (spec.offline or spec.local_files_only):
        _foreign_folder(home, plan)
    pulled = hub.pull(spec, on_event=on_event, cancelled=cancelled)
    on_event({"status": "writing manifest"})
    manifest = pulls.snapshot_manifest(
        plan,
        known,
        snapshot=pulled.snapshot_path,
        commit=pulled.commit_sha,
        files=pulled.files,
    )
    return store.write(home, manifest)


def _installed(home: str, name: str) -> store.Installed | None:
    try:
        return store.get(home, name)
    except ModelNotFound:
        return None


def _current(
    installed: store.Installed, plan: pulls.Plan, spec: hub.PullSpec, cancelled: threading.Event
) -> bool:
    """Whether what is here is what the pull would give; asks the hub unless offline."""
    snapshot = installed.snapshot
    if snapshot is None or not os.path.isdir(snapshot):
        return False
    if any(
        not os.path.isfile(os.path.join(snapshot, *file["path"].split("/")))
        for file in installed.manifest.get("files") or ()
    ):
        return False
    commit = installed.manifest["resolved"].get("commit_sha")
    if spec.offline or spec.local_files_only:
        return plan.revision is None or plan.revision in (
            commit,
            installed.manifest["source"].get("revision"),
        )
    wanted = spec.revision or "main"
    if commit and wanted == commit and spec.token is None:
        return True
    return bool(hub.check_head(spec, cancelled) == commit)


def _recognised(
    plan: pulls.Plan,
    spec: hub.PullSpec,
    known: Mapping[str, families.Family],
    cancelled: threading.Event,
) -> None:
    """Refuse a repository that no family can run before its weights are fetched."""
    _, text = hub.read_file(spec, "config.json", cancelled=cancelled)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HubError(f"{plan.name}: its config.json is not JSON: {error}") from None
    named = value.get("architectures") if isinstance(value, dict) else None
    architecture = named[0] if isinstance(named, list) and named else None
    if not any(architecture in family.architectures for family in known.values()):
        able = sorted({a for family in known.values() for a in family.architectures})
        raise Unsupported(
            f"{plan.name}: no runner family recognises its architecture {architecture!r}; "
            f"known ones: {', '.join(able) or 'none'}"
        )


def _foreign_folder(home: str, plan: pulls.Plan) -> None:
    """A folder where the model belongs that is not ours must not be written into."""
    folder = store.folder(home, plan.name)
    if os.path.islink(folder):
        raise InvalidRequest(f"model '{plan.name}': its folder is a symbolic link, remove it first")
