"""Every error that a caller of tollama can meet, as one tree.

    TollamaError                       internal            500  exit 1
      InvalidRequest                   invalid_request     400  exit 2
        Unsupported                    unsupported         400  exit 2
        TooLarge                       too_large           413  exit 2
      BadHttp                          bad_http            400  exit 2   (411, 414 ... by `status`)
      Unauthorized                     unauthorized        401  exit 2
      Forbidden                        forbidden           403  exit 2
        ReadOnly                       read_only           403  exit 2
      NotFound                         not_found           404  exit 3
        ModelNotFound                  model_not_found     404  exit 3
      MethodNotAllowed                 method_not_allowed  405  exit 2
      LicenseRequired                  license_required    409  exit 2
      NotImplementedYet                not_implemented     501  exit 2
      RuntimeMissing                   runtime_missing     503  exit 3
      Unavailable                      unavailable         503  exit 4
        QueueFull                      queue_full          503  exit 4
        TooManyRequests                rate_limited        429  exit 4
        RunnerCrashed                  runner_crashed      503  exit 4
        DaemonUnreachable              daemon_unreachable  -    exit 4   (client side only)
      HubError                         hub_error           502  exit 4
        HubUnreachable                 hub_unreachable     502  exit 4
        HubForbidden                   hub_forbidden       403  exit 4
        HubNotFound                    hub_not_found       404  exit 3
        OfflineMiss                    offline_miss        404  exit 4
        CorruptDownload                corrupt_download    502  exit 4
      RunnerError                      runner_error        502  exit 5
        OutOfMemory                    out_of_memory       502  exit 5
        ProtocolError                  protocol_error      502  exit 5
        BadForecast                    bad_forecast        502  exit 5
      DeadlineExceeded                 deadline_exceeded   504  exit 5
      DiskFull                         disk_full           507  exit 1
      Cancelled                        cancelled           499  exit 130

Messages are lower case without a full stop: the thing, what was expected, what was found, the
command that fixes it. `to_wire` and `from_wire` turn an error into its JSON form and back, so that
the daemon, the runners, the command line and the Python client all raise and catch the same
classes.

Not covered: where errors are caught. That is runner_sdk.serve, daemon.http and cli.main, nowhere
else.
"""

from __future__ import annotations

Loc = tuple[str | int, ...]


