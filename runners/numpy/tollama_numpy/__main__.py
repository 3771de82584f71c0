"""Entry of the runner process."""

from __future__ import annotations

import contextlib

from tollama.core import protocol
from tollama.core.runner_sdk import serve
from tollama_numpy.family import NumpyRunner

if __name__ == "__main__":
    with contextlib.suppress(ImportError):
        import orjson

        protocol.use_codec(orjson.loads, orjson.dumps)
    serve(NumpyRunner())
