"""Bytes as lines and rows of cells: paths, standard input, compression, encodings, delimiters.

Text is UTF-8 (with or without a mark), UTF-16 with a mark, or else Windows-1252 / Latin-1, which is
noted. Not covered: what the cells mean (`tables`) and JSON values (`data`).
"""

from __future__ import annotations

import io
import os
import sys
from itertools import chain

from tollama.core import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

WHOLE = 8 << 20
"""Streams of up to this many bytes are held whole, so that their rows may be in any order."""

_SNIFFED = 64 << 10
_NO_DELIMITER = "\x1f"
_MAGIC = (
    (b"PK\x03\x04", "an Excel workbook or a zip archive; save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save the sheet as CSV"),
    (b"\x28\xb5\x2f\xfd", "zstd; decompress it first"),
    (b"%PDF", "a PDF; export the table as CSV"),
    (b"\x89PNG", "a picture"),
    (b"SQLite format 3", "an SQLite database; export the table as CSV"),
    (b"\x89HDF", "HDF5; write it as CSV or Parquet"),
)


class Text:
    """An opened source: `lines` of text, what their beginning shows, and where they are from.

    `complete` says that all of it is in memory; `parquet` holds the binary file where it is one.
    """

    def __init__(self, where: str, name: str | None) -> None:
        self.where = where
        self.name = name
        self.lines: Iterator[str] = iter(())
        self.head: list[str] = []
        self.complete = True
        self.parquet: BinaryIO | None = None

    def kind(self) -> str:
        """ "empty", "json", "jsonl" or "csv", by the first lines."""
        filled = [line.strip() for line in self.head if line.strip()]
        if not filled:
            return "empty"
        if filled[0][0] not in "{[" or (filled[0][0] == "[" and not _json_list(filled[0])):
            return "csv"
        if len(filled) == 1:
            return "json"
        return (
            "jsonl"
            if filled[0][-1] in "}]" and filled[1][0] in "{[" and _whole(filled[0])
            else "json"
        )


def _json_list(line: str) -> bool:
    return line[1:2].strip() in ("", "{", "[", "-", '"', "n", "N", "]") or line[1:2].isdigit()


def _whole(line: str) -> bool:
    import json

    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def open_text(source: str | BinaryIO, notes: list[str], *, whole: bool = True) -> Text:
    """A path, "-" or a binary stream as lines of text; `whole` reads all of it at once.

    A file is closed when it has been read, or with the lines of a stream. Raises NotFound for a
    missing file and InvalidRequest for what is no text.
    """
    if not isinstance(source, str):
        return _text(source, "the stream", None, notes, whole)
    if source == "-":
        return _text(sys.stdin.buffer, "standard input", None, notes, whole)
    file = _open(source)
    stem = os.path.basename(source).split(".")[0]
    try:
        text = _text(file, source, stem, notes, whole)
    except BaseException:
        file.close()
        raise
    if text.complete:
        file.close()
    else:
        text.lines = _closing(text.lines, file)
    return text


def _closing(lines: Iterator[str], file: BinaryIO) -> Iterator[str]:
    with file:
        yield from lines


def _text(stream: BinaryIO, where: str, stem: str | None, notes: list[str], whole: bool) -> Text:
    text = Text(where, stem)
    head = _head(stream, where)
    for magic, module in ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ", "lzma")):
        if head.startswith(magic):
            opened = _decompress(module, _Joined(head, stream))
            stream, head = opened, _head(opened, where)
            break
    if head.startswith(b"PAR1"):
        text.parquet = io.BytesIO(head + _rest(stream, where))
        return text
    _refuse_binary(head, where)
    if whole or len(head) < _SNIFFED:
        head += _rest(stream, where)
    else:
        head += _rest(stream, where, WHOLE)
        text.complete = len(head) < WHOLE
    body: BinaryIO = (
        io.BytesIO(head)
        if text.complete or whole
        else io.BufferedReader(_Joined(head, stream), 1 << 18)
    )
    lines = _decoded(body, head, notes, where)
    size = filled = 0
    for line in lines:
        text.head.append(line)
        size += len(line)
        filled += not line.isspace()
        if (size > _SNIFFED and filled > 1) or len(text.head) >= 200:
            break
    text.lines = chain(text.head, lines)
    return text


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise errors.NotFound(f"no file {path!r} in {os.getcwd()}") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise errors.InvalidRequest(f"{path}: expected a readable file, got: {reason}") from None


def _decompress(module: str, raw: io.RawIOBase) -> BinaryIO:
    from importlib import import_module

    try:
        return import_module(module).open(io.BufferedReader(raw), "rb")  # type: ignore[no-any-return]
    except ImportError:
        raise errors.InvalidRequest(
            f"this Python was built without {module}; decompress the file first"
        ) from None


def _head(stream: BinaryIO, where: str) -> bytes:
    return _rest(stream, where, _SNIFFED)


def _rest(stream: BinaryIO, where: str, size: int = -1) -> bytes:
    """Up to `size` bytes, read until there are so many or no more."""
    if size < 0:
        with _reading(where):
            return stream.read()
    parts, got = [], 0
    while got < size:
        with _reading(where):
            part = stream.read(size - got)
        if not part:
            break
        parts.append(part)
        got += len(part)
    return b"".join(parts)


