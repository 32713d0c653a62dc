"""The live feed of one console process: one subscription in, many open pages out.

Nothing here is a promise of completeness. Every open page has a Listener that holds at most
`BACKLOG` events, oldest dropped first and counted, and the set of tags that changed since it was
last asked, so a slow browser costs a bounded amount of memory and slows nobody.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog

from davy.clock import SECOND, Clock
from davy.console.picture import Picture
from davy.errors import BadRequest, DavyError, UnknownTarget
from davy.wire import Client

BACKLOG = 500
RETRY = SECOND
WHAT = ["latest", "transition", "checkpoint"]

log = structlog.get_logger(room="console")


class Listener:
    """What one open page has not been told yet. `origin` "" hears of every origin, `only` None of every tag."""

    def __init__(self, origin: str, only: frozenset[int] | None = None) -> None:
        self.origin = origin
        self.only = only
        self.events: deque[tuple[str, str, dict[str, Any]]] = deque()
        self.changed: dict[str, set[int]] = {}
        self.dropped = 0
        self.closed = False
        self._wake = asyncio.Event()

    def tell(self, event: str, origin: str, data: dict[str, Any]) -> None:
        if len(self.events) >= BACKLOG:
            self.events.popleft()
            self.dropped += 1
        self.events.append((event, origin, data))
        self._wake.set()

    def touch(self, origin: str, tags: list[int]) -> None:
        wanted = tags if self.only is None else self.only.intersection(tags)
        if wanted:
            self.changed.setdefault(origin, set()).update(wanted)
            self._wake.set()

    def close(self) -> None:
        self.closed = True
        self._wake.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when there is something to tell, or after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()


class LiveFeed:
    """The pictures of every origin this console may show. One `run` task owns them."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.pictures: dict[str, Picture] = {}
        self.connected = False
        self.since = clock.now_us()
        self.dropped = 0
        self._client = client
        self._clock = clock
        self._listeners: set[Listener] = set()

    async def run(self) -> None:
        """Subscribe, keep the pictures, and try again every second after a loss. Ends only by cancellation."""
        try:
            while True:
                try:
                    async for item in self._client.stream("subscribe", what=WHAT):
                        self.take(item)
                    raise BadRequest("subscribe: the stream ended")
                except DavyError as error:
                    self._lose(error)
                await self._clock.sleep_until(self._clock.mono_ns() + RETRY * 1000)
        finally:
            self.close()
            await self._client.close()

    def close(self) -> None:
        """End every open page's stream."""
        for listener in list(self._listeners):
            listener.close()

    def _lose(self, error: DavyError) -> None:
        if self.connected:
            log.warning("feed_lost", reason=error.reason, err=str(error))
            self.connected, self.since = False, self._clock.now_us()
        self.close()  # the pages then show the violet strip by themselves

    def take(self, item: Mapping[str, Any]) -> None:
        """Apply one item of `subscribe`. Raises BadRequest for one that does not follow the shapes."""
        now = self._clock.now_us()
        what = item.get("what")
        if what == "snapshot":
            return self._snapshot(item, now)
        origin = str(item.get("origin") or "")
        picture = self.pictures.get(origin) or (next(iter(self.pictures.values())) if len(self.pictures) == 1 else None)
        if picture is None:
            return None  # of an origin whose snapshot has not come yet
        origin = picture.origin
        picture.tick(now)
        if what == "latest":
            tags = picture.readings(item).tolist()
            for listener in self._hearing(origin):
                listener.touch(origin, tags)
        elif what == "transition":
            alarm = picture.transition(item)
            if alarm is not None:
                data = {k: v for k, v in item.items() if k not in ("what", "origin")}
                for listener in self._hearing(origin):
                    listener.tell("alarm.transition", origin, data)
        elif what == "checkpoint":
            picture.held(item)
            for listener in self._hearing(origin):
                listener.tell("log.checkpoint", origin, {})
        else:
            raise BadRequest(f"feed item: expected snapshot, latest, transition or checkpoint, got {what!r}")
        return None

    def _snapshot(self, item: Mapping[str, Any], now: int) -> None:
        site = item.get("site") or {}
        origin = str(item.get("origin") or site.get("origin") or "")
        self.pictures[origin] = Picture(origin, item, now)
        if not self.connected:
            log.info("feed_connected", origin=origin)
            self.connected, self.since = True, now
        for listener in self._hearing(origin):
            listener.close()  # it showed another tag table; the page reloads its stream

    def _hearing(self, origin: str) -> list[Listener]:
        return [one for one in self._listeners if one.origin in ("", origin)]

    def picture(self, origin: str | None) -> Picture:
        """The picture of `origin`, or of the only one when None. Raises UnknownTarget."""
        if origin is None and len(self.pictures) == 1:
            return next(iter(self.pictures.values()))
        try:
            return self.pictures[origin or ""]
        except KeyError:
            raise UnknownTarget(f"origin {origin!r}: nothing has been heard of it") from None

    @contextmanager
    def listen(self, origin: str = "", only: frozenset[int] | None = None) -> Iterator[Listener]:
        """A Listener that hears of `origin` (or all) until the block ends; its drops are counted here."""
        listener = Listener(origin, only)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self.dropped += listener.dropped
