"""Whole numbers to few bytes and back, with numpy alone. Pure.

A number is cut in two (Elias gamma): how many bits it has, one byte a number, which compresses well
because neighbours are alike; and the bits below its leading one, which are noise and are only
packed end to end. Small beside zstd over byte planes: 12 % on the Tennessee Eastman set.
"""

from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from davy.errors import Corrupt

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

#: Of zstd, for the lengths. Level 6 saves 0.01 B a reading and takes five times as long.
LEVEL: Final = 1
_ONE: Final = np.uint64(1)


def zigzag(x: I64) -> U64:
    """0, -1, 1, -2 ... as 0, 1, 2, 3 ...; every int64 has its own uint64."""
    return ((x << 1) ^ (x >> 63)).view(np.uint64)


def unzigzag(u: U64) -> I64:
    """Inverse of `zigzag`."""
    return (u >> _ONE).view(np.int64) ^ -(u & _ONE).view(np.int64)


def bit_lengths(u: U64) -> U64:
    """`int.bit_length` of each number: 0..64."""
    # Clearing the bit below the leading one keeps the conversion from rounding up to the next power
    # of two; the half gives 0 an exponent one below that of 1.
    top = (u & ~(u >> _ONE)).astype(np.float64)
    top += 0.5
    return (top.view(np.uint64) >> np.uint64(52)) - np.uint64(1022)


def pack(u: U64) -> tuple[bytes, bytes]:
    """(bit length of each number, one byte each; the bits below the leading ones as 64-bit little-endian words)."""
    length = bit_lengths(u)
    lengths = length.astype(np.uint8)
    wide = (lengths > 1).nonzero()[0]
    if not len(wide):
        return lengths.tobytes(), b""
    if len(wide) < len(u):
        u, length = u[wide], length[wide]
    below = length - _ONE
    low = u ^ (_ONE << below)
    end = np.cumsum(below)
    start = end - below
    word, shift = start >> np.uint64(6), start & np.uint64(63)
    # No number is wider than 63 bits here, so every word but the last has a number starting in it,
    # and only the last number that starts in a word can run over into the next.
    last = np.append((word[1:] != word[:-1]).nonzero()[0], len(word) - 1)
    starts = np.append(0, last[:-1] + 1)
    words = np.zeros(_words(end) + 1, "<u8")
    words[: len(starts)] = np.bitwise_or.reduceat(low << shift, starts)
    words[1 : len(starts) + 1] |= (low[last] >> _ONE) >> (np.uint64(63) - shift[last])
    return lengths.tobytes(), words[:-1].tobytes()


def _words(end: U64) -> int:
    return (int(end[-1]) + 63) // 64 if len(end) else 0


def unpack(lengths: bytes, words: bytes) -> U64:
    """Inverse of `pack`. Raises Corrupt if the two do not fit together."""
    length = np.frombuffer(lengths, np.uint8)
    if len(length) and int(length.max()) > 64:
        raise Corrupt(f"packed numbers: expected at most 64 bits, got {length.max()}")
    out = (length > 0).astype(np.uint64)
    wide = (length > 1).nonzero()[0]
    below = (length[wide] - np.uint8(1)).astype(np.uint64)
    end = np.cumsum(below)
    if len(words) != 8 * _words(end):
        raise Corrupt(f"packed numbers: expected {8 * _words(end)} bytes, got {len(words)}")
    if len(wide):
        held = np.frombuffer(words + bytes(8), "<u8")
        start = end - below
        word, shift = (start >> np.uint64(6)).view(np.int64), start & np.uint64(63)
        top = _ONE << below
        low = held[word] >> shift | (held[word + 1] << _ONE) << (np.uint64(63) - shift)
        out[wide] = low & (top - _ONE) | top
    return out


def inflate(data: bytes, size: int) -> bytes:
    """The content of one zstd frame, exactly `size` bytes of it; claims no more memory. Raises Corrupt."""
    try:
        stated = zstandard.frame_content_size(data)
        if stated != size:
            raise Corrupt(f"zstd frame: expected {size} bytes of content, got {stated}")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Corrupt(f"zstd frame: {error}") from error
