"""The newest reading of every tag, in arrays; the history files are never asked for it. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from davy.errors import Corrupt
from davy.reading import ROW, Readings, concat
from davy.reading.readings import COLUMNS

_MAX_TAGS = 1 << 22  # an index is an array position here: garbage must not take all memory
_NEVER = np.iinfo(np.int64).min


def _newest_of_each(tag: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[M]: for each tag the position of its newest row; of equals the last."""
    by_tag = np.lexsort((time, tag))
    newest: NDArray[np.int64] = by_tag[np.append(tag[by_tag][1:] != tag[by_tag][:-1], True)]
    return newest


class Latest:
    """One reading a tag: that with the greatest min(source_time, server_time), of equals the last to come."""

    def __init__(self, rows: bytes = b"") -> None:
        """From the bytes `Latest.bytes` gave."""
        self._newest = Readings.empty()
        self._time = np.zeros(0, np.int64)
        if rows:
            self.update(Readings.from_rows(np.frombuffer(rows, ROW)))

    def update(self, readings: Readings) -> None:
        """Take a batch in order of arrival. Raises Corrupt for an impossible tag index."""
        if not len(readings):
            return
        tag = readings.tag.astype(np.int64)  # as an index twice as fast as uint32
        if (top := int(tag.max())) >= len(self._time):
            self._grow(top + 1)
        time = np.minimum(readings.source_time, readings.server_time)
        if not (tag[1:] > tag[:-1]).all():
            newest = _newest_of_each(tag, time)
            tag, time, readings = tag[newest], time[newest], readings.take(newest)
        newer = time >= self._time[tag]
        if not newer.all():
            tag, time, readings = tag[newer], time[newer], readings.take(newer)
        self._time[tag] = time
        for name, _ in COLUMNS:
            getattr(self._newest, name)[tag] = getattr(readings, name)

    def _grow(self, size: int) -> None:
        if size > _MAX_TAGS:
            raise Corrupt(f"readings: expected a tag index below {_MAX_TAGS}, got {size - 1}")
        more = max(size, 2 * len(self._time)) - len(self._time)
        self._newest = concat([self._newest, Readings.from_rows(np.zeros(more, ROW))])
        self._time = np.append(self._time, np.full(more, _NEVER))

    def get(self, tags: Sequence[int] | None = None) -> Readings:
        """The newest reading of `tags` in that order (None: all, by index), without those never seen."""
        index = np.arange(len(self._time)) if tags is None else np.array(list(tags), np.int64)
        index = index[(index >= 0) & (index < len(self._time))]
        return self._newest.take(index[self._time[index] > _NEVER])

    def bytes(self) -> bytes:
        """All of it as packed ROW records, by tag."""
        return self.get().rows().tobytes()
