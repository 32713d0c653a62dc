"""What is put comes out in order, once, and stays: whatever disk and signer do meanwhile."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from davy.blackbox.fs import Fs
from davy.blackbox.log import Log
from davy.clock import SECOND, SimulatedClock
from davy.edge import recorder as recorders
from davy.edge.config import Site
from davy.edge.recorder import Recorder
from davy.errors import BadRequest, Inconsistent, Unreachable
from davy.fact import Kind, Note
from davy.reading import concat
from sites import FLOW, GAS, LEVEL, NOW, Here, batch, entries, fsck, site


class Disk(Fs):
    """Refuses with `error`, while it is set, every write of more than `most` bytes."""

    def __init__(self) -> None:
        self.error = 0
        self.most = 0
        self.refused = 0

    def write(self, fd: int, data: bytes) -> None:
        if self.error and len(data) > self.most:
            self.refused += 1
            os.write(fd, bytes(data)[: len(data) // 2])
            raise OSError(self.error, os.strerror(self.error))
        super().write(fd, data)

    def replace(self, path: Path, data: bytes) -> None:
        if self.error:
            self.refused += 1
            raise OSError(self.error, os.strerror(self.error))
        super().replace(path, data)


class Bench:
    def __init__(self, place: Site) -> None:
        self.site = place
        self.clock = SimulatedClock(NOW, 1_000_000_000)
        self.signer = Here(place)
        self.disk = Disk()
        self.log = Log.open(place.log, place.origin, self.disk)
        self.recorder = Recorder(self.log, self.signer, self.clock, self.clock, boot=1, epoch=0, tags_version=0)
        self.recorder.put_epoch({"v": 1, "alarms": [], "delays": []}, "start")
        self.recorder.put_tags(place.tags, None)

    def note(self, n: int) -> "Future[int]":
        return self.recorder.put_event(Kind.clock, Note("jump", {"n": n}, self.clock.now_us()))

    def readings(self, *values: float) -> None:
        self.recorder.put_readings(concat([batch({FLOW: value}, self.clock) for value in values]))

    async def until(self, true) -> None:
        for _ in range(12_000):
            if true():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("this did not come true within 2 min")

    async def done(self, *futures: "Future[int]") -> list[int]:
        async with asyncio.timeout(15):
            return [await asyncio.wrap_future(f) for f in futures]

    def close(self) -> None:
        self.recorder.stop()
        self.log.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(site(tmp_path / "quay"))
    yield made
    if made.recorder._thread.is_alive():
        made.disk.error, made.signer.away = 0, None
        made.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorders, "RETRY_S", 0.02)


def notes(bench: Bench) -> list[int]:
    return [e.content.detail["n"] for e in entries(bench.site) if e.kind == Kind.clock]


async def test_the_order_of_puts_is_the_order_of_leaves_and_each_future_gives_its_place(bench: Bench) -> None:
    bench.recorder.start()
    futures = []
    for n in range(100):
        futures.append(bench.note(n))
        bench.readings(n, n + 0.5)
    places = await bench.done(*futures)
    bench.close()
    made = entries(bench.site)
    assert [made[at].content.detail["n"] for at in places] == list(range(100))
    assert [e.content.value.tolist() for e in made if e.kind == Kind.readings] == [[n, n + 0.5] for n in range(100)]
    assert [e.leaf.seq for e in made] == list(range(len(made)))
    assert fsck(bench.site).findings == []


async def test_a_large_batch_is_cut_into_leaves_and_nothing_of_it_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "LEAF_READINGS", 5_000)
    bench.recorder.start()
    values = np.arange(12_345) / 7
    bench.readings(*values)
    bench.close()
    parts = [e.content.value for e in entries(bench.site) if e.kind == Kind.readings]
    assert [len(part) for part in parts] == [5000, 5000, 2345]
    assert np.concatenate(parts).tobytes() == values.tobytes()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
async def test_a_disk_that_refuses_loses_nothing_and_goes_on_by_itself(bench: Bench, number: int) -> None:
    bench.recorder.start()
    await bench.done(bench.note(0))
    bench.disk.error = number
    futures = [bench.note(n) for n in range(1, 20)]
    bench.readings(1.0, 2.0)
    bench.recorder.put_epoch({"v": 1, "alarms": [], "delays": []}, "hour")
    bench.recorder.put_tags(bench.site.tags, np.array([0.0, 0.0, 7.25]))
    bench.readings(7.25, 7.5)
    await bench.until(lambda: bench.disk.refused > 3)
    assert bench.recorder.faults.disk and not bench.recorder.faults.signer
    assert not any(f.done() for f in futures)
    bench.disk.error = 0
    await bench.done(*futures)
    bench.close()
    assert not bench.recorder.faults.disk
    assert notes(bench) == list(range(20))
    made = entries(bench.site)
    assert [e.content.value.tolist() for e in made if e.kind == Kind.readings] == [[1.0, 2.0], [7.25, 7.5]]
    assert [e.leaf.epoch for e in made if e.kind == Kind.epoch] == [1, 2]
    assert fsck(bench.site).findings == []


async def test_a_failed_group_is_sealed_again_with_the_keys_and_references_of_its_beginning(bench: Bench) -> None:
    """What stands before an epoch or a tag table in a group belongs to the epoch and table before, at every attempt."""
    bench.recorder.start()
    await bench.done(bench.note(0))
    bench.disk.error = errno.ENOSPC
    bench.readings(1.0, 1.25)
    bench.note(1)
    bench.recorder.put_epoch({"v": 1, "alarms": [], "delays": []}, "hour")
    bench.recorder.put_tags(bench.site.tags, np.array([0.0, 0.0, 1e6]))
    await bench.until(lambda: bench.disk.refused > 4)
    bench.disk.error = 0
    await bench.done(bench.note(2))
    bench.close()
    made = entries(bench.site)
    assert [e.leaf.epoch for e in made if e.kind in (Kind.readings, Kind.clock)] == [1, 1, 1, 2]
    assert [e.content.value.tolist() for e in made if e.kind == Kind.readings] == [[1.0, 1.25]]
    assert len(list((bench.site.data / "keyring").glob("*.cbor"))) == 2  # no key file for each attempt
    assert fsck(bench.site).findings == []


async def test_readings_go_only_beyond_the_backlog_and_a_gap_leaf_says_how_many(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "BACKLOG_READINGS", 100)
    bench.recorder.start()
    await bench.done(bench.note(0))
    bench.disk.error = errno.ENOSPC
    first = bench.note(1)
    await bench.until(lambda: bench.recorder.faults.disk)
    for n in range(15):
        bench.clock.advance(SECOND)
        bench.readings(*range(10 * n, 10 * n + 10))
    events = [bench.note(n) for n in range(2, 300)]
    assert 50 <= bench.recorder.faults.dropped <= 70  # ten or so may have been under way
    dropped = bench.recorder.faults.dropped
    bench.disk.error = 0
    await bench.done(first, *events)
    bench.close()
    made = entries(bench.site)
    values = [v for e in made if e.kind == Kind.readings for v in e.content.value.tolist()]
    assert len(values) == 150 - dropped
    assert values == sorted(values) and values[-1] == 149.0
    (gap,) = [e.content for e in made if e.kind == Kind.gap]
    assert gap.what == "readings_dropped"
    assert gap.detail["readings"] == dropped
    assert NOW < gap.detail["from"] < gap.detail["to"] <= bench.clock.now_us()
    assert notes(bench) == list(range(300))


async def test_a_signer_that_is_away_delays_signatures_but_no_leaf(bench: Bench) -> None:
    bench.recorder.start()
    await bench.done(bench.note(0))
    bench.signer.away = Unreachable("socket signer.sock: gone")
    bench.clock.advance(SECOND)
    await bench.done(bench.note(1), bench.note(2))
    await bench.until(lambda: bench.recorder.faults.signer)
    assert not bench.recorder.faults.disk
    published = bench.log.published
    assert published is not None and published.size < bench.log.size
    bench.signer.away = None
    for _ in range(3):
        bench.clock.advance(SECOND)
        await asyncio.sleep(0.05)
    await bench.until(lambda: bench.log.published is not None and bench.log.published.size == bench.log.size)
    assert not bench.recorder.faults.signer


async def test_a_signer_that_refuses_is_the_signers_fault(bench: Bench) -> None:
    bench.recorder.start()
    await bench.done(bench.note(0))
    bench.signer.away = Inconsistent("checkpoint: signed another root before")
    bench.clock.advance(SECOND)
    bench.note(1)
    await bench.until(lambda: bench.recorder.faults.signer)
    assert not bench.recorder.faults.disk


async def test_without_a_signer_no_epoch_begins_and_everything_waits_for_it(bench: Bench) -> None:
    bench.signer.away = Unreachable("socket signer.sock: gone")
    bench.recorder.start()
    waiting = bench.note(0)
    await bench.until(lambda: bench.recorder.faults.signer)
    assert bench.log.size == 0 and not waiting.done()
    bench.signer.away = None
    assert await bench.done(waiting) == [2]


async def test_checkpoints_are_at_most_ten_a_second_and_the_last_one_covers_all(bench: Bench) -> None:
    signed: list[int] = []
    bench.recorder.on_checkpoint = signed.append
    bench.recorder.start()
    await bench.done(bench.note(0))
    await bench.until(lambda: signed)
    for n in range(1, 10):
        await bench.done(bench.note(n))
    assert signed == [3]  # no time has passed since
    bench.clock.advance(SECOND // 10)
    await bench.until(lambda: len(signed) == 2)
    assert signed == [3, 12]
    bench.note(10)
    bench.close()
    assert signed == [3, 12, 13]


async def test_who_no_longer_waits_for_a_leaf_does_not_stop_the_record(bench: Bench) -> None:
    bench.disk.error = errno.ENOSPC
    bench.recorder.start()
    future = bench.note(0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.wrap_future(future), 0.05)
    bench.disk.error = 0
    assert len(await bench.done(future, bench.note(1))) == 2


async def test_an_event_that_cannot_be_recorded_leaves_a_gap_leaf_and_the_rest_goes_on(bench: Bench) -> None:
    bench.recorder.start()
    futures = [bench.note(n) for n in range(7)]
    noise = np.random.default_rng(1).bytes(5 << 20)
    bad = bench.recorder.put_event(Kind.clock, Note("too large for a leaf", {"noise": noise}, NOW))
    futures += [bench.note(n) for n in range(7, 10)]
    await bench.done(*futures)
    with pytest.raises(BadRequest, match="cannot be recorded"):
        await bench.done(bad)
    bench.close()
    made = entries(bench.site)
    assert [e.content.what for e in made if e.kind == Kind.gap] == ["not_recorded"]
    assert notes(bench) == list(range(10))
    assert fsck(bench.site).findings == []


async def test_what_fits_is_written_though_the_whole_backlog_does_not(bench: Bench) -> None:
    bench.recorder.start()
    await bench.done(bench.note(0))
    bench.disk.error = errno.ENOSPC
    futures = [bench.note(n) for n in range(1, 200)]
    await bench.until(lambda: bench.recorder.faults.disk)
    bench.disk.most = 4096  # room for a few leaves, but not for two hundred
    await bench.done(*futures)
    assert bench.disk.refused > 1


async def test_what_makes_room_goes_before_all_that_waits(bench: Bench) -> None:
    first = bench.recorder.put_first(Kind.gap, Note("bulk_retired", {}, NOW))
    bench.note(0)
    bench.recorder.start()
    assert await bench.done(first) == [1]  # nothing can be sealed before the epoch
    bench.disk.error = errno.ENOSPC
    late = bench.note(1)
    await bench.until(lambda: bench.recorder.faults.disk)
    soon = bench.recorder.put_first(Kind.gap, Note("bulk_retired", {}, NOW))
    bench.disk.error = 0
    places = await bench.done(soon, late)
    assert places == sorted(places)


async def test_questions_to_the_log_are_answered_in_its_own_thread(bench: Bench) -> None:
    bench.recorder.start()
    await bench.done(bench.note(0))
    name, size = await asyncio.wrap_future(bench.recorder.ask(lambda log: (threading.current_thread().name, log.size)))
    assert (name, size) == ("recorder", 3)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wrap_future(bench.recorder.ask(lambda log: 1 // 0))
    assert len(await bench.done(bench.note(1))) == 1


async def test_the_end_makes_durable_and_signs_all_that_was_put(bench: Bench) -> None:
    bench.recorder.start()
    for n in range(50):
        bench.note(n)
    bench.recorder.put_readings(batch({LEVEL: 50.0, GAS: 1.0}, bench.clock))
    bench.close()
    assert bench.log.published is not None
    assert bench.log.published.size == bench.log.size == 53
    report = fsck(bench.site)
    assert (report.findings, report.unsigned, report.opened) == ([], 0, 53)


async def test_a_disk_that_refuses_to_the_end_does_not_hold_the_process_up(bench: Bench) -> None:
    bench.recorder.start()
    await bench.done(bench.note(0))
    bench.disk.error = errno.EIO
    lost = bench.note(1)
    await asyncio.to_thread(bench.recorder.stop, 5.0)
    assert not bench.recorder._thread.is_alive()
    assert not lost.done()
    bench.log.close()
    assert notes(bench) == [0]
