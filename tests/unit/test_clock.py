"""Time comes from one file; a simulated clock moves only when told."""

import asyncio
import time

import pytest

from davy.clock import SECOND, SimulatedClock, SourceClock, SystemClock, cpu_ns, rfc3339


async def test_the_system_clock_is_the_machines_and_wakes_no_earlier_than_asked() -> None:
    clock = SystemClock()
    assert abs(clock.now_us() - time.time_ns() // 1000) < 60 * SECOND
    due = clock.mono_ns() + 20_000_000
    await clock.sleep_until(due)
    assert clock.mono_ns() >= due
    await clock.sleep_until(due - 10**9)  # what is past is not waited for


async def test_who_sleeps_on_a_simulated_clock_wakes_when_it_has_been_advanced_so_far() -> None:
    clock = SimulatedClock(SECOND, 0)
    woken: list[int] = []

    async def sleeper(at_s: int) -> None:
        await clock.sleep_until(at_s * 10**9)
        woken.append(at_s)

    tasks = [asyncio.create_task(sleeper(at)) for at in (3, 1, 2)]
    await asyncio.sleep(0)
    assert woken == []
    clock.advance(2 * SECOND)
    await asyncio.sleep(0)
    assert sorted(woken) == [1, 2]
    clock.advance(10 * SECOND)
    await asyncio.gather(*tasks)
    assert (clock.now_us(), clock.mono_ns()) == (13 * SECOND, 12 * 10**9)


async def test_a_sleeper_that_gave_up_is_passed_over() -> None:
    clock = SimulatedClock()
    task = asyncio.create_task(clock.sleep_until(10**9))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    clock.advance(2 * SECOND)


def test_a_jump_steps_the_wall_clock_and_not_the_monotonic_one() -> None:
    clock = SimulatedClock(100 * SECOND, 7)
    clock.jump(-90 * SECOND)
    assert (clock.now_us(), clock.mono_ns()) == (10 * SECOND, 7)


def test_a_source_clock_follows_what_it_sees_and_never_goes_back() -> None:
    clock = SourceClock()
    for us in (5 * SECOND, 3 * SECOND, 9 * SECOND):
        clock.observe(us)
    assert (clock.now_us(), clock.mono_ns()) == (9 * SECOND, 9 * 10**9)


@pytest.mark.parametrize(
    ("us", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (1_750_000_000_123_456, "2025-06-15T15:06:40.123Z")],
)
def test_times_are_told_as_rfc_3339_in_utc(us: int, text: str) -> None:
    assert rfc3339(us) == text


def test_processor_time_grows_with_work() -> None:
    before = cpu_ns()
    sum(range(300_000))
    assert cpu_ns() > before
