"""Runners that flood: the memory of a real daemon stays bounded, and it goes on.

tests/protocol/test_faults.py and test_runner_process.py have crash, SIGSTOP, garbage, half a line,
a slow reader and a closed stdout.
"""

from __future__ import annotations

import sys

import pytest
from faults.daemons import FLOOD, Daemon, family, forecast

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

CAP = 64 << 20


def test_a_line_without_end_costs_no_more_than_the_longest_line(tmp_path):
    boot = f"from tollama.core import protocol\nprotocol.MAX_LINE = {CAP}"
    folder = family(tmp_path / "families", "flood", FLOOD)
    daemon = Daemon(tmp_path / "home", boot=boot, TOLLAMA_RUNNERS=folder)
    try:
        status, found = daemon.ask("POST", "/v1/forecast", forecast("flood"))
        assert (status, found["code"]) == (502, "protocol_error")
        assert f"a line of over {CAP} bytes" in found["error"]
        # It is tried twice; neither line is copied or parsed before it is refused.
        assert daemon.peak_mib() < 2 * CAP / (1 << 20) + 60
        status, found = daemon.ask("POST", "/v1/forecast", forecast())
        assert status == 200
    finally:
        assert daemon.end() == 0
