"""Which readings can move an alarm at all, found in arrays. Pure.

Every tag has a quiet interval [floor, ceiling]: as long as its readings stay inside and their
condition (see `table`) stays what it was, no alarm of the tag can change, active or not. Crossing
a limit, leaving a deadband or turning Bad leaves it; only then does Python look.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from davy.reading import Readings

Positions = NDArray[np.intp]


class Limits:
    """The quiet intervals of all tags: three arrays of length `size`, indexed by tag.

    NaN lies inside every interval: no value is no evidence.
    """

    def __init__(self, size: int) -> None:
        self.floor = np.full(size, -math.inf)
        self.ceiling = np.full(size, math.inf)
        self.condition = np.zeros(size, np.uint32)
        self._marked = np.zeros(size, np.bool_)

    def set(self, tag: int, floor: float, ceiling: float) -> None:
        self.floor[tag] = floor
        self.ceiling[tag] = ceiling

    def outside(self, tag: NDArray[np.int64], value: NDArray[np.float64], condition: NDArray[np.uint32]) -> Positions:
        """intp[k]: positions of the readings that leave the quiet interval of their tag, ascending.

        Where a tag occurs several times this is only the first word: `crossings` follows it as the
        interval moves.
        """
        out = value > self.ceiling.take(tag)
        out |= value < self.floor.take(tag)
        out |= condition != self.condition.take(tag)
        return out.nonzero()[0]

    def crossings(
        self, r: Readings, tag: NDArray[np.int64], condition: NDArray[np.uint32], hits: Positions
    ) -> Iterator[tuple[int, int, int, tuple[float, int, int]]]:
        """Each reading that matters: (position, tag, condition, (value, status, source time)).

        Tag by tag, each tag's in the order of the batch. The caller moves the tag's interval before
        it asks for the next one, so no crossing is passed over and none is seen twice.
        """
        rows, starts = self._segments(tag, hits)
        if len(starts) > len(rows):  # every tag once: `hits` was the last word too
            seen = zip(r.value[rows].tolist(), r.status[rows].tolist(), r.source_time[rows].tolist(), strict=True)
            yield from zip(rows.tolist(), tag[rows].tolist(), condition[rows].tolist(), seen, strict=True)
            return
        for first, end in pairwise(starts):
            segment = rows[first:end]
            index, k = tag.item(segment[0]), 0
            while (k := self._next_outside(index, r.value, condition, segment, k)) < len(segment):
                at = segment.item(k)
                yield at, index, condition.item(at), (r.value.item(at), r.status.item(at), r.source_time.item(at))
                k += 1

    def _segments(self, tag: NDArray[np.int64], hits: Positions) -> tuple[Positions, list[int]]:
        """Positions of all readings of the tags `hits` names, by tag and in order, and where each tag starts."""
        hit_tags = tag[hits]
        self._marked[hit_tags] = True
        members = self._marked.take(tag).nonzero()[0]
        self._marked[hit_tags] = False
        rows = members[tag[members].argsort(kind="stable")]
        tags = tag[rows]
        return rows, [0, *((tags[1:] != tags[:-1]).nonzero()[0] + 1).tolist(), len(rows)]

    def _next_outside(
        self, tag: int, value: NDArray[np.float64], condition: NDArray[np.uint32], rows: Positions, start: int
    ) -> int:
        """The first k >= start whose reading at rows[k] leaves the interval of `tag`, or len(rows).

        Looks ever further ahead, so a quiet stretch costs an array's price and a chattering one a list's.
        """
        floor, ceiling, usual = self.floor.item(tag), self.ceiling.item(tag), self.condition.item(tag)
        width = 16
        while start < len(rows):
            part = rows[start : start + width]
            ahead = value[part]
            out = (ahead > ceiling) | (ahead < floor) | (condition[part] != usual)
            first = int(out.argmax())
            if out[first]:
                return start + first
            start += width
            width *= 8
        return len(rows)
