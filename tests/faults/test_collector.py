"""The garbage collector may run anywhere, also in a thread that holds a lane's lock."""

from __future__ import annotations

import contextlib
import gc
import json
import threading

from tollama.daemon.service import Service


class Client:
    def disconnected(self) -> bool:
        return False

    def blocking(self):
        return contextlib.nullcontext()


def test_an_abandoned_answer_that_is_collected_takes_no_lock(tmp_path):
    service = Service(home=str(tmp_path / "home"), environ={}, log=lambda *args: None)
    try:
        series = [{"id": f"s{n}", "target": [1.0, 2.0]} for n in range(100)]
        body = {"model": "naive", "horizon": 1, "series": series}
        gc.disable()
        running = service.forecasting.start(
            json.dumps(body).encode(), request_id="1", client=Client()
        )
        running.look(20)  # the first slice is here, the others are never asked for
        running.cancel()
        lane = running.call.lane
        del running

        def collect() -> None:
            with lane.lock:
                gc.collect()

        thread = threading.Thread(target=collect, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), "the collector waits for a lock that its thread holds"
    finally:
        gc.enable()
        if not thread.is_alive():
            service.close()
