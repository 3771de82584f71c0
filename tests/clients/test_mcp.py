"""The official client of the Model Context Protocol, over standard input and output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AIR = ROOT / "examples" / "air_passengers.csv"


def command(*flags):
    return [sys.executable, "-m", "tollama", "mcp", *flags]


def environment(home, **more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TOLLAMA_", "HF_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "TOLLAMA_HOME": str(home), **more}


def session(work, *flags, home, mode="auto", **environ):
    """Run `await work(client)` with the official client connected to `tollama mcp`."""
    pytest.importorskip("mcp")
    anyio = pytest.importorskip("anyio")
    from mcp import StdioServerParameters
    from mcp.client.stdio import stdio_client

    executable, *arguments = command(*flags)
    server = StdioServerParameters(
        command=executable, args=arguments, env=environment(home, **environ)
    )

    async def main():
        try:
            from mcp.client import Client
        except ImportError:  # the first generation of the client
            from mcp import ClientSession

            async with stdio_client(server) as streams, ClientSession(*streams) as client:
                await client.initialize()
                return await work(client)
        async with Client(stdio_client(server), mode=mode) as client:
            return await work(client)

    return anyio.run(main)


def value(result):
    assert not getattr(result, "is_error", getattr(result, "isError", False)), result.content
    found = getattr(result, "structured_content", None) or getattr(
        result, "structuredContent", None
    )
    assert json.loads(result.content[0].text) == found
    return found


def failure(result):
    assert getattr(result, "is_error", getattr(result, "isError", False))
    return result.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_tools_are_listed_in_both_eras(daemon, tmp_path, mode):
    async def work(client):
        return (await client.list_tools()).tools

    tools = session(work, home=tmp_path, mode=mode, TOLLAMA_HOST=daemon.url)
    assert [tool.name for tool in tools] == [
        "forecast", "backtest", "anomalies", "list_models", "describe_series",
    ]  # fmt: skip
    assert all(tool.description for tool in tools)


def test_a_forecast_of_inline_values_equals_the_native_one(daemon, tmp_path, passengers):
    async def work(client):
        arguments = {"values": passengers[1], "freq": "MS", "start": "1949-01-01", "horizon": 12}
        return await client.call_tool("forecast", arguments)

    [found] = value(session(work, home=tmp_path, TOLLAMA_HOST=daemon.url))["forecasts"]
    native = daemon.forecast(passengers[1], 12, quantiles=[0.1, 0.5, 0.9])
    assert found["mean"] == native["mean"] and found["quantiles"] == native["quantiles"]
    assert found["timestamps"][0].startswith("1961-01-01") and len(found["timestamps"]) == 12


def test_files_of_an_allowed_directory(daemon, tmp_path, passengers):
    inside = tmp_path / "data"
    inside.mkdir()
    (inside / "air.csv").write_text(AIR.read_text())
    (tmp_path / "secret.csv").write_text(AIR.read_text())
    (inside / "link.csv").symlink_to(tmp_path / "secret.csv")

    async def work(client):
        good = await client.call_tool(
            "forecast", {"file": "air.csv", "model": "seasonal-naive", "horizon": 12}
        )
        full = await client.call_tool("describe_series", {"file": str(inside / "air.csv")})
        bad = [
            await client.call_tool("describe_series", {"file": path})
            for path in ("../secret.csv", "link.csv", str(tmp_path / "secret.csv"), "/etc/passwd")
        ]
        return good, full, bad

    good, full, bad = session(
        work, "--dir", str(inside), home=tmp_path / "home", TOLLAMA_HOST=daemon.url
    )
    assert value(good)["forecasts"][0]["mean"] == passengers[1][-12:]
    [facts] = value(full)["series"]
    assert facts["length"] == 144 and facts["freq"] == "MS" and facts["season_length"] == 12
    assert facts["missing_steps"] == 0 and facts["max"] == 622
    assert all("not a file in" in failure(one) for one in bad)


def test_files_need_a_directory_to_be_allowed(daemon, tmp_path):
    async def work(client):
        return await client.call_tool("describe_series", {"file": str(AIR)})

    text = failure(session(work, home=tmp_path, TOLLAMA_HOST=daemon.url))
    assert "tollama mcp --dir" in text


def test_backtest_anomalies_and_models(daemon, tmp_path, passengers):
    odd = list(passengers[1])
    odd[120] = 1500
    csv = "ds,y\n" + "\n".join(
        f"{date}-01,{number}" for date, number in zip(passengers[0], odd, strict=True)
    )

    async def work(client):
        return [
            value(await client.call_tool(name, arguments))
            for name, arguments in (
                ("backtest", {"values": passengers[1], "freq": "MS", "horizon": 6, "windows": 2}),
                ("anomalies", {"csv": csv}),
                ("list_models", {}),
            )
        ]

    board, odd_ones, models = session(work, home=tmp_path, TOLLAMA_HOST=daemon.url)
    assert {row["model"] for row in board["leaderboard"]} == {"auto", "theta", "seasonal-naive"}
    assert any(point["index"] == 120 for point in odd_ones["series"][0]["points"])
    assert odd_ones["series"][0]["checked"] > 100
    assert {"auto", "theta"} <= {model["name"] for model in models["models"]}


def test_mistakes_are_said_to_the_assistant(daemon, tmp_path):
    async def work(client):
        return [
            failure(await client.call_tool(name, arguments))
            for name, arguments in (
                ("forecast", {"values": [1, 2, 3]}),
                ("forecast", {"horizon": 2}),
                ("forecast", {"values": [1], "csv": "a", "horizon": 2}),
                ("forecast", {"values": [1, 2, "x"], "horizon": 2}),
                ("forecast", {"values": [1, 2], "horizon": 2, "model": "nowhere"}),
                ("forecast", {"values": [1, 2], "horizon": 2, "quantile": [0.5]}),
            )
        ]

    texts = session(work, home=tmp_path, TOLLAMA_HOST=daemon.url)
    for text, wanted in zip(
        texts,
        ("horizon", "exactly one of", "exactly one of", "values[2]", "nowhere", "did you mean"),
        strict=True,
    ):
        assert wanted in text


def test_without_a_daemon_it_forecasts_in_its_own_process(tmp_path):
    async def work(client):
        return await client.call_tool(
            "forecast", {"values": [1, 2, 3], "horizon": 2, "model": "naive"}
        )

    # The default address, where this daemon does not listen; no address was given.
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.json").write_text(json.dumps({"version": 1, "daemon": {"host": "127.0.0.1:9"}}))
    assert value(session(work, home=home))["forecasts"][0]["mean"] == [3, 3]


def exchange(home, *messages):
    """Raw messages in, all answers out."""
    lines = "".join(
        (message if isinstance(message, str) else json.dumps(message)) + "\n"
        for message in messages
    )
    done = subprocess.run(
        command(), input=lines, env=environment(home), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask(number, method, **params):
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("1999-01-01", "2025-11-25")],
)
def test_the_handshake_agrees_on_a_version(tmp_path, asked, answered):
    [found] = exchange(
        tmp_path, ask(1, "initialize", protocolVersion=asked, capabilities={}, clientInfo={})
    )
    assert found["result"]["protocolVersion"] == answered
    assert found["result"]["serverInfo"]["name"] == "tollama"


def test_broken_messages_do_not_end_the_session(tmp_path):
    found = exchange(
        tmp_path,
        "{",
        "[]",
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        ask(None, "ping"),
        ask("a", "nowhere"),
        ask(2, "tools/call", name="nowhere"),
        ask(3, "tools/call", name="forecast", arguments=[]),
        ask(4, "tools/list", _meta={"io.modelcontextprotocol/protocolVersion": "2031-01-01"}),
        ask(5, "ping"),
    )
    codes = [one.get("error", {}).get("code") for one in found]
    assert codes == [-32700, -32600, -32600, -32601, -32602, -32602, -32022, None]
    assert found[-2]["error"]["data"]["supported"]
    assert found[-1] == {"jsonrpc": "2.0", "id": 5, "result": {}}
