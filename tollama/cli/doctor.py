"""`tollama doctor`: what is wrong on this machine, and the command or setting that mends it.

Home, its permissions and disk, Python, runner families and their runtimes (each proved by a
one-step forecast), GPU; with doctor_network.py the daemon and its port, proxy and certificates, the
clock, the hub. Not covered: the models' files (`tollama verify NAME`).
"""

from __future__ import annotations

import os
import sys
import time
from collections import namedtuple

from tollama.cli.models import add_format, as_json, print_json
from tollama.core import config, redact
from tollama.core.errors import TollamaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import Any

LOW_DISK = 1 << 30


class Finding(namedtuple("Finding", "check level text fix")):
    """One look: `level` is ok, note, warning or problem; `fix` says what to do."""

    __slots__ = ()


def add_doctor(parser: ArgumentParser) -> None:
    """The arguments of `doctor`."""
    parser.add_argument("--offline", action="store_true", help="do not try to reach the hub")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="do not prove runtimes by a forecast (some seconds each)",
    )
    add_format(parser, "table", "json")
    parser.set_defaults(base_url=None, timeout=5.0)


def doctor(args: Namespace) -> int:
    """Look at everything; exit 1 when there is a problem."""
    found: list[Finding] = []
    for one in examine(args):
        found.append(one)
        if not as_json(args):
            mark = {"ok": "ok", "note": "--", "warning": "!!", "problem": "XX"}[one.level]
            sys.stdout.write(f" {mark}  {one.check:<12} {redact.text(one.text)}\n")
            if one.fix:
                sys.stdout.write(f"     {'':<12} -> {redact.text(one.fix)}\n")
            sys.stdout.flush()
    bad = sum(one.level == "problem" for one in found)
    if as_json(args):
        rows = [
            {**one._asdict(), "text": redact.text(one.text), "fix": redact.text(one.fix)}
            for one in found
        ]
        print_json({"problems": bad, "findings": rows})
    else:
        sys.stdout.write("no problems found\n" if not bad else f"{bad} problem(s) found\n")
    return 1 if bad else 0


def examine(args: Namespace) -> Iterator[Finding]:
    """Every look in turn; one that fails is a finding, never an end."""
    home = config.home()
    from tollama.cli import doctor_network as network

    looks = (
        ("python", python),
        ("home", lambda: at_home(home)),
        ("settings", settings),
        ("daemon", lambda: network.daemon(args.timeout)),
        ("serving", lambda: network.serving(home)),
        ("families", lambda: families(home, quick=args.quick)),
        ("gpu", gpu),
        ("proxy", network.proxies),
        ("clock", lambda: network.clock(time.time())),
        ("hub", lambda: network.hub(home, offline=args.offline)),
    )
    for name, look in looks:
        yield from guarded(name, look)


def guarded(name: str, look: Any) -> Iterator[Finding]:
    """A look whose own failure is a finding."""
    try:
        yield from look()
    except TollamaError as error:
        yield Finding(name, "problem", error.message, "")
    except Exception as error:
        yield Finding(name, "problem", f"{type(error).__name__}: {error}", "")


def python() -> Iterator[Finding]:
    """The interpreter, and whether its build has what is needed."""
    version = sys.version.split()[0]
    missing = []
    for module in ("ssl", "zlib", "hashlib", "lzma"):
        try:
            __import__(module)
        except ImportError:
            missing.append(module)
    if "ssl" in missing:
        yield Finding("python", "problem", f"{version} has no ssl", "pulls need another Python")
    else:
        lacks = f", without {', '.join(missing)}" if missing else ""
        yield Finding("python", "ok", f"{version} at {sys.executable}{lacks}", "")


