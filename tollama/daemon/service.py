"""The operations of tollama, free of HTTP and of printing: what routes, dialects and the CLI call.

`Service` owns the scheduler and the pulls of a process; the command line makes one too when no
daemon runs.

Not covered: forecasts and their slices (forecasting.py), shapes of models (catalogue.py), /api/info
(diagnostics.py).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tollama import __version__
from tollama.core import config, names
from tollama.core.errors import (
    InvalidRequest,
    ModelNotFound,
    NotFound,
    RunnerError,
    RuntimeMissing,
    Unavailable,
)
from tollama.daemon import catalogue, hub_pull, launches
from tollama.daemon.budget import cpu_budget
from tollama.daemon.compat.nixtla_jobs import Jobs
from tollama.daemon.forecasting import Forecasting
from tollama.daemon.launches import Model
from tollama.daemon.metrics import Metrics
from tollama.daemon.pulling import Pulling, Pulls
from tollama.daemon.scheduler import Launch, Scheduler
from tollama.models import families, pulls, store


class Service:
    """Everything one process of tollama can do, over one TOLLAMA_HOME."""

    def __init__(
        self,
        *,
        home: str | None = None,
        environ: Mapping[str, str] | None = None,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.environ = dict(os.environ if environ is None else environ)
        self.home = home or config.home(self.environ)
        self.log = log
        self.started_at = time.time()
        self.started_clock = time.monotonic()
        self.cpus = cpu_budget()
        self.families, warnings = families.find(self.home, self.environ)
        for text in warnings:
            log(f"ignored: {text}")
        self.metrics = Metrics()
        self.scheduler = Scheduler(
            cpus=self.cpus,
            replicas=self.setting("TOLLAMA_REPLICAS"),
            max_loaded=self.setting("TOLLAMA_MAX_LOADED_MODELS"),
            max_queue=self.setting("TOLLAMA_MAX_QUEUE"),
            keep_alive=self.setting("TOLLAMA_KEEP_ALIVE"),
            load_timeout=self.setting("TOLLAMA_LOAD_TIMEOUT"),
            log=log,
            metrics=self.metrics,
        )
        self.forecasting = Forecasting(
            self.scheduler,
            self.launch,
            self.model,
            timeout=self.setting("TOLLAMA_REQUEST_TIMEOUT"),
            replicas=self.setting("TOLLAMA_REPLICAS") or self.cpus,
        )
        self.pulls = Pulls()
        self.jobs = Jobs(log)
        # What every request asks for, kept until the model's manifest is another one.
        self._models: dict[str, tuple[store.Installed | None, Model]] = {}
        self._launches: dict[tuple[str, str, str | None, str], Launch] = {}
        self.host_binding: str | None = None
        self.urls: list[str] = []
        self.preloading = False
        self.preload_errors: list[str] = []

    def setting(self, name: str) -> Any:
        """The value of a TOLLAMA_* variable."""
        return config.get(name, self.environ)

    def close(self, timeout: float = 10.0) -> None:
        """End pulls and runners."""
        self.jobs.close()
        self.pulls.close(min(timeout, 2.0))
        self.scheduler.close(timeout)

    # Models

    def model(self, name: str) -> Model:
        """An installed or built-in model by name."""
        known = self._models.get(name)
        if known is not None and (known[0] is None or store.is_current(known[0])):
            return known[1]
        model = launches.resolve(self.home, self.families, name)
        if len(self._models) > 1000:  # models come and go for as long as the daemon runs
            self._models.clear()
        # Nothing can replace a built-in one.
        installed = None if model.builtin else store.get(self.home, model.name)
        self._models[name] = installed, model
        return model

    def launch(self, model: Model, family: str | None = None) -> Launch:
        """How to run a model, on the asked family or the best that can."""
        fixed = self._launches.get((model.name, model.digest, family, ""))
        if fixed is not None:
            return fixed
        chosen, python = launches.choose(
            model, self.families, home=self.home, environ=self.environ, asked=family
        )
        key = (model.name, model.digest, chosen.name, python)
        found = self._launches.get(key)
        if found is None:
            found = launches.launch(model, chosen, python, environ=self.environ, cpus=self.cpus)
            if len(self._launches) > 1000:
                self._launches.clear()
            self._launches[key] = found
        if len(model.families) == 1 and not (chosen.requirements or chosen.probe):
            # No runtime can come or go for it.
            self._launches[(model.name, model.digest, family, "")] = found
        return found

    def tags(self) -> dict[str, Any]:
        """GET /api/tags."""
        items, warnings = catalogue.tags(self.home, self.families)
        for text in warnings:
            self.log(f"skipped: {text}")
        return {"models": items}

    def show(self, name: str) -> dict[str, Any]:
        """POST /api/show."""
        model = self.model(name)
        runs_on = None
        with contextlib.suppress(RuntimeMissing, InvalidRequest):
            runs_on = self.launch(model).family
        return catalogue.show(model, self.families, runs_on=runs_on)

    def registry(self) -> dict[str, Any]:
        """GET /v1/models."""
        return catalogue.models(self.home, self.families)

    def ps(self) -> dict[str, Any]:
        """GET /api/ps."""
        digests = catalogue.digests(self.home, self.families)
        return {"models": catalogue.loaded(self.scheduler.loaded(), digests, self.families)}

    def load(self, name: str, keep_alive: float | None = None) -> None:
        """Load a model without a request; 0 unloads it."""
        model = self.model(name)
        if keep_alive == 0:
            self.unload(model.name)
        else:
            self.scheduler.load(self.launch(model), keep_alive)

    def unload(self, name: str) -> bool:
        """End a model's processes, on whichever family they run; False when there were none."""
        name = names.check(name)
        lanes = [
            lane for lane in self.scheduler.models() if names.same(lane.partition("@")[0], name)
        ]
        return any([self.scheduler.unload(lane) for lane in lanes])

    def delete(self, name: str, *, purge: bool = False) -> dict[str, Any]:
        """DELETE /api/delete: unloads the model first."""
        name = names.check(name)
        with contextlib.suppress(NotFound):
            self.pulls.cancel(name.lower())
            self.pulls.wait(name.lower(), 10.0)
        try:
            name = store.get(self.home, name).name
        except store.UnreadableModel:
            pass  # it can be removed nevertheless
        except ModelNotFound:
            found = families.offers(self.families, name)
            if found and found[0].builtin:
                raise InvalidRequest(f"model '{name}' is built in and cannot be deleted") from None
            if hub_pull.discard(self.home, name):
                return {"deleted": True, "model": name}
            raise
        self.unload(name)
        store.delete(self.home, name, purge=purge)
        return {"deleted": True, "model": name}

    def copy(self, source: str, destination: str, *, preset: dict[str, Any] | None = None) -> str:
        """POST /api/copy: an alias of a built-in model, or a model with the same files.

        With a `preset` the copy has that one. Returns the copy's digest.
        """
        model = self.model(source)
        destination = names.check(destination)
        if destination.startswith(names.HUB_PREFIX):
            raise InvalidRequest(f"destination: expected a plain name, got '{destination}'")
        if names.same(model.name, destination):
            raise InvalidRequest("destination: expected another name than the source's")
        taken = families.offers(self.families, destination)
        if taken and taken[0].builtin:
            raise InvalidRequest(f"destination: '{destination}' is the name of a built-in model")
        manifest = {
            "size_bytes": 0,
            "files": [],
            "license": dict(model.offer.license) if model.offer else {},
            "resolved": {"commit_sha": None, "snapshot_path": None},
            **model.manifest,
            "base": model.base,
            "installed_at": pulls.now(),
        }
        if preset is not None:
            manifest.update(preset=preset, **{"from": model.name})
        self.unload(destination)
        made = store.copy(self.home, manifest, destination, model.path)
        return str(made.digest)

    # Pulls

    def pull(self, request: pulls.PullRequest, *, trusted: bool = True) -> Pulling:
        """POST /api/pull: a pull of the model, joined when one is going on already.

        `trusted` is a caller on this machine.
        """
        plan = pulls.plan(
            request, self.families, home=self.home, environ=self.environ, trusted=trusted
        )

        def work(on_event: Callable[[dict[str, Any]], None], cancelled: threading.Event) -> None:
            self._pull(plan, request, on_event, cancelled)

        same = (*plan.identity, request.force)
        counted = self.metrics.pull(work)
        return self.pulls.join(plan.name.lower(), counted, same=same, secret=plan.token)

    def _pull(
        self,
        plan: pulls.Plan,
        request: pulls.PullRequest,
        on_event: Callable[[dict[str, Any]], None],
        cancelled: threading.Event,
    ) -> None:
        on_event({"status": "pulling manifest"})
        begun = time.monotonic()
        if plan.repo_id is not None:
            model = hub_pull.run(
                plan,
                home=self.home,
                known=self.families,
                force=request.force,
                on_event=on_event,
                cancelled=cancelled,
            )
        elif plan.builtin:
            on_event({"status": "already present"})
            digest = catalogue.digests(self.home, self.families)[plan.name]
            on_event({"status": "success", "model": plan.name, "digest": digest, "size": 0})
            return
        else:
            present = self._present(plan.name)
            if present is not None and not request.force:
                on_event({"status": "already present"})
                model = present
            else:
                on_event({"status": "writing manifest"})
                model = store.write(self.home, pulls.local_manifest(plan))
        size = model.manifest.get("size_bytes") or 0
        self.log(f"pulled {model.name}, {size} bytes, in {time.monotonic() - begun:.1f} s")
        on_event({"status": "success", "model": model.name, "digest": model.digest, "size": size})

    def _present(self, name: str) -> store.Installed | None:
        try:
            return store.get(self.home, name)
        except (ModelNotFound, store.UnreadableModel):
            return None

    # Start and health

    def preload(self) -> None:
        """Load TOLLAMA_PRELOAD in the background; /health/ready waits for it."""
        wanted = self.setting("TOLLAMA_PRELOAD")
        if not wanted:
            return
        self.preloading = True

        def work() -> None:
            for name in wanted:
                try:
                    self.load(name)
                except Exception as error:
                    self.preload_errors.append(f"{name}: {error}")
                    self.log(f"preload of {name} failed: {error}")
            self.preloading = False

        threading.Thread(target=work, name="preload", daemon=True).start()

    def ready(self) -> None:
        """Raise Unavailable with the reason when requests would not be served well now."""
        if self.preloading:
            raise Unavailable("models are being loaded (TOLLAMA_PRELOAD)", retry_after=1)
        if self.preload_errors:
            raise Unavailable("a model could not be loaded: " + "; ".join(self.preload_errors))
        if not self.families:
            raise RunnerError("no runner family was found")
        probe = self.home if os.path.isdir(self.home) else os.path.dirname(self.home)
        if not os.access(probe, os.W_OK):
            raise Unavailable("TOLLAMA_HOME cannot be written")
        try:
            stat = os.statvfs(probe)
        except (AttributeError, OSError):
            return
        if stat.f_bavail * stat.f_frsize < 16 << 20:
            raise Unavailable("less than 16 MiB are free on the disk of TOLLAMA_HOME")

    def version(self) -> dict[str, str]:
        """GET /api/version."""
        return {"version": __version__}
