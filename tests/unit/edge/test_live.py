"""The live feed never slows the core: what a slow screen cannot take goes, latest values first, and is counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from davy.clock import SimulatedClock
from davy.edge import live
from davy.edge.live import LiveFeed
from davy.fact import Transition
from davy.reading import Flag, concat
from sites import FLOW, GAS, LEVEL, NOW, batch, table

CLOCK = SimulatedClock(NOW)


def feed() -> LiveFeed:
    return LiveFeed(table(), lambda: {"site": {"origin": "zs/quay/bb1"}})


def transition(version: int) -> Transition:
    return Transition(8, 1, version, 1, 0, 2, 1, 0, 1, 1, 0, 30.0, 0, 25.0, NOW, NOW)


async def opened(feed: LiveFeed, **wanted: Any) -> tuple[AsyncIterator[dict[str, Any]], dict[str, Any]]:
    stream = feed.subscribe(**wanted)
    return stream, await anext(stream)


async def test_a_subscriber_gets_a_snapshot_of_what_was_seen_and_then_only_what_changes() -> None:
    f = feed()
    f.readings(batch({LEVEL: 50.0, GAS: 3.0}, CLOCK))
    f.flush()
    stream, first = await opened(f)
    async with aclosing(stream):
        assert first["what"] == "snapshot"
        assert np.frombuffer(first["latest"]["tag"], "<u4").tolist() == [LEVEL, GAS]
        assert np.frombuffer(first["latest"]["value"], "<f8").tolist() == [50.0, 3.0]
        f.readings(batch({GAS: 4.0}, CLOCK))
        f.flush()
        item = await anext(stream)
        assert item["what"] == "latest"
        assert np.frombuffer(item["tag"], "<u4").tolist() == [GAS]


async def test_of_many_readings_of_a_tag_the_last_is_the_latest_and_late_ones_are_not() -> None:
    f = feed()
    f.readings(concat([batch({FLOW: value}, CLOCK) for value in (1.0, 2.0, 3.0)]))
    f.readings(batch({FLOW: 9.0}, CLOCK, flags=int(Flag.out_of_order)))
    f.readings(batch({FLOW: 8.0}, CLOCK, flags=int(Flag.historical)))
    assert f.latest.value[FLOW] == 3.0


async def test_latest_values_give_way_to_transitions_and_every_loss_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUEUE", 8)
    f = feed()
    stream, _ = await opened(f)
    async with aclosing(stream):
        for version in range(8):
            f.readings(batch({LEVEL: float(version)}, CLOCK))
            f.flush()
            f.transitions([transition(version)])
        assert f.dropped == 8
        got = [await anext(stream) for _ in range(8)]
    assert [item["what"] for item in got] == ["transition"] * 8
    assert [item["version"] for item in got] == list(range(8))


async def test_only_when_nothing_else_is_left_does_the_oldest_transition_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUEUE", 4)
    f = feed()
    stream, _ = await opened(f)
    async with aclosing(stream):
        f.transitions([transition(version) for version in range(6)])
        got = [(await anext(stream))["version"] for _ in range(4)]
    assert (f.dropped, got) == (2, [2, 3, 4, 5])


async def test_a_slow_subscriber_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUEUE", 4)
    f = feed()
    slow, _ = await opened(f)
    quick, _ = await opened(f, what=["transition"])
    async with aclosing(slow), aclosing(quick):
        for version in range(20):
            f.transitions([transition(version)])
            assert (await asyncio.wait_for(anext(quick), 60))["version"] == version
    assert f.dropped == 16


async def test_who_leaves_is_forgotten() -> None:
    f = feed()
    stream, _ = await opened(f, what=["checkpoint"])
    f.checkpoint({"size": 3})
    assert (await anext(stream))["size"] == 3
    await stream.aclose()  # type: ignore[attr-defined]
    f.checkpoint({"size": 4})
    assert not f._subscribers
