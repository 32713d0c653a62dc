"""What source/promise.py promises, held against every adapter: Modbus TCP and each replayed file format."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from davy.clock import SystemClock
from davy.lab.modbus_server import ServerProcess
from davy.reading import Flag, Readings, Status, Tag, concat
from davy.source import KINDS, Source
from davy.source.modbus import codec

BATCH = ("org/site/box", 3, 5)
LOST = {int(Status.BadNoCommunication), int(Status.BadNotConnected)}
pytestmark = pytest.mark.feature("F01", "F02", "F03")


class ModbusRig:
    """A pymodbus server in another process."""

    kind = "modbus-tcp"
    repeats = True  # the same tags come again and again
    values = (93.3, -1.5, 1.0, 70000.0)

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.settings = {
            "address": f"127.0.0.1:{server.port}", "poll": "40ms", "timeout": "100ms",
            "retry": "10ms", "retry_max": "60ms",
        }  # fmt: skip
        self.tags = [
            Tag("a", 4, "A", address="40001", type="uint16", scale=0.1),
            Tag("b", 9, "B", address="2!30005", type="float32 CDAB"),
            Tag("c", 2, "C", address="10003", type="bool"),
            Tag("d", 7, "D", address="40010", type="int32 DCBA"),
        ]
        server.set(1, "4", 0, [933])
        server.set(2, "3", 4, codec.encode([-1.5], codec.parse_type("float32 CDAB")))
        server.set(1, "1", 2, [1])
        server.set(1, "4", 9, codec.encode([70000], codec.parse_type("int32 DCBA")))

    def cut(self) -> None:
        self.server.order(close=True)

    def heal(self) -> None:
        self.server.order(open=True)


class ReplayRig:
    """A file that may be away. Rows run at real time, 40 ms apart."""

    kind = "replay"
    repeats = False
    values = (93.3, -1.5, 1.0, 70000.0)
    columns = ("A", "B col", "C", "D")
    rows = 20

    def __init__(self, folder: Path, suffix: str) -> None:
        self.path, self.away = folder / f"run.{suffix}", folder / "away"
        self.settings = {
            "path": str(self.path), "start": "2024-03-01T00:00:00Z", "step": "40ms", "speed": 1.0, "retry": "30ms",
        }  # fmt: skip
        self.tags = [
            Tag(c, i, f"tag{i}", address=c) for i, c in zip((4, 9, 2, 7), self.columns, strict=True)
        ]  # fmt: skip
        getattr(self, f"_{suffix}")()

    def _csv(self) -> None:
        head = "when;" + ";".join(self.columns)
        self.path.write_text("\n".join([head, *(["x;" + ";".join(map(str, self.values))] * self.rows)]))

    def _arff(self) -> None:
        head = ["% a comment", "@relation r", *(f"@ATTRIBUTE '{c}' real" for c in self.columns), "@DATA"]
        self.path.write_text("\n".join([*head, *([",".join(map(str, self.values))] * self.rows)]))

    def _parquet(self) -> None:
        pq.write_table(
            pa.table({c: [v] * self.rows for c, v in zip(self.columns, self.values, strict=True)}), self.path
        )

    def cut(self) -> None:
        if self.path.exists():
            self.path.rename(self.away)

    def heal(self) -> None:
        self.away.rename(self.path)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess("--units", "1,2", "--size", "64") as process:
        yield process


@pytest.fixture(params=["modbus", "csv", "arff", "parquet"])
def rig(request: pytest.FixtureRequest, server: ServerProcess, tmp_path: Path) -> Iterator[ModbusRig | ReplayRig]:
    if request.param == "modbus":
        modbus = ModbusRig(server)
        yield modbus

    else:
        yield ReplayRig(tmp_path, request.param)


def build(rig: ModbusRig | ReplayRig) -> Source:
    kind = KINDS[rig.kind]
    config = kind.model.model_validate({"kind": rig.kind, **rig.settings})
    return kind.make("link", config, rig.tags, SystemClock(), BATCH)


@asynccontextmanager
async def running(source: Source) -> AsyncIterator[list[Readings]]:
    got: list[Readings] = []
    kind = next(k for k in KINDS.values() if isinstance(source, k.make))
    task = asyncio.create_task(kind.run(source, got.append, SystemClock()))
    try:
        yield got
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


def good_tags(got: list[Readings]) -> set[int]:
    return {int(t) for r in list(got) for t in r.tag[r.status == 0]}


async def test_every_tag_comes_with_its_value_status_and_times(rig):
    clock = SystemClock()
    before, mono = clock.now_us(), clock.mono_ns()
    async with running(build(rig)) as got:
        await until(lambda: good_tags(got) == {t.index for t in rig.tags})
    batch = concat(got)
    assert (batch.origin, batch.tags_version, batch.boot_id) == BATCH
    assert all(mono < r.mono_ns <= clock.mono_ns() for r in got)
    assert (batch.status == Status.Good).all()
    for tag, value in zip(rig.tags, rig.values, strict=True):
        np.testing.assert_array_equal(batch.value[batch.tag == tag.index], value)
    if rig.kind == "modbus-tcp":
        assert (batch.flags == Flag.no_source_time).all()
        assert (batch.source_time == batch.server_time).all()
        assert (batch.server_time >= before).all()
        assert (batch.server_time <= clock.now_us()).all()
    else:
        assert (batch.flags == 0).all()
        assert batch.source_time[0] == 1_709_251_200_000_000


async def test_loss_is_told_as_bad_rows_and_healing_needs_nobody(rig):
    rig.cut()
    with capture_logs() as logs:
        async with running(build(rig)) as got:
            try:
                await until(lambda: len(got) >= 3)
            finally:
                rig.heal()
            lost = concat(list(got))
            await until(lambda: good_tags(got) == {t.index for t in rig.tags})
    assert np.isnan(lost.value).all()
    assert set(lost.status.tolist()) <= LOST
    counts = np.unique_counts(lost.tag).counts
    assert len(counts) == len(rig.tags)
    assert len(set(counts.tolist())) == 1, "every tag due gets a row, every time"
    assert [line["event"] for line in logs] == ["source_lost", "source_recovered"]


async def test_a_source_that_stops_leaves_no_task_and_no_file_open(rig):
    async with running(build(rig)) as got:
        await until(lambda: bool(good_tags(got)))
    tasks, files = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
    async with running(build(rig)) as got:
        await until(lambda: bool(good_tags(got)))
    await until(lambda: len(os.listdir("/proc/self/fd")) <= files)
    assert len(asyncio.all_tasks()) == tasks
    handed_on = len(got)
    await asyncio.sleep(0.1)
    assert len(got) == handed_on


async def test_a_probe_shows_the_bytes_and_what_they_mean(rig):
    result = await build(rig).probe()
    assert result.alive
    decoded = {d.tag: d.value for e in result.exchanges for d in e.decoded}
    assert decoded == dict(zip([t.name for t in rig.tags], rig.values, strict=True))
    assert all(bytes.fromhex(frame["answer"]) for frame in result.frames)
    assert all(t.name in result.text() for t in rig.tags)


async def test_a_probe_of_a_lost_peer_says_so(rig):
    rig.cut()
    try:
        result = await build(rig).probe()
        for _ in range(20):  # the order to close reaches the other process a little later
            if not result.alive:
                break
            await asyncio.sleep(0.05)
            result = await build(rig).probe()
    finally:
        rig.heal()
    assert not result.alive
    assert result.error
