"""Makes the locks of the runner families: exact versions and hashes for each Python and platform.

    python runners/make_locks.py [--family NAME] PYTHON [PYTHON ...]

Each PYTHON is an interpreter with pip; the family's requirements.txt is resolved for it, on this
machine's platform, without installing anything. A lock is locks/<platform>-<tag>-<build>.txt in the
family's folder. Families with torch get two on Linux: `default`, the build that the package index
serves (with CUDA), and `cpu`, the same versions with torch's CPU build and without CUDA's packages.

Not covered: other platforms than the one this runs on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

RUNNERS = Path(__file__).parent
# Needed by torch's CUDA build only.
CUDA_ONLY = re.compile(r"(nvidia-|cuda-|triton$)")
BOOTSTRAP = "pip>=24.2"


def resolve(python: str, requirements: list[str]) -> tuple[str, dict[str, tuple[str, str]]]:
    """The interpreter's tag and the packages as name -> (version, sha256)."""
    environ = {k: v for k, v in os.environ.items() if k not in ("PIP_FIND_LINKS", "PYTHONPATH")}
    environ["PIP_CONFIG_FILE"] = os.devnull
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            [
                *(python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
                *("--only-binary", ":all:", "--report", str(report)),
                *requirements,
            ],
            check=True,
            env=environ,
        )
        found = json.loads(report.read_text())
    packages = {}
    for entry in found["install"]:
        name = re.sub(r"[-_.]+", "-", entry["metadata"]["name"]).lower()
        digest = entry["download_info"]["archive_info"]["hashes"]["sha256"]
        packages[name] = (entry["metadata"]["version"], digest)
    environment = found["environment"]
    tag = "cp" + environment["python_version"].replace(".", "")
    platform = f"{environment['sys_platform']}-{environment['platform_machine']}".lower()
    return f"{platform}-{tag}", packages


def text(title: str, pip: tuple[str, str], packages: dict[str, tuple[str, str | None]]) -> str:
    lines = [
        f"# {title}",
        "# Made by runners/make_locks.py; nothing is resolved when a runtime is installed.",
        f"# bootstrap: pip=={pip[0]} --hash=sha256:{pip[1]}",
    ]
    for name, (version, digest) in sorted(packages.items()):
        lines.append(f"{name}=={version}" + (f" --hash=sha256:{digest}" if digest else ""))
    return "\n".join(lines) + "\n"


def write(family: Path, python: str) -> None:
    requirements = [
        line.strip()
        for line in (family / "requirements.txt").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    target, packages = resolve(python, requirements)
    _, bootstrap = resolve(python, [BOOTSTRAP])
    builds = {"default": packages}
    if "torch" in packages and target.startswith("linux-x86_64"):
        lean = {name: entry for name, entry in packages.items() if not CUDA_ONLY.match(name)}
        version = packages["torch"][0].partition("+")[0]
        # The CPU build lies on an index of its own; its hashes are not known here.
        builds["cpu"] = {**lean, "torch": (f"{version}+cpu", None)}
    folder = family / "locks"
    folder.mkdir(exist_ok=True)
    for build, chosen in builds.items():
        file = folder / f"{target}-{build}.txt"
        title = f"{family.name} for {target}, {build} build: {len(chosen)} packages"
        file.write_text(text(title, bootstrap["pip"], chosen))
        print(file)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--family", help="only this family")
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    arguments = parser.parse_args()
    for requirements in sorted(RUNNERS.glob("*/requirements.txt")):
        family = requirements.parent
        if arguments.family in (None, family.name):
            for python in arguments.pythons:
                write(family, python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
