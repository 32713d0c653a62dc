"""The live feed: what a page hears, what it may lose, and that it cannot lose more memory than is set."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from davy.clock import SECOND, SimulatedClock
from davy.console.feed import BACKLOG, LiveFeed
from davy.errors import BadRequest, UnknownTarget
from davy.reading import Tag
from davy.wire import Client

TAGS = [Tag(uid=str(i), index=i, name=f"T{i}").plain() for i in range(3)]


def feed() -> LiveFeed:
    return LiveFeed(Client(Path("nowhere.sock")), SimulatedClock(1_780_000_000 * SECOND))


def snapshot(origin: str) -> dict[str, Any]:
    return {"what": "snapshot", "origin": origin, "site": {}, "tags": TAGS, "alarms": [], "checkpoint": {"size": 1}}


def latest(origin: str, *tags: int) -> dict[str, Any]:
    n = len(tags)
    return {
        "what": "latest", "origin": origin,
        "tag": np.array(tags, "<u4").tobytes(), "value": np.zeros(n, "<f8").tobytes(),
        "status": np.zeros(n, "<u4").tobytes(), "flags": np.zeros(n, "<u4").tobytes(),
        "source_time": np.ones(n, "<i8").tobytes(), "server_time": np.ones(n, "<i8").tobytes(),
    }  # fmt: skip


def transition(version: int) -> dict[str, Any]:
    return {
        "what": "transition", "alarm": 0, "tag": 0, "version": version, "activation": 1, "cause": 0, "state_before": 2,
        "state": 1, "level_before": 0, "level": 1, "priority": 1, "alarm_class": 1, "value": 1.0, "status": 0,
        "limit": 1.0, "source_time": 1, "time": 1,
    }  # fmt: skip


def test_a_page_hears_of_its_own_origin_and_its_own_tags() -> None:
    f = feed()
    f.take(snapshot("a/a/a"))
    f.take(snapshot("b/b/b"))
    with f.listen("a/a/a", frozenset({0, 1})) as one, f.listen() as all_:
        f.take(latest("a/a/a", 1, 2))
        f.take(latest("b/b/b", 0))
        assert one.changed == {"a/a/a": {1}}
        assert all_.changed == {"a/a/a": {1, 2}, "b/b/b": {0}}


def test_an_item_without_an_origin_is_of_the_only_one() -> None:
    f = feed()
    f.take(snapshot("a/a/a"))
    item = latest("", 1)
    del item["origin"]
    f.take(item)
    assert f.picture(None).server_time[1] == 1
    with pytest.raises(UnknownTarget, match="nothing has been heard"):
        f.picture("c/c/c")


def test_a_slow_page_loses_the_oldest_and_it_is_counted() -> None:
    f = feed()
    f.take(snapshot("a"))
    with f.listen("a") as page:
        for version in range(1, BACKLOG + 11):
            f.take(transition(version) | {"origin": "a"})
            f.take(latest("a", 0, 1, 2))
        assert len(page.events) == BACKLOG
        assert page.events[0][2]["version"] == 11
        assert page.changed == {"a": {0, 1, 2}}
    assert f.dropped == 10


def test_a_new_snapshot_ends_the_streams_that_showed_the_old_one() -> None:
    f = feed()
    f.take(snapshot("a"))
    with f.listen("a") as page:
        f.take(snapshot("a"))
        assert page.closed


def test_what_is_no_item_of_a_feed_is_refused() -> None:
    f = feed()
    f.take(snapshot("a"))
    with pytest.raises(BadRequest, match="expected snapshot, latest"):
        f.take({"what": "gossip", "origin": "a"})


async def test_a_listener_wakes_at_once_or_after_its_time() -> None:
    f = feed()
    f.take(snapshot("a"))
    with f.listen("a") as page:
        await page.wait(0.01)
        waiting = asyncio.create_task(page.wait(60))
        await asyncio.sleep(0)
        f.take(latest("a", 0))
        await asyncio.wait_for(waiting, 60)
