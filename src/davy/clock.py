"""The only file that asks the time or waits for it.

All times are microseconds UTC since the epoch; durations run on the monotonic clock.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

SECOND = 1_000_000  # microseconds


class Clock(Protocol):
    def now_us(self) -> int: ...
    def mono_ns(self) -> int: ...
    async def sleep_until(self, mono_ns: int) -> None: ...


class SystemClock:
    """The machine's wall and monotonic clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def mono_ns(self) -> int:
        return time.monotonic_ns()

    async def sleep_until(self, mono_ns: int) -> None:
        delay = (mono_ns - time.monotonic_ns()) / 1e9
        await asyncio.sleep(max(0.0, delay))


class SimulatedClock:
    """A clock a test or a replay drives: wall and monotonic advance together by `advance`.

    `sleep_until` wakes once the clock has been advanced past its time.
    """

    def __init__(self, now_us: int = 0, mono_ns: int = 0) -> None:
        self._now_us = now_us
        self._mono_ns = mono_ns
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def now_us(self) -> int:
        return self._now_us

    def mono_ns(self) -> int:
        return self._mono_ns

    def advance(self, us: int) -> None:
        """Move both clocks forward by `us` and wake whoever waited for it."""
        self._now_us += us
        self._mono_ns += us * 1000
        due = [f for at, f in self._waiting if at <= self._mono_ns]
        self._waiting = [(at, f) for at, f in self._waiting if at > self._mono_ns]
        for future in due:
            if not future.done():
                future.set_result(None)

    def jump(self, us: int) -> None:
        """Step the wall clock only, as a bad time server would."""
        self._now_us += us

    async def sleep_until(self, mono_ns: int) -> None:
        if mono_ns <= self._mono_ns:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((mono_ns, future))
        await future


class SourceClock(SimulatedClock):
    """A clock driven by the times of what is replayed; it never goes back."""

    def observe(self, us: int) -> None:
        """It is at least `us` now (us UTC)."""
        if us > self._now_us:
            self.advance(us - self._now_us)


def rfc3339(us: int) -> str:
    """`us` as RFC 3339 UTC with milliseconds."""
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cpu_ns() -> int:
    """CPU time of this process, for benches."""
    return time.process_time_ns()
