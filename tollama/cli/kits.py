"""export, import, inspect: models and runtimes as one file.

The work is done here, on TOLLAMA_HOME itself and never through HTTP; a running daemon sees the
result at once.
"""

from __future__ import annotations

import os
import sys

from tollama.cli.models import add_format, as_json, print_json, print_table
from tollama.core import config
from tollama.core.errors import InvalidRequest, RuntimeMissing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from tollama.models.families import Family
    from tollama.models.kit_check import Kit
    from tollama.models.kit_format import Contents

SUFFIX = ".tollama"


class Progress:
    """A bar on stderr for each step that counts something."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar: Any = None

    def report(self, label: str, done: int, total: int, *, unit: str = "B") -> None:
        """`done` bytes, or whatever the unit is, of `total` of the step `label`."""
        if self.quiet:
            return
        if self.bar is None or self.bar.label != label:
            from tollama.cli.progress import Bar
            from tollama.cli.terminal import terminal

            self.end()
            self.bar = Bar(sys.stderr, terminal(sys.stderr, os.environ), label, total, unit)
        self.bar.update(done, total=total)

    def end(self) -> None:
        """Leave a clean line."""
        if self.bar is not None:
            self.bar.end()
            self.bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()


def add_export(parser: ArgumentParser) -> None:
    """The arguments of `export`."""
    add = parser.add_argument
    add("model", nargs="*", help="installed models")
    add("--runtime", action="append", default=[], metavar="FAMILY",
        help="carry the wheels of a family's runtime too (repeat for several)")  # fmt: skip
    add("--python-version", metavar="X.Y[,X.Y]", help="Python of the other machine (default: this)")
    add("--platform", metavar="TAG[,TAG]", default="manylinux_2_28_x86_64",
        help="platform of the other machine (default manylinux_2_28_x86_64)")  # fmt: skip
    add("--cpu", action="store_true", help="the runtime's build without GPU support")
    add("--index-url", metavar="URL", help="package index to use instead of pip's default")
    add("--wheelhouse", action="append", default=[], metavar="DIR",
        help="wheels that `tollama runtime download` has put into a folder")  # fmt: skip
    add("-o", "--output", metavar="FILE", help=f"the kit (default MODEL{SUFFIX} or kit{SUFFIX})")
    add("--no-pyz", action="store_true", help="leave out tollama.pyz itself")
    add("--sign-key", metavar="FILE", help="sign with an Ed25519 key of ssh-keygen")
    add_format(parser, "table", "json")


def export(args: Namespace) -> int:
    """Pack models, runtimes and the .pyz into one file."""
    from contextlib import ExitStack

    from tollama.models import families, kit_export

    if not (args.model or args.runtime or args.wheelhouse):
        raise InvalidRequest("export: expected a model, or --runtime FAMILY")
    home = config.home()
    known, _ = families.find(home)
    chosen = kit_export.models(home, args.model, known)
    pyz = None if args.no_pyz else kit_export.running_pyz()
    if pyz is None and not args.no_pyz:
        say("note: tollama.pyz is not in the kit, because this tollama does not run from one")
    output = args.output or _default_name([model.name for model in chosen])
    with ExitStack() as stack, Progress() as progress:
        folders = [*args.wheelhouse, *_download(args, home, known, stack)]
        written = kit_export.export(
            output,
            chosen,
            runtimes=[kit_export.wheels_in(folder) for folder in folders],
            pyz=pyz,
            sign_key=args.sign_key,
            report=progress.report,
        )
    commands = kit_export.commands(
        os.path.basename(output), written.contents, sha256=written.sha256
    )
    say(f"{output}: {size_text(written.size)}, carries {_carries(written.contents)}")
    say(f"sha256 {written.sha256}")
    if written.signer:
        say(f"signed by {written.signer}")
    say("on the other machine, where the kit lies:")
    for line in commands:
        say(f"  {line}")
    if as_json(args):
        about = _about(written.contents)
        print_json(
            {"path": os.path.abspath(output), "size": written.size, "sha256": written.sha256,
             "signed_by": written.signer, "commands": commands, **about}
        )  # fmt: skip
    return 0


def _default_name(models: list[str]) -> str:
    single = models[0].replace("/", "--") if len(models) == 1 else "kit"
    return single + SUFFIX


def _download(args: Namespace, home: str, known: dict[str, Family], stack: Any) -> list[str]:
    """Folders with the wheels of the runtimes asked for, gone when the kit is written."""
    if not args.runtime:
        return []
    from tollama.cli.runtimes import show_event
    from tollama.models import runtimes, staging

    base = stack.enter_context(staging.folder(home))
    versions = (args.python_version or "{}.{}".format(*sys.version_info[:2])).split(",")
    folders: list[str] = []
    for name in dict.fromkeys(args.runtime):
        for version in versions:
            for platform in args.platform.split(","):
                folder = os.path.join(base, str(len(folders)))
                family = _family(name, known)
                runtimes.download(
                    family, folder, version.strip(), platform.strip(),
                    index_url=args.index_url, cpu=args.cpu, on_event=show_event,
                )  # fmt: skip
                folders.append(folder)
    return folders


def _family(name: str, known: dict[str, Family]) -> Family:
    from tollama.core.errors import NotFound

    if name not in known:
        able = sorted(family.name for family in known.values() if family.requirements)
        raise NotFound(f"no runner family '{name}', those with runtimes: {', '.join(able)}")
    return known[name]


def add_import(parser: ArgumentParser) -> None:
    """The arguments of `import`."""
    add = parser.add_argument
    add("kit", help="a file that `tollama export` wrote")
    add("--models", metavar="NAME[,NAME]", help="only these models (and no runtimes)")
    add("--runtimes", action="store_true", help="only the runtimes, or with --models those too")
    add("--no-runtimes", action="store_true", help="all models, no runtimes")
    add("--python", metavar="PATH", help="interpreter for the runtimes")
    add("--sha256", metavar="HEX", help="refuse any other kit than the one with this SHA-256")
    add("--trust-key", metavar="FILE", help="refuse a kit not signed by this public Ed25519 key")
    add_format(parser, "table", "json")


def import_(args: Namespace) -> int:
    """Check all of a kit, then install what is inside."""
    from tollama.cli.runtimes import show_event
    from tollama.models import families, kit_import

    home = config.home()
    known, _ = families.find(home)
    with Progress() as progress, _checked(args, progress) as kit:
        chosen, notes = _chosen(args, kit, known)
        progress.end()
        for note in notes:
            say(f"note: {note}")
        models, runtimes = kit_import.install(
            kit, home, chosen, known, report=progress.report, on_event=show_event
        )
        digest = kit.sha256
    for model in models:
        say(f"imported model '{model.name}', {size_text(model.manifest['size_bytes'])}")
    for runtime in runtimes:
        say(f"imported runtime '{runtime.family}' ({runtime.build}) for Python {runtime.version}")
    say(f"sha256 {digest}")
    if as_json(args):
        found = [{"name": m.name, "digest": m.digest, "size": m.manifest["size_bytes"]}
                 for m in models]  # fmt: skip
        built = [{"family": one.family, "version": one.version, "build": one.build}
                 for one in runtimes]  # fmt: skip
        print_json({"sha256": digest, "models": found, "runtimes": built, "notes": notes})
    return 0


def _checked(args: Namespace, progress: Progress) -> Kit:
    from tollama.models import kit_check

    return kit_check.open_kit(
        args.kit, sha256=args.sha256, trust_key=args.trust_key, report=progress.report
    )


def _chosen(args: Namespace, kit: Kit, known: dict[str, Family]) -> tuple[Any, list[str]]:
    """The parts that the flags mean, and notes on those that cannot be had here."""
    from tollama.models import kit_import

    if args.runtimes and args.no_runtimes:
        raise InvalidRequest("import: --runtimes and --no-runtimes exclude each other")
    wanted = args.models.split(",") if args.models is not None else None
    models = [] if args.runtimes and wanted is None else kit_import.models_of(kit, wanted, known)
    runtimes: list[Any] = []
    notes: list[str] = []
    if args.runtimes or (wanted is None and not args.no_runtimes):
        runtimes, notes = kit_import.runtimes_of(kit, known, python=args.python)
    if notes and (args.runtimes or args.python or not models):
        raise RuntimeMissing("; ".join(notes))
    if not models and not runtimes:
        raise InvalidRequest(f"{args.kit} has no such part: see tollama inspect {args.kit}")
    return kit_import.Chosen(models, runtimes), notes


def add_inspect(parser: ArgumentParser) -> None:
    """The arguments of `inspect`."""
    add = parser.add_argument
    add("kit", help="a file that `tollama export` wrote")
    add("--sha256", metavar="HEX", help="refuse any other kit than the one with this SHA-256")
    add("--trust-key", metavar="FILE", help="refuse a kit not signed by this public Ed25519 key")
    add_format(parser, "table", "json")


def inspect(args: Namespace) -> int:
    """Check all of a kit and say what is inside."""
    from tollama.models.kit_import import readable

    with Progress() as progress, _checked(args, progress) as kit:
        contents = kit.contents
    if as_json(args):
        entries = [entry._asdict() for entry in contents.entries]
        print_json(
            {"path": os.path.abspath(kit.path), "size": kit.size, "sha256": kit.sha256,
             "signed_by": kit.signer, "trusted": kit.trusted, **_about(contents),
             "entries": entries}
        )  # fmt: skip
        return 0
    about = _about(contents)
    rows = [["model", m["name"], m["family"], size_text(m["size"]), m["digest"][:12]]
            for m in about["models"]]  # fmt: skip
    rows += [["runtime", f"{r['family']} ({r['build']})", readable(r["target"]),
              size_text(r["size"]), f"{len(r['wheels'])} wheels"]
             for r in about["runtimes"]]  # fmt: skip
    if contents.pyz:
        rows.append(["program", f"tollama.pyz {contents.tollama}", "Python 3.10 or newer",
                     size_text(contents.pyz.size), contents.pyz.sha256[:12]])  # fmt: skip
    print_table(["PART", "NAME", "FOR", "SIZE", "ID"], rows)
    signed = kit.signer or "nobody"
    if kit.signer:
        signed += " (trusted)" if kit.trusted else " (not checked: --trust-key)"
    sys.stdout.write(
        f"\nsize    {kit.size} bytes, all of them checked\nsha256  {kit.sha256}\nsigned  {signed}\n"
    )
    return 0


def _about(contents: Contents) -> dict[str, Any]:
    """What a kit carries, for JSON."""
    from tollama.models.kit_import import size_of
    from tollama.models.store import digest_of

    models = [
        {"name": m["name"], "family": m["family"], "source": m["source"],
         "commit_sha": m["resolved"].get("commit_sha"), "license": m.get("license") or {},
         "size": size_of(m), "digest": digest_of(m), "files": m.get("files") or []}
        for m in contents.models
    ]  # fmt: skip
    runtimes = [
        {"family": w.family, "target": w.target, "build": w.build,
         "size": sum(file["size"] for file in w.files), "wheels": w.files}
        for w in contents.runtimes
    ]  # fmt: skip
    pyz = contents.pyz._asdict() if contents.pyz else None
    return {"tollama": contents.tollama, "models": models, "runtimes": runtimes, "pyz": pyz}


def _carries(contents: Contents) -> str:
    parts = [model["name"] for model in contents.models]
    parts += [f"runtime {wheels.family} for {wheels.target}" for wheels in contents.runtimes]
    parts += ["tollama.pyz"] if contents.pyz else []
    return ", ".join(parts)


def size_text(size: int) -> str:
    from tollama.cli.terminal import human_size

    return human_size(size)


def say(line: str) -> None:
    from tollama.cli.terminal import clean, terminal

    sys.stderr.write(clean(line, terminal(sys.stderr, os.environ)) + "\n")
