"""How a double becomes a whole number: the few ways instruments make their numbers. Pure.

Most readings are decimals: 93.2 is 932 / 10. Some are 932 * 0.1, which is another double, and many
came through a float32. A mode names the way; all readings of a tag in a leaf share one. What fits no
mode travels as it is, so every bit pattern survives (a NaN's payload, -0.0, 1e300).

| mode    | the double is              |
|---------|----------------------------|
| 0       | itself, kept raw           |
| 1..16   | n / 10**e, e = 0..15       |
| 17..31  | n * 10**-e, e = 1..15      |
| 32..47  | float32(n / 10**e), e = 0..15 |
| 48      | the float32 whose bits are n  |
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

RAW: Final = 0
TIMES: Final = 17
SINGLE: Final = 32
BITS: Final = 48
MODES: Final = 49

_LIMIT: Final = 2.0**52  # beyond it a double cannot hold every whole number's half
_POWERS: Final = np.array([float(f"1e{e}") for e in range(16)])
_INVERSES: Final = np.array([float(f"1e-{e}") for e in range(1, 16)])
_UP: Final = np.concatenate([[0.0], _POWERS, _POWERS[1:], _POWERS, [0.0]])  # n is near value * UP
_TIMES: Final = np.concatenate([np.ones(17), _INVERSES, np.ones(17)])
_OVER: Final = np.concatenate([[1.0], _POWERS, np.ones(15), _POWERS, [1.0]])

#: Bits a reading costs in each mode, about; later families only where the earlier do not fit.
_COST: Final = np.concatenate(
    [[64.0], 3.32 * np.arange(16), 3.32 * np.arange(1, 16) + 0.5, 3.32 * np.arange(16) + 1, [30.0]]
)
_COST_MISFIT: Final = 72.0

_FAMILY: Final = np.repeat(np.arange(5), [1, 16, 15, 16, 1])
_DECIMALS: Final = np.concatenate([[0], np.arange(16), np.arange(1, 16), np.arange(16), [0]])
_START: Final = np.array([0, 1, TIMES - 1, SINGLE, BITS])  # the family's mode with no decimals, had it one


def nearest(value: F64, mode: I64) -> I64:
    """int64[N]: the whole number nearest each value in its mode; 0 where there is none within 2**52."""
    with np.errstate(over="ignore", invalid="ignore"):
        near = np.rint(value * _UP[mode])
        n = np.where(np.abs(near) < _LIMIT, near, 0.0).astype(np.int64)
        n[mode == BITS] = value[mode == BITS].astype(np.float32).view(np.int32)
    return n


def to_integers(value: F64, mode: I64) -> tuple[I64, Bools]:
    """(n: int64[N], fits: bool[N]): `from_integers` gives the very double back where it fits; raw never does."""
    with np.errstate(over="ignore", invalid="ignore"):
        n = np.rint(value * _UP[mode]).astype(np.int64)
        highest, lowest = (int(mode.max()), int(mode.min())) if len(mode) else (RAW, RAW)
        if highest == BITS:
            bits = mode == BITS
            n[bits] = value[bits].astype(np.float32).view(np.int32)
    # Compared as bits: in floats NaN, inf, 1e300 and -0.0 would pass and be lost.
    fits = from_integers(n, mode).view(np.int64) == value.view(np.int64)
    if lowest == RAW:
        fits &= mode != RAW
    return n, fits


def from_integers(n: I64, mode: I64) -> F64:
    """float64[N]: the reading each whole number stands for; any number in raw mode."""
    value = n.astype(np.float64)
    value /= _OVER[mode]
    if len(mode) and int(mode.max()) >= TIMES:
        value *= _TIMES[mode]
        with np.errstate(over="ignore", invalid="ignore"):
            single = mode >= SINGLE
            value[single] = value[single].astype(np.float32)
            bits = mode == BITS
            value[bits] = n[bits].astype(np.int32).view(np.float32)
    return value


def choose(value: F64, first: I64, count: I64) -> I64:
    """int64[K]: the cheapest mode for each of K tags, whose readings are `value[first : first + count]`.

    `first` ascends from 0 and the counts add up to len(value). Readings that are not finite have no say.
    """
    finite = np.isfinite(value)
    rows = np.add.reduceat(finite, first, dtype=np.int64)
    best = np.zeros(len(first), np.int64)
    cost = rows * _COST[RAW]
    for mode in range(1, MODES):
        _, fits = to_integers(value, np.full(len(value), mode))
        fitting = np.add.reduceat(fits & finite, first, dtype=np.int64)
        this = fitting * _COST[mode] + (rows - fitting) * _COST_MISFIT
        better = this < cost
        best[better], cost[better] = mode, this[better]
    return best


def widen(old: I64, new: I64) -> I64:
    """int64[K]: a mode for numbers of both: the later family with the longer decimals.

    Keeps a tag from swinging: in single precision 0.5 looks like a decimal and 0.1 does not. Where
    either is raw or bits, the new mode stands.
    """
    family, decimals = np.maximum(_FAMILY[old], _FAMILY[new]), np.maximum(_DECIMALS[old], _DECIMALS[new])
    both = (old != RAW) & (new != RAW) & (old != BITS) & (new != BITS)
    return np.where(both, _START[family] + decimals, new)
