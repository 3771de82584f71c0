"""Large bodies are worked on one at a time, and who waits for that leaves the lead to others."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from tollama.daemon.compat.ask import LARGE, alone


class Client:
    def __init__(self):
        self.waited = threading.Event()

    def disconnected(self):
        return False

    @contextmanager
    def blocking(self):
        self.waited.set()
        yield


def test_large_bodies_wait_for_each_other_and_small_ones_do_not():
    first, second, small = Client(), Client(), Client()
    inside = threading.Event()

    def work():
        with alone(second, LARGE):
            inside.set()

    thread = threading.Thread(target=work)
    with alone(first, LARGE):
        thread.start()
        assert second.waited.wait(20) and not inside.is_set()
        with alone(small, LARGE - 1):
            assert not small.waited.is_set()
    assert inside.wait(20)
    thread.join(20)
    assert not thread.is_alive()
