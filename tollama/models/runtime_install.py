"""Installs a runtime: exact locked packages in a new venv, proved by a forecast, then switched in.

    interpreter -> build (GPU, driver) -> lock -> venv -> pip -> proof -> runtime.json -> current

Everything happens in a folder of its own under a lock between processes. Until `current` changes
the old runtime is untouched; what an interrupted installation left is cleared by the next one.

Not covered: packages outside the lock, and a Python to base the venv on: there has to be one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

from tollama.core.errors import InvalidRequest, NotFound, RunnerError, RuntimeMissing, TollamaError
from tollama.models import families, files, gpus, locks, pip, runtimes, wheels
from tollama.models.locks import Interpreter, Lock
from tollama.models.wheels import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tollama.models.families import Family
    from tollama.models.runtimes import Report, Runtime

PROOF_SECONDS = 600.0


def install(family: Family, home: str, wish: Wish, report: Report) -> Runtime:
    """A new runtime of the family, in use from now on.

    Raises what stands in the way: no lock, no pip, no space, an index out of reach, a wrong file,
    or a forecast that fails.
    """
    if not family.requirements:
        raise InvalidRequest(f"the family '{family.name}' needs no runtime")
    for path in filter(None, (wish.wheelhouse, wish.constraint)):
        if not os.path.exists(path):
            raise InvalidRequest(f"{path}: no such file or folder")
    facts = locks.interpreter(wish.python or sys.executable)
    if not facts.venv:
        raise RuntimeMissing(
            f"{facts.executable} has no module venv; pass --python of one that has"
        )
    base = runtimes.folder(home, family.name)
    with files.lock(os.path.join(base, ".lock"), wait=False) as held:
        if not held:
            raise TollamaError(f"another process is installing the runtime '{family.name}'")
        clear_debris(home, family.name)
        report({"status": f"python {facts.version}", "python": facts.executable})
        # pip itself, then what it installs: with its own wheel nothing on the machine matters.
        source = pip.source(facts, wish.wheelhouse)
        lock = choose_lock(family, facts, wish, source, report)
        if wish.constraint:
            lock, changes = locks.override(lock, wish.constraint)
            for change in changes:
                report({"status": "warning", "message": f"constraint: {change}"})
        return _build(family, home, facts, wish, lock, source, report)


def _build(
    family: Family,
    home: str,
    facts: Interpreter,
    wish: Wish,
    lock: Lock,
    source: str,
    report: Report,
) -> Runtime:
    identity = f"{_now('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}"
    base = runtimes.folder(home, family.name)
    path = os.path.join(base, identity)
    old = runtimes.installed(home, family.name)
    try:
        report({"status": "making the environment"})
        _make_venv(facts, path)
        python = runtimes.python_in(path)
        install_pins(python, source, lock, wish, report)
        report({"status": "proving it by a forecast"})
        proof = prove(family, python)
        record = {
            "version": facts.version,
            "target": lock.target,
            "build": lock.build,
            "packages": {pin.name: pin.version for pin in lock.pins},
            "installed_at": _now("%Y-%m-%dT%H:%M:%SZ"),
            "proof": proof,
        }
        files.write_json(os.path.join(path, runtimes.RECORD), record)
        files.write(os.path.join(base, runtimes.CURRENT), identity.encode())
    except BaseException:
        now = runtimes.installed(home, family.name)
        if now is None or now.id != identity:  # it may be in use though its folder was not flushed
            shutil.rmtree(path, ignore_errors=True)
        raise
    if old is not None:
        _discard(old.path)
    runtime = runtimes.read(home, family.name, identity, current=True)
    assert runtime is not None
    report({"status": "success", "runtime": family.name, "build": lock.build, "proof": proof})
    return runtime


def choose_lock(
    family: Family, facts: Interpreter, wish: Wish, source: str, report: Report
) -> Lock:
    """The lock of the build that fits this machine's GPU, or the nearest that can be had."""
    wanted = gpus.choose(list(gpus.detect()), cpu=wish.cpu)
    lock = locks.find(family, facts.target, wanted.name)
    default = locks.find(family, facts.target, locks.DEFAULT)
    if lock.build == default.build and wanted.name != lock.build:
        report({"status": f"packages locked for {lock.target}"})  # there is one build for all
    elif lock.build == default.build or _can_be_had(lock, facts, wish, source):
        report({"status": f"build {lock.build}", "build": lock.build, "reason": wanted.reason})
    elif wish.cpu:
        special = ", ".join(pin.line for pin in lock.pins if pin.digest is None)
        raise NotFound(
            f"the CPU build ({special}) is not on this package index; pass --index-url of an "
            "index, or --wheelhouse of a folder, that has it, or leave out --cpu"
        )
    else:
        lock = default
        reason = (
            f"{wanted.reason}; the smaller CPU build is not on this package index (pass "
            "--index-url or --wheelhouse of a place that has it), so the default build is taken, "
            "which computes on the CPU too"
        )
        report({"status": f"build {lock.build}", "build": lock.build, "reason": reason})
    if wish.wheelhouse:
        missing = locks.absent(lock, wish.wheelhouse)
        if missing:
            names = ", ".join(f"{pin.name}=={pin.version}" for pin in missing[:5])
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise NotFound(f"the wheelhouse {wish.wheelhouse} lacks {names}{more}")
    return lock


