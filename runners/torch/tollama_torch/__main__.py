"""Entry of the runner process."""

from __future__ import annotations

from tollama.core.runner_sdk import serve
from tollama_torch.family import TorchRunner

if __name__ == "__main__":
    serve(TorchRunner())
