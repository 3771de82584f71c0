"""Proves a runtime: a tiny random Chronos-2 is written, loaded by a runner and asked for one step.

Run as a module; prints one line of JSON with what was found, or ends with a reason. The runner is a
child behind the pipe, as the daemon has it.

Not covered: pretrained weights, and whether a forecast is any good.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time

LEVELS = [round(0.1 * k, 1) for k in range(1, 10)]
BOOT = (
    "import sys,runpy\n"
    "module,*paths=sys.argv[1:];sys.path[:0]=paths;del sys.argv[1:]\n"
    "runpy.run_module(module,run_name='__main__',alter_sys=True)"
)


def write_checkpoint(folder: str) -> None:
    """A Chronos-2 of one layer with random weights."""
    import torch
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    torch.manual_seed(1)
    config = Chronos2CoreConfig(
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        initializer_factor=0.2,
        reg_token_id=1,
        architectures=["Chronos2Model"],
        chronos_pipeline_class="Chronos2Pipeline",
        chronos_config={
            "context_length": 64,
            "input_patch_size": 16,
            "input_patch_stride": 16,
            "output_patch_size": 16,
            "max_output_patches": 1,
            "quantiles": LEVELS,
            "time_encoding_scale": 64,
            "use_arcsinh": True,
            "use_reg_token": True,
        },
    )
    Chronos2Model(config).eval().save_pretrained(folder)


def main() -> int:
    """Write, load, forecast one step, and print what was found."""
    begin = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        import torch

        with tempfile.TemporaryDirectory(prefix="tollama-") as scratch:
            folder = os.path.join(scratch, "selftest", "snapshot")
            write_checkpoint(folder)
            facts, forecast = ask(folder)
    mean, quantiles = forecast["mean"], forecast["quantiles"]
    assert len(mean) == 1 and quantiles["0.1"] <= quantiles["0.5"] <= quantiles["0.9"], forecast
    found = {
        "device": facts["device"],
        "dtype": facts["dtype"],
        "torch": torch.__version__,
        "warnings": facts.get("warnings", []),
        "seconds": round(time.perf_counter() - begin, 2),
    }
    print(json.dumps(found))
    return 0


def paths() -> list[str]:
    """Where the core and this family are imported from, for the runner to do the same."""
    import tollama

    files = (tollama.__file__, __file__)
    return [os.path.dirname(os.path.dirname(os.path.abspath(file))) for file in files]


def ask(folder: str) -> tuple[dict, dict]:
    """What a runner says when it loads the checkpoint, and its forecast of one step."""
    series = [{"target": [float(k % 7) for k in range(40)]}]
    request = {"model": "selftest", "horizon": 1, "quantiles": LEVELS, "series": series}
    calls = [
        {"id": "1", "method": "hello", "params": {"protocol": 1}},
        {"id": "2", "method": "load", "params": {"model": "selftest", "path": folder}},
        {"id": "3", "method": "forecast", "params": request},
    ]
    with subprocess.Popen(
        [sys.executable, "-I", "-c", BOOT, "tollama_torch", *paths()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        answers = []
        for call in calls:
            child.stdin.write(json.dumps(call).encode() + b"\n")
            child.stdin.flush()
            answers.append(_answer(child.stdout, call["id"]))
    return answers[1], answers[2]["forecasts"][0]


def _answer(stream, call: str) -> dict:
    for line in stream:
        frame = json.loads(line)
        if frame.get("id") != call or "event" in frame:
            continue
        if "error" in frame:
            raise SystemExit(frame["error"]["message"])
        return frame["result"]
    raise SystemExit("the runner ended without an answer")


if __name__ == "__main__":
    sys.exit(main())
