"""The page, served from memory: read once at import, so that replacing the file that the daemon
was started from changes nothing under it. Nothing is fetched from anywhere else.

The chart library is put under tollama/_vendor/web by build_zipapp.py; without it the page still
works and says what is missing. Not covered: what the page asks of the API (routes.py).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from tollama.core.errors import NotFound
from tollama.daemon.http_message import Reply

if TYPE_CHECKING:
    from tollama.daemon.http_message import Request

TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "csv": "text/csv; charset=utf-8",
}
NAMES = (
    *("index.html", "style.css", "icon.svg", "air_passengers.csv"),
    *("app.js", "api.js", "dom.js", "dialogs.js", "theme.js"),
    *("csv.js", "cells.js", "columns.js", "frequency.js", "series.js", "datapanel.js"),
    *("catalogue.js", "picker.js", "chart.js", "readout.js", "picture.js", "forecast.js"),
    *("results.js", "values.js"),
    *("anomalies.js", "backtest.js", "scores.js", "models.js", "pulls.js"),
    *("downloads.js", "snippets.js", "numbers.js"),
)
VENDORED = ("uPlot.iife.min.js", "uPlot.min.css")
# What index.html says between these marks is only there when the chart library is.
CHART_BEGIN, CHART_END = b"<!-- charts -->", b"<!-- /charts -->"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
HEADERS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # Asked again each time and answered with 304: a new version shows at once.
    ("Cache-Control", "no-cache"),
)


class Asset(NamedTuple):
    """A file of the page, and its ETag."""

    body: bytes
    content_type: str
    etag: str


def page(request: Request) -> Reply | None:
    """The page for a browser that asks for HTML; None for everyone else."""
    if "text/html" not in (request.headers.get("accept") or ""):
        return None
    return _reply(request, FILES["index.html"])


def asset(request: Request) -> Reply:
    """GET /web/{path}: a file that the page needs; raises NotFound."""
    found = FILES.get(request.path.removeprefix("/web/"))
    if found is None:
        raise NotFound(f"{request.path}: the page has no such file")
    return _reply(request, found)


def _reply(request: Request, found: Asset) -> Reply:
    headers = (*HEADERS, ("ETag", found.etag), ("Vary", "Accept"))
    known = (request.headers.get("if-none-match") or "").split(",")
    if found.etag in (tag.strip().removeprefix("W/") for tag in known):
        return Reply(304, headers=headers)
    return Reply(body=found.body, content_type=found.content_type, headers=headers)


def _read() -> dict[str, Asset]:
    loader: Any = __spec__.loader  # of a folder or of the .pyz, both have get_data
    here = __file__.removesuffix("__init__.py").removesuffix("__init__.pyc")
    vendor = here.rpartition("daemon")[0] + "_vendor" + here[-1] + "web" + here[-1]
    bodies = {name: loader.get_data(here + name) for name in NAMES}
    try:
        bodies |= {f"vendor/{name}": loader.get_data(vendor + name) for name in VENDORED}
    except OSError:
        head, _, rest = bodies["index.html"].partition(CHART_BEGIN)
        bodies["index.html"] = head + rest.partition(CHART_END)[2]
    return {name: _asset(name, body) for name, body in bodies.items()}


def _asset(name: str, body: bytes) -> Asset:
    etag = f"{zlib.crc32(body):08x}{len(body):x}"
    return Asset(body, TYPES[name.rpartition(".")[2]], f'"{etag}"')


FILES = _read()
