"""`tollama doctor`: what is wrong on this machine, and the command or setting that mends it.

Home, its permissions and disk, Python, runner families and their runtimes (each proved by a
one-step forecast), GPU, proxy and certificates, the hub, the clock, the port. Not covered: the
models' files (`tollama verify NAME`).
"""

from __future__ import annotations

import os
import sys
import time
from collections import namedtuple

from tollama.cli import call
from tollama.cli.models import add_format, as_json, print_json
from tollama.core import config, redact
from tollama.core.errors import DaemonUnreachable, TollamaError

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
    for look in (python, lambda: at_home(home), settings, lambda: daemon(args)):
        yield from guarded(look)
    yield from guarded(lambda: families(home, quick=args.quick))
    yield from guarded(gpu)
    yield from guarded(network)
    if not args.offline:
        yield from guarded(lambda: hub(home))


def guarded(look: Any) -> Iterator[Finding]:
    """A look whose own failure is a finding."""
    try:
        yield from look()
    except TollamaError as error:
        yield Finding("doctor", "problem", error.message, "")
    except OSError as error:
        yield Finding("doctor", "problem", str(error), "")


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
    while not os.path.isdir(place):
        parent = os.path.dirname(place)
        if parent == place:
            break
        place = parent
    if not os.access(place, os.W_OK | os.X_OK):
        yield Finding(
            "home",
            "problem",
            f"{home}: {place} cannot be written by this user",
            f"chown it to you (chown -R $(id -u) {place}) or set TOLLAMA_HOME to another folder",
        )
        return
    if os.path.isdir(home) and os.name == "posix":
        stat = os.stat(home)
        if stat.st_uid != os.getuid():
            text = f"{home} belongs to another user (uid {stat.st_uid})"
            yield Finding("home", "warning", text, "set TOLLAMA_HOME to a folder of your own")
        elif stat.st_mode & 0o022:
            text = f"{home} may be written by others"
            yield Finding("home", "warning", text, f"chmod go-w {home}")
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


def daemon(args: Namespace) -> Iterator[Finding]:
    """The daemon, or whether its port is free."""
    remote = call.connect(None, timeout=args.timeout)
    try:
        version = remote.call("GET", "/api/version")["version"]
    except DaemonUnreachable as error:
        if error.detail == call.NO_DAEMON:
            yield Finding("daemon", "note", f"none runs at {remote.where.url}", "")
        else:
            yield Finding(
                "daemon",
                "problem",
                f"something else answers at {remote.where.url}",
                "stop it, or choose another port: tollama serve --port N, TOLLAMA_HOST",
            )
        return
    yield Finding("daemon", "ok", f"version {version} at {remote.where.url}", "")
    from tollama import __version__

    if version != __version__:
        yield Finding("daemon", "warning", f"this file is {__version__}", "restart the daemon")


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
            yield Finding(name, "note", error.message, "")
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


def gpu() -> Iterator[Finding]:
    """Whether there is a GPU that torch could use."""
    from tollama.models import runtimes

    if runtimes.has_gpu():
        yield Finding("gpu", "ok", "an NVIDIA GPU is there: the torch family uses it", "")
    else:
        yield Finding("gpu", "note", "none: models run on the CPU", "")


def network() -> Iterator[Finding]:
    """Proxy and certificates, as a pull would use them."""
    chosen = config.effective(config.read(config.home()))
    for key in ("pull.https_proxy", "pull.http_proxy"):
        value, source = chosen[key]
        if value:
            yield Finding("proxy", "ok", f"{key.partition('.')[2]} {value} (from {source})", "")
    bundle, source = chosen["pull.ca_bundle"]
    if bundle and not os.path.isfile(bundle):
        text = f"ca_bundle {bundle} (from {source}) is not a file"
        yield Finding("tls", "problem", text, "point TOLLAMA_CA_BUNDLE at a PEM file, or unset it")


def hub(home: str) -> Iterator[Finding]:
    """Whether the hub answers, and whether it agrees with this machine's clock."""
    from tollama.models import hub as hub_module

    chosen = config.effective(config.read(home))
    if chosen["pull.offline"][0]:
        yield Finding("hub", "note", f"offline (from {chosen['pull.offline'][1]})", "")
        return
    fields = ("endpoint", "http_proxy", "https_proxy", "no_proxy", "ca_bundle", "insecure")
    settings = {name: chosen[f"pull.{name}"][0] for name in fields}
    spec = hub_module.PullSpec(
        repo_id="amazon/chronos-2",
        token=os.environ.get("TOLLAMA_HF_TOKEN") or None,
        stall_timeout=5.0,
        tries=1,
        **settings,
    )
    try:
        commit = hub_module.check_head(spec)
    except TollamaError as error:
        kits = "models can be carried in: tollama export / import (docs/air-gap.md)"
        yield Finding("hub", "warning", error.message, kits)
    else:
        yield Finding("hub", "ok", f"reachable (amazon/chronos-2 is at {commit[:12]})", "")
    if time.time() < 1_700_000_000:
        text = f"the clock says {time.strftime('%Y-%m-%d')}"
        yield Finding("clock", "problem", text, "set the clock: TLS needs the right time")
