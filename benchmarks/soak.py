"""Mixed load on the built .pyz for minutes: no lost or wrong answer, nothing that grows.

    python benchmarks/soak.py [--minutes 20] [--connections 256] [--json FILE]

Forecasts of all sizes, streams, NDJSON bodies and backtests, over one kept connection a client,
while models are pulled from a hub on loopback, copied, loaded, unloaded and deleted, runners are
killed, and rude clients reset, dribble and break off. Each answer is checked against its request:
ids, model, horizon, and the values, which a naive and a seasonal naive forecast made here predict
to the last digit. A model that is loaded again, killed or deleted meanwhile may cost a request a
503 or a 404 in the contract's shape, nothing else.

The load comes in three equal parts; after each one all models are unloaded and what the daemon
holds is compared: descriptors, threads and processes with those of a fresh daemon, memory after the
third part with that after the second, since an allocator keeps what the load once needed. Exits 1
on a lost or wrong answer, an answer that is neither right nor clearly refused, a leak, or a bad
end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from load import PYZ, ROOT, Answer, Client, Daemon, Lost, clear_refusal, is_error, percentile
from load import request as written

sys.path.insert(0, str(ROOT / "tests"))
from fake_hub import FakeHub

GOLDEN = ROOT / "runners" / "numpy" / "tests" / "golden"
REPOS = {"chronos2": ("amazon/chronos-2", "chronos2"), "bolt": ("soak/bolt", "bolt")}
COPIES = tuple(f"copy{number}" for number in range(4))
NDJSON = "application/x-ndjson"
SEASON = 7
SAMPLE_S = 2.0
PARTS = 3
# How much an idle daemon's memory may differ from one part to the next: the allocator breathes.
BREATH, BREATH_MIB = 0.1, 3.0


class Tally:
    """Everything that was seen."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.wrong: list[str] = []
        self.samples: list[dict[str, float]] = []
        self.events: Counter[str] = Counter()

    def right(self, kind: str, took: float) -> None:
        self.done[kind] += 1
        self.times.setdefault(kind, []).append(took)


class Wrong(Exception):
    """An answer that is not the one to the request."""


# -- requests and what their answers have to be ---------------------------------------------------


def naive(model: str, target: list[float], horizon: int) -> list[float]:
    """The forecast that a model of `MODELS` has to give."""
    if model == "seasonal-naive":
        season = target[-SEASON:]
        return [season[step % SEASON] for step in range(horizon)]
    return [target[-1]] * horizon


