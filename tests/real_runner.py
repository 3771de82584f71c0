"""Launches of the runners in tests/protocol/runners, and requests for them."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from tollama.daemon.launches import BOOT
from tollama.daemon.scheduler import Job, Launch

TESTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TESTS)
RUNNERS = os.path.join(TESTS, "protocol", "runners")


def scripted(model: str = "m", **changes: Any) -> Launch:
    argv = (sys.executable, "-I", "-S", "-c", BOOT, "scripted", ROOT, RUNNERS)
    return made(model, argv, **changes)


def raw(mode: str, **changes: Any) -> Launch:
    argv = (sys.executable, "-I", "-S", os.path.join(RUNNERS, "raw.py"), mode)
    return made(mode, argv, **changes)


def made(model: str, argv: tuple[str, ...], **changes: Any) -> Launch:
    fields: dict[str, Any] = {
        "model": model,
        "family": "scripted",
        "module": "scripted",
        "argv": argv,
        "env": {"PATH": os.defpath},
        "path": None,
        "options": {},
        "replicas": False,
        "max_series": 16,
        "max_tokens": 100_000,
        "batching": True,
        "digest": "1",
    }
    return Launch(**{**fields, **changes})


def job(value: float = 1.0, *, deadline: float = float("inf"), **options: Any) -> Job:
    """A request whose forecast is `value`."""
    request = {
        "model": "m",
        "horizon": 1,
        "series": [{"id": "s", "target": [value]}],
        "options": options,
    }
    return Job(json.dumps(request).encode(), key="k", tokens=2, deadline=deadline)


def value(result: object) -> float:
    """The forecast in an answer."""
    assert isinstance(result, bytes), result
    found: float = json.loads(result)["forecasts"][0]["mean"][0]
    return found


def usage(result: object) -> dict[str, Any]:
    assert isinstance(result, bytes), result
    found: dict[str, Any] = json.loads(result)["usage"]
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True
    except (NotADirectoryError, PermissionError):
        return False