class _reading:
    """Turns a failing read or a damaged archive into an InvalidRequest with the file's name."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        broken = type(error).__name__ in ("error", "LZMAError")  # zlib.error, lzma.LZMAError
        if isinstance(error, (OSError, EOFError)) or broken:
            reason = getattr(error, "strerror", None) or str(error)
            raise errors.InvalidRequest(
                f"{self.where}: expected a readable file, got: {reason.lower()}"
            ) from None


class _Joined(io.RawIOBase):
    """Bytes already read, then the rest of their stream."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self.head = head
        self.rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self.head[: len(buffer)] or self.rest.read(len(buffer))
        self.head = self.head[len(part) :] if self.head else b""
        buffer[: len(part)] = part
        return len(part)


def _refuse_binary(head: bytes, where: str) -> None:
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise errors.InvalidRequest(f"{where}: expected CSV, JSON or Parquet, found {what}")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    if any(b < 9 or 13 < b < 32 for b in set(head[:4096])):
        raise errors.InvalidRequest(f"{where}: expected text (CSV, JSON), found binary data")


def _decoded(body: BinaryIO, head: bytes, notes: list[str], where: str) -> Iterator[str]:
    """Lines as text with their ends; bytes that are not UTF-8 are read as Windows-1252."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            yield from io.TextIOWrapper(body, "utf-16", newline="")
        except UnicodeError:
            raise errors.InvalidRequest(
                f"{where}: expected UTF-16 text, found binary data"
            ) from None
        return
    if b"\r" in head and b"\n" not in head:
        body = io.BytesIO(body.read().replace(b"\r", b"\n"))
    other = False
    with _reading(where):
        for number, raw in enumerate(body, 1):
            if number == 1 and raw.startswith(b"\xef\xbb\xbf"):
                raw = raw[3:]
            if b"\0" in raw:
                raise errors.InvalidRequest(
                    f"{where}, line {number}: expected text, found binary data"
                )
            try:
                yield raw.decode()
            except UnicodeDecodeError:
                if not other:
                    other = True
                    notes.append(f"{where}: not UTF-8 (line {number}), read as Latin-1")
                try:
                    yield raw.decode("cp1252")
                except UnicodeDecodeError:
                    yield raw.decode("latin-1")


# -- rows -----------------------------------------------------------------------------------------


def csv_rows(text: Text, decimal: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of delimited text; the delimiter is found from the first lines."""
    import csv

    lines, skipped = text.lines, 0
    head = text.head
    if head and head[0].strip().lower().startswith("sep=") and len(head[0].strip()) == 5:
        delimiter = head[0].strip()[4]
        next(lines)
        skipped = 1
    else:
        delimiter = find_delimiter(head, decimal)
    csv.field_size_limit(1 << 30)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1 + skipped
        try:
            row = next(reader, None)
        except csv.Error as error:
            problem = str(error)
            if "end of data" in problem:
                problem = "a quote that is never closed"
            raise errors.InvalidRequest(
                f"{text.where}, line {line}: expected delimited text, found {problem}"
            ) from None
        if row is None:
            return
        yield line, row


def find_delimiter(lines: list[str], decimal: str | None = None) -> str:
    """Tab, semicolon, bar or comma: the first that parts the lines into equally many cells.

    The comma comes last, and not at all when it is known to be the decimal sign, or when the lines
    it parts unequally are single numbers. A separator that no text holds means one column.
    """
    import csv

    from tollama.cli.cells import looks_numeric

    csv.field_size_limit(1 << 30)
    sample = [line for line in (lines[:-1] or lines) if line.strip()]
    delimiters = "\t;|" if decimal == "," else "\t;|,"
    for delimiter in delimiters:
        try:
            counts = [len(row) for row in csv.reader(sample, delimiter=delimiter) if row]
        except csv.Error:
            continue
        if counts and counts[0] > 1 and counts.count(counts[0]) >= 0.8 * len(counts):
            return delimiter
    if not all(looks_numeric(line.strip()) for line in sample[1:]) or len(sample) < 2:
        for delimiter in delimiters:
            if sample and delimiter in sample[0]:
                return delimiter
    return _NO_DELIMITER


def parquet_rows(stream: BinaryIO, where: str) -> Iterator[tuple[int, list[str]]]:
    """(row number, cells as text) of a Parquet file, a batch at a time; needs pyarrow."""
    from importlib import import_module

    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise errors.InvalidRequest(
            f"{where}: Parquet needs pyarrow, which this Python does not have; "
            "install it (pip install pyarrow) or write the table as CSV"
        ) from None
    try:
        file = parquet.ParquetFile(stream)
        yield 0, list(file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches():
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                yield number, [_cell(value) for value in values]
    except (OSError, ValueError) as error:
        raise errors.InvalidRequest(f"{where}: expected a Parquet file: {error}") from None


def _cell(value: object) -> str:
    if value is None:
        return ""
    if hasattr(value, "isoformat"):
        text: str = value.isoformat()
        return text.removesuffix("T00:00:00")
    return str(value)
