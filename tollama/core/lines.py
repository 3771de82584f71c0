"""A stream of bytes cut into lines. Every byte is looked at once, however long a line is."""

from __future__ import annotations

from tollama.core.errors import ProtocolError


class Lines:
    """Takes chunks, gives complete lines without their ends, none longer than `longest`."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes; raises ProtocolError when one is too long."""
        end = chunk.rfind(b"\n")
        if end < 0:
            self._parts.append(chunk)
            self._size += len(chunk)
            if self._size > self.longest:
                raise ProtocolError(f"a runner sent a line of over {self.longest} bytes")
            return []
        if self._parts:
            self._parts.append(chunk[:end])
            whole = b"".join(self._parts)
            self._parts.clear()
        else:
            whole = chunk[:end]
        rest = chunk[end + 1 :]
        self._size = len(rest)
        if rest:
            self._parts.append(rest)
        return whole.split(b"\n")