def at_home(home: str) -> Iterator[Finding]:
    """TOLLAMA_HOME: there, ours, private, writable, with room."""
    place = home
    while not os.path.lexists(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    another = "or set TOLLAMA_HOME to another folder"
    if not os.path.isdir(place):
        yield Finding(
            "home", "problem", f"{home}: {place} is not a folder", f"remove it, {another}"
        )
        return
    probe = os.path.join(place, f".tollama-{os.urandom(4).hex()}")
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.unlink(probe)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        yield Finding(
            "home",
            "problem",
            f"{home}: {place} cannot be written by this user: {reason}",
            f"chown it to you (chown -R $(id -u) {place}) {another}",
        )
        return
    if os.path.isdir(home) and os.name == "posix":
        yield from permissions(home)
    state = "exists" if os.path.isdir(home) else "is made when it is needed"
    yield Finding("home", "ok", f"{home} {state}", "")
    import shutil

    free = shutil.disk_usage(place).free
    from tollama.cli.terminal import human_size

    if free < LOW_DISK:
        text = f"{human_size(free)} free where {home} lies"
        yield Finding("disk", "warning", text, "remove models (tollama rm) or move TOLLAMA_HOME")
    else:
        yield Finding("disk", "ok", f"{human_size(free)} free", "")


def permissions(home: str) -> Iterator[Finding]:
    """Whose the home is, and who else may read what is private in it."""
    stat = os.stat(home)
    if stat.st_uid != os.getuid():
        text = f"{home} belongs to another user (uid {stat.st_uid})"
        yield Finding("home", "warning", text, "set TOLLAMA_HOME to a folder of your own")
    elif stat.st_mode & 0o022:
        text = f"{home} may be written by others"
        yield Finding("home", "problem", text, f"chmod go-w {home}")
    # The daemon does not start with keys that others can read.
    for name, level in (("api_keys", "problem"), ("config.json", "warning")):
        path = os.path.join(home, name)
        if os.path.exists(path) and os.stat(path).st_mode & 0o077:
            yield Finding("home", level, f"{path} can be read by others", f"chmod 600 {path}")


def settings() -> Iterator[Finding]:
    """Variables and config.json."""
    bad = 0
    for setting in config.SETTINGS:
        try:
            config.get(setting.name)
        except TollamaError as error:
            bad += 1
            yield Finding("settings", "problem", error.message, f"unset {setting.name}")
    try:
        config.effective(config.read(config.home()))
    except TollamaError as error:
        bad += 1
        yield Finding("settings", "problem", error.message, "mend or remove the file")
    known = {setting.name for setting in config.SETTINGS} | {"TOLLAMA_API_KEY"}
    for name in sorted(os.environ):
        if name.startswith("TOLLAMA_") and name not in known:
            if name.startswith(("TOLLAMA_PYTHON_", "TOLLAMA_FAMILY_")):
                continue
            yield Finding("settings", "warning", f"{name} is not a setting", "tollama help serve")
    if not bad:
        yield Finding("settings", "ok", "variables and config.json can be read", "")


def families(home: str, *, quick: bool) -> Iterator[Finding]:
    """Each runner family: can it run, and does its runtime make a forecast."""
    from tollama.daemon import launches
    from tollama.models import families as found
    from tollama.models import runtime_install

    known, warnings = found.find(home)
    for text in warnings:
        yield Finding("families", "problem", text, "mend the runner.json")
    for family in known.values():
        name = f"{family.name}"
        try:
            interpreter = launches.python_of(family, home=home, environ=os.environ)
        except TollamaError as error:
            yield from unable(home, name, error.message)
            continue
        if not family.requirements:
            yield Finding(name, "ok", "needs nothing but Python", "")
        elif quick:
            yield Finding(name, "ok", f"packages found in {interpreter}", "")
        else:
            started = time.monotonic()
            try:
                proof = runtime_install.prove(family, interpreter)
            except TollamaError as error:
                again = f"tollama runtime install {family.name}"
                yield Finding(name, "problem", error.message, again)
                continue
            facts = ", ".join(f"{k} {v}" for k, v in proof.items() if isinstance(v, (str, int)))
            took = time.monotonic() - started
            yield Finding(name, "ok", f"proved in {took:.1f} s on {interpreter} ({facts})", "")


def unable(home: str, family: str, text: str) -> Iterator[Finding]:
    """A family that cannot run: as nobody has asked for it, or against what was set up."""
    from tollama.models import runtimes

    variable = runtimes.variable(family)
    if os.environ.get(variable):
        fix = f"point it at an interpreter that has the packages, or unset {variable}"
        yield Finding(family, "problem", text, fix)
    elif runtimes.installed(home, family) is not None:
        yield Finding(family, "problem", text, f"tollama runtime install {family}")
    else:
        yield Finding(family, "note", text, "")


def gpu() -> Iterator[Finding]:
    """Whether there is a GPU that torch could use, and why not."""
    import shutil

    from tollama.models import gpus

    found = list(gpus.detect())
    build = gpus.choose(found)
    if build.name != "cpu":
        yield Finding("gpu", "ok", f"{build.reason}: the torch family uses it", "")
    elif found:
        yield Finding("gpu", "warning", f"{build.reason}: models run on the CPU", "")
    elif shutil.which("nvidia-smi"):
        text = "nvidia-smi is here and names no GPU: models run on the CPU"
        yield Finding("gpu", "warning", text, "run nvidia-smi: the driver may need a restart")
    else:
        yield Finding("gpu", "note", "none: models run on the CPU", "")
