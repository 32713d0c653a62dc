"""Replay: files as they are found in the world, at any speed, each row at its own time."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from davy.clock import Clock, SimulatedClock, SystemClock
from davy.reading import Readings, Status, Tag, concat
from davy.source import KINDS, Source

pytestmark = pytest.mark.feature("F01")
S = 1_000_000
MARCH = 1_709_251_200 * S  # 2024-03-01T00:00:00Z


def build(path: Path, columns: list[str], clock: Clock, **settings: object) -> Source:
    kind = KINDS["replay"]
    given = settings if "time" in settings else {"start": "2024-03-01T00:00:00Z", "step": "1s"} | settings
    config = kind.model.model_validate({"kind": "replay", "path": str(path), **given})
    return kind.make("file", config, [Tag(c, i, c, address=c) for i, c in enumerate(columns)], clock, ("o", 1, 1))


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
        await asyncio.sleep(0.005)


async def play(path: Path, columns: list[str], clock: Clock | None = None, **settings: object) -> list[Readings]:
    got: list[Readings] = []
    source = build(path, columns, clock or SystemClock(), **settings)
    await asyncio.wait_for(KINDS["replay"].run(source, got.append, clock or SystemClock()), 120)
    return got


@pytest.mark.shared
async def test_the_longwall_file_comes_whole_with_rows_thirty_seconds_apart(shared):
    path = shared / "datasets" / "coal_methane" / "methane-train.arff"
    columns = ["MM31", "MM116", "AS038", "PG072", "PD", "BA13", "DMM116"]
    clock = SimulatedClock()
    batch = concat(await play(path, columns, clock, step="30s"))
    lines = path.read_text().split("@DATA")[1].split()
    expected = np.array([line.split(",")[:7] for line in lines]).astype(float)
    assert len(expected) == 13_368
    assert (batch.value.reshape(-1, 7) == expected).all()
    assert (batch.status == Status.Good).all()
    assert (np.diff(batch.source_time[batch.tag == 0]) == 30 * S).all()
    assert (batch.server_time == batch.source_time).all()
    mm116 = batch.value[batch.tag == 1] >= 1.0
    assert np.count_nonzero(np.diff(mm116.astype(int)) == 1) + int(mm116[0]) == 140, "activations the issue asks for"
    assert clock.now_us() == batch.source_time[-1], "the clock is driven by source time"


@pytest.mark.shared
async def test_the_pump_rig_file_has_semicolons_and_its_own_times(shared):
    path = shared / "datasets" / "SKAB" / "valve1" / "0.csv"
    columns = ["Accelerometer1RMS", "Volume Flow RateRMS"]
    batch = concat(await play(path, columns, SimulatedClock(), time="datetime", zone="+03:00"))
    assert batch.value[:2].tolist() == [0.0265878, 32.0]
    assert batch.source_time[0] == datetime(2020, 3, 9, 7, 14, 33, tzinfo=UTC).timestamp() * S


@pytest.mark.parametrize("cell", ["", "?", "nan", "NULL", "n/a", "abc"])
async def test_a_missing_cell_is_a_row_without_data_not_a_missing_row(tmp_path, cell):
    path = tmp_path / "a.csv"
    path.write_text(f"A,B\n1,2\n{cell},4\n5,6\n")
    batch = concat(await play(path, ["B", "A"]))
    assert batch.tag.tolist() == [0, 1, 0, 1, 0, 1]
    assert batch.status.tolist() == [0, 0, 0, Status.BadNoData, 0, 0]
    assert np.isnan(batch.value[3])
    assert batch.value[[0, 1, 2, 4, 5]].tolist() == [2, 1, 4, 6, 5]


async def test_short_rows_a_byte_order_mark_quotes_and_blank_lines_are_taken(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeff"A x",B\n"1",2\n\n3\n'.encode())
    batch = concat(await play(path, ["A x", "B"]))
    assert batch.value[:3].tolist() == [1, 2, 3]
    assert batch.status.tolist() == [0, 0, 0, Status.BadNoData]


@pytest.mark.parametrize(
    "cell",
    ["2024-03-01 00:00:01", "2024-03-01T08:00:01+08:00", "2024-03-01T00:00:01Z", "1709251201", "2024/03/01 00:00:01"],
)
async def test_times_are_read_as_they_are_written(tmp_path, cell):
    path = tmp_path / "a.csv"
    path.write_text(f"t;A\n{cell};1\n")
    assert concat(await play(path, ["A"], time="t")).source_time.tolist() == [MARCH + S]


@pytest.mark.parametrize("zone", [None, "UTC"])
async def test_parquet_has_nulls_integers_and_timestamps(tmp_path, zone):
    path = tmp_path / "a.parquet"
    times = pa.array([MARCH, MARCH + S], pa.timestamp("us", zone))
    pq.write_table(pa.table({"t": times, "A": [1, None], "B": [True, False]}), path)
    batch = concat(await play(path, ["A", "B"], time="t", zone="+01:00"))
    assert batch.status.tolist() == [0, 0, Status.BadNoData, 0]
    assert batch.value[[0, 1, 3]].tolist() == [1, 1, 0]
    assert batch.source_time[0] == MARCH - (0 if zone else 3600 * S)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "A\n1\n"),
        ("a.arff", "@relation x\n@attribute A real\n"),
        ("a.parquet", "PAR1"),
        ("b.csv", "t,B\nx,1\n"),
    ],
)
async def test_a_file_that_is_not_what_it_should_be_is_told_once_and_tried_again(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    source = build(tmp_path / name, ["B"], SystemClock(), retry="5ms", **({"time": "t"} if name == "b.csv" else {}))
    got: list[Readings] = []
    with capture_logs() as logs:
        task = asyncio.create_task(KINDS["replay"].run(source, got.append, SystemClock()))
        await until(lambda: len(got) >= 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert set(concat(got).status) == {Status.BadNotConnected}
    assert [line["event"] for line in logs] == ["source_lost"]


async def test_fast_means_thousands_at_once_and_waits_for_the_river(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("A,B\n" + "1,2\n" * 5000)
    waited = 0

    async def ready() -> None:
        nonlocal waited
        waited += 1

    got: list[Readings] = []
    await KINDS["replay"].run(build(path, ["A", "B"], SystemClock(), batch=4000), got.append, SystemClock(), ready)
    assert [len(r) for r in got] == [4000, 4000, 2000]
    assert waited == 3


async def test_a_factor_paces_rows_by_the_clock(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("A\n" + "\n".join(map(str, range(20))))
    clock = SimulatedClock(now_us=5_000 * S)
    source = build(path, ["A"], clock, speed=2, stamp="clock")
    got: list[Readings] = []
    task = asyncio.create_task(KINDS["replay"].run(source, got.append, clock))
    await until(lambda: bool(got))
    seen = []
    for _ in range(4):
        clock.advance(S)
        for _ in range(20):
            await asyncio.sleep(0)
        seen.append(len(concat(got)))
    assert seen == [3, 5, 7, 9], "two rows a second"
    last = concat(got)
    assert last.source_time[-1] == MARCH + 8 * S
    assert last.server_time[-1] == 5_004 * S
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_scale_and_offset_apply_and_other_columns_pass_bit_by_bit(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("A,B\n10,-0.0\n")
    kind = KINDS["replay"]
    config = kind.model.model_validate(
        {"kind": "replay", "path": str(path), "start": "2024-03-01T00:00:00Z", "step": "1s"}
    )
    tags = [Tag("a", 0, "a", address="A", scale=0.5, offset=1), Tag("b", 1, "b", address="B")]
    got: list[Readings] = []
    await kind.run(kind.make("f", config, tags, SystemClock(), ("", 0, 0)), got.append, SystemClock())
    assert got[0].value[0] == 6
    assert np.signbit(got[0].value[1])


async def test_a_replay_resumes_behind_the_last_row_it_gave(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("A,t\n1,0\n2,1\n3,x\n4,3\n")
    source = build(path, ["A"], SystemClock(), time="t", batch=1, retry="5ms")
    got: list[Readings] = []
    task = asyncio.create_task(KINDS["replay"].run(source, got.append, SystemClock()))
    await until(lambda: any((r.status == Status.BadNotConnected).any() for r in got))
    path.write_text("A,t\n1,0\n2,1\n3,2\n4,3\n")
    await asyncio.wait_for(task, 60)
    batch = concat(got)
    assert batch.value[batch.status == 0].tolist() == [1, 2, 3, 4]
