"""mcp: forecasting as tools of the Model Context Protocol, over standard input and output.

JSON-RPC 2.0, one message a line. Both eras of the protocol: the initialize handshake (2024-11-05 to
2025-11-25) and requests that carry their version themselves (2026-07-28). Calls run side by side;
a cancelled one gets no answer.

Not covered: what the tools do (mcp_tools.py), HTTP transports, resources and prompts.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from tollama.cli.main import add_client
from tollama.core.errors import InvalidRequest, TollamaError, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any, BinaryIO

    from tollama.cli.mcp_tools import Tools

HANDSHAKE = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN = ("2026-07-28",)
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
MAX_LINE = 64 << 20
MAX_CALLS = 8
LIST_TTL_MS = 3_600_000

PARSE_ERROR, INVALID, NO_METHOD, BAD_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
UNSUPPORTED_VERSION = -32022

INSTRUCTIONS = (
    "Forecasting of time series with models that run on this machine. Pass data as `values`, "
    "`series`, `csv` text, or a `file`. Begin with describe_series and the model 'auto'; check "
    "with backtest before trusting a model; quantiles give the uncertainty."
)


def add_mcp(parser: ArgumentParser) -> None:
    """The arguments of `mcp`."""
    parser.add_argument(
        "--dir",
        action="append",
        default=[],
        metavar="DIR",
        help="a directory whose files the tools may read (repeatable; default: none)",
    )
    add_client(parser)


def mcp(args: Namespace) -> int:
    """Serve until standard input ends."""
    from tollama.cli.mcp_tools import Tools

    if sys.stdin is None or sys.stdout is None:
        raise InvalidRequest("mcp: expected a client on standard input and output")
    for folder in args.dir:
        if not os.path.isdir(folder):
            raise InvalidRequest(f"--dir: expected a directory, got {folder!r}")
    out = sys.stdout.buffer
    # Whatever prints must not break a message.
    sys.stdout = sys.stderr
    tools = Tools(args)
    try:
        Session(tools, out).serve(sys.stdin.buffer)
    finally:
        tools.close()
    return 0


class Session:
    """One client: its messages in, ours out."""

    def __init__(self, tools: Tools, out: BinaryIO) -> None:
        self.tools = tools
        self.out = out
        self.lock = threading.Lock()
        self.running: set[Any] = set()
        self.slots = threading.BoundedSemaphore(MAX_CALLS)

    def serve(self, stdin: BinaryIO) -> None:
        """Answer messages until there are no more."""
        while line := stdin.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                self.error(None, INVALID, f"expected messages of at most {MAX_LINE} bytes")
                return
            if line.strip():
                self.take(line)

    def take(self, line: bytes) -> None:
        """One message."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            self.error(None, PARSE_ERROR, f"not valid JSON: {error}")
            return
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            self.error(None, INVALID, "expected a JSON-RPC 2.0 message")
            return
        method = message.get("method")
        if not isinstance(method, str):
            return  # an answer to a request that we never make
        params = message.get("params")
        if params is None:
            params = {}
        if "id" not in message:
            self.notice(method, params)
            return
        number = message["id"]
        if isinstance(number, bool) or not isinstance(number, (str, int)):
            self.error(None, INVALID, "expected an id that is a string or an integer")
        elif not isinstance(params, dict):
            self.error(number, BAD_PARAMS, "expected params to be an object")
        else:
            self.request(number, method, params)

    def notice(self, method: str, params: Any) -> None:
        """A message that wants no answer."""
        if method == "notifications/cancelled" and isinstance(params, dict):
            with self.lock:
                self.running.discard(params.get("requestId"))

    def request(self, number: Any, method: str, params: dict[str, Any]) -> None:
        """A message that wants an answer."""
        meta = params.get("_meta")
        version = meta.get(VERSION_KEY) if isinstance(meta, dict) else None
        if version is not None and version not in MODERN:
            self.error(
                number,
                UNSUPPORTED_VERSION,
                f"protocol version {shown(version)} is not spoken here",
                {"supported": [*MODERN, *HANDSHAKE], "requested": version},
            )
            return
        modern = version is not None
        if method == "initialize":
            self.result(number, initialized(params), modern)
        elif method == "server/discover" and modern:
            self.result(number, discovered(), modern)
        elif method == "ping":
            self.result(number, {}, modern)
        elif method == "tools/list":
            found: dict[str, Any] = {"tools": self.tools.listed()}
            if modern:
                found.update(ttlMs=LIST_TTL_MS, cacheScope="private")
            self.result(number, found, modern)
        elif method == "tools/call":
            self.call(number, params, modern)
        else:
            self.error(number, NO_METHOD, f"no such method: {method[:80]}")

    def call(self, number: Any, params: dict[str, Any], modern: bool) -> None:
        """Run a tool on a thread of its own."""
        name, arguments = params.get("name"), params.get("arguments")
        if name not in self.tools.names():
            names = ", ".join(self.tools.names())
            self.error(number, BAD_PARAMS, f"no such tool: {shown(name)}; there are {names}")
            return
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            self.error(number, BAD_PARAMS, "expected arguments to be an object")
            return
        with self.lock:
            self.running.add(number)
        threading.Thread(
            target=self._run, args=(number, str(name), arguments, modern), daemon=True
        ).start()

    def _run(self, number: Any, name: str, arguments: dict[str, Any], modern: bool) -> None:
        with self.slots:
            if number not in self.running:
                return  # cancelled while it waited
            try:
                value = self.tools.call(name, arguments)
                text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
                found = {
                    "content": [{"type": "text", "text": text}],
                    "structuredContent": value,
                    "isError": False,
                }
            except TollamaError as error:
                found = {"content": [{"type": "text", "text": error.message}], "isError": True}
            except Exception as error:
                import traceback

                traceback.print_exc(file=sys.stderr)
                text = f"internal error: {type(error).__name__}"
                found = {"content": [{"type": "text", "text": text}], "isError": True}
        with self.lock:
            wanted = number in self.running
            self.running.discard(number)
        if wanted:
            self.result(number, found, modern)

    def result(self, number: Any, value: dict[str, Any], modern: bool) -> None:
        """Send an answer."""
        if modern:
            value = {"resultType": "complete", **value}
        self.send({"jsonrpc": "2.0", "id": number, "result": value})

    def error(self, number: Any, code: int, text: str, data: Any = None) -> None:
        """Send a failure of the protocol."""
        found: dict[str, Any] = {"code": code, "message": text}
        if data is not None:
            found["data"] = data
        self.send({"jsonrpc": "2.0", "id": number, "error": found})

    def send(self, message: dict[str, Any]) -> None:
        """Write a message; one at a time."""
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "replace"
        )
        with self.lock:
            try:
                self.out.write(line + b"\n")
                self.out.flush()
            except (OSError, ValueError):
                pass  # the client has gone; the end of its input follows


def identity() -> dict[str, Any]:
    """Who we are."""
    from tollama import __version__

    return {"name": "tollama", "title": "tollama", "version": __version__}


def initialized(params: dict[str, Any]) -> dict[str, Any]:
    """The answer to the handshake: the client's version when it is known, else our newest."""
    asked = params.get("protocolVersion")
    return {
        "protocolVersion": asked if asked in HANDSHAKE else HANDSHAKE[-1],
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": identity(),
        "instructions": INSTRUCTIONS,
    }


def discovered() -> dict[str, Any]:
    """The answer to server/discover."""
    return {
        "supportedVersions": [*MODERN, *HANDSHAKE],
        "capabilities": {"tools": {}},
        "instructions": INSTRUCTIONS,
        "ttlMs": LIST_TTL_MS,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": identity()},
    }
