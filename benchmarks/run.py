"""Every benchmark that can run here, one after the other; JSON files beside each other in a folder.

    python benchmarks/run.py [--output build/benchmarks] [--only start,throughput]

A benchmark whose tools are missing says which and is skipped. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Name, arguments; each script writes --json FILE and exits non-zero when it cannot run.
ALL = {
    "start": [],
    "throughput": ["--series", "2000"],
    "http_rate": [],
    "large": ["--scaling"],
    "batching": [],
    "memory": [],
    "pull": [],
    "torch_daemon": [],
    "numpy_vs_torch": [],
}


def main() -> int:
    """Run them; returns 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=HERE.parent / "build" / "benchmarks")
    parser.add_argument("--only", default=",".join(ALL))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in args.only.split(","):
        script = HERE / f"{name}.py"
        print(f"== {name}", flush=True)
        command = [sys.executable, str(script), *ALL[name]]
        if "--json" in script.read_text():
            command += ["--json", str(args.output / f"{name}.json")]
        if subprocess.run(command).returncode:
            failed.append(name)
    if failed:
        print(f"not run: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
