"""Bodies that a client has compressed with Zstandard (nixtla's does, from 1 MiB on).

Decoded by Python 3.14's own module or the package `zstandard` where either is there, else by
zstd_frames.py.

Not covered: compressing answers.
"""

from __future__ import annotations

from typing import Any

from tollama.core.errors import BadHttp, TooLarge
from tollama.daemon.compat import zstd_frames
from tollama.daemon.http_message import Request

ENCODINGS = ("zstd",)


def body_of(request: Request, limit: int) -> bytes:
    """The body, decompressed if it is compressed; raises TooLarge or BadHttp."""
    coding = (request.headers.get("content-encoding") or "identity").lower()
    if coding != "zstd":
        return request.body
    try:
        data = _decoded(request.body, limit + 1)
    except Exception as error:  # each decoder has exceptions of its own
        raise BadHttp(f"body: not valid zstd: {str(error)[:80]}") from None
    if len(data) > limit:
        raise TooLarge(
            f"body: expected at most {limit} bytes after decompression (TOLLAMA_MAX_BODY); "
            "nixtla's num_partitions makes several smaller ones"
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
        return zstd_frames.decompress(data, most)
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
        return bytes(reader.read(most))
