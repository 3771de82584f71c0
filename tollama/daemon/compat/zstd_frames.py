"""A decoder of Zstandard frames (RFC 8878) in Python, for where no compiled one is at hand.

About 2 MB a second: slow beside the compiled ones, but nothing has to be installed for a client
that compresses its large bodies.

Not covered: dictionaries, and the check of content checksums (TCP has its own).
"""

from __future__ import annotations

from tollama.daemon.compat.zstd_entropy import (
    Huffman,
    Table,
    make_table,
    read_huffman,
    read_odds,
    read_symbols,
)

MAGIC = b"\x28\xb5\x2f\xfd"
MAX_WINDOW_LOG = 31
MAX_BLOCK = 128 * 1024

# Code -> (baseline, extra bits), section 3.1.1.3.2.1.
LENGTHS = [(code, 0) for code in range(16)] + [
    (16, 1), (18, 1), (20, 1), (22, 1), (24, 2), (28, 2), (32, 3), (40, 3), (48, 4), (64, 6),
    (128, 7), (256, 8), (512, 9), (1024, 10), (2048, 11), (4096, 12), (8192, 13), (16384, 14),
    (32768, 15), (65536, 16),
]  # fmt: skip
MATCHES = [(code + 3, 0) for code in range(32)] + [
    (35, 1), (37, 1), (39, 1), (41, 1), (43, 2), (47, 2), (51, 3), (59, 3), (67, 4), (83, 4),
    (99, 5), (131, 7), (259, 8), (515, 9), (1027, 10), (2051, 11), (4099, 12), (8195, 13),
    (16387, 14), (32771, 15), (65539, 16),
]  # fmt: skip
OFFSETS = [(1 << code, code) for code in range(32)]

# The distributions of section 3.1.1.3.2.2: (accuracy, probabilities).
DEFAULT_LENGTHS = (
    6, [4, 3] + [2] * 11 + [1] * 3 + [2] * 9 + [3, 2] + [1] * 5 + [-1] * 4,
)  # fmt: skip
DEFAULT_MATCHES = (6, [1, 4, 3] + [2] * 6 + [1] * 37 + [-1] * 7)
DEFAULT_OFFSETS = (5, [1] * 6 + [2] * 3 + [1] * 15 + [-1] * 5)


def decompress(data: bytes, most: int) -> bytes:
    """All frames of `data`, or a little more than `most` bytes of them; ValueError when broken."""
    out = bytearray()
    at = 0
    try:
        while at < len(data) and len(out) <= most:
            at = _frame(data, at, out, most)
    except IndexError:
        raise ValueError("it ends too early") from None
    return bytes(out)


def _frame(data: bytes, at: int, out: bytearray, most: int) -> int:
    magic = data[at : at + 4]
    if len(magic) == 4 and magic[1:] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5:  # skippable
        return at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    if magic != MAGIC:
        raise ValueError("not a frame of zstd")
    at += 4
    flags = data[at]
    at += 1
    single = flags >> 5 & 1
    if not single:
        if 10 + (data[at] >> 3) > MAX_WINDOW_LOG:
            raise ValueError("its window is too large")
        at += 1
    named = (0, 1, 2, 4)[flags & 3]
    if int.from_bytes(data[at : at + named], "little"):
        raise ValueError("it needs a dictionary")
    at += named + ((1 if single else 0), 2, 4, 8)[flags >> 6]
    decoder = _Decoder(out)
    while True:
        header = int.from_bytes(data[at : at + 3], "little")
        at += 3
        kind, size = header >> 1 & 3, header >> 3
        if size > MAX_BLOCK or kind == 3:
            raise ValueError("a block is broken")
        if at + (1 if kind == 1 else size) > len(data):
            raise ValueError("it ends too early")
        if kind == 0:
            out += data[at : at + size]
        elif kind == 1:
            out += data[at : at + 1] * size
        else:
            decoder.block(data[at : at + size])
        at += 1 if kind == 1 else size
        if header & 1:
            return at + (4 if flags >> 2 & 1 else 0)
        if len(out) > most:
            return at