class TollamaError(Exception):
    """A failure with a stable `code`, an HTTP `status` and an `exit_code` of the command line.

    `detail` is anything JSON can carry; `retry_after` is in seconds.
    """

    code = "internal"
    status = 500
    exit_code = 1

    def __init__(
        self, message: str, *, detail: object = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.retry_after = retry_after


class InvalidRequest(TollamaError):
    """A request that cannot be served as it is; `detail` lists every bad field."""

    code = "invalid_request"
    status = 400
    exit_code = 2

    @classmethod
    def of(cls, problems: list[tuple[Loc, str]]) -> InvalidRequest:
        """One error for many fields: `problems` are (path, message) pairs, body-relative."""
        detail = [
            {"loc": ["body", *loc], "msg": message, "type": "value_error"}
            for loc, message in problems
        ]
        shown = [f"{dotted(loc)}: {message}" if loc else message for loc, message in problems[:5]]
        if len(problems) > 5:
            shown.append(f"and {len(problems) - 5} more")
        return cls("; ".join(shown), detail=detail)

    def problems(self) -> list[tuple[Loc, str]]:
        """The (path, message) pairs that `of` was given, for an outer reader to collect."""
        if not isinstance(self.detail, list):
            return [((), self.message)]
        return [(tuple(d["loc"][1:]), d["msg"]) for d in self.detail]


class Unsupported(InvalidRequest):
    """A valid request that this model cannot serve."""

    code = "unsupported"


class TooLarge(InvalidRequest):
    """A body or a batch over a limit; the message names the limit and its setting."""

    code = "too_large"
    status = 413


class BadHttp(TollamaError):
    """Bytes that are not an acceptable HTTP request; `status` is set by the raiser."""

    code = "bad_http"
    status = 400
    exit_code = 2

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Unauthorized(TollamaError):
    """No API key, or one that is not known."""

    code = "unauthorized"
    status = 401
    exit_code = 2


class Forbidden(TollamaError):
    """A caller that may not do this: host, origin, scope or address."""

    code = "forbidden"
    status = 403
    exit_code = 2


class ReadOnly(Forbidden):
    """The daemon serves and changes nothing (TOLLAMA_READ_ONLY)."""

    code = "read_only"


class NotFound(TollamaError):
    """A path, name or revision that does not exist."""

    code = "not_found"
    status = 404
    exit_code = 3


class ModelNotFound(NotFound):
    """A model that is not installed."""

    code = "model_not_found"


class MethodNotAllowed(TollamaError):
    """A known path with another method; `detail` is the value of the Allow header."""

    code = "method_not_allowed"
    status = 405
    exit_code = 2


class LicenseRequired(TollamaError):
    """A model whose licence must be accepted before it is pulled."""

    code = "license_required"
    status = 409
    exit_code = 2


class NotImplementedYet(TollamaError):
    """A route of another dialect that tollama does not serve, said honestly."""

    code = "not_implemented"
    status = 501
    exit_code = 2


class RuntimeMissing(TollamaError):
    """A family whose packages are not installed; the message names the command that does it."""

    code = "runtime_missing"
    status = 503
    exit_code = 3


class Unavailable(TollamaError):
    """Something that may work in a moment."""

    code = "unavailable"
    status = 503
    exit_code = 4


class QueueFull(Unavailable):
    """More work than the queue holds; `retry_after` says when to come back."""

    code = "queue_full"


class TooManyRequests(Unavailable):
    """More than this client may ask for; `retry_after` says when to come back."""

    code = "rate_limited"
    status = 429


class RunnerCrashed(Unavailable):
    """The runner died and could not be brought back for this request."""

    code = "runner_crashed"


class DaemonUnreachable(Unavailable):
    """No daemon answered at the address (raised by clients)."""

    code = "daemon_unreachable"


class HubError(TollamaError):
    """The model hub answered with a failure."""

    code = "hub_error"
    status = 502
    exit_code = 4


class HubUnreachable(HubError):
    """The hub could not be reached: proxy, TLS, DNS, refused, timed out."""

    code = "hub_unreachable"


class HubForbidden(HubError):
    """The hub wants a token, or its licence accepted there."""

    code = "hub_forbidden"
    status = 403


class HubNotFound(HubError):
    """The hub has no such repository or revision, or hides it without a token."""

    code = "hub_not_found"
    status = 404
    exit_code = 3


class OfflineMiss(HubError):
    """Offline, and the files are not on this machine."""

    code = "offline_miss"
    status = 404


class CorruptDownload(HubError):
    """A file whose hash is not the one that the hub promised, after another try."""

    code = "corrupt_download"


class RunnerError(TollamaError):
    """The model's own code failed."""

    code = "runner_error"
    status = 502
    exit_code = 5


class OutOfMemory(RunnerError):
    """The model ran out of memory or of video memory."""

    code = "out_of_memory"


class ProtocolError(RunnerError):
    """A runner that broke the pipe's protocol."""

    code = "protocol_error"


class BadForecast(RunnerError):
    """An answer of a runner that failed the check; the message names runner and field."""

    code = "bad_forecast"


class DeadlineExceeded(TollamaError):
    """The request's deadline passed."""

    code = "deadline_exceeded"
    status = 504
    exit_code = 5


class DiskFull(TollamaError):
    """Not enough space for what was asked."""

    code = "disk_full"
    status = 507
    exit_code = 1


class Cancelled(TollamaError):
    """The caller went away or asked to stop."""

    code = "cancelled"
    status = 499
    exit_code = 130


def _tree(root: type[TollamaError]) -> list[type[TollamaError]]:
    found = [root]
    for child in root.__subclasses__():
        found += _tree(child)
    return found


BY_CODE: dict[str, type[TollamaError]] = {cls.code: cls for cls in _tree(TollamaError)}


# What a status means when the body does not say: the most general class that has it.
_BY_STATUS: dict[int, type[TollamaError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    409: LicenseRequired,
    413: TooLarge,
    429: TooManyRequests,
    502: RunnerError,
    503: Unavailable,
    504: DeadlineExceeded,
    507: DiskFull,
}


def dotted(loc: Loc) -> str:
    """A path as people write it: ("series", 2, "target", 17) -> "series[2].target[17]"."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def shown(value: object) -> str:
    """A found value for a message: its JSON-like form, cut to 40 characters."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if type(value) is int and value.bit_length() > 256:
        return "an integer of over 77 digits"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def to_wire(error: TollamaError) -> dict[str, object]:
    """The JSON form of an error on HTTP: {"error", "code", "detail"}."""
    detail = error.detail if error.detail is not None else error.message
    return {"error": error.message, "code": error.code, "detail": detail}


def from_wire(body: object, status: int = 500) -> TollamaError:
    """The exception that `to_wire` was given; unknown codes become the nearest class by status."""
    if not isinstance(body, dict):
        body = {}
    message = body.get("error")
    text = message if isinstance(message, str) else f"the daemon answered with status {status}"
    code = body.get("code")
    cls = BY_CODE.get(code) if isinstance(code, str) else None
    if cls is None:
        cls = _BY_STATUS.get(status, TollamaError)
    detail = body.get("detail")
    error = cls.__new__(cls)
    TollamaError.__init__(error, text, detail=None if detail == text else detail)
    if cls is BadHttp:
        error.status = status
    return error
