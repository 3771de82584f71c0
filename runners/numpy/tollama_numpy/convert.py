"""A checkpoint in half the space: the same weights, rounded to float16 on disk.

    python -m tollama_numpy.convert SOURCE TARGET

Forecasts are still computed in float32. Rounding moves them by less than a thousandth of a
standard deviation. Every family that reads the checkpoint reads the copy.
"""

from __future__ import annotations

import json
import os
import shutil
import sys

from tollama_numpy import checkpoint, safetensors


def to_float16(source: str, target: str) -> None:
    """Writes the folder `target`, which must not exist; raises BadCheckpoint."""
    config = checkpoint.read_config(source)
    tensors = safetensors.read(os.path.join(source, "model.safetensors"))
    partial = f"{target}.partial-{os.getpid()}"
    os.makedirs(partial)
    try:
        safetensors.write_float16(os.path.join(partial, "model.safetensors"), tensors)
        with open(os.path.join(partial, "config.json"), "w", encoding="utf-8") as file:
            json.dump({**config, "dtype": "float16"}, file, indent=2)
        os.rename(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def main(arguments: list[str]) -> int:
    """Converts SOURCE to TARGET."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        to_float16(*arguments)
    except (checkpoint.BadCheckpoint, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
