"""Makes the locks of the runner families: exact versions and hashes for each Python and platform.

    python runners/make_locks.py [--family NAME] PYTHON [PYTHON ...]
    python runners/make_locks.py [--family NAME] --elsewhere UV PYTHON


Each PYTHON is an interpreter with pip; the family's requirements.txt is resolved for it, on this
machine's platform, without installing anything. A lock is locks/<platform>-<tag>-<build>.txt in the
family's folder. Families with torch get two on Linux: `default`, the build that the package index
serves (with CUDA), and `cpu`, the same versions with torch's CPU build and without CUDA's packages.

With --elsewhere the locks of other platforms are made: the program uv resolves for them, and the
pip of PYTHON looks up the hashes. Their first line says that they were not tried there.

Not covered: platforms other than those of `ELSEWHERE`.
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
MINORS = (10, 11, 12, 13)
# Target -> uv's name of the platform, and the tags of wheels that it takes.
ELSEWHERE = {
    "darwin-arm64": (
        "aarch64-apple-darwin",
        [f"macosx_{major}_0_{cpu}" for major in (14, 13, 12, 11) for cpu in ("arm64", "universal2")]
        + [f"macosx_10_{minor}_universal2" for minor in (15, 13, 9)],
    ),
    "linux-aarch64": (
        "aarch64-manylinux_2_39",
        [f"manylinux_2_{minor}_aarch64" for minor in range(17, 40)] + ["manylinux2014_aarch64"],
    ),
    "win32-amd64": ("x86_64-pc-windows-msvc", ["win_amd64"]),
}


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
    environment = found["environment"]
    tag = "cp" + environment["python_version"].replace(".", "")
    platform = f"{environment['sys_platform']}-{environment['platform_machine']}".lower()
    return f"{platform}-{tag}", _packages(found)


def _packages(report: dict) -> dict[str, tuple[str, str]]:
    packages = {}
    for entry in report["install"]:
        name = re.sub(r"[-_.]+", "-", entry["metadata"]["name"]).lower()
        digest = entry["download_info"]["archive_info"]["hashes"]["sha256"]
        packages[name] = (entry["metadata"]["version"], digest)
    return packages


def resolve_elsewhere(
    uv: str, python: str, requirements: list[str], target: str, minor: int
) -> dict[str, tuple[str, str]]:
    """The packages for another platform as name -> (version, sha256)."""
    platform, tags = ELSEWHERE[target]
    environ = {k: v for k, v in os.environ.items() if k not in ("PIP_FIND_LINKS", "PYTHONPATH")}
    environ.update(PIP_CONFIG_FILE=os.devnull, MACOSX_DEPLOYMENT_TARGET="14.0")
    with tempfile.TemporaryDirectory() as folder:
        wanted, pins = Path(folder) / "in.txt", Path(folder) / "pins.txt"
        report = Path(folder) / "report.json"
        wanted.write_text("\n".join(requirements) + "\n")
        subprocess.run(
            [
                *(uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
                *("--only-binary", ":all:", "--python-platform", platform),
                *("--python-version", f"3.{minor}", str(wanted), "-o", str(pins)),
            ],
            check=True,
            env=environ,
        )
        subprocess.run(
            [
                *(python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
                *("--no-deps", "--only-binary", ":all:", "--report", str(report)),
                *("--target", folder, "--implementation", "cp", "--python-version", f"3.{minor}"),
                *("--abi", f"cp3{minor}", "--abi", "abi3", "--abi", "none"),
                *(option for tag in tags for option in ("--platform", tag)),
                *("-r", str(pins)),
            ],
            check=True,
            env=environ,
        )
        return _packages(json.loads(report.read_text()))


def text(title: str, pip: tuple[str, str], packages: dict[str, tuple[str, str | None]]) -> str:
    lines = [
        f"# {title}",
        "# Made by runners/make_locks.py; nothing is resolved when a runtime is installed.",
        f"# bootstrap: pip=={pip[0]} --hash=sha256:{pip[1]}",
    ]
    for name, (version, digest) in sorted(packages.items()):
        lines.append(f"{name}=={version}" + (f" --hash=sha256:{digest}" if digest else ""))
    return "\n".join(lines) + "\n"


def required(family: Path) -> list[str]:
    lines = (family / "requirements.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def write(
    family: Path, target: str, packages: dict[str, tuple[str, str]], pip: tuple[str, str], note: str
) -> None:
    """The locks of one family for one target, one a build."""
    builds = {"default": packages}
    if "torch" in packages and target.startswith("linux-"):
        lean = {name: entry for name, entry in packages.items() if not CUDA_ONLY.match(name)}
        version = packages["torch"][0].partition("+")[0]
        # The CPU build lies on an index of its own; its hashes are not known here.
        builds["cpu"] = {**lean, "torch": (f"{version}+cpu", None)}
    folder = family / "locks"
    folder.mkdir(exist_ok=True)
    for build, chosen in builds.items():
        file = folder / f"{target}-{build}.txt"
        title = f"{family.name} for {target}, {build} build: {len(chosen)} packages{note}"
        file.write_text(text(title, pip, chosen))
        print(file)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--family", help="only this family")
    parser.add_argument("--elsewhere", metavar="UV", help="make the locks of other platforms")
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    arguments = parser.parse_args()
    first = arguments.pythons[0]
    pip = resolve(first, [BOOTSTRAP])[1]["pip"]
    for requirements in sorted(RUNNERS.glob("*/requirements.txt")):
        family = requirements.parent
        if arguments.family not in (None, family.name):
            continue
        wanted = required(family)
        if not arguments.elsewhere:
            for python in arguments.pythons:
                write(family, *resolve(python, wanted), pip, "")
            continue
        for target in ELSEWHERE:
            for minor in MINORS:
                found = resolve_elsewhere(arguments.elsewhere, first, wanted, target, minor)
                note = "; resolved for it, not tried on it"
                write(family, f"{target}-cp3{minor}", found, pip, note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
