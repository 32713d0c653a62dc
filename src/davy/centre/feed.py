"""The live picture of every origin a centre holds, for its consoles: `subscribe` (bounded, may drop).

Made of what the history process reads from the mirrored logs. A slow subscriber loses the oldest transitions,
counted; of readings it gets the newest of each tag that changed since it was last told.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from davy.alarm import Fold
from davy.clock import Clock
from davy.errors import Corrupt
from davy.fact import Config, Epoch, Tags, Transition
from davy.reading import Readings
from davy.record.project import Item
from davy.record.service import columns

log_line = structlog.get_logger()

QUEUE = 1024
LATEST_NS = 200_000_000  # a screen needs no more often
WHAT = ("latest", "transition", "checkpoint")
_NONE = np.empty(0, np.uint32)


@dataclass
class Picture:
    """What is known of one origin; `latest` gives the newest reading of some tags (None: of all)."""

    origin: str
    latest: Callable[[list[int] | None], Readings]
    site: dict[str, Any] = field(default_factory=dict)
    table: Tags = field(default_factory=lambda: Tags(0, [], b""))
    alarms: Fold = field(default_factory=Fold)
    checkpoint: dict[str, Any] = field(default_factory=dict)

    def learn(self, events: list[Any]) -> bool:
        """Take the events of leaves; whether the snapshot must be told anew.

        Raises Corrupt where well-formed events make no sense: the log of another box may hold anything.
        """
        try:
            renewed = [self._take(event) for event in events]
            self.snapshot()
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"log of {self.origin}: its events make no sense: {error!r}") from error
        return any(renewed)

    def _take(self, content: Any) -> bool:
        if isinstance(content, Transition):
            self.alarms.apply(content)
        elif isinstance(content, Epoch) and content.snapshot:
            self.alarms = Fold.of(content.snapshot["alarms"])
        elif isinstance(content, Config) and content.name == "site" and isinstance(content.content, dict):
            changed, self.site = content.content != self.site, content.content
            return changed
        elif isinstance(content, Tags):
            changed, self.table = content.tags != self.table.tags, content
            return changed
        return False

    def snapshot(self) -> dict[str, Any]:
        return {
            "what": "snapshot",
            "origin": self.origin,
            "site": {
                "origin": self.origin,
                "name": self.site.get("name") or {},
                "position": self.site.get("position"),
                "tags_version": self.table.version,
            },
            "tags": self.table.tags,
            "latest": columns(self.latest(None)),
            "alarms": [view.plain() for view in self.alarms.standing()],
            "checkpoint": self.checkpoint,
        }


@dataclass
class _Subscriber:
    what: frozenset[str]
    items: deque[dict[str, Any]] = field(default_factory=deque)
    changed: dict[str, NDArray[np.uint32]] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, item: dict[str, Any]) -> int:
        """Queue an item; how many had to go for it."""
        if item["what"] not in self.what:
            return 0
        self.items.append(item)
        self.wake.set()
        if len(self.items) <= QUEUE:
            return 0
        self.items.popleft()
        return 1


class Feed:
    """All pictures, and those who watch them. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self.pictures: dict[str, Picture] = {}
        self.dropped = 0
        self._clock = clock
        self._subscribers: list[_Subscriber] = []

    def add(self, picture: Picture) -> None:
        """Show an origin, from here on."""
        self.pictures[picture.origin] = picture
        self._tell(picture.snapshot())

    def take(self, origin: str, items: list[Item]) -> None:
        """Tell of leaves that were read. A log whose events make no sense is recorded, but shown no longer."""
        picture = self.pictures.get(origin)
        if picture is None:
            return
        changed = [item.content.tag for item in items if isinstance(item.content, Readings)]
        if changed and self._subscribers:
            tags = np.unique(np.concatenate(changed))
            for subscriber in self._subscribers:
                subscriber.changed[origin] = np.union1d(subscriber.changed.get(origin, _NONE), tags)
                subscriber.wake.set()
        events = [item.content for item in items if not isinstance(item.content, Readings)]
        if not events:
            return
        try:
            renewed = picture.learn(events)
        except Corrupt as error:
            log_line.error("origin_not_shown", origin=origin, err=str(error))
            del self.pictures[origin]
            return
        for item in items:
            if isinstance(item.content, Transition):
                self._tell({"what": "transition", "origin": origin, "leaf": item.seq, **asdict(item.content)})
        if renewed:
            self._tell(picture.snapshot())

    def checkpoint(self, origin: str, state: dict[str, Any]) -> None:
        """Tell what is signed, and what is held."""
        picture = self.pictures.get(origin)
        if picture is not None and state != picture.checkpoint:
            picture.checkpoint = state
            self._tell({"what": "checkpoint", "origin": origin, **state})

    def _tell(self, item: dict[str, Any]) -> None:
        for subscriber in self._subscribers:
            self.dropped += subscriber.put(item)

    async def subscribe(self, what: list[str] | None = None) -> AsyncIterator[dict[str, Any]]:
        """A snapshot of every origin, then what changes, until the subscriber leaves."""
        subscriber = _Subscriber(frozenset(["snapshot", *(what if what is not None else WHAT)]))
        subscriber.items.extend(picture.snapshot() for picture in self.pictures.values())
        self._subscribers.append(subscriber)
        try:
            while True:
                while subscriber.items:
                    yield subscriber.items.popleft()
                changed, subscriber.changed = subscriber.changed, {}
                if "latest" in subscriber.what:
                    for origin, tags in changed.items():
                        if origin in self.pictures:
                            newest = self.pictures[origin].latest(tags.tolist())
                            yield {"what": "latest", "origin": origin} | columns(newest)
                if not subscriber.items:
                    subscriber.wake.clear()
                    await subscriber.wake.wait()
                    await self._pace(subscriber)
        finally:
            self._subscribers.remove(subscriber)

    async def _pace(self, subscriber: _Subscriber) -> None:
        """Let readings gather for a moment, unless there is something to tell at once."""
        if not subscriber.items and subscriber.changed:
            await self._clock.sleep_until(self._clock.mono_ns() + LATEST_NS)
