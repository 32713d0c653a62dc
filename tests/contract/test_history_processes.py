"""The history processes of a site and of a centre, over their sockets, with real logs on disk."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from davy import wire
from davy.blackbox.keyring import wrap
from davy.centre import config as centre_config
from davy.centre import history as centre_history
from davy.clock import Clock, SystemClock
from davy.console.feed import LiveFeed
from davy.console.history import buckets_of, transitions_of
from davy.edge import history as edge_history
from davy.edge import site as edge_site
from davy.edge.config import load, write
from davy.errors import BadRequest, UnknownTarget, Unreachable
from davy.fact import Config
from davy.reading import Tag
from davy.record.history import ParquetHistory
from davy.record.service import WAITING, Queries
from histories import NOON, SECOND, Site, readings, transition

TAGS = [Tag(f"uid-{i}", i, f"T{i}").plain() for i in range(3)]


@asynccontextmanager
async def running(run: Callable[[Path, Clock], Awaitable[None]], folder: Path) -> AsyncIterator[wire.Client]:
    """The process in a task; its socket answers once this is entered, and it has stopped cleanly after."""
    task = asyncio.ensure_future(run(folder, SystemClock()))
    client = wire.Client(folder / "run" / "history.sock")
    try:
        async with asyncio.timeout(10):
            while not task.done():
                with suppress(Unreachable):
                    await client.call("ping")
                    break
                await asyncio.sleep(0.02)
        if task.done():
            await task
        yield client
    finally:
        await client.close()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(ask: Callable[[], Awaitable[Any]], seen: Callable[[Any], bool]) -> Any:
    """The first answer that satisfies `seen`."""
    async with asyncio.timeout(10):
        while True:
            with suppress(UnknownTarget):
                if seen(answer := await ask()):
                    return answer
            await asyncio.sleep(0.02)


@pytest.mark.feature("F30", "F10")
async def test_a_site_answers_for_what_its_log_holds_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    edge_site.init(tmp_path)
    uids = map(str, itertools.count())
    write(tmp_path, lambda: next(uids))
    place = load(tmp_path)
    site = Site(place.log, place.origin)

    async def key(key_id: int) -> bytes:
        return site.key(key_id)

    signer = await wire.serve(place.run / "signer.sock", {"key": key})
    site.table(TAGS, [20.0] * 3)
    site.put(readings([0, 1, 2], [1.0, 2.0, 3.0], NOON), transition(8, 1, NOON))
    async with running(edge_history.run, tmp_path) as client:

        def ask(**question: Any) -> Callable[[], Awaitable[Any]]:
            return lambda: client.call("query", **question)

        await until(ask(kind="latest"), lambda a: len(a["tag"]) == 12)
        answer = await ask(kind="buckets", tags=[1], t0=NOON, t1=NOON + 4 * SECOND, n=2)()
        buckets = buckets_of(answer)
        assert buckets.count.tolist() == [1, 0] and buckets.avg[0] == 2.0
        found = transitions_of(await ask(kind="transitions", tags=[1], t0=NOON, t1=NOON + 1, n=9)())
        assert [(asdict(s.transition), s.leaf) for s in found] == [(asdict(transition(8, 1, NOON)), 3)]
        with pytest.raises(BadRequest):
            await ask(kind="buckets", tags=[1], t0=5, t1=5, n=1)()
        with pytest.raises(UnknownTarget):
            await ask(kind="latest", origin="no/such/box")()
        site.put(readings([0, 1, 2], [4.0, 5.0, 6.0], NOON + SECOND))
        await until(ask(kind="range", tags=[1], t0=NOON, t1=NOON + 9 * SECOND), lambda a: len(a["tag"]) == 8)
    with ParquetHistory(place.data / "history") as history:
        assert history.durable == site.log.size  # it made everything durable when it was told to stop
    async with running(edge_history.run, tmp_path) as client:
        answer = await client.call("query", kind="range", tags=[0], t0=NOON, t1=NOON + 9 * SECOND)
        assert np.frombuffer(answer["value"], "<f8").tolist() == [1.0, 4.0]
    signer.close()
    site.log.close()


def mirrored(place: centre_config.Centre, origin: str) -> Site:
    """A log where the mirror would put it."""
    site = Site(place.log(origin), origin, place.cosigner())
    share(site, place)
    return site


def share(site: Site, place: centre_config.Centre) -> None:
    """Wrap its keys to the centre."""
    folder = site.folder / "keyring"
    folder.mkdir(exist_ok=True)
    for epoch in {k >> 4 for k in site.keys}:
        keys = {k & 15: key for k, key in site.keys.items() if k >> 4 == epoch}
        wraps = wrap(site.origin, epoch, keys, [place.recipient().public_key().public_bytes_raw()])
        (folder / f"{epoch:08d}.cbor").write_bytes(wraps)


@pytest.mark.feature("F30", "F10")
async def test_a_centre_shows_every_origin_live_and_answers_for_each(tmp_path: Path) -> None:
    centre_config.init(tmp_path, "county.example", ["localhost"], 8443, SystemClock())
    place = centre_config.load(tmp_path)
    one = mirrored(place, "acme/harbour/box-1")
    one.table(TAGS)
    one.put(
        Config("site", {"name": {"en": "Harbour"}}, NOON), readings([0, 1], [1.0, 2.0], NOON), transition(8, 1, NOON)
    )
    async with running(centre_history.run, tmp_path) as client:
        feed = LiveFeed(wire.Client(tmp_path / "run" / "history.sock"), SystemClock())
        watching = asyncio.ensure_future(feed.run())

        async def pictures() -> dict[str, Any]:
            return feed.pictures

        seen = await until(pictures, lambda p: one.origin in p and len(p[one.origin].alarms) == 1)
        picture = seen[one.origin]
        assert picture.site["name"] == {"en": "Harbour"}
        await until(pictures, lambda p: p[one.origin].value[1] == 2.0)
        held = picture.checkpoint
        assert (held.held_size, held.held_time, held.exposure_us) == (one.log.size, NOON, 0)
        two = mirrored(place, "acme/quay/box-1")
        two.table(TAGS)
        two.put(readings([2], [7.0], NOON))
        one.put(readings([0, 1], [8.0, np.nan], NOON + SECOND), transition(8, 2, NOON, state=2, level=0, cause=3))
        await until(pictures, lambda p: two.origin in p and p[two.origin].value[2] == 7.0)
        await until(pictures, lambda p: p[one.origin].value[0] == 8.0 and not p[one.origin].alarms)
        answer = await client.call("query", kind="range", origin=two.origin, tags=[2], t0=NOON, t1=NOON + 1)
        assert np.frombuffer(answer["value"], "<f8").tolist() == [7.0]
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    async with running(centre_history.run, tmp_path) as client:  # what was before the start is shown as well
        item = await anext(aiter(client.stream("subscribe", what=["transition"])))
        while item["origin"] != one.origin:
            item = await anext(aiter(client.stream("subscribe", what=["transition"])))
        assert item["what"] == "snapshot" and len(item["tags"]) == 3 and item["alarms"] == []
        assert np.frombuffer(item["latest"]["value"], "<f8")[0] == 8.0
    one.log.close()
    two.log.close()


async def test_a_log_with_nonsense_in_it_is_recorded_as_far_as_it_goes_and_harms_no_other(tmp_path: Path) -> None:
    centre_config.init(tmp_path, "county.example", ["localhost"], 8443, SystemClock())
    place = centre_config.load(tmp_path)
    bad, good = mirrored(place, "acme/bad/box"), mirrored(place, "acme/good/box")
    for site in (bad, good):
        site.table(TAGS)
    bad.epoch({"alarms": "nonsense"})
    share(bad, place)
    bad.put(replace(transition(8, 1, NOON), alarm="x"), transition(8, 1, NOON, state=77), Config(["?"], 5, NOON))
    for site in (bad, good):
        site.put(readings([0], [5.0], NOON))
    for _ in range(2):  # the second time from what is on disk
        async with running(centre_history.run, tmp_path) as client:
            for site in (good, bad):
                question = {"kind": "latest", "origin": site.origin}
                answer = await until(lambda q=question: client.call("query", **q), lambda a: len(a["tag"]) == 4)
                assert np.frombuffer(answer["value"], "<f8").tolist() == [5.0]
            item = await anext(aiter(client.stream("subscribe")))
            assert item["origin"] == good.origin
    bad.log.close()
    good.log.close()


async def test_too_many_questions_are_turned_away_and_slow_ones_end(tmp_path: Path) -> None:
    with ParquetHistory(tmp_path / "history") as history, Queries({"a/b/c": history}, deadline_s=0.05) as queries:
        history.append(readings(np.arange(200), 1.0, NOON), 0)
        ask = queries.query("buckets", tags=list(range(200)), t0=0, t1=NOON + 1, n=1000)
        with pytest.raises(Unreachable, match="within"):
            await ask
        asked = [asyncio.ensure_future(queries.query("latest")) for _ in range(WAITING + 4)]
        slow = [
            asyncio.ensure_future(queries.query("buckets", tags=list(range(99)), t0=0, t1=NOON, n=99))
            for _ in range(WAITING + 4)
        ]
        answers = await asyncio.gather(*asked, *slow, return_exceptions=True)
        assert sum(isinstance(a, Unreachable) and "waiting" in str(a) for a in answers) >= 4
        assert len((await queries.query("latest", tags=[3, 4]))["tag"]) == 8


@pytest.mark.parametrize(
    "question",
    [
        {"kind": "everything"},
        {"kind": "buckets", "tags": [], "t0": 0, "t1": 1, "n": 1},
        {"kind": "buckets", "tags": [1], "t0": 0, "t1": 1, "n": 10_001},
        {"kind": "buckets", "tags": [1], "t0": 0, "t1": 1 << 70, "n": 10},
        {"kind": "buckets", "tags": ["1 OR 1=1"], "t0": 0, "t1": 1, "n": 1},
        {"kind": "range", "tags": [-1], "t0": 0, "t1": 1},
        {"kind": "range", "tags": list(range(300)), "t0": 0, "t1": 1},
        {"kind": "range", "tags": [1], "t0": 1.5, "t1": 2},
    ],
)
async def test_a_question_that_makes_no_sense_is_a_bad_request(tmp_path: Path, question: dict[str, Any]) -> None:
    folder = tmp_path / "history"
    with ParquetHistory(folder) as history, Queries({"a/b/c": history}) as queries, pytest.raises(BadRequest):
        await queries.query(**question)
