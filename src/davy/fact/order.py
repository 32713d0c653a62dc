"""Readings in (tag, arrival) order: the order a leaf commits to. Pure."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from davy.fact.leaf import BLOCK_TAGS
from davy.reading import ROW, Readings

I64 = NDArray[np.int64]

_LOW: Final = np.uint32(0xFFFF)


def sort_order(tag: NDArray[np.uint32]) -> I64 | None:
    """Positions that put `tag` in ascending order, equal tags as they came; None if it is so already."""
    if (tag[1:] >= tag[:-1]).all():
        return None
    # numpy sorts 16-bit keys by radix, wider ones three times slower.
    order = np.argsort((tag & _LOW).astype(np.uint16), kind="stable")
    high = (tag >> np.uint32(16)).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")] if high.any() else order


@dataclass(frozen=True)
class Layout:
    """Where each tag's readings lie once in order: tag, first, count: int64[K]; size: N."""

    tag: I64
    first: I64
    count: I64
    size: int

    @classmethod
    def of(cls, tag: NDArray[np.uint32]) -> Self:
        """From ascending tags."""
        changed = tag[1:] != tag[:-1]
        if changed.all():
            return cls(tag.astype(np.int64), np.arange(len(tag)), np.ones(len(tag), np.int64), len(tag))
        first = np.append(0, changed.nonzero()[0] + 1)
        return cls(tag[first].astype(np.int64), first, np.diff(first, append=len(tag)), len(tag))

    @property
    def one_each(self) -> bool:
        return len(self.tag) == self.size

    @cached_property
    def later(self) -> NDArray[np.bool_]:
        """bool[N]: not the first of its tag."""
        mask = np.ones(self.size, np.bool_)
        mask[self.first] = False
        return mask

    def spread(self, per_tag: NDArray[Any]) -> NDArray[Any]:
        """One entry a tag to one entry a reading."""
        return per_tag if self.one_each else np.repeat(per_tag, self.count)

    def split(self, x: I64) -> tuple[I64, I64]:
        """(first of each tag: int64[K], steps from one to the next within tags: int64[N - K])."""
        if self.one_each:
            return x, x[:0]
        return x[self.first], (x[1:] - x[:-1])[self.later[1:]]

    def join(self, first: I64, steps: I64) -> I64:
        """Inverse of `split`."""
        if self.one_each:
            return first
        x = np.zeros(self.size, np.int64)
        x[self.later] = steps
        x = np.cumsum(x)
        x += self.spread(first - x[self.first])
        return x


def ordered(r: Readings) -> Readings:
    """`r` in (tag, arrival) order."""
    order = sort_order(r.tag)
    return r if order is None else r.take(order)


def blocks_of(r: Readings) -> list[memoryview]:
    """The canonical plain blocks: packed ROW records in (tag, arrival) order, cut every 64 distinct tags."""
    r = ordered(r)
    return blocks(r, Layout.of(r.tag))


def blocks(r: Readings, layout: Layout) -> list[memoryview]:
    """`blocks_of` for readings already in order."""
    rows = memoryview(r.rows().view(np.uint8))  # type: ignore[arg-type]  # a buffer, but typed so only from 3.12
    cuts = [*(layout.first[::BLOCK_TAGS] * ROW.itemsize).tolist(), len(rows)]
    return [rows[start:end] for start, end in pairwise(cuts)]
