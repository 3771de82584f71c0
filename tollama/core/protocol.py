"""The frames of the pipe between the daemon and a runner: one JSON object a line, UTF-8.

    daemon -> runner   {"id","method","params"}            hello, load, unload, forecast, batch
                       {"method":"cancel","params":{"id"}}   no answer
    runner -> daemon   {"id","result"}  {"id","error":{"code","message","data"}}  {"id","event"}

A request's JSON is spliced into `params` as the client wrote it, and the bytes after `"result":`
are passed on unparsed; that is why a result line has exactly the form that `result_line` writes.

Not covered: reading with deadlines (daemon/runner_process.py) and the loop of a runner
(runner_sdk.py).
"""

from __future__ import annotations

import json

from tollama.core import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROTOCOL = 1
_OF_RUNNERS = (
    errors.InvalidRequest,
    errors.NotFound,
    errors.RuntimeMissing,
    errors.RunnerError,
    errors.DeadlineExceeded,
    errors.DiskFull,
)
MAX_LINE = 1 << 30


# A quicker pair of loads and dumps, once a heavy runner gave one to `use_codec`.
_codec: Any = None


def use_codec(loads: Any, dumps: Any) -> None:
    """Read and write frames with a quicker pair, such as orjson's, from now on.

    What it refuses (TypeError, ValueError) falls to json. It may write a NaN as null, which the
    daemon's check refuses too.
    """
    global _codec
    _codec = loads, dumps


def dumps(value: object) -> bytes:
    """Compact JSON in UTF-8; a NaN or an infinity raises ValueError."""
    if _codec is not None:
        try:
            raw: bytes = _codec[1](value)
            return raw
        except (TypeError, ValueError):
            pass
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:  # a lone surrogate: escapes can carry what UTF-8 cannot
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


# Made once: json.dumps makes an encoder at every call that asks for anything.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def encode(frame: dict[str, Any]) -> bytes:
    """A frame as one line."""
    return dumps(frame) + b"\n"


def decode(line: bytes) -> dict[str, Any] | None:
    """A line as a frame, or None when it is not one (a library's stray print)."""
    if not line.startswith(b"{"):
        return None
    try:
        frame = _loads(line)
    except (ValueError, RecursionError):
        return None
    return frame if isinstance(frame, dict) else None


def _loads(line: bytes) -> Any:
    if _codec is not None:
        try:
            return _codec[0](line)
        except ValueError:
            pass  # NaN and its like, which the readers of fields refuse with their path
    return json.loads(line.decode())


def result_line(frame_id: str, raw: bytes) -> bytes:
    """The answer to a call; `raw` is the result's JSON."""
    return b'{"id":' + dumps(frame_id) + b',"result":' + raw + b"}\n"


def cut_result(line: bytes, frame_id: str) -> bytes | None:
    """The raw result in a line that `result_line` wrote for this id, or None for any other line."""
    head = b'{"id":' + dumps(frame_id) + b',"result":'
    if line.startswith(head) and line.endswith(b"}\n"):
        return line[len(head) : -2]
    return None


def error_to_frame(error: errors.TollamaError) -> dict[str, Any]:
    """An error as the pipe carries it."""
    return {"code": error.code, "message": error.message, "data": error.detail}


def error_of_runner(value: object) -> errors.TollamaError:
    """`error_from_frame`, where what a runner cannot speak for (keys, queues) is a RunnerError."""
    error = error_from_frame(value)
    if not isinstance(error, _OF_RUNNERS):
        return errors.RunnerError(error.message, detail=error.detail)
    return error


def error_from_frame(value: object) -> errors.TollamaError:
    """The exception in an error frame; an unknown code is a RunnerError."""
    if not isinstance(value, dict):
        return errors.ProtocolError("the runner sent an error without a message")
    code, message, data = value.get("code"), value.get("message"), value.get("data")
    cls = errors.BY_CODE.get(code) if isinstance(code, str) else None
    text = message if isinstance(message, str) else f"the runner failed with code {code!r}"
    error = (cls or errors.RunnerError).__new__(cls or errors.RunnerError)
    errors.TollamaError.__init__(error, text, detail=data)
    return error
