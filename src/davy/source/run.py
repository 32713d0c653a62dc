"""The one loop around every source: the poll grid, lateness, and the last line of defence."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from davy.clock import Clock
from davy.reading import Readings, Status
from davy.source.promise import Pull, Sink, Source, Subscribe

log = structlog.get_logger()

LATE = 100_000  # us after its instant at which a poll counts as late
_RETRY_NS = 1_000_000_000  # after a bug in an adapter


async def run(source: Source, sink: Sink, clock: Clock, ready: Callable[[], Awaitable[None]] | None = None) -> None:
    """Feed `sink` from `source` until cancelled, or until a subscribed source is exhausted.

    `sink` is called from this task only. `ready`, where given, is awaited after each batch of a
    subscribed source, so a full river holds a replay back. The source is closed on the way out.
    """
    try:
        if isinstance(source, Pull):
            await _poll(source, sink, clock)
        elif isinstance(source, Subscribe):
            await _follow(source, sink, clock, ready)
        else:
            raise TypeError(f"source {source.name!r}: expected a Pull or a Subscribe, got {type(source).__name__}")
    finally:
        await source.close()


async def _poll(source: Pull, sink: Sink, clock: Clock) -> None:
    grid, count = source.grid, source.diagnostics
    due = 0
    while True:
        now = clock.now_us()
        # A wall clock that lags the monotonic one by a hair must not give the same instant twice;
        # one that was set back must not make us wait for hours.
        before, due = due, grid.after(max(now, due) if due - now < grid.period else now)
        if before:
            count.missed += grid.between(before, due)
        await clock.sleep_until(clock.mono_ns() + (due - now) * 1000)
        late = clock.now_us() - due
        count.polls += 1
        count.late += late > LATE
        count.worst_late = max(count.worst_late, late)
        try:
            await source.poll(sink)
        except Exception as error:  # the outermost edge: a bug in an adapter costs a poll, never the link
            log.exception("source_failed", source=source.name, err=repr(error))
            sink(source.lost(Status.BadNoCommunication))
        _heed_cancellation()


def _heed_cancellation() -> None:
    """Until Python 3.12 `asyncio.wait_for`, which pymodbus uses, swallows a cancellation that meets a result."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _follow(source: Subscribe, sink: Sink, clock: Clock, ready: Callable[[], Awaitable[None]] | None) -> None:
    async def deliver(readings: Readings) -> None:
        sink(readings)
        if ready is not None:
            await ready()

    while True:
        try:
            return await source.follow(deliver)
        except Exception as error:  # as above
            log.exception("source_failed", source=source.name, err=repr(error))
            sink(source.lost(Status.BadNoCommunication))
            await clock.sleep_until(clock.mono_ns() + _RETRY_NS)
