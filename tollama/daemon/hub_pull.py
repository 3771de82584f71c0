"""A pull from a hub, from the plan to the manifest: newer commit or not, recognised or not,
installed.

Not covered: the download itself (models/hub.py) and joining pulls (pulling.py).
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tollama.core import names
from tollama.core.errors import (
    HubError,
    HubNotFound,
    InvalidRequest,
    TollamaError,
)
from tollama.models import blobs, families, hub, pulls, staging, store

OnEvent = Callable[[dict[str, Any]], None]


def spec_of(plan: pulls.Plan) -> hub.PullSpec:
    """The plan as the download engine takes it."""
    chosen = plan.settings
    return hub.PullSpec(
        repo_id=plan.repo_id,
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
        stall_timeout=float(chosen["stall_timeout"]),
        dest=plan.dest,
        inside=chosen.get("inside"),
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
    if store.has_debris(home):
        staging.tidy(home)
    installed = _installed(home, plan.name)
    if installed is not None and not force and _current(installed, plan, spec, cancelled):
        on_event({"status": "already present"})
        return _relicensed(home, installed, plan)
    if installed is not None and force and _offline(spec) and spec.hf_home is None:
        return _looked_at_again(installed, on_event)
    _foreign_folder(home, plan)
    if plan.family is None:
        _recognised(plan, spec, known, cancelled)

    def relay(event: dict[str, Any]) -> None:
        on_event(event)
        if spec.insecure and event.get("status") == "resolving digest":
            message = "TLS certificates are not verified (insecure)"
            on_event({"status": "warning", "message": message})

    def manifest_of(pulled: hub.Pulled) -> dict[str, Any]:
        on_event({"status": "writing manifest"})
        return pulls.snapshot_manifest(
            plan,
            known,
            snapshot=pulled.snapshot_path,
            commit=pulled.commit_sha,
            files=pulled.files,
        )

    if installed is None or spec.hf_home or not os.path.isdir(plan.dest):

        def finish(pulled: hub.Pulled) -> None:
            store.write(home, manifest_of(pulled))

        hub.pull(spec, on_event=relay, cancelled=cancelled, finish=finish)
        return store.get(home, plan.name)
    # Beside what is there, and then in its place in one step: never some files of either.
    with staging.folder(home) as place:
        complete = os.path.join(place, "model")

        def replace(pulled: hub.Pulled) -> None:
            store.install(home, manifest_of(pulled), complete)

        spec = spec._replace(into=os.path.join(complete, "snapshot"))
        hub.pull(spec, on_event=relay, cancelled=cancelled, finish=replace)
    return store.get(home, plan.name)


def _offline(spec: hub.PullSpec) -> bool:
    return spec.offline or spec.local_files_only


def _installed(home: str, name: str) -> store.Installed | None:
    try:
        return store.get(home, name)
    except TollamaError:  # not there, or a manifest that cannot be read: the pull writes it anew
        return None


def _current(
    installed: store.Installed, plan: pulls.Plan, spec: hub.PullSpec, cancelled: threading.Event
) -> bool:
    """Whether what is here is what the pull would give; asks the hub unless offline."""
    snapshot = installed.snapshot
    files = installed.manifest.get("files") or ()
    if snapshot is None or not files or not all(_there(snapshot, file) for file in files):
        return False
    source = installed.manifest["source"]
    if source.get("type") != plan.source["type"] or source.get("repo_id") != plan.repo_id:
        return False  # one's own checkpoint under a name of the registry
    commit: str | None = installed.manifest["resolved"].get("commit_sha")
    if _offline(spec):
        return plan.revision is None or plan.revision in (commit, source.get("revision"))
    if commit and spec.revision == commit and spec.token is None:
        return True
    return hub.check_head(spec, cancelled) == commit


def _there(snapshot: str, file: dict[str, Any]) -> bool:
    path = os.path.join(snapshot, *file["path"].split("/"))
    try:
        return bool(os.path.getsize(path) == file["size"])
    except OSError:
        return False


def _relicensed(home: str, installed: store.Installed, plan: pulls.Plan) -> store.Installed:
    """Note a licence that has been accepted since the model was pulled."""
    licence = installed.manifest.get("license") or {}
    if not plan.license["accepted"] or licence.get("accepted"):
        return installed
    return store.write(home, {**installed.manifest, "license": {**licence, "accepted": True}})


def _looked_at_again(installed: store.Installed, on_event: OnEvent) -> store.Installed:
    """What --force means without a network: every file is hashed again."""
    snapshot = installed.snapshot or ""
    problems = hub.verify(snapshot, installed.manifest.get("files") or [], on_event)
    if problems:
        raise HubError(
            f"model '{installed.name}' is damaged ({problems[0]['path']}: "
            f"{problems[0]['problem'][:80]}): pull it again with a network"
        )
    on_event({"status": "already present"})
    return installed


def _recognised(
    plan: pulls.Plan,
    spec: hub.PullSpec,
    known: Mapping[str, families.Family],
    cancelled: threading.Event,
) -> None:
    """Refuse a repository that no family can run before its weights are fetched."""
    try:
        _, text = hub.read_file(spec, "config.json", cancelled=cancelled)
    except HubNotFound as error:
        if "config.json" not in error.message:
            raise
        raise HubNotFound(
            f"{plan.repo_id} has no config.json, so it is not a model that tollama can run"
        ) from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HubError(f"{plan.name}: its config.json is not JSON: {error}") from None
    architecture, able = families.recognise(known, value)
    if not able:
        raise pulls.unrecognised(plan.name, architecture, known)


def _foreign_folder(home: str, plan: pulls.Plan) -> None:
    """A folder where the model belongs that is not ours must not be written into."""
    folder = store.folder(home, plan.name)
    for path in (folder, plan.dest):
        if os.path.islink(path):
            raise InvalidRequest(f"model '{plan.name}': {path} is a symbolic link, remove it first")


def discard(home: str, name: str) -> bool:
    """Remove what a broken-off first pull of a model left; whether there was anything."""
    folder = store.folder(home, names.check(name))
    parts = os.path.join(folder, "snapshot", blobs.PARTS)
    with store.changing(home):
        if os.path.exists(os.path.join(folder, "manifest.json")) or not os.path.isdir(parts):
            return False
        shutil.rmtree(folder, ignore_errors=True)
    return True
