"""Entry of the runner process."""

from __future__ import annotations

from tollama.core.runner_sdk import serve
from tollama_numpy.family import NumpyRunner

if __name__ == "__main__":
    serve(NumpyRunner())
