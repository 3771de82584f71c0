"""`tollama pull NAME --from-dir DIR`: your own checkpoint, on TOLLAMA_HOME itself."""

from __future__ import annotations

import sys

from tollama.cli.kits import Progress
from tollama.cli.models import print_json
from tollama.core import config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace


def from_dir(args: Namespace) -> int:
    """Install the folder as a model; a running daemon sees it at once."""
    from tollama.models import families, local_checkpoint

    home = config.home()
    known, _ = families.find(home)
    with Progress(quiet=args.no_stream) as progress:
        model = local_checkpoint.install(
            args.model,
            args.from_dir,
            home,
            known,
            accept_license=args.accept_license,
            report=progress.report,
        )
    size = model.manifest["size_bytes"]
    sys.stderr.write(f"installed '{model.name}' for the family {model.manifest['family']}\n")
    if args.no_stream or not sys.stdout.isatty():
        print_json({"status": "success", "model": model.name, "digest": model.digest, "size": size})
    return 0
