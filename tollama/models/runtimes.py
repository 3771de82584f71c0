"""Runtimes: a family's own virtual environment, and which interpreter runs a family.

    $TOLLAMA_HOME/runtimes/<family>/<id>/               a venv of third-party packages only
    $TOLLAMA_HOME/runtimes/<family>/<id>/runtime.json   written last: without it the rest is debris
    $TOLLAMA_HOME/runtimes/<family>/current             the id in use, replaced in one step

The family's own code always comes with tollama, so that the two cannot differ in version.

Not covered: installing (runtime_install.py).
"""

from __future__ import annotations

import json
import os
import sys
from collections import namedtuple

from tollama.core.errors import NotFound, RuntimeMissing
from tollama.models import files, gpus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from tollama.models.families import Family

    Report = Callable[[dict[str, Any]], None]

RECORD = "runtime.json"
CURRENT = "current"
# Seconds that "not there" is believed; "there" holds until the interpreter changes.
FORGET = 10.0
_probed: dict[tuple[str, float, tuple[str, ...]], tuple[bool, float]] = {}


class Runtime(
    namedtuple(
        "Runtime", "family id path python version target build packages installed_at current proof"
    )
):
    """An installed runtime; `proof` is what the forecast after its installation found."""

    __slots__ = ()


def folder(home: str, family: str) -> str:
    """Where the runtimes of a family lie."""
    return os.path.join(home, "runtimes", family)


def python_in(path: str) -> str:
    """The interpreter of a virtual environment."""
    if os.name == "nt":
        return os.path.join(path, "Scripts", "python.exe")
    return os.path.join(path, "bin", "python")


def installed(home: str, family: str) -> Runtime | None:
    """The runtime of a family that is in use; None when there is none."""
    base = folder(home, family)
    try:
        with open(os.path.join(base, CURRENT), encoding="utf-8") as file:
            identity = file.read().strip()
    except OSError:
        return None
    return read(home, family, identity, current=True)


def read(home: str, family: str, identity: str, *, current: bool) -> Runtime | None:
    """One runtime by its id; None when it was not finished or cannot be read."""
    path = os.path.join(folder(home, family), identity)
    try:
        with open(os.path.join(path, RECORD), encoding="utf-8") as file:
            record: dict[str, Any] = json.load(file)
        return Runtime(
            family=family,
            id=identity,
            path=path,
            python=python_in(path),
            version=record["version"],
            target=record["target"],
            build=record["build"],
            packages=record["packages"],
            installed_at=record["installed_at"],
            current=current,
            proof=record.get("proof"),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def list_installed(home: str) -> list[Runtime]:
    """The runtime in use of every family that has one, by family."""
    base = os.path.join(home, "runtimes")
    try:
        families = sorted(os.listdir(base))
    except OSError:
        return []
    found = (installed(home, family) for family in families)
    return [runtime for runtime in found if runtime is not None]


def size(runtime: Runtime) -> int:
    """Bytes on the disk of a runtime."""
    total = 0
    for base, _, names in os.walk(runtime.path):
        for name in names:
            total += os.lstat(os.path.join(base, name)).st_size
    return total


def remove(family: str, home: str) -> Runtime:
    """Take a family's runtime away; raises NotFound when there is none."""
    import shutil

    base = folder(home, family)
    with files.lock(os.path.join(base, ".lock")):
        runtime = installed(home, family)
        if runtime is None:
            known = ", ".join(one.family for one in list_installed(home)) or "none"
            raise NotFound(f"no runtime '{family}' is installed (installed: {known})")
        os.unlink(os.path.join(base, CURRENT))
        shutil.rmtree(runtime.path)
    return runtime


def install(
    family: Family,
    home: str,
    *,
    python: str | None = None,
    wheelhouse: str | None = None,
    index_url: str | None = None,
    constraint: str | None = None,
    cpu: bool = False,
    on_event: Report | None = None,
) -> Runtime:
    """Install a family's locked packages beside the old ones and switch; see runtime_install."""
    from tollama.models import runtime_install
    from tollama.models.wheels import Wish

    return runtime_install.install(
        family,
        home,
        Wish(python, wheelhouse, index_url, constraint, cpu),
        on_event or (lambda event: None),
    )


def download(
    family: Family,
    dest: str,
    python_version: str,
    platform: str,
    *,
    index_url: str | None = None,
    cpu: bool = False,
    on_event: Report | None = None,
) -> list[str]:
    """Fetch a family's wheels for another machine; see wheels."""
    from tollama.models import wheels

    return wheels.download(
        family,
        dest,
        python_version,
        platform,
        index_url=index_url,
        cpu=cpu,
        report=on_event or (lambda event: None),
    )


def variable(family: str) -> str:
    """The environment variable that names a family's interpreter."""
    return "TOLLAMA_PYTHON_" + family.upper().replace("-", "_").replace(".", "_")


def resolve_python(family: Family, environ: Mapping[str, str], home: str) -> str:
    """The interpreter that runs a family; raises RuntimeMissing with the command that installs one.

    TOLLAMA_PYTHON_<FAMILY> wins, then the installed runtime, then the core's own interpreter if the
    family's packages are there.
    """
    name = variable(family.name)
    chosen = environ.get(name)
    if chosen:
        return _named(family, name, os.path.expanduser(chosen))
    runtime = installed(home, family.name)
    if runtime is not None:
        if not os.path.exists(runtime.python):
            raise RuntimeMissing(
                f"the runtime '{family.name}' was based on a Python that is gone; "
                f"`tollama runtime install {family.name}` makes it anew"
            )
        return str(runtime.python)
    if sys.executable and has_modules(sys.executable, family.probe):
        return sys.executable
    raise RuntimeMissing(
        f"the family '{family.name}' needs packages that are not installed "
        f"({', '.join(family.probe) or 'see its requirements.txt'}); "
        f"run `tollama runtime install {family.name}`, or name an interpreter that has them in "
        f"{name}"
    )


def _named(family: Family, name: str, chosen: str) -> str:
    import shutil

    python = shutil.which(chosen)
    if python is None:
        raise RuntimeMissing(
            f"{name}: expected an interpreter, {chosen!r} is not an executable file"
        )
    if not has_modules(python, family.probe):
        raise RuntimeMissing(
            f"{name}: {chosen} lacks packages of the family '{family.name}' "
            f"({', '.join(family.probe)})"
        )
    return python


def has_modules(python: str, modules: tuple[str, ...]) -> bool:
    """Whether an interpreter finds all of the modules, without importing them."""
    import subprocess
    import time

    if not modules:
        return True
    try:
        key = (python, os.stat(python).st_mtime, modules)
    except OSError:
        return False
    found, until = _probed.get(key, (False, 0.0))
    if found or time.monotonic() < until:
        return found
    code = (
        "import importlib.util,sys\n"
        "sys.exit(any(importlib.util.find_spec(m) is None for m in sys.argv[1:]))"
    )
    try:
        done = subprocess.run(
            [python, "-I", "-c", code, *modules], capture_output=True, timeout=60, check=False
        )
        found = done.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        found = False
    _probed[key] = (found, time.monotonic() + FORGET)
    return found


def has_gpu() -> bool:
    """Whether this machine has a GPU that a runtime's locked packages can use."""
    return gpus.present()
