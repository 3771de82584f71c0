"""Bodies that a client has compressed with Zstandard (nixtla's does, from 1 MiB on).

Decoded by Python 3.14's own module or by the package `zstandard` when either is there.

Not covered: compressing answers.
"""

from __future__ import annotations

from typing import Any

from tollama.core.errors import BadHttp, TooLarge
from tollama.daemon.http_message import Request

ENCODINGS = ("zstd",)


def body_of(request: Request, limit: int) -> bytes:
    """The body, decompressed if it is compressed; raises TooLarge, or BadHttp with 415 or 400."""
    coding = (request.headers.get("content-encoding") or "identity").lower()
    if coding != "zstd":
        return request.body
    try:
        data = _decoded(request.body, limit + 1)
    except BadHttp:
        raise
    except Exception as error:  # each decoder has exceptions of its own
        raise BadHttp(f"body: not valid zstd: {str(error)[:80]}") from None
    if len(data) > limit:
        raise TooLarge(
            f"body: expected at most {limit} bytes after decompression (TOLLAMA_MAX_BODY)"
        )
    return data


def _decoded(data: bytes, most: int) -> bytes:
    decoder: Any
    try:
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14
    except ImportError:
        pass
    else:
        decoder = zstd.ZstdDecompressor()
        return bytes(decoder.decompress(data, max_length=most))
    try:
        import zstandard  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise BadHttp(
            "header content-encoding: zstd needs Python 3.14 or the package zstandard where the "
            "daemon runs (pip install zstandard); nixtla compresses bodies over 1 MiB, "
            "num_partitions makes them smaller",
            status=415,
        ) from None
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
        return bytes(reader.read(most))
