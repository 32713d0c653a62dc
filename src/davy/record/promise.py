"""What every history promises, whatever stores it; one contract suite runs over each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from davy.reading import Readings

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Buckets:
    """Readings summed up by tag and by time; one row a (tag, bucket), arrays of one length.

    tag: uint32[N]; time: int64[N], us UTC, start of the bucket by source time, its end not included.
    count: all readings in it; good, bad: those with that severity, the rest is Uncertain. A Bad reading
    counts and its value takes part, because an over-range value is Bad and must not vanish from a trend.
    min, max, avg: float64[N] over all values but NaN, of one weight each; NaN where there is none.
    """

    tag: U32
    time: I64
    count: U32
    good: U32
    bad: U32
    min: F64
    max: F64
    avg: F64

    def __len__(self) -> int:
        return len(self.tag)

    @property
    def percent_good(self) -> F64:
        """float64[N]: share of Good readings in percent; NaN for an empty bucket."""
        with np.errstate(invalid="ignore"):
            return 100.0 * self.good / self.count


@dataclass(frozen=True, slots=True)
class Dropped:
    """A file that was given up: its readings lie in [t0, t1], us UTC, from leaves [first, end)."""

    name: str
    t0: int
    t1: int
    first: int
    end: int
    size: int


class History(Protocol):
    """The readings of one origin. One writer at a time; queries may run in other threads meanwhile.

    Times are us UTC by `source_time`; an interval holds its start and not its end.
    """

    @property
    def position(self) -> int:
        """The next leaf it wants: everything below is here, though not yet all on disk."""
        ...

    def append(self, readings: Readings, leaf: int) -> None:
        """Take the readings of leaf `leaf`; visible to queries on return, durable after `flush`.

        Idempotent: a leaf below `position` is passed over. Raises Full (retry): nothing of it was taken.
        """
        ...

    def flush(self) -> None:
        """Make everything taken so far durable. Raises Full (retry): nothing changed, nothing is lost."""
        ...

    def latest(self, tags: Sequence[int] | None = None) -> Readings:
        """The newest reading of each tag asked for (None: of all), by tag; without those never seen.

        Newest is the later of min(source_time, server_time), so a device whose clock runs ahead cannot
        keep its tag from moving; of equals the one that came last. From memory, never from files.
        """
        ...

    def range(self, tags: Sequence[int], t0: int, t1: int) -> Readings:
        """Every reading of `tags` in [t0, t1), by tag as asked, then by source time, then as they came."""
        ...

    def buckets(self, tags: Sequence[int], t0: int, t1: int, n: int) -> Buckets:
        """[t0, t1) in `n` buckets a tag, empty ones included: n rows a tag, by tag as asked, then by time.

        A reading lies in bucket (source_time - t0) * n // (t1 - t0).
        """
        ...

    def rollup(self, t0: int, t1: int, step: int) -> Buckets:
        """All tags, in buckets of `step` us counted from 1970; by tag, then time, without empty ones."""
        ...

    def retention(self, before: int) -> list[Dropped]:
        """Give up whole files whose readings are all older than `before`, and say which."""
        ...
