"""The loops around a projection: giving way, going on after trouble; and the centre's bounded feed."""

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from davy.blackbox.fs import Fs
from davy.centre.feed import QUEUE, Feed, Picture
from davy.clock import SimulatedClock, SystemClock
from davy.errors import Full
from davy.fact import Leaf
from davy.record.files import HOUR
from davy.record.history import ParquetHistory
from davy.record.keep import Keeper
from davy.record.project import Item, Projection
from histories import NOON, SECOND, Site, readings, transition

HEADER = Leaf(1, 1, 0, 1, 0, 0, 1, 0, 1, 1, b"", b"", 0, 16)


def filled(folder: Path, fs: Fs | None = None) -> ParquetHistory:
    history = ParquetHistory(folder, fs or Fs())
    for k in range(4):
        history.append(readings(1, k, NOON + k * HOUR), k)
        history.flush()
    return history


def test_history_gives_way_until_as_much_of_the_disk_is_free_as_was_asked(tmp_path: Path) -> None:
    site = Site(tmp_path / "log")
    site.put(*(readings(1, k, NOON) for k in range(5)))
    with filled(tmp_path / "history") as history, ThreadPoolExecutor(1) as threads:
        keeper = Keeper(
            Projection(site.reader(), site.key, history, SystemClock()), threads, SystemClock(), keep_free=1
        )
        keeper._tidy()
        assert len(history.files) >= 1
        keeper._keep_free = 1 << 62
        keeper._tidy()
        assert history.files == ()
    site.log.close()


def test_readings_older_than_they_are_kept_go(tmp_path: Path) -> None:
    site = Site(tmp_path / "log")
    site.put(*(readings(1, k, NOON) for k in range(5)))
    clock = SimulatedClock(NOON + 5 * HOUR)
    with filled(tmp_path / "history") as history, ThreadPoolExecutor(1) as threads:
        keeper = Keeper(Projection(site.reader(), site.key, history, clock), threads, clock, keep_us=3 * HOUR)
        history.tidy = lambda mono: None  # type: ignore[method-assign]  # four hours stay four files
        keeper._tidy()
        assert history.range([1], NOON, NOON + 9 * HOUR).value.tolist() == [2, 3]
    site.log.close()


class NoRoom(Fs):
    """A disk that is full until a file is removed from it."""

    full = False

    def write(self, fd: int, data: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "no space")
        super().write(fd, data)

    def remove(self, path: Path) -> None:
        super().remove(path)
        if path.suffix == ".parquet":
            self.full = False


async def until(done: Callable[[], bool], clock: SimulatedClock, us: int) -> None:
    """Let so much time pass, again and again, until it is."""
    async with asyncio.timeout(10):
        while not done():  # threads do the work: there is no event to wait for
            clock.advance(us)
            await asyncio.sleep(0.01)


async def test_a_full_disk_costs_the_oldest_file_and_nothing_new(tmp_path: Path) -> None:
    site = Site(tmp_path / "log")
    site.put(*(readings(1, 0, NOON) for k in range(3)), readings(1, 9.0, NOON + 5 * HOUR))
    disk = NoRoom()
    clock = SimulatedClock(NOON)
    with filled(tmp_path / "history", disk) as history, ThreadPoolExecutor(1) as threads:
        projection = Projection(site.reader(), site.key, history, clock)
        following = asyncio.ensure_future(Keeper(projection, threads, clock).follow(lambda items: None))
        await until(lambda: history.position == site.log.size, clock, 0)
        disk.full = True
        await until(lambda: history.durable == site.log.size, clock, 70 * SECOND)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        assert history.range([1], NOON, NOON + 9 * HOUR).value.tolist() == [1, 2, 3, 9]
        disk.full = True
        history.append(readings(1, 1.0, NOON), history.position)
        with pytest.raises(Full):
            history.flush()
        disk.full = False
    site.log.close()


async def test_a_slow_subscriber_loses_the_oldest_transitions_counted_and_gets_each_tag_once(tmp_path: Path) -> None:
    feed = Feed(SystemClock())
    with ParquetHistory(tmp_path / "history") as history:
        feed.add(Picture("a/b/c", history.latest))
        stream = feed.subscribe()
        assert (await anext(stream))["what"] == "snapshot"
        for k in range(500):
            history.append(readings([1, 2], [k, -k], NOON + k), k)
            feed.take("a/b/c", [Item(k, HEADER, readings([1, 2], [k, -k], NOON + k))])
        for k in range(QUEUE + 5):
            feed.take("a/b/c", [Item(k, HEADER, transition(8, k + 1, NOON + k))])
        told = [await anext(stream) for _ in range(QUEUE + 1)]
        assert feed.dropped == 5 and told[0]["version"] == 6
        assert [i["what"] for i in told].count("latest") == 1
        assert np.frombuffer(told[-1]["value"], "<f8").tolist() == [499.0, -499.0]
        await stream.aclose()
