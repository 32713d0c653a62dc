"""The loop around a source: the grid on a simulated clock, and what a bug in an adapter may cost."""

import asyncio

import numpy as np
import pytest
from structlog.testing import capture_logs

from davy.clock import SimulatedClock
from davy.reading import Readings, Status
from davy.source import Batch, Diagnostics, ProbeResult, run
from davy.source.promise import Grid, Sink

pytestmark = pytest.mark.feature("F01")
S = 1_000_000


class Pulled:
    """Takes `lasts` us of simulated time for a poll; raises when told to."""

    def __init__(self, clock: SimulatedClock, grid: Grid) -> None:
        self.name, self.grid, self.diagnostics = "fake", grid, Diagnostics()
        self.clock, self.lasts, self.broken, self.closed = clock, 0, False, False
        self.began: list[int] = []

    async def poll(self, sink: Sink) -> None:
        self.began.append(self.clock.now_us())
        if self.broken:
            raise ZeroDivisionError
        if self.lasts:
            await self.clock.sleep_until(self.clock.mono_ns() + self.lasts * 1000)
        sink(self.lost(Status.Good))

    def lost(self, status: Status) -> Readings:
        return Batch().bad(np.array([1], np.uint32), status, self.clock.now_us(), self.clock.mono_ns())

    async def close(self) -> None:
        self.closed = True

    async def probe(self) -> ProbeResult:
        return ProbeResult(self.name, ())


async def pass_time(clock: SimulatedClock, us: int, step: int = 50_000) -> None:
    for _ in range(us // step):
        clock.advance(step)
        for _ in range(5):
            await asyncio.sleep(0)


async def start(source: Pulled, clock: SimulatedClock) -> tuple[asyncio.Task[None], list[Readings]]:
    got: list[Readings] = []
    task = asyncio.create_task(run(source, got.append, clock))
    await asyncio.sleep(0)
    return task, got


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_polls_start_on_the_wall_clock_grid_moved_by_the_offset():
    clock = SimulatedClock(now_us=10 * S + 700_000)
    source = Pulled(clock, Grid(S, 250_000))
    task, _ = await start(source, clock)
    await pass_time(clock, 4 * S)
    assert source.began == [11_250_000, 12_250_000, 13_250_000, 14_250_000]
    await stop(task)
    assert source.closed


async def test_a_slow_poll_passes_instants_over_and_counts_them():
    clock = SimulatedClock()
    source = Pulled(clock, Grid(S))
    source.lasts = 2 * S + 500_000
    task, _ = await start(source, clock)
    await pass_time(clock, 8 * S)
    assert source.began == [1 * S, 4 * S, 7 * S]
    assert source.diagnostics.missed == 4
    await stop(task)


async def test_a_wall_clock_set_back_neither_stops_the_polls_nor_doubles_one():
    clock = SimulatedClock(now_us=100_000 * S)
    source = Pulled(clock, Grid(S))
    task, _ = await start(source, clock)
    await pass_time(clock, 2 * S)
    clock.jump(-3600 * S)
    await pass_time(clock, 3 * S)
    assert len(source.began) == 5
    clock.jump(-10)  # a hair: the same instant must not come twice
    await pass_time(clock, 2 * S + 50_000)
    assert len(source.began) == 7
    await stop(task)


async def test_a_bug_in_an_adapter_costs_a_poll_and_is_said_aloud():
    clock = SimulatedClock()
    source = Pulled(clock, Grid(S))
    task, got = await start(source, clock)
    source.broken = True
    with capture_logs() as logs:
        await pass_time(clock, S)
    source.broken = False
    await pass_time(clock, S)
    assert [int(r.status[0]) for r in got] == [Status.BadNoCommunication, Status.Good]
    assert [line["event"] for line in logs] == ["source_failed"]
    await stop(task)


async def test_what_is_no_source_is_refused():
    with pytest.raises(TypeError, match="expected a Pull or a Subscribe"):
        await run(type("No", (), {"name": "no", "close": Pulled.close})(), print, SimulatedClock())