def series_of(dice: random.Random, points: int) -> dict[str, Any]:
    """One series that no other request has."""
    base = [dice.randrange(4000) / 64 for _ in range(min(points, 200))]  # exact in binary
    target = (base * (points // len(base) + 1))[: points - SEASON]
    target += [dice.randrange(1 << 30) / 1024 for _ in range(SEASON)]
    return {"id": f"{dice.getrandbits(48):x}", "target": target}


def body_of(dice: random.Random, model: str, count: int, points: int) -> dict[str, Any]:
    options = {"season_length": SEASON} if model == "seasonal-naive" else {}
    return {
        "model": model,
        "horizon": dice.choice((1, 12, 48)),
        "series": [series_of(dice, points) for _ in range(count)],
        "options": options,
    }


def check_one(found: dict[str, Any], asked: dict[str, Any], body: dict[str, Any]) -> None:
    """A series' forecast against its series."""
    expected = naive(body["model"], asked["target"], body["horizon"])
    if found.get("id") != asked["id"] or found.get("mean") != expected:
        raise Wrong(
            f"id {found.get('id')!r} for {asked['id']!r}, {found.get('mean')} for {expected}"
        )


def check_response(found: dict[str, Any], body: dict[str, Any]) -> None:
    """A ForecastResponse against its request."""
    if found.get("model") != body["model"]:
        raise Wrong(f"model {found.get('model')!r} for {body['model']!r}")
    for one, asked in zip(found["forecasts"], body["series"], strict=True):
        check_one(one, asked, body)


def refusal(line: Any, tally: Tally) -> bool:
    """Whether a value is an error that the chaos explains; counted if so."""
    status = is_error(line)
    if status == 503 or (status == 404 and line["code"] == "model_not_found"):
        tally.refused[line["code"]] += 1
        return True
    return False


class Work:
    """One client's requests: each method sends one and checks what comes."""

    def __init__(self, number: int, port: int, tally: Tally, think: float) -> None:
        self.dice = random.Random(number)
        self.client = Client(port)
        self.tally = tally
        self.think = think

    def model(self) -> str:
        names = ("mock", "mock", "naive", "naive", "seasonal-naive", self.dice.choice(COPIES))
        return self.dice.choice(names)

    def expects_404(self, body: dict[str, Any]) -> bool:
        return body["model"] in COPIES or body["model"] == "mock"

    async def ask(self, data: bytes, body: dict[str, Any] | None = None) -> Answer | None:
        """The answer with status 200; None when it was refused for a reason."""
        answer = await self.client.ask(data)
        if answer.status == 200:
            return answer
        gone = answer.status == 404 and body is not None and self.expects_404(body)
        if (clear_refusal(answer) or gone) and refusal(answer.json(), self.tally):
            await asyncio.sleep(0.02)
            return None
        raise Wrong(f"{answer.status}: {answer.body[:300]!r}")

    async def small(self) -> bool:
        return await self.whole(1, self.dice.choice((20, 100, 500)))

    async def large(self) -> bool:
        return await self.whole(self.dice.randint(10, 60), 1000)

    async def long(self) -> bool:
        return await self.whole(1, 50_000)

    async def whole(self, count: int, points: int) -> bool:
        body = body_of(self.dice, self.model(), count, points)
        answer = await self.ask(written("POST", "/v1/forecast", body), body)
        if answer is not None:
            check_response(answer.json(), body)
        return answer is not None

    async def stream(self) -> bool:
        body = body_of(self.dice, self.model(), self.dice.randint(1, 40), 100)
        body["options"]["stream_series"] = True
        answer = await self.ask(written("POST", "/api/forecast", body), body)
        if answer is None:
            return False
        lines = answer.lines()
        if "error" in lines[-1]:
            if not refusal(lines[-1], self.tally):
                raise Wrong(f"in a stream: {lines[-1]}")
            return False
        found = [line["forecast"] for line in lines if "forecast" in line]
        by_id = {one["id"]: one for one in body["series"]}
        if len(found) != len(by_id):
            raise Wrong(f"{len(found)} forecasts of {len(by_id)} in a stream")
        for one in found:
            check_one(one, by_id[one["id"]], body)
        check_response(lines[-1]["response"], body)
        return True

    async def bulk(self) -> bool:
        body = body_of(self.dice, self.model(), self.dice.randint(50, 300), 60)
        series = body.pop("series")
        data = b"\n".join(json.dumps(one).encode() for one in (body, *series))
        answer = await self.ask(written("POST", "/api/forecast", data, NDJSON), body)
        if answer is None:
            return False
        lines = answer.lines()
        if "error" in lines[-1] and refusal(lines[-1], self.tally):
            return False
        if len(lines) != len(series) + 1 or not lines[-1].get("done"):
            raise Wrong(f"{len(lines)} lines for {len(series)} series, last {lines[-1]}")
        for line, asked in zip(lines, series, strict=False):
            if "forecast" in line:
                check_one(line["forecast"], asked, body)
            elif line.get("id") != asked["id"] or not refusal(line, self.tally):
                raise Wrong(f"in a bulk stream: {line}")
        return True

    async def backtest(self) -> bool:
        one = series_of(self.dice, 60)
        horizon = 4
        body = {
            "models": ["naive"], "horizon": horizon, "windows": 2, "series": [one],
            "metrics": ["mae"], "stream": False,
        }  # fmt: skip
        answer = await self.ask(written("POST", "/api/backtest", body), None)
        if answer is None:
            return False
        target, errors = one["target"], []
        for cutoff in (52, 56):
            errors += [abs(target[cutoff - 1] - v) for v in target[cutoff : cutoff + horizon]]
        row = answer.json()["leaderboard"][0]
        if row["series"][0]["id"] != one["id"] or (
            abs(row["metrics"]["mae"] - statistics.fmean(errors)) > 1e-6
        ):
            raise Wrong(f"backtest: {row} for {statistics.fmean(errors)}")
        return True

    async def look(self) -> bool:
        """Something that needs no model."""
        path = self.dice.choice(
            (
                "/api/version",
                "/api/tags",
                "/api/ps",
                "/api/info",
                "/v1/models",
                "/health/ready",
                "/",
            )
        )
        answer = await self.ask(written("GET", path))
        if answer is not None and path == "/api/tags":
            names = [model["name"] for model in answer.json()["models"]]
            if "auto" not in names or names != sorted(names, key=str.lower):
                raise Wrong(f"tags: {names}")
        return answer is not None

    async def bad(self) -> bool:
        """A request that has to be refused, with the status that its code stands for."""
        data = self.dice.choice(
            (
                written("POST", "/v1/forecast", {"model": "naive", "horizon": 0, "series": []}),
                written("POST", "/v1/forecast", b'{"model":'),
                written("POST", "/v1/forecast", {"model": "no-such", "horizon": 1, "series": [{
                    "target": [1]}]}),
                written("GET", "/no/such/path"),
                written("PUT", "/api/tags", b""),
            )
        )  # fmt: skip
        answer = await self.client.ask(data)
        if answer.status not in (400, 404, 405) or is_error(answer.json()) != answer.status:
            raise Wrong(f"a bad request got {answer.status}: {answer.body[:200]!r}")
        return True

    async def run(self, until: float) -> None:
        """Requests of all kinds until the time is over."""
        kinds: list[tuple[Callable[[], Awaitable[bool]], float]] = [
            (self.small, 100), (self.large, 6), (self.long, 1), (self.stream, 10), (self.bulk, 2),
            (self.backtest, 2), (self.look, 20), (self.bad, 6),
        ]  # fmt: skip
        calls, weights = [k for k, _ in kinds], [w for _, w in kinds]
        while time.monotonic() < until:
            # Without a rest the times would be those of this process, which checks every answer.
            await asyncio.sleep(self.dice.uniform(0, 2 * self.think))
            (call,) = self.dice.choices(calls, weights)
            kind, began = call.__name__, time.monotonic()
            try:
                if await call():
                    self.tally.right(kind, time.monotonic() - began)
            except (Lost, Wrong, ValueError, KeyError, TypeError, LookupError) as error:
                self.tally.wrong.append(f"{kind}: {type(error).__name__}: {error}"[:600])
                self.client.close()
        self.client.close()


# -- chaos ----------------------------------------------------------------------------------------


class Chaos:
    """Everything else that goes on in a busy day."""

    def __init__(self, daemon: Daemon, hub: FakeHub, tally: Tally) -> None:
        self.daemon = daemon
        self.hub = hub
        self.tally = tally
        self.dice = random.Random(99)

    async def _admin(self, method: str, path: str, body: Any, *fine: int) -> Answer | None:
        """One call over a connection of its own."""
        client = Client(self.daemon.port)
        try:
            answer = await client.ask(written(method, path, body))
            clear = is_error(answer.json()) == answer.status if answer.status >= 400 else True
            if answer.status not in (200, 503, *fine) or not clear:
                self.tally.wrong.append(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
            self.tally.events[f"{method} {path} {answer.status}"] += 1
            return answer
        except (Lost, ValueError) as error:
            self.tally.wrong.append(f"{method} {path}: lost: {error}")
            return None
        finally:
            client.close()

    async def copies(self, until: float) -> None:
        """Copies of mock that come and go."""
        while time.monotonic() < until:
            name = self.dice.choice(COPIES)
            await self._admin("POST", "/api/copy", {"source": "mock", "destination": name}, 404)
            await asyncio.sleep(self.dice.uniform(1, 4))
            if self.dice.random() < 0.4:
                name = self.dice.choice(COPIES)
                await self._admin("DELETE", "/api/delete", {"model": name}, 404)

    async def loads(self, until: float) -> None:
        """Loading and unloading, with requests open."""
        while time.monotonic() < until:
            await asyncio.sleep(self.dice.uniform(0.5, 3))
            model = self.dice.choice(("mock", "naive", "seasonal-naive", *COPIES))
            body = {"model": model, "keep_alive": self.dice.choice((0, 0, "5m", 1))}
            await self._admin("POST", "/api/generate", body, 404)

    async def pulls(self, until: float) -> None:
        """Downloads, some with a line that breaks, some of a newer commit; deletes."""
        while time.monotonic() < until:
            model = self.dice.choice(("chronos2", "hf.co/soak/bolt"))
            if self.dice.random() < 0.5:
                self.hub.cuts = [self.dice.randrange(1, 20_000)]
            body = {"model": model, "stream": self.dice.random() < 0.5, "force": True}
            answer = await self._admin("POST", "/api/pull", body, 499)
            if answer is not None and answer.status == 200 and answer.lines():
                last = answer.lines()[-1]
                if last.get("status") != "success" and is_error(last) not in (499, 503):
                    self.tally.wrong.append(f"pull: {last}")
            await asyncio.sleep(self.dice.uniform(0.5, 3))
            if self.dice.random() < 0.3:
                await self._admin("DELETE", "/api/delete", {"model": model}, 404)

    async def kills(self, until: float) -> None:
        """SIGKILL, SIGTERM or SIGSTOP for some runner."""
        while time.monotonic() < until:
            await asyncio.sleep(self.dice.uniform(2, 6))
            runners = self.daemon.runners()
            if runners:
                number = self.dice.choice((signal.SIGKILL, signal.SIGTERM))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.dice.choice(runners), number)
                    self.tally.events[f"runner {number.name}"] += 1

    async def rude(self, until: float) -> None:
        """Clients that reset, break off, dribble, say nothing or nonsense."""
        body = json.dumps(body_of(self.dice, "naive", 5, 1000)).encode()
        whole = written("POST", "/v1/forecast", body)
        held: list[socket.socket] = []
        loop = asyncio.get_running_loop()
        while time.monotonic() < until:
            await asyncio.sleep(self.dice.uniform(0.05, 0.3))
            sock = socket.socket()
            sock.setblocking(False)
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await loop.sock_connect(sock, ("127.0.0.1", self.daemon.port))
                act = self.dice.choice(("half", "whole", "garbage", "idle", "pipelined"))
                data = {
                    "half": whole[: self.dice.randrange(1, len(whole))],
                    "whole": whole,
                    "garbage": self.dice.randbytes(300),
                    "idle": b"",
                    "pipelined": written("GET", "/api/version") * 5 + whole[:50],
                }[act]
                await asyncio.wait_for(loop.sock_sendall(sock, data), 5)
                self.tally.events[f"rude {act}"] += 1
            if self.dice.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            held.append(sock)
            while len(held) > 20:
                held.pop(0).close()
        for sock in held:
            sock.close()

    async def samples(self, until: float) -> None:
        """What the daemon holds, every two seconds."""
        began = time.monotonic()
        while time.monotonic() < until:
            await asyncio.sleep(SAMPLE_S)
            at = {"at_s": round(time.monotonic() - began, 1)}
            self.tally.samples.append({**at, **self.daemon.sample()})


async def soak(daemon: Daemon, hub: FakeHub, tally: Tally, args: argparse.Namespace) -> None:
    """A part: all of it at once."""
    until = time.monotonic() + args.minutes * 60 / PARTS
    chaos = Chaos(daemon, hub, tally)
    works = [Work(number, daemon.port, tally, args.think) for number in range(args.connections)]
    await asyncio.gather(
        *(work.run(until) for work in works),
        chaos.copies(until), chaos.loads(until), chaos.pulls(until), chaos.kills(until),
        chaos.rude(until), chaos.samples(until),
    )  # fmt: skip


async def settle(daemon: Daemon, idle: dict[str, float]) -> dict[str, float]:
    """What the daemon holds when all clients have gone and all models are unloaded."""
    client = Client(daemon.port)
    for _ in range(300):
        models = (await client.ask(written("GET", "/api/ps"))).json()["models"]
        for model in models:
            body = {"model": model["name"], "keep_alive": 0}
            await client.ask(written("POST", "/api/generate", body))
        found = daemon.sample()
        if all(found[name] <= idle[name] for name in ("children", "threads", "fds")):
            break
        await asyncio.sleep(0.1)
    client.close()
    return found


def growth(samples: list[dict[str, float]], name: str) -> tuple[float, float]:
    """The medians of the third and of the last quarter of a run."""
    values = [sample[name] for sample in samples]
    quarter = max(1, len(values) // 4)
    return statistics.median(values[2 * quarter : 3 * quarter]), statistics.median(
        values[-quarter:]
    )


def leaks(rests: list[dict[str, float]]) -> list[str]:
    """What has grown from one rest to the next; the first one is that of a fresh daemon."""
    found = []
    before, after = rests[-2]["rss_mib"], rests[-1]["rss_mib"]
    if after > before * (1 + BREATH) + BREATH_MIB:
        found.append(f"memory at rest grew from {before:.1f} to {after:.1f} MiB")
    for name in ("fds", "threads", "children"):
        if rests[-1][name] > rests[0][name]:
            found.append(f"{rests[-1][name]:.0f} {name} at rest, {rests[0][name]:.0f} at first")
    return found


async def warm(daemon: Daemon) -> dict[str, float]:
    """What an idle daemon holds once every module has been used."""
    client = Client(daemon.port)
    for model in ("mock", "naive"):
        body = {"model": model, "horizon": 1, "series": [{"target": [1]}], "keep_alive": 0}
        answer = await client.ask(written("POST", "/v1/forecast", body))
        assert answer.status == 200, answer
    for _ in range(100):
        if not (await client.ask(written("GET", "/api/ps"))).json()["models"]:
            break
        await asyncio.sleep(0.1)
    sample = daemon.sample()
    client.close()
    return sample


def report(tally: Tally, rests: list, args: argparse.Namespace) -> dict[str, Any]:
    """The figures."""
    times = {
        kind: {
            "count": len(found),
            "p50_ms": round(percentile(found, 0.5) * 1e3, 1),
            "p99_ms": round(percentile(found, 0.99) * 1e3, 1),
            "max_ms": round(max(found) * 1e3, 1),
        }
        for kind, found in sorted(tally.times.items())
    }
    trend = {
        name: growth(tally.samples, name) for name in ("rss_mib", "fds", "threads", "children")
    }
    return {
        "minutes": args.minutes,
        "connections": args.connections,
        "think_s": args.think,
        "answers": sum(tally.done.values()),
        "refused": dict(tally.refused),
        "wrong_or_lost": len(tally.wrong),
        "latency": times,
        "events": dict(sorted(tally.events.items())),
        "third_and_last_quarter": trend,
        "at_rest": rests,
        "samples": tally.samples,
    }


def main() -> int:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--think", type=float, default=1.5, help="a client's mean rest in seconds")
    parser.add_argument("--pyz", type=Path, default=PYZ)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder, FakeHub() as hub:
        for repo, golden in REPOS.values():
            files = {path.name: path.read_bytes() for path in (GOLDEN / golden).iterdir()}
            hub.add(repo, {k: v for k, v in files.items() if k.endswith((".json", ".safetensors"))})
        daemon = Daemon(args.pyz, Path(folder), HF_ENDPOINT=hub.url)
        try:
            daemon.run("pull", "mock")
            rests = [asyncio.run(warm(daemon))]
            for _ in range(PARTS):
                asyncio.run(soak(daemon, hub, tally, args))
                rests.append(asyncio.run(settle(daemon, rests[0])))
        finally:
            code = daemon.stop()
        log = daemon.log.read_text(errors="replace").splitlines()
    found = report(tally, rests, args)
    failures = leaks(rests)
    if tally.wrong:
        failures.append(f"{len(tally.wrong)} answers were wrong or lost")
    if any("Traceback" in line for line in log):
        failures.append("the daemon's log has a traceback")
    if code != 0:
        failures.append(f"the daemon ended with {code}")
    if args.json:
        args.json.write_text(json.dumps({**found, "failures": failures}, indent=1))
    print(json.dumps({name: v for name, v in found.items() if name != "samples"}, indent=1))
    for text in tally.wrong[:10]:
        print(f"  {text}")
    for line in log[-10:] if failures else []:
        print(f"  log: {line[:300]}")
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