class _Decoder:
    """What a frame's blocks hand on: the tables, and the last three offsets."""

    def __init__(self, out: bytearray) -> None:
        self.out = out
        self.start = len(out)
        self.huffman: Huffman | None = None
        self.tables: list[Table | None] = [None, None, None]
        self.recent = [1, 4, 8]

    def block(self, data: bytes) -> None:
        literals, at = self._literals(data)
        count, at = _count(data, at)
        if not count:
            self.out += literals
            return
        modes = data[at]
        at += 1
        kinds = (
            (modes >> 6, DEFAULT_LENGTHS, LENGTHS),
            (modes >> 4 & 3, DEFAULT_OFFSETS, OFFSETS),
            (modes >> 2 & 3, DEFAULT_MATCHES, MATCHES),
        )
        for which, (mode, default, codes) in enumerate(kinds):
            if mode == 0:
                self.tables[which] = make_table(*default)
            elif mode == 1:
                self.tables[which] = Table(0, [(data[at], 0, 0)])
                at += 1
            elif mode == 2:
                accuracy, odds, at = read_odds(data, at)
                self.tables[which] = make_table(accuracy, odds)
            table = self.tables[which]
            if table is None or max(state[0] for state in table.states) >= len(codes):
                raise ValueError("a block is broken")
        self._sequences(data[at:], count, literals)

    def _literals(self, data: bytes) -> tuple[bytes, int]:
        kind, form = data[0] & 3, data[0] >> 2 & 3
        if kind < 2:
            width = (1, 2, 1, 3)[form]
            size = int.from_bytes(data[:width], "little") >> (3 if width == 1 else 4)
            if size > MAX_BLOCK:
                raise ValueError("a block is broken")
            if kind == 1:
                return data[width : width + 1] * size, width + 1
            return data[width : width + size], width + size
        width, bits = ((3, 10), (3, 10), (4, 14), (5, 18))[form]
        header = int.from_bytes(data[:width], "little") >> 4
        size, packed = header & (1 << bits) - 1, header >> bits
        if size > MAX_BLOCK:
            raise ValueError("a block is broken")
        end = width + packed
        at = width
        if kind == 2:
            self.huffman, at = read_huffman(data, at)
        if self.huffman is None:
            raise ValueError("a block is broken")
        if form == 0:
            return read_symbols(data[at:end], size, self.huffman), end
        sizes = [int.from_bytes(data[at + k : at + k + 2], "little") for k in (0, 2, 4)]
        at += 6
        quarter = (size + 3) // 4
        parts = []
        for number in range(4):
            stop = at + sizes[number] if number < 3 else end
            wanted = quarter if number < 3 else size - 3 * quarter
            parts.append(read_symbols(data[at:stop], wanted, self.huffman))
            at = stop
        return b"".join(parts), end

    def _sequences(self, data: bytes, count: int, literals: bytes) -> None:
        out, start, recent = self.out, self.start, self.recent
        lengths, offsets, matches = (table for table in self.tables if table is not None)
        length_states, offset_states, match_states = lengths.states, offsets.states, matches.states
        value = int.from_bytes(data, "little")
        left = value.bit_length() - 1  # the highest bit marks the end
        if left < 0:
            raise ValueError("a block is broken")
        # A window of the stream's bits; the whole as one integer would be copied at every shift.
        low = left
        window = 0

        def bits(wanted: int) -> int:
            nonlocal left, low, window
            left -= wanted
            if left < low:
                if left < 0:
                    raise ValueError("a block ends too early")
                low = max(0, left - 512) & ~7
                window = int.from_bytes(data[low >> 3 : (left + wanted + 7) >> 3], "little")
            return window >> (left - low) & (1 << wanted) - 1

        length_state = bits(lengths.accuracy)
        offset_state = bits(offsets.accuracy)
        match_state = bits(matches.accuracy)
        at, begin = 0, len(out)
        for number in range(count):
            length_code, length_bits, length_base = length_states[length_state]
            offset_code, offset_bits, offset_base = offset_states[offset_state]
            match_code, match_bits, match_base = match_states[match_state]
            distance = (1 << offset_code) + (bits(offset_code) if offset_code else 0)
            match, extra = MATCHES[match_code]
            if extra:
                match += bits(extra)
            length, extra = LENGTHS[length_code]
            if extra:
                length += bits(extra)
            if number < count - 1:
                length_state = length_base + (bits(length_bits) if length_bits else 0)
                match_state = match_base + (bits(match_bits) if match_bits else 0)
                offset_state = offset_base + (bits(offset_bits) if offset_bits else 0)
            if distance > 3:
                distance -= 3
                recent[:] = distance, recent[0], recent[1]
            else:
                distance = _repeated(recent, distance - 1 + (length == 0))
            if length:
                out += literals[at : at + length]
                at += length
            here = len(out)
            # The last bound also keeps a small body from becoming a huge one.
            if distance > here - start or at > len(literals) or here + match - begin > MAX_BLOCK:
                raise ValueError("a block is broken")
            if distance >= match:
                out += out[here - distance : here - distance + match]
            else:
                pattern = out[here - distance :]
                out += (pattern * (match // distance + 1))[:match]
        out += literals[at:]


def _repeated(recent: list[int], which: int) -> int:
    """One of the last three offsets, moved to the front."""
    if which == 0:
        return recent[0]
    if which == 3:
        distance = recent[0] - 1
        if distance < 1:
            raise ValueError("a block is broken")
        recent[:] = distance, recent[0], recent[1]
        return distance
    distance = recent.pop(which)
    recent.insert(0, distance)
    return distance


def _count(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if first < 128:
        return first, at + 1
    if first < 255:
        return (first - 128 << 8) + data[at + 1], at + 2
    return data[at + 1] + (data[at + 2] << 8) + 0x7F00, at + 3
