"""What every test shares: hypothesis without deadlines, since test machines are shared."""

from __future__ import annotations

import os
import signal

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # the runners' tests may run where hypothesis is not installed
    settings = None

if settings is not None:
    settings.register_profile(
        "shared",
        deadline=None,
        derandomize=bool(os.environ.get("CI")),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    settings.load_profile("shared")


# A run in the background of a shell starts with SIGINT ignored, and so would every child of it: the
# tests of Ctrl-C need children that can be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    """No test sees the user's models, settings or proxies."""
    for name in list(os.environ):
        if name.startswith(("TOLLAMA_", "HF_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TOLLAMA_HOME", str(tmp_path / "home"))


def pytest_collection_modifyitems(items):
    """The browser's driver keeps an event loop in this thread: its tests come last."""
    items.sort(key=lambda item: "browser" in item.path.parts)
