"""Room on the disk: kept for what happens next, at the cost of the oldest bulk (never of an event).

Near `keep_free` an alarm says so, and below it the history process gives up its oldest files: they are a projection and
can be made again. Below half of it, when history had nothing more to give, the oldest sealed readings go, whole
hours of them; a `gap` leaf that names them is durable before the first byte is removed.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from davy.blackbox.pack import Pack
from davy.clock import SECOND, Clock
from davy.edge.recorder import Recorder
from davy.errors import DavyError
from davy.fact import ErasureClass, Kind, Note
from davy.fact.event import BULK_RETIRED

log_line = structlog.get_logger()

LOOK_S = 5.0
#: Given up when the disk is full to the last byte, so that alarms, acts and the `gap` leaf still fit.
BALLAST_BYTES = 1 << 20
#: Room is low from 1.1 of `keep_free` on, so the alarm is told before history gives way, until there is 1.2 of it.
_LOW, _ENOUGH = 1.1, 1.2
_SEALED_S = 30.0


def free_bytes(folder: Path) -> int:
    """Bytes that whoever is not root may still write on the disk of `folder`."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


class Room:
    """Watches the disk of one site. `low` is what the alarm tells; blocks only in threads."""

    def __init__(
        self,
        data: Path,
        keep_free: int,
        recorder: Recorder,
        clock: Clock,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """keep_free: bytes. clock: the one leaves are stamped with."""
        self.low = False
        self._data = data
        self._keep_free = keep_free
        self._recorder = recorder
        self._clock = clock
        self._free = free
        self._ballast = data / "ballast"

    async def watch(self, pace: Clock) -> None:
        """Look every LOOK_S until cancelled; what a disk may do is written down, and looked at again."""
        while True:
            try:
                await self.step()
            except (OSError, DavyError) as error:
                log_line.error("room_not_made", err=str(error))
            await pace.sleep_until(pace.mono_ns() + int(LOOK_S * 1e9))

    async def step(self) -> None:
        """Look once; sealed readings go only where it was low the time before, so the alarm is first.

        Raises OSError, Corrupt.
        """
        free = await asyncio.to_thread(self._free, self._data)
        was, self.low = self.low, free < self._keep_free * (_ENOUGH if self.low else _LOW)
        if self._recorder.faults.disk:
            await asyncio.to_thread(self._ballast.unlink, missing_ok=True)
        elif not self.low:
            await asyncio.to_thread(self._load)
        half = self._keep_free // 2
        if was and free < half:
            await self._retire(int(half * _LOW) - free)

    def _load(self) -> None:
        with suppress(OSError):  # no room for it after all: the next look tries again
            if not self._ballast.exists() or self._ballast.stat().st_size < BALLAST_BYTES:
                self._ballast.write_bytes(bytes(BALLAST_BYTES))

    async def _retire(self, wanted: int) -> None:
        """Let the oldest sealed readings go; the hour being written stays."""
        hour = self._clock.now_us() // (3600 * SECOND)
        aged = await asyncio.wrap_future(self._recorder.ask(lambda log: log.aged(ErasureClass.sensor, hour)))
        packs = oldest(aged, wanted)
        if not packs:
            log_line.error("nothing_left_to_give_way", wanted=wanted)
            return
        detail = {
            "class": int(ErasureClass.sensor),
            "first": packs[0].first,
            "last": packs[-1].last,
            "packs": [pack.name for pack in packs],
            "bytes": sum(pack.size for pack in packs),
        }
        told = self._recorder.put_first(Kind.gap, Note(BULK_RETIRED, detail, self._clock.now_us()))
        try:
            await asyncio.wait_for(asyncio.wrap_future(told), _SEALED_S)
        except TimeoutError:
            return  # not durable, so nothing may go
        await asyncio.wrap_future(self._recorder.ask(lambda log: log.retire(packs)))
        log_line.warning(BULK_RETIRED, **detail)


def oldest(packs: list[Pack], wanted: int) -> list[Pack]:
    """The first of `packs`, so many that they make up `wanted` bytes; all where that is not enough."""
    out: list[Pack] = []
    size = 0
    for pack in packs:
        if size >= wanted:
            break
        out.append(pack)
        size += pack.size
    return out
