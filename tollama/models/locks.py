"""Locks: the exact packages of a family for one Python, platform and build.

A lock is a file in pip's format, one `name==version --hash=sha256:...` a line. It was made and
tried by the family's author; nothing is resolved on the user's machine.

Not covered: making locks (runners/make_locks.py) and installing them (runtime_install.py).
"""

from __future__ import annotations

import json
import os
import re
from collections import namedtuple

from tollama.core.errors import InvalidRequest, NotFound, RuntimeMissing
from tollama.models import families

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT = "default"

# Run by the interpreter that a runtime is to be based on; prints what an installation must know.
_FACTS = """
import importlib.util,json,os,platform,sys,sysconfig
def find(name):
    try: return importlib.util.find_spec(name)
    except Exception: return None
wheels=[]
spec=find('ensurepip')
places=[os.path.join(os.path.dirname(spec.origin),'_bundled')] if spec and spec.origin else []
if sys.base_prefix=='/usr': places.append('/usr/share/python-wheels')
places=filter(None,[sysconfig.get_config_var('WHEEL_PKG_DIR'),*places])
for place in places:
    if os.path.isdir(place):
        names=[f for f in sorted(os.listdir(place)) if f[:4]=='pip-' and f[-4:]=='.whl']
        wheels+=[os.path.join(place,f) for f in names]
pip=find('pip')
print(json.dumps(dict(executable=sys.executable,version=platform.python_version(),
    implementation=sys.implementation.name,minor=list(sys.version_info[:2]),
    system=sys.platform,machine=platform.machine().lower(),libc=platform.libc_ver()[0],
    venv=find('venv') is not None,wheels=wheels,
    pip=os.path.dirname(os.path.dirname(pip.origin)) if pip and pip.origin else None)))
"""


class Pin(namedtuple("Pin", "name version digest")):
    """One package of a lock; `digest` is its SHA-256, or None where it is not known."""

    __slots__ = ()

    @property
    def line(self) -> str:
        """The pin as pip reads it."""
        tail = f" --hash=sha256:{self.digest}" if self.digest else ""
        return f"{self.name}=={self.version}{tail}"


class Lock(namedtuple("Lock", "family target build pins bootstrap")):
    """A family's packages for one target; `bootstrap` is the pip that may install them."""

    __slots__ = ()


class Interpreter(
    namedtuple("Interpreter", "executable version minor system machine libc venv wheels pip")
):
    """What an installation must know of an interpreter; `wheels` are the pips that came with it."""

    __slots__ = ()

    @property
    def target(self) -> str:
        """Its part of a lock's name: platform and version, such as linux-x86_64-cp311."""
        system = self.system
        if system == "linux" and self.libc != "glibc":
            system = "linux_musl"
        return f"{system}-{self.machine}-cp{self.minor[0]}{self.minor[1]}"


def interpreter(python: str) -> Interpreter:
    """Ask an interpreter about itself; raises RuntimeMissing when it does not start."""
    import subprocess

    try:
        done = subprocess.run(
            [python, "-I", "-c", _FACTS], capture_output=True, text=True, timeout=60, check=True
        )
        facts: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = str(getattr(error, "stderr", None) or error).strip().splitlines()
        raise RuntimeMissing(f"{python} does not run: {reason[-1] if reason else error}") from None
    if facts.pop("implementation") != "cpython":
        raise RuntimeMissing(f"{python} is not CPython, for which the runtimes are locked")
    facts["minor"] = tuple(facts["minor"])
    facts["wheels"] = tuple(facts["wheels"])
    return Interpreter(**facts)


def named_target(python_version: str, platform: str) -> str:
    """The target that the command line names, such as "3.12" and "linux-x86_64"."""
    match = re.fullmatch(r"(\d)\.(\d{1,2})(\.\d+)?", python_version)
    if match is None:
        raise InvalidRequest(f"expected a Python version such as 3.11, got {python_version!r}")
    # A wheel's tag names the oldest system too (manylinux_2_28, macosx_14_0); a lock does not.
    name = re.sub(r"^(many)?linux(_\d+_\d+|\d+)?[-_](?!musl)", "linux-", platform.lower())
    name = re.sub(r"^(macosx(_\d+_\d+)?|macos|darwin)[-_]", "darwin-", name)
    name = re.sub(r"^(windows|win32|win)[-_](amd64|x86_64)$", "win32-amd64", name)
    return f"{name}-cp{match[1]}{match[2]}"


def parse(text: str, *, family: str, target: str, build: str) -> Lock:
    """A lock's text; raises InvalidRequest with the line that is not an exact pin."""
    pins = []
    bootstrap = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("# bootstrap: "):
            bootstrap = _pin(line.removeprefix("# bootstrap: "), number)
        elif line and not line.startswith("#"):
            pins.append(_pin(line, number))
    return Lock(family, target, build, tuple(pins), bootstrap)


def _pin(line: str, number: int) -> Pin:
    match = re.fullmatch(
        r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+)(?:\s+--hash=sha256:([0-9a-f]{64}))?",
        line,
    )
    if match is None:
        raise InvalidRequest(
            f"lock, line {number}: expected name==version --hash=sha256:..., got {line[:60]!r}"
        )
    return Pin(match[1], match[2], match[3])


def find(family: families.Family, target: str, build: str) -> Lock:
    """The family's lock for a target and build, the default build when the family has no other.

    Raises NotFound with the way out when there is no lock for the target.
    """
    for name in dict.fromkeys((build, DEFAULT)):
        raw = families.read_file(family.folder, os.path.join("locks", f"{target}-{name}.txt"))
        if raw is not None:
            return parse(raw.decode(), family=family.name, target=target, build=name)
    variable = f"TOLLAMA_PYTHON_{family.name.upper().replace('-', '_')}"
    known = sorted(
        f"3.{minor}"
        for minor in range(8, 20)
        if families.read_file(
            family.folder,
            os.path.join("locks", f"{target.rpartition('-cp')[0]}-cp3{minor}-{DEFAULT}.txt"),
        )
    )
    others = f"; there are locks for Python {', '.join(known)}: pass --python" if known else ""
    raise NotFound(
        f"family '{family.name}' has no tested lock for {target}{others}; or install its "
        f"requirements.txt yourself and name that interpreter in {variable}"
    )


def override(lock: Lock, constraint: str) -> tuple[Lock, list[str]]:
    """The lock with the exact pins of a constraint file in place of its own, and what changed."""
    wanted: dict[str, str] = {}
    with open(constraint, encoding="utf-8") as file:
        for raw in file:
            line = raw.partition("#")[0].strip()
            match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*==\s*([A-Za-z0-9.!+_-]+)", line)
            if match:
                wanted[normal(match[1])] = match[2]
    pins, changes = [], []
    for pin in lock.pins:
        version = wanted.get(normal(pin.name), pin.version)
        if version != pin.version:
            changes.append(f"{pin.name} {version} in place of the tested {pin.version}")
            pins.append(Pin(pin.name, version, None))
        else:
            pins.append(pin)
    return lock._replace(pins=tuple(pins)), changes


def normal(name: str) -> str:
    """A package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def absent(lock: Lock, folder: str) -> list[Pin]:
    """Pins that no wheel in a folder satisfies, by the wheels' file names."""
    have = set()
    for file in os.listdir(folder):
        if file.endswith(".whl"):
            name, version = file.split("-")[:2]
            have.add((normal(name), version.replace("_", "+")))
    return [pin for pin in lock.pins if (normal(pin.name), pin.version) not in have]
