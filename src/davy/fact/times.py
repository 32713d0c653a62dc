"""Columns of times as small whole numbers: in the clock's own unit, differenced as often as it pays. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from davy.errors import Corrupt
from davy.fact.bits import bit_lengths, zigzag

I64 = NDArray[np.int64]

UNITS: Final = (1, 1_000, 1_000_000)  # us; many devices know milliseconds or whole seconds only
_SAMPLE: Final = 512  # times looked at to choose how all are coded


def differences(x: I64, order: int = 1) -> I64:
    """Each number less the one before, `order` times; modulo 2**64, so never lossy."""
    for _ in range(order):
        less = x.copy()
        less[1:] -= x[:-1]
        x = less
    return x


def sums(x: I64, order: int = 1) -> I64:
    """Inverse of `differences`."""
    for _ in range(order):
        x = np.cumsum(x)
    return x


class Coding(NamedTuple):
    """In `unit` us, differenced `order` times, less the server time beside it or not."""

    unit: int = 1
    order: int = 0
    relative: bool = False

    def plain(self) -> int:
        return UNITS.index(self.unit) | self.order << 2 | self.relative << 4

    @classmethod
    def of(cls, plain: int) -> Self:
        """Inverse of `plain`. Raises Corrupt."""
        if not 0 <= plain < 32 or plain & 3 == 3 or plain >> 2 & 3 == 3:
            raise Corrupt(f"times coded as {plain}, which has no meaning")
        return cls(UNITS[plain & 3], plain >> 2 & 3, bool(plain >> 4))

    def code(self, x: I64) -> I64:
        return differences(x // self.unit if self.unit > 1 else x, self.order)

    def restore(self, column: I64, server: I64) -> I64:
        """Inverse of `code`, the server time added where it was taken off."""
        x = sums(column, self.order) * self.unit
        return x + server if self.relative else x


def code_server(server: I64) -> tuple[Coding, I64]:
    """How to code the server times, and the column."""
    if len(server) == 1:
        return Coding(), server
    return _cheapest([(server, False, (1, 2))])


def code_source(source: I64, server: I64) -> tuple[Coding, I64]:
    """How to code the source times beside the server times, and the column: all 0 where they are equal."""
    late = source - server
    if len(late) == 1 or not late.any():
        return Coding(relative=True), late
    return _cheapest([(late, True, (0, 1, 2)), (source, False, (1, 2))])


def _cheapest(candidates: Sequence[tuple[I64, bool, Sequence[int]]]) -> tuple[Coding, I64]:
    """The coding of the fewest bits, and its column. candidates: (times, whether relative, orders, ascending)."""
    tried, samples = [], []
    for x, relative, orders in candidates:
        unit = _unit(x)
        for order in orders:
            coding = Coding(unit, order, relative)
            tried.append((coding, x))
            samples.append(coding.code(x[:_SAMPLE]))
    bits = bit_lengths(zigzag(np.concatenate(samples))).reshape(len(tried), -1).sum(axis=1)
    coding, x = tried[int(bits.argmin())]
    return coding, coding.code(x)


def _unit(x: I64) -> int:
    """The largest of UNITS that all of `x` are multiples of; the head is asked first, as it mostly knows."""
    return next(u for u in reversed(UNITS) if u == 1 or (_divides(u, x[:_SAMPLE]) and _divides(u, x)))


def _divides(unit: int, x: I64) -> bool:
    return bool((x // unit * unit == x).all())  # numpy divides five times faster than it takes remainders