def _can_be_had(lock: Lock, facts: Interpreter, wish: Wish, source: str) -> bool:
    # Pins without a hash are those that lie on an index of their own.
    if wish.wheelhouse:
        return not locks.absent(lock, wish.wheelhouse)
    special = [f"{pin.name}=={pin.version}" for pin in lock.pins if pin.digest is None]
    if not special:
        return True
    try:
        pip.run(
            facts.executable,
            source,
            [
                "install",
                "--ignore-installed",
                "--dry-run",
                "--quiet",
                *wheels.ONLY,
                *wheels.index(wish),
                *special,
            ],
        )
    except TollamaError:
        return False
    return True


def _make_venv(facts: Interpreter, path: str) -> None:
    done = subprocess.run(
        [facts.executable, "-I", "-m", "venv", "--without-pip", path],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip().splitlines()
        raise TollamaError(f"cannot make a venv: {reason[-1] if reason else 'no output'}")


def install_pins(python: str, source: str, lock: Lock, wish: Wish, report: Report) -> None:
    """Put a lock's packages into a venv: by hash where there is one, by exact version otherwise."""
    report({"status": f"installing {len(lock.pins)} packages", "packages_total": len(lock.pins)})
    install = ["install", "--ignore-installed", "--no-warn-script-location", *wheels.ONLY]
    wheels.fetch(python, source, install, lock.pins, wish, report)


def prove(family: Family, python: str) -> dict[str, Any]:
    """A one-step forecast by the family's module `selftest`; raises RunnerError when it fails.

    A family without that module is proved by importing what it probes for.
    """
    inside = os.path.join(family.module, "selftest.py")
    paths = [families.root(), family.folder]
    if families.read_file(family.folder, inside) is None:
        code = ["-c", "import importlib,sys\nfor m in sys.argv[1:]: importlib.import_module(m)"]
        command = [python, "-I", *code, *family.probe]
    else:
        command = pip.guarded(python, paths, f"{family.module}.selftest")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            out, err = _drain(process)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        lines = (err or out).decode(errors="replace").strip().splitlines()
        raise RunnerError(
            f"the forecast that proves the runtime '{family.name}' failed: "
            f"{lines[-1][:300] if lines else f'exit code {process.returncode}'}"
        )
    last = out.decode(errors="replace").strip().splitlines()[-1:] or ["{}"]
    try:
        found = json.loads(last[0])
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _drain(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    # communicate() would close stdin at once, which is the child's sign to end.
    import threading

    errors: list[bytes] = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))  # type: ignore[union-attr]
    reader.start()
    timer = threading.Timer(PROOF_SECONDS, process.kill)
    timer.start()
    try:
        out = process.stdout.read()  # type: ignore[union-attr]
        process.wait()
    finally:
        timer.cancel()
    reader.join()
    return out, errors[0]


def clear_debris(home: str, family: str) -> None:
    """Delete what interrupted installations and replaced runtimes left, unless it still runs."""
    base = runtimes.folder(home, family)
    current = runtimes.installed(home, family)
    for name in os.listdir(base):
        path = os.path.join(base, name)
        if os.path.isdir(path) and (current is None or name != current.id):
            _discard(path)


def _discard(path: str) -> None:
    """Delete a runtime, or leave it to the next installation while a process runs from it."""
    if not _in_use(path):
        shutil.rmtree(path, ignore_errors=True)


def _in_use(path: str) -> bool:
    prefix = os.fsencode(path) + os.sep.encode()
    try:
        processes = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return False
    for process in processes:
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                if file.read().startswith(prefix):
                    return True
        except OSError:
            continue
    return False


def _now(form: str) -> str:
    import time

    return time.strftime(form, time.gmtime())
