"""The entropy coding of Zstandard (RFC 8878, section 4): tables of finite-state entropy, Huffman
trees, and the streams that they code.

Not covered: frames and blocks (zstd_frames.py).
"""

from __future__ import annotations

from typing import NamedTuple


class Table(NamedTuple):
    """A finite-state entropy table: for each state its symbol, bits to read, and baseline."""

    accuracy: int
    states: list[tuple[int, int, int]]


class Huffman(NamedTuple):
    """A Huffman table: `single` maps the next bits to (symbol, length), `several` to (bytes,
    length) of all symbols that they hold."""

    bits: int
    single: list[tuple[int, int]]
    several: list[tuple[bytes, int]]


def read_odds(data: bytes, at: int, most: int = 9) -> tuple[int, list[int], int]:
    """A table's description (section 4.1.1): accuracy, probabilities, and where it ends."""
    accuracy = (data[at] & 15) + 5
    if accuracy > most:
        raise ValueError("a table is broken")
    stream = int.from_bytes(data[at : at + 64], "little")
    place = 4
    left = (1 << accuracy) + 1
    threshold, width = 1 << accuracy, accuracy + 1
    odds: list[int] = []
    while left > 1:
        below = 2 * threshold - 1 - left
        value = stream >> place & 2 * threshold - 1
        if value & threshold - 1 < below:
            value &= threshold - 1
            place += width - 1
        else:
            if value >= threshold:
                value -= below
            place += width
        value -= 1
        left -= abs(value)
        odds.append(value)
        while left < threshold:
            width -= 1
            threshold >>= 1
        if value == 0:
            more = 3
            while more == 3:
                more = stream >> place & 3
                place += 2
                odds += [0] * more
        if len(odds) > 256 or left < 1:
            raise ValueError("a table is broken")
    return accuracy, odds, at + (place + 7 >> 3)


def make_table(accuracy: int, odds: list[int]) -> Table:
    """The decoding table of a distribution (section 4.1.1)."""
    size = 1 << accuracy
    symbols = [0] * size
    high = size - 1
    following = list(odds)
    for symbol, odd in enumerate(odds):
        if odd == -1:
            symbols[high] = symbol
            high -= 1
            following[symbol] = 1
    step = (size >> 1) + (size >> 3) + 3
    place = 0
    for symbol, odd in enumerate(odds):
        for _ in range(odd if odd > 0 else 0):
            symbols[place] = symbol
            place = place + step & size - 1
            while place > high:
                place = place + step & size - 1
    states = []
    for symbol in symbols:
        number = following[symbol]
        following[symbol] += 1
        bits = accuracy - number.bit_length() + 1
        states.append((symbol, bits, (number << bits) - size))
    return Table(accuracy, states)


def read_huffman(data: bytes, at: int) -> tuple[Huffman, int]:
    """A tree's description (section 4.2.1), and where it ends."""
    header = data[at]
    at += 1
    if header >= 128:
        count = header - 127
        end = at + (count + 1 >> 1)
        packed = data[at:end]
        weights = [packed[k >> 1] >> (0 if k & 1 else 4) & 15 for k in range(count)]
    else:
        end = at + header
        weights = _weights(data[at:end])
    total = sum(1 << weight - 1 for weight in weights if weight)
    bits = total.bit_length()
    rest = (1 << bits) - total
    if not total or bits > 11 or rest & rest - 1:
        raise ValueError("a tree is broken")
    weights.append(rest.bit_length())
    single: list[tuple[int, int]] = []
    for weight in range(1, bits + 1):
        for symbol, own in enumerate(weights):
            if own == weight:
                single += [(symbol, bits + 1 - weight)] * (1 << weight - 1)
    if len(single) != 1 << bits:
        raise ValueError("a tree is broken")
    return Huffman(bits, single, _several(bits, single)), end


def _several(bits: int, single: list[tuple[int, int]]) -> list[tuple[bytes, int]]:
    """For every next `bits` bits, all symbols that lie whole in them."""
    mask = (1 << bits) - 1
    found = []
    for value in range(1 << bits):
        symbols = []
        used = 0
        while True:
            symbol, length = single[value << used & mask]
            if used + length > bits:
                break
            symbols.append(symbol)
            used += length
        found.append((bytes(symbols), used))
    return found


def _weights(data: bytes) -> list[int]:
    """Weights that two interleaved states gave (section 4.2.1.2)."""
    accuracy, odds, at = read_odds(data, 0, 6)
    states = make_table(accuracy, odds).states
    value = int.from_bytes(data[at:], "little")
    left = value.bit_length() - 1
    if left < 0:
        raise ValueError("a tree is broken")

    def bits(wanted: int) -> int:
        nonlocal left
        left -= wanted
        # Beyond the beginning there are zeros.
        shifted = value >> left if left >= 0 else value << -left
        return shifted & (1 << wanted) - 1

    one, other = bits(accuracy), bits(accuracy)
    weights: list[int] = []
    while len(weights) < 256:
        symbol, wanted, base = states[one]
        weights.append(symbol)
        one = base + bits(wanted)
        if left < 0:
            weights.append(states[other][0])
            return weights
        one, other = other, one
    raise ValueError("a tree is broken")


def read_symbols(data: bytes, size: int, huffman: Huffman) -> bytes:
    """`size` symbols of a stream that is read from its end (section 4.2.2)."""
    width, single, several = huffman
    if not data or not data[-1]:
        raise ValueError("a block is broken")
    mask = (1 << width) - 1
    parts: list[bytes] = []
    done = 0
    place = len(data)
    window, held = data[-1], data[-1].bit_length() - 1
    place -= 1
    window &= (1 << held) - 1
    append = parts.append
    # As many symbols at a time as the next bits hold, while there surely are as many.
    while size - done > width and (place or held >= width):
        if held < width:
            take = min(place, 32)
            window = window << 8 * take | int.from_bytes(data[place - take : place], "little")
            held += 8 * take
            place -= take
            if held < width:
                break
        symbols, length = several[window >> (held - width) & mask]
        append(symbols)
        done += len(symbols)
        held -= length
        if held < width:
            window &= (1 << held) - 1
    window = window & (1 << held) - 1
    window = window << 8 * place | int.from_bytes(data[:place], "little")
    held += 8 * place
    tail = bytearray()
    while done < size:
        bits = window >> (held - width) if held >= width else window << (width - held)
        symbol, length = single[bits & mask]
        tail.append(symbol)
        done += 1
        held -= length
        if held < 0:
            raise ValueError("a block ends too early")
    if held:
        raise ValueError("a block is broken")
    return b"".join(parts) + bytes(tail)
