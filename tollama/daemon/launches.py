"""From a model's name to the command that runs it: family, interpreter, environment.

A model says which families can run it; one is picked here. The child gets an allow-listed
environment with the libraries' offline switches on, and nothing of the daemon's own environment
changes.

Not covered: starting the process (runner_process.py) and installing packages (models/runtimes.py).
"""

from __future__ import annotations

import os
import sys
from collections import namedtuple

from tollama.core import names
from tollama.core.errors import InvalidRequest, ModelNotFound, RuntimeMissing
from tollama.daemon.scheduler import Launch
from tollama.models import families, runtimes, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# argv: module, core path, family path. `-m` would put the caller's working directory first, and
# PYTHONPATH breaks on a path with a colon.
BOOT = (
    "import sys,runpy\n"
    "module,*paths=sys.argv[1:];sys.path[:0]=paths;del sys.argv[1:]\n"
    "from tollama import _bytecode;_bytecode.install(paths[0])\n"
    "runpy.run_module(module,run_name='__main__',alter_sys=True)"
)

_KEPT = {
    "PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TMP", "TEMP", "SYSTEMROOT",
    "SYSTEMDRIVE", "WINDIR", "USERPROFILE", "LOCALAPPDATA", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "XDG_CACHE_HOME", "TOLLAMA_HOME",
}  # fmt: skip
_KEPT_PREFIXES = (
    "LC_", "CUDA", "NVIDIA_", "OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "HIP_", "ROCR_",
    "PYTORCH_", "TORCH_",
)  # fmt: skip
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


class Model(namedtuple("Model", "name base offer manifest path digest defaults families builtin")):
    """An installed or built-in model: what a request needs, and which families can run it."""

    __slots__ = ()


def resolve(home: str, known: Mapping[str, families.Family], name: str) -> Model:
    """A model by name; raises ModelNotFound with what to do."""
    name = names.check(name)
    try:
        installed = store.get(home, name)
    except ModelNotFound:
        found = families.offers(known, name)
        if found and found[0].builtin:
            return _built_in(found[0], known)
        if not found and not name.startswith(names.HUB_PREFIX):
            families.find_offer(known, name)
        raise
    manifest = installed.manifest
    base = manifest.get("base") or manifest["name"]
    able = _able(known, base, manifest)
    offers = families.offers(known, base)
    return Model(
        name=manifest["name"],
        base=base,
        offer=offers[0] if offers else None,
        manifest=manifest,
        path=installed.snapshot,
        digest=installed.digest,
        defaults=manifest.get("preset"),
        families=able,
        builtin=False,
    )


def _built_in(offer: families.Offer, known: Mapping[str, families.Family]) -> Model:
    from tollama import __version__

    manifest = {
        "name": offer.name,
        "family": offer.family,
        "source": {"type": "builtin", "version": __version__},
    }
    return Model(
        name=offer.name,
        base=offer.name,
        offer=offer,
        manifest=manifest,
        path=None,
        digest=store.digest_of({**manifest, "base": offer.name}),
        defaults=None,
        families=(offer.family,),
        builtin=True,
    )


def _able(
    known: Mapping[str, families.Family], base: str, manifest: Mapping[str, Any]
) -> tuple[str, ...]:
    able = [offer.family for offer in families.offers(known, base)]
    architecture = manifest.get("architecture")
    if architecture:
        able += [f.name for f in known.values() if architecture in f.architectures]
    return tuple(dict.fromkeys(able or [manifest["family"]]))


def choose(
    model: Model,
    known: Mapping[str, families.Family],
    *,
    home: str,
    environ: Mapping[str, str],
    asked: str | None = None,
) -> tuple[families.Family, str]:
    """The family that runs a model and its interpreter.

    `asked` (options.family) wins, then TOLLAMA_FAMILY_<MODEL>. Otherwise torch where there is a
    GPU, then whatever needs least. Raises RuntimeMissing with the command that helps.
    """
    variable = "TOLLAMA_FAMILY_" + model.base.upper().translate(str.maketrans("-./", "___"))
    wanted = asked or environ.get(variable)
    if wanted is not None and wanted not in model.families:
        where = "options.family" if asked else variable
        raise InvalidRequest(
            f"{where}: expected one of {', '.join(model.families)} for model '{model.name}', "
            f"got {wanted!r}"
        )
    candidates = [wanted] if wanted else list(model.families)
    if len(candidates) > 1:
        candidates.sort(key=lambda name: _preference(name))
    missing: RuntimeMissing | None = None
    for name in candidates:
        family = known.get(name)
        if family is None:
            continue
        try:
            return family, python_of(family, home=home, environ=environ)
        except RuntimeMissing as error:
            missing = missing or error
    raise missing or RuntimeMissing(
        f"model '{model.name}' needs the runner family '{candidates[0]}', which is not here"
    )


def _preference(name: str) -> int:
    if name == "torch":
        return 0 if runtimes.has_gpu() else 2
    return 1


def python_of(family: families.Family, *, home: str, environ: Mapping[str, str]) -> str:
    """The interpreter that runs a family; the core's own for one without requirements."""
    if not family.requirements and not family.probe:
        return sys.executable
    return runtimes.resolve_python(family, environ, home)


def launch(
    model: Model, family: families.Family, python: str, *, environ: Mapping[str, str], cpus: int
) -> Launch:
    """The command, environment and limits of a model's runner."""
    argv = [python, "-I"]
    if not family.requirements and not family.probe:
        argv.append("-S")  # no site-packages needed: a third of the start-up time saved
    argv += ["-c", BOOT, family.module, families.root(), family.folder]
    default = model.families[0] == family.name
    offer = next((o for o in family.models.values() if names.same(o.name, model.base)), None)
    return Launch(
        model=model.name if default else f"{model.name}@{family.name}",
        family=family.name,
        module=family.module,
        argv=tuple(argv),
        env=child_environment(environ, cpus),
        path=model.path,
        options={"base": model.base},
        replicas=family.replicas,
        max_series=family.max_series,
        max_tokens=family.max_tokens,
        batching=family.batching,
        digest=f"{model.digest}:{python}",
        capabilities=offer.capabilities if offer else {},
    )


def child_environment(environ: Mapping[str, str], cpus: int) -> dict[str, str]:
    """What a runner may see: no tokens, no proxies, no PYTHON* variables."""
    env = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    env.update(OFFLINE)
    # Idle OpenMP threads spin by default: two loaded models would slow each other sixfold.
    env.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        env.setdefault(name, str(cpus))
    if os.name == "posix":
        env.setdefault("PATH", os.defpath)
    return env
