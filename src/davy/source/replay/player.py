"""A recorded file as a source: rows to Readings, paced by the clock or as fast as they are taken."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from davy.clock import Clock, SimulatedClock
from davy.errors import LinkDown, SourceError
from davy.reading import Readings, Status, Tag
from davy.source.presence import Presence
from davy.source.promise import Batch, Decoded, Diagnostics, Exchange, ProbeResult, indices
from davy.source.replay.config import Replay, instant_us, zone_us
from davy.source.replay.table import Chunk, read


def check(config: Replay, tag: Tag) -> list[tuple[str, str]]:
    """A replay takes any tag; whether its column exists is only known once the file is there."""
    return []


Deliver = Callable[[Readings], Awaitable[None]]


class Player:
    """A Subscribe source (see promise.py) over one file, played once, in file order.

    Every cell becomes a row, a missing one with BadNoData. source_time is the file's. Where the clock
    is a SimulatedClock and the speed is fast, it is moved to each batch's last source time before the
    batch is handed on (contracts.md 12). While the file cannot be read, every tag gets a
    BadNotConnected row per attempt, and the replay resumes after the last row it handed on.
    """

    def __init__(
        self,
        name: str,
        config: Replay,
        tags: Sequence[Tag],
        clock: Clock,
        batch: tuple[str, int, int],
        random: Random | None = None,
    ) -> None:
        self.name, self.config, self.tags = name, config, tuple(tags)
        self.diagnostics = Diagnostics()
        self._clock, self._batch = clock, Batch(*batch)
        self._index = indices(tags)
        self._columns = [t.address or t.name for t in tags]
        self._scaling = [(i, t.scale, t.offset) for i, t in enumerate(tags) if (t.scale, t.offset) != (1.0, 0.0)]
        self._presence = Presence(source=name)
        self._first = instant_us(config.start) if config.start else 0
        self._rows = 0  # handed on
        self._epoch: tuple[int, int] | None = None  # (source time, mono ns) of the first row, when paced

    async def follow(self, deliver: Deliver) -> None:
        """See Subscribe. Returns at the end of the file."""
        while True:
            try:
                await self._play(deliver)
                return
            except (OSError, SourceError) as error:
                self.diagnostics.losses += self._presence.lost(getattr(error, "reason", LinkDown.reason), error)
                self.diagnostics.up = False
                await self._hand_on(deliver, self.lost(Status.BadNotConnected))
            await self._clock.sleep_until(self._clock.mono_ns() + self.config.retry * 1000)

    def lost(self, status: Status) -> Readings:
        return self._batch.bad(self._index, status, self._clock.now_us(), self._clock.mono_ns())

    async def close(self) -> None:
        """Nothing is held between reads."""

    async def probe(self) -> ProbeResult:
        path = Path(self.config.path)
        try:
            head, chunk = await asyncio.to_thread(self._first_row, path)
        except (OSError, SourceError) as error:
            return ProbeResult(self.name, (), str(error))
        values = chunk.value[0] if chunk is not None and len(chunk) else np.full(len(self.tags), np.nan)
        status = np.where(np.isnan(values), int(Status.BadNoData), 0)
        decoded = tuple(
            Decoded(tag.name, column, "", float(v) * tag.scale + tag.offset, int(s))
            for tag, column, v, s in zip(self.tags, self._columns, values, status, strict=True)
        )
        return ProbeResult(self.name, (Exchange(b"", head, f"first bytes and first row of {path.name}", decoded),))

    # -- inside

    def _first_row(self, path: Path) -> tuple[bytes, Chunk | None]:
        with path.open("rb") as file, closing(self._read(1)) as chunks:
            return file.read(64), next(chunks, None)

    def _read(self, rows: int) -> Generator[Chunk]:
        return read(Path(self.config.path), self._columns, self.config.time, rows, zone_us(self.config.zone))

    async def _play(self, deliver: Deliver) -> None:
        chunks = self._read(max(1, self.config.batch // max(1, len(self.tags))))
        seen = 0
        try:
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                self._presence.back()
                self.diagnostics.up = True
                skip = min(max(0, self._rows - seen), len(chunk))
                times = self._times(chunk, seen)
                seen += len(chunk)
                if skip < len(chunk):
                    await self._pace(deliver, chunk.value[skip:], times[skip:])
        finally:
            await asyncio.to_thread(chunks.close)  # ends the Parquet reader

    def _times(self, chunk: Chunk, seen: int) -> NDArray[np.int64]:
        if chunk.time is not None:
            return chunk.time
        return self._first + self.config.step * np.arange(seen, seen + len(chunk), dtype=np.int64)

    async def _pace(self, deliver: Deliver, values: NDArray[np.float64], times: NDArray[np.int64]) -> None:
        """Hand on the rows whose time has come, until none is left."""
        if self.config.speed == "fast":
            if isinstance(self._clock, SimulatedClock):
                self._clock.advance(max(0, int(times.max()) - self._clock.now_us()))
            await self._rows_on(deliver, values, times)
            return
        if self._epoch is None:
            self._epoch = int(times[0]), self._clock.mono_ns()
        first, began = self._epoch
        i = 0
        while i < len(times):
            await self._clock.sleep_until(began + int((int(times[i]) - first) * 1000 / float(self.config.speed)))
            played = first + int((self._clock.mono_ns() - began) * float(self.config.speed) / 1000)
            due = int(np.searchsorted(times[i:], played, "right")) + i
            end = min(max(due, i + 1), i + max(1, self.config.batch // max(1, len(self.tags))))
            await self._rows_on(deliver, values[i:end], times[i:end])
            i = end

    async def _rows_on(self, deliver: Deliver, values: NDArray[np.float64], times: NDArray[np.int64]) -> None:
        rows, width = values.shape
        values = values.copy() if self._scaling else values
        for column, scale, offset in self._scaling:  # cells without scaling pass bit by bit
            values[:, column] = values[:, column] * scale + offset
        value = values.ravel()
        tag = np.tile(self._index, rows)
        status = np.where(np.isnan(value), np.uint32(Status.BadNoData), np.uint32(Status.Good))
        flags = np.zeros(len(tag), np.uint32)
        source = np.repeat(times, width)
        server = source if self.config.stamp == "source" else np.full(len(tag), self._clock.now_us(), np.int64)
        shared = (self._batch.origin, self._batch.tags_version, self._clock.mono_ns(), self._batch.boot_id)
        self._rows += rows
        await self._hand_on(deliver, Readings(tag, value, status, flags, source, server, *shared))

    async def _hand_on(self, deliver: Deliver, readings: Readings) -> None:
        self.diagnostics.readings += len(readings)
        self.diagnostics.bad += int(np.count_nonzero(readings.status))
        await deliver(readings)
        await asyncio.sleep(0)  # the river must get its turn
