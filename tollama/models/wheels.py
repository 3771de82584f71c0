"""Wheels of a lock, fetched from an index or a wheelhouse, for this machine or for another one.

Not covered: which lock (locks.py) and what becomes of the wheels (runtime_install.py).
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import namedtuple

from tollama.core.errors import InvalidRequest, NotFound
from tollama.models import files, locks, pip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tollama.models.families import Family
    from tollama.models.runtimes import Report

# Exact pins, never a build from source, whatever else is on sys.path.
ONLY = ("--no-deps", "--only-binary=:all:")
MAC_CPUS = ("arm64", "universal2")


class Wish(namedtuple("Wish", "python wheelhouse index_url constraint cpu")):
    """What the command line asked for."""

    __slots__ = ()


def index(wish: Wish) -> list[str]:
    """pip's options for where the wheels are."""
    options = []
    if wish.wheelhouse:
        options += ["--no-index", "--find-links", os.path.abspath(wish.wheelhouse)]
    elif wish.index_url:
        options += ["--index-url", wish.index_url]
    return options


def fetch(
    python: str,
    source: str,
    command: Sequence[str],
    pins: Sequence[locks.Pin],
    wish: Wish,
    report: Report,
) -> None:
    """Run a command of pip on exact pins: by hash where there is one, by version otherwise."""
    progress = pip.Progress(report, len(pins))
    for hashed in (False, True):
        chosen = [pin for pin in pins if bool(pin.digest) is hashed]
        if not chosen:
            continue
        with tempfile.TemporaryDirectory(prefix="tollama-") as scratch:
            file = os.path.join(scratch, "lock.txt")
            with open(file, "w", encoding="utf-8") as stream:
                stream.write("".join(pin.line + "\n" for pin in chosen))
            tail = [*(["--require-hashes"] if hashed else []), "-r", file]
            try:
                pip.run(python, source, [*command, *index(wish), *tail], progress)
            except NotFound:
                # An index for special builds need not have the rest, which its hash identifies.
                if not (hashed and wish.index_url) or wish.wheelhouse:
                    raise
                report({"status": "not all on that index, asking the default one too"})
                extra = ["--extra-index-url", wish.index_url]
                pip.run(python, source, [*command, *extra, *tail], progress)


def download(
    family: Family,
    dest: str,
    python_version: str,
    platform: str,
    *,
    index_url: str | None,
    cpu: bool,
    report: Report,
) -> list[str]:
    """A family's wheels, and pip's own, for another machine; returns the names of the files."""
    if not family.requirements:
        raise InvalidRequest(f"the family '{family.name}' needs no runtime")
    target = locks.named_target(python_version, platform)
    lock = locks.find(family, target, "cpu" if cpu else locks.DEFAULT)
    facts = locks.interpreter(sys.executable)
    source = pip.source(facts, None)
    files.make_folder(dest)
    wish = Wish(None, None, index_url, None, cpu)
    pins = [*lock.pins, *filter(None, [lock.bootstrap])]
    command = ["download", "--dest", dest, *ONLY, *platform_options(target)]
    fetch(facts.executable, source, command, pins, wish, report)
    names = sorted(name for name in os.listdir(dest) if name.endswith(".whl"))
    files.write_json(
        os.path.join(dest, "wheels.json"),
        {"family": family.name, "target": target, "build": lock.build, "files": names},
    )
    report({"status": "success", "files": len(names), "target": target, "build": lock.build})
    return names


def platform_options(target: str) -> list[str]:
    """pip's options for the wheels of another machine."""
    system, machine, tag = target.split("-")
    if system == "linux":
        names = [f"manylinux_2_{minor}_{machine}" for minor in range(5, 40)]
        names += [f"manylinux{year}_{machine}" for year in ("1", "2010", "2014")]
        names.append(f"linux_{machine}")
    elif system == "darwin":
        names = [f"macosx_{major}_0_{cpu}" for major in (14, 13, 12, 11) for cpu in MAC_CPUS]
        names += [f"macosx_10_{minor}_universal2" for minor in range(9, 16)]
    else:
        names = [f"win_{machine}"]
    version = f"{tag[2]}.{tag[3:]}"
    options = ["--implementation", "cp", "--python-version", version, "--abi", tag]
    options += ["--abi", "abi3", "--abi", "none"]
    for name in names:
        options += ["--platform", name]
    return options
