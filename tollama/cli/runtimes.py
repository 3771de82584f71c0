"""`tollama runtime`: the packages of a family, in a virtual environment of its own under
TOLLAMA_HOME.

The work is done here, on TOLLAMA_HOME itself; a running daemon uses a new runtime at the next load.
"""

from __future__ import annotations

import os
import sys

from tollama.cli.models import add_format, as_json, print_json, print_table
from tollama.core import config
from tollama.core.errors import InvalidRequest, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from tollama.models.families import Family


def add_runtime(parser: ArgumentParser) -> None:
    """The arguments of `runtime`."""
    add = parser.add_argument
    add("action", choices=("install", "list", "remove", "download"))
    add("family", nargs="?", help="the runner family: torch, numpy ...")
    add("--python", metavar="PATH", help="interpreter for the runtime (default: this one)")
    add("--wheelhouse", metavar="DIR", help="install from wheels in a folder, without network")
    add("--index-url", metavar="URL", help="package index to use instead of pip's default")
    add("--constraint", metavar="FILE", help="pip constraints that change locked versions")
    add("--cpu", action="store_true", help="the build without GPU support")
    add("--python-version", metavar="X.Y", help="download: Python of the other machine")
    add(
        "--platform",
        metavar="TAG",
        default="manylinux_2_28_x86_64",
        help="download: platform of the other machine (default manylinux_2_28_x86_64)",
    )
    add("-o", "--output", metavar="DIR", default="wheels", help="download: folder for the wheels")
    add_format(parser, "table", "json")


def family_of(args: Namespace) -> Family:
    """The family that the arguments name; one without requirements needs no runtime."""
    from tollama.models import families

    if args.family is None:
        raise InvalidRequest(f"runtime {args.action}: expected a family, such as torch or numpy")
    known, _ = families.find(config.home())
    family = known.get(args.family)
    able = sorted(name for name, one in known.items() if one.requirements)
    if family is None:
        raise NotFound(f"no runner family '{args.family}', those with runtimes: {', '.join(able)}")
    if not family.requirements:
        raise InvalidRequest(
            f"the family '{family.name}' needs no runtime, those that do: {', '.join(able)}"
        )
    return family


def show_event(event: dict[str, Any]) -> None:
    """One step of an installation on stderr."""
    status = event.get("status")
    if status == "downloading":
        name = event.get("package") or os.path.basename(str(event.get("file", "")))
        count = event.get("packages_total")
        sys.stderr.write(f"  {name}{f' of {count}' if count else ''}\n")
        return
    parts = [str(status)]
    parts += [str(event[key]) for key in ("reason", "message") if event.get(key)]
    sys.stderr.write(": ".join(parts) + "\n")


def runtime(args: Namespace) -> int:
    """Install, list, remove or download."""
    from tollama.models import runtimes

    home = config.home()
    if args.action == "list":
        return _list(args, home)
    family = family_of(args)
    if args.action == "remove":
        runtimes.remove(family.name, home)
        sys.stderr.write(f"removed the runtime '{family.name}'\n")
        return 0
    if args.action == "download":
        version = args.python_version or "{}.{}".format(*sys.version_info[:2])
        wheels = runtimes.download(
            family,
            os.path.abspath(args.output),
            version,
            args.platform,
            index_url=args.index_url,
            cpu=args.cpu,
            on_event=show_event,
        )
        sys.stderr.write(
            f"{len(wheels)} wheels in {args.output}; on the other machine: "
            f"tollama runtime install {family.name} --wheelhouse {args.output}\n"
        )
        return 0
    found = runtimes.install(
        family,
        home,
        python=args.python,
        wheelhouse=args.wheelhouse,
        index_url=args.index_url,
        constraint=args.constraint,
        cpu=args.cpu,
        on_event=show_event,
    )
    if as_json(args):
        print_json(found._asdict())
    return 0


def _list(args: Namespace, home: str) -> int:
    from tollama.cli.terminal import ago, human_size
    from tollama.models import runtimes

    found = runtimes.list_installed(home)
    if as_json(args):
        print_json({"runtimes": [one._asdict() for one in found]})
        return 0
    rows = [
        [
            one.family,
            one.build,
            one.version,
            human_size(runtimes.size(one)),
            ago(one.installed_at),
            one.path,
        ]
        for one in found
    ]
    print_table(["FAMILY", "BUILD", "PYTHON", "SIZE", "INSTALLED", "PATH"], rows)
    return 0
