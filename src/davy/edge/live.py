"""The live picture of a site, for whoever subscribes: latest values, transitions, checkpoints.

Nothing here may slow the core: every subscriber has its own bounded queue, the oldest item goes
first, and what went is counted.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from davy.fact import Transition
from davy.reading import Flag, Readings, TagTable
from davy.reading.status import Status

QUEUE = 256
#: Latest values go out at most this often; a screen needs no more.
LATEST_EVERY_S = 0.2
_UNDATED = np.uint32(Flag.out_of_order | Flag.historical)


def _places(tag: NDArray[np.uint32]) -> slice | NDArray[np.intp]:
    """`tag` as numpy takes it fastest: a slice where the tags are consecutive, else its own kind of integer."""
    if len(tag) and int(tag[-1]) - int(tag[0]) == len(tag) - 1 and (tag[1:] > tag[:-1]).all():
        return slice(int(tag[0]), int(tag[-1]) + 1)
    return tag.astype(np.intp)


class LatestTable:
    """The last reading of each tag: arrays of length `TagTable.size`, indexed by tag."""

    def __init__(self, tags: TagTable) -> None:
        size = tags.size
        self.value = np.full(size, np.nan)
        self.status = np.full(size, int(Status.BadWaitingForInitialData), np.uint32)
        self.flags = np.zeros(size, np.uint32)
        self.source_time = np.zeros(size, np.int64)
        self.server_time = np.zeros(size, np.int64)
        self.dirty = np.zeros(size, np.bool_)

    def update(self, r: Readings) -> None:
        """Take over every reading that is the newest of its tag; late and historical ones are not."""
        current = (r.flags & _UNDATED) == 0
        if not current.all():
            r = r.take(current)
        tag = _places(r.tag)
        # numpy assigns in order, so where a tag occurs twice the last one stays
        self.value[tag] = r.value
        self.status[tag] = r.status
        self.flags[tag] = r.flags
        self.source_time[tag] = r.source_time
        self.server_time[tag] = r.server_time
        self.dirty[tag] = True

    def columns(self, tags: Any) -> dict[str, bytes]:
        """The rows of `tags` (uint32[k]) as little-endian columns."""
        return {
            "tag": tags.astype("<u4").tobytes(),
            "value": self.value[tags].astype("<f8").tobytes(),
            "status": self.status[tags].astype("<u4").tobytes(),
            "flags": self.flags[tags].astype("<u4").tobytes(),
            "source_time": self.source_time[tags].astype("<i8").tobytes(),
            "server_time": self.server_time[tags].astype("<i8").tobytes(),
        }


class LiveFeed:
    """Fans the picture out; may drop (contracts.md 13: bounded, drop-oldest, counted)."""

    def __init__(self, tags: TagTable, snapshot: Callable[[], dict[str, Any]]) -> None:
        self.latest = LatestTable(tags)
        self.dropped = 0
        self._snapshot = snapshot
        self._subscribers: set[_Subscriber] = set()

    def readings(self, r: Readings) -> None:
        self.latest.update(r)

    def transitions(self, transitions: list[Transition]) -> None:
        for subscriber in self._subscribers:
            for t in transitions:
                self.dropped += subscriber.put({"what": "transition", **asdict(t)})

    def checkpoint(self, state: dict[str, Any]) -> None:
        for subscriber in self._subscribers:
            self.dropped += subscriber.put({"what": "checkpoint", **state})

    def flush(self) -> None:
        """Send the tags that changed since the last flush; call every LATEST_EVERY_S."""
        changed = np.flatnonzero(self.latest.dirty)
        if not len(changed):
            return
        self.latest.dirty[:] = False
        if self._subscribers:
            item = {"what": "latest", **self.latest.columns(changed)}
            for subscriber in self._subscribers:
                self.dropped += subscriber.put(item)

    async def subscribe(self, what: list[str] | None = None) -> AsyncIterator[dict[str, Any]]:
        """A snapshot, then whatever changes, until the subscriber leaves."""
        subscriber = _Subscriber(set(what or ("latest", "transition", "checkpoint")))
        everything = np.flatnonzero(self.latest.server_time)
        first = {"what": "snapshot", **self._snapshot(), "latest": self.latest.columns(everything)}
        self._subscribers.add(subscriber)
        try:
            yield first
            while True:
                yield await subscriber.get()
        finally:
            self._subscribers.discard(subscriber)


class _Subscriber:
    def __init__(self, what: set[str]) -> None:
        self.what = what
        self._items: deque[dict[str, Any]] = deque()
        self._arrived = asyncio.Event()

    def put(self, item: dict[str, Any]) -> int:
        """Queue an item; returns how many old ones had to go for it."""
        if item["what"] not in self.what:
            return 0
        self._items.append(item)
        self._arrived.set()
        if len(self._items) <= QUEUE:
            return 0
        # A lost `latest` is healed by the next; a lost transition is not: give way in that order.
        victim = next((i for i, old in enumerate(self._items) if old["what"] == "latest"), 0)
        del self._items[victim]
        return 1

    async def get(self) -> dict[str, Any]:
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        return self._items.popleft()
