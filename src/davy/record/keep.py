"""Keeping histories up with their logs, for as long as a process lives: the loops around Projection.

Work that blocks is done in threads; one history is written by one of them at a time. History gives way
first: when the disk is full, or nearly so, its oldest files go, whole, and each is named in the log.
"""

import asyncio
import ctypes
import shutil
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import NoReturn, TypeVar

import pyarrow as pa
import structlog

from davy.clock import Clock
from davy.errors import DavyError, Full
from davy.record.history import ParquetHistory
from davy.record.project import Item, Projection
from davy.record.promise import Dropped

log_line = structlog.get_logger(room="record")

LOOK_NS = 100_000_000  # how long a leaf may lie in the log unread
RETRY_NS = 1_000_000_000
TIDY_NS = 10_000_000_000

Answer = TypeVar("Answer")


def spare_memory() -> None:
    """Let Arrow take memory where numpy does: its own pools keep what they once had, 50 MB at 10,000 tags @1 s."""
    pa.set_memory_pool(pa.system_memory_pool())


def _give_back_memory() -> None:
    """Let the system have what a flush or a merge needed for a moment: up to 40 MB at 10,000 tags @1 s."""
    with suppress(AttributeError, OSError):  # another C library than glibc does as it likes
        ctypes.CDLL(None).malloc_trim(0)


class Keeper:
    """One origin's history and projection. `tell` gets what `Projection.step` read, in the event loop.

    keep_free: bytes of disk below which the oldest files go. keep_us: age at which readings go, None: never.
    """

    def __init__(
        self, projection: Projection, threads: Executor, clock: Clock, keep_free: int = 0, keep_us: int | None = None
    ) -> None:
        self.projection = projection
        self.history: ParquetHistory = projection.history
        self.origin = projection.log.origin
        self._threads, self._clock = threads, clock
        self._keep_free, self._keep_us = keep_free, keep_us
        self._in_trouble = ""

    async def follow(self, tell: Callable[[list[Item]], None]) -> NoReturn:
        """Read on whenever the log has grown, until cancelled; then make durable what was read.

        Never ends by itself: what hinders it is logged once, and tried again.
        """
        try:
            while True:
                try:
                    items = await self._thread(self.projection.step)
                    if not items:
                        await self._wait(LOOK_NS)
                        continue
                except (DavyError, OSError) as error:
                    await self._trouble(error)
                    continue
                self._well()
                tell(items)
        finally:
            await asyncio.shield(self._last())

    async def tidy(self) -> NoReturn:
        """Merge, drop what is too old, and make room, every 10 s, until cancelled."""
        while True:
            await self._wait(TIDY_NS)
            try:
                await self._thread(self._tidy)
            except OSError as error:  # Full is one: room is made by the step after it
                log_line.warning("history_not_tidied", origin=self.origin, err=str(error))

    async def _trouble(self, error: Exception) -> None:
        reason = getattr(error, "reason", "disk")
        if reason != self._in_trouble:
            log_line.error("history_waits", origin=self.origin, reason=reason, err=str(error))
            self._in_trouble = reason
        if isinstance(error, Full):
            await self._thread(self._give_way)
        await self._wait(RETRY_NS)

    def _well(self) -> None:
        if self._in_trouble:
            log_line.info("history_goes_on", origin=self.origin, reason=self._in_trouble)
            self._in_trouble = ""

    def _tidy(self) -> None:
        self.history.tidy(self._clock.mono_ns())
        _give_back_memory()
        if self._keep_us is not None:
            self._log(self.history.retention(self._clock.now_us() - self._keep_us), "too_old")
        while self._keep_free and shutil.disk_usage(self.history.folder).free < self._keep_free:
            if not self._give_way():
                break

    def _give_way(self) -> bool:
        """Drop the oldest file; False if there is none."""
        dropped = self.history.give_way()
        self._log([dropped] if dropped else [], "disk_full")
        return dropped is not None

    def _log(self, dropped: list[Dropped], why: str) -> None:
        for file in dropped:
            log_line.warning(
                "history_dropped",
                origin=self.origin,
                reason=why,
                file=file.name,
                bytes=file.size,
                t0=file.t0,
                t1=file.t1,
            )

    async def _last(self) -> None:
        try:
            await self._thread(self.projection.flush)
        except OSError as error:  # what is not on disk is in the log, and read again next time
            log_line.warning("history_not_flushed", origin=self.origin, err=str(error))

    async def _wait(self, ns: int) -> None:
        await self._clock.sleep_until(self._clock.mono_ns() + ns)

    async def _thread(self, work: Callable[[], Answer]) -> Answer:
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])  # a thread cannot be stopped, and nobody may touch the history meanwhile
            raise
