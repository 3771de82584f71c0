"""Runs pip as a child that cannot outlive us, and says what it does and why it failed.

pip may come from a wheelhouse, from the wheel inside Python's ensurepip, or from the interpreter
itself: an installation works where `python -m venv` has no ensurepip and where there is no pip.

Not covered: resolving; every call installs or downloads exact pins without their dependencies.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess

from tollama.core import redact
from tollama.core.errors import (
    CorruptDownload,
    DiskFull,
    HubUnreachable,
    NotFound,
    RuntimeMissing,
    TollamaError,
)
from tollama.models.locks import Interpreter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Report = Callable[[dict[str, Any]], None]

# The child ends when its stdin does: when we are killed, nothing goes on writing into a runtime.
GUARDED = (
    "import os,runpy,sys,threading\n"
    "def watch():\n"
    "    while os.read(0,4096): pass\n"
    "    os._exit(3)\n"
    "threading.Thread(target=watch,daemon=True).start()\n"
    "count=int(sys.argv[1]);paths=sys.argv[2:2+count];module=sys.argv[2+count]\n"
    "sys.path[:0]=paths;del sys.argv[1:3+count]\n"
    "runpy.run_module(module,run_name='__main__',alter_sys=True)"
)


def guarded(python: str, paths: Sequence[str], module: str, *arguments: str) -> list[str]:
    """The command that runs a module with `paths` first on sys.path and ends with its stdin."""
    return [python, "-I", "-c", GUARDED, str(len(paths)), *paths, module, *arguments]


def source(facts: Interpreter, wheelhouse: str | None) -> str:
    """Where pip can be imported from: a wheel, or a folder of packages."""
    for folder in filter(None, [wheelhouse]):
        wheels = sorted(glob.glob(os.path.join(glob.escape(folder), "pip-*.whl")))
        if wheels:
            return wheels[-1]
    if facts.wheels:
        return str(facts.wheels[-1])
    if facts.pip:
        return str(facts.pip)
    raise RuntimeMissing(
        f"{facts.executable} has neither pip nor ensurepip; pass --python of one that has, or "
        "--wheelhouse of a folder with a pip wheel (`tollama runtime download` puts one there)"
    )


class Progress:
    """Tells `report` of each package that pip comes to, out of `total`."""

    def __init__(self, report: Report, total: int) -> None:
        self.report = report
        self.total = total
        self.seen: set[str] = set()

    def line(self, line: str) -> None:
        """Take in a line of pip's output."""
        found = re.match(
            r"(?:Collecting|Processing) (?:\S*/)?([A-Za-z0-9._]+(?:-[A-Za-z._]+\w*)*)", line
        )
        if found:
            self.seen.add(found[1])
            done = min(len(self.seen), self.total) - 1
            counts = {"packages_completed": done, "packages_total": self.total}
            self.report({"status": "downloading", "package": found[1], **counts})
            return
        found = re.match(r"Downloading (?:\S*/)?([^/\s]+\.whl)\S* \(([^)]*)\)", line)
        if found:
            self.report({"status": "downloading", "file": found[1], "size": found[2]})
        elif line.startswith("Installing collected packages"):
            self.report({"status": "unpacking", "packages_total": self.total})


def run(python: str, pip: str, arguments: Sequence[str], progress: Progress | None = None) -> None:
    """Run pip under `python`; raises the error that its output means."""
    command = guarded(
        python,
        [pip],
        "pip",
        *arguments,
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar=off",
    )
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment(arguments, os.environ),
    ) as process:
        lines: list[str] = []
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                if progress is not None:
                    progress.line(line.strip())
        except BaseException:
            process.kill()
            raise
        code = process.wait()
    if code != 0:
        raise trouble(lines)


def environment(arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """What pip may see. With --no-index its own settings are left out: a find-links of the machine
    would offer other builds beside the wheels that were asked for.
    """
    dropped = ("PYTHON", "__PYVENV")
    if "--no-index" not in arguments:
        return {k: v for k, v in environ.items() if not k.startswith(dropped)}
    kept = {k: v for k, v in environ.items() if not k.startswith((*dropped, "PIP_"))}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}


def trouble(lines: Sequence[str]) -> TollamaError:
    """pip's output as an error: what failed, in its own words, and what to do."""
    text = "\n".join(lines)
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    last = next((line for line in reversed(lines) if line.strip()), "no output")
    # After "ERROR: Exception:" comes a traceback, whose last line is the reason.
    reason = redact.text(errors[-1] if errors and errors[-1] != "Exception:" else last)
    lower = text.lower()
    if "no space left on device" in lower:
        return DiskFull("no space left on the disk while installing packages")
    if "do not match the hashes" in lower or "hashes are required" in lower:
        names = re.findall(r"^\s+(\S+==\S+|\S+) from ", text, re.MULTILINE)
        what = names[0] if names else "a package"
        return CorruptDownload(f"{what}: the file is not the one that was locked (SHA-256 differs)")
    if "no matching distribution" in lower:
        # An index that cannot be reached looks to pip like one without the package.
        broken = [line for line in lines if line.startswith("WARNING: Retrying")]
        if broken:
            return HubUnreachable(
                "the package index could not be reached; check the proxy, or pass --index-url or "
                f"--wheelhouse: {redact.text(broken[-1])[:200]}"
            )
        return NotFound(f"{reason[:200]}; pass --index-url or --wheelhouse of a place that has it")
    return TollamaError(f"pip failed: {reason[:300]}")
