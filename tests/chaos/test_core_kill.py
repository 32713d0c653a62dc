"""kill -9 of core and intake under load, twenty times; the oracle is what this test's own clients were told.

Acknowledged is: an act answered with its leaf index; a tree size that was signed, and one that was cosigned.
"""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from davy import wire
from davy.alarm import number
from davy.blackbox.keyring import Keyring
from davy.blackbox.reader import LogReader
from davy.errors import DavyError, Unreachable
from davy.fact import AlarmType, Kind, Verb
from davy.fact.event import State
from davy.reading import Readings
from district import CLOCK, District, Process, enrol, intake_of, make_centre, make_site, running, until
from sites import entries

CORE_KILLS, INTAKE_KILLS = 12, 8

YAML = """\
version: 1
org: zs
site: quay
links:
  none: {kind: replay, path: none.csv, start: "2025-01-01T00:00:00Z", step: 1s, speed: 1.0, stamp: clock}
"""
TAGS = """\
uid,tag,link,address,type,high,discrete,priority
,LEVEL,none,a,float64,85,,2
,TOGGLE,none,b,bool,,1,3
,COUNT,none,c,float64,,,
"""


@dataclass
class Operator:
    """Comments on the standing alarm and acknowledges the one that comes and goes; remembers every answer."""

    socket: Path
    level: int  # alarm numbers
    toggle: int
    told: dict[str, int] = field(default_factory=dict)  # reason -> leaf index
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    versions: dict[int, tuple[int, int]] = field(default_factory=dict)  # alarm -> version, state, as last seen
    tried: int = 0

    async def work(self) -> None:
        async with wire.Client(self.socket) as client, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(client))
            for _ in range(3):
                tasks.create_task(self._acts(client))

    async def _watch(self, client: wire.Client) -> None:
        while True:
            with suppress(DavyError):
                async for item in client.stream("subscribe", what=["transition"]):
                    for seen in item["alarms"] if item["what"] == "snapshot" else [item]:
                        self.versions[seen["alarm"]] = (seen["version"], seen["state"])
            await asyncio.sleep(0.05)

    async def _acts(self, client: wire.Client) -> None:
        while True:
            await asyncio.sleep(random.uniform(0.0, 0.02))
            version, state = self.versions.get(self.toggle, (0, int(State.acked)))
            if not state & State.acked:
                await self._act(client, Verb.acknowledge, self.toggle, version)
            elif self.level in self.versions:
                await self._act(client, Verb.add_comment, self.level, self.versions[self.level][0])

    async def _act(self, client: wire.Client, verb: Verb, alarm: int, version: int) -> None:
        self.tried += 1
        reason = f"{verb.name} {self.tried}"
        said = {"actor": "p:1", "role": "operator", "verb": int(verb), "alarm": alarm, "version": version}
        self.unknown.add(reason)  # until answered; if it dies meanwhile, perhaps it is in the log, perhaps not
        try:
            answer = await client.call("act", **said, reason=reason)
        except Unreachable:
            await asyncio.sleep(0.05)
            return
        except DavyError:  # another hand was quicker
            self.refused.add(reason)
        else:
            self.told[reason] = answer["index"]
        self.unknown.discard(reason)


@dataclass
class Plant:
    """Counts in COUNT, so that every reading is told from every other, and lets TOGGLE come and go."""

    socket: Path
    tags: dict[str, int]
    count: int = 0

    async def work(self) -> None:
        async with wire.Client(self.socket) as client:
            while True:
                try:
                    await client.call("readings", columns=self._columns())
                except Unreachable:
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.005)

    def _columns(self) -> dict[str, bytes]:
        n = 20
        counts = np.arange(self.count, self.count + n, dtype="<f8")
        self.count += n
        toggle = float(self.count // 200 % 2)
        tag = [self.tags["LEVEL"], self.tags["TOGGLE"], *[self.tags["COUNT"]] * n]
        return {
            "tag": np.array(tag, "<u4").tobytes(),
            "value": np.array([95.0, toggle, *counts], "<f8").tobytes(),
            "status": np.zeros(n + 2, "<u4").tobytes(),
            "flags": np.zeros(n + 2, "<u4").tobytes(),
            "source_time": np.full(n + 2, CLOCK.now_us(), "<i8").tobytes(),
        }


@dataclass
class Witness:
    """Notes every tree that was signed here or held there."""

    district: District
    trees: dict[int, bytes] = field(default_factory=dict)
    newest: Counter[str] = field(default_factory=Counter)

    async def work(self) -> None:
        while True:
            for where, seen in (("signed", self.district.signed()), ("held", self.district.held())):
                if seen is not None:
                    assert seen.size >= self.newest[where], f"{where}: {self.newest[where]} before, {seen.size} now"
                    assert self.trees.setdefault(seen.size, seen.root) == seen.root
                    self.newest[where] = seen.size
            await asyncio.sleep(0.02)


@asynccontextmanager
async def busy(*workers: Operator | Plant | Witness) -> AsyncIterator[None]:
    """They work meanwhile, and none of them gives up."""
    tasks = [asyncio.create_task(worker.work()) for worker in workers]
    try:
        yield
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def killed(process: Process, times: int, operator: Operator, rng: random.Random) -> None:
    """Kill and start anew; each time it must have done something first."""
    for _ in range(times):
        before = len(operator.told)
        await asyncio.sleep(rng.uniform(0.1, 1.0))
        if process.name == "core":
            await until(lambda before=before: len(operator.told) > before, "an act")
        assert await process.end(signal.SIGKILL) == -signal.SIGKILL, process.said
        await process.start()


@pytest.mark.feature("F30", "F31", "F39")
@pytest.mark.timeout(300)
async def test_twenty_kills_of_core_and_centre_lose_and_double_nothing_acknowledged(tmp_path: Path) -> None:
    centre = make_centre(tmp_path / "county")
    site = make_site(tmp_path / "quay", YAML, TAGS, centre)
    (site.folder / "none.csv").write_text("a,b,c\n")
    district = District(site, centre)
    tags = {t.name: t.index for t in site.tags.tags}
    alarms = number(tags["LEVEL"], AlarmType.high), number(tags["TOGGLE"], AlarmType.discrete)
    intake, core = intake_of(centre), Process("davy.edge.core", site.folder, "core.sock")
    signing = Process("davy.edge.signer", site.folder, "signer.sock")
    uplink = Process("davy.edge.uplink", site.folder)
    operator, plant = Operator(site.run / "core.sock", *alarms), Plant(site.run / "core.sock", tags)
    witness, rng = Witness(district), random.Random(11)
    async with running(intake):
        await enrol(site, centre)
        async with running(signing, core, uplink):
            async with busy(operator, plant, witness):
                await asyncio.gather(
                    killed(core, CORE_KILLS, operator, rng), killed(intake, INTAKE_KILLS, operator, rng)
                )
                count = len(operator.told)
                await until(lambda: len(operator.told) > count + 20, "acts after the last kill")
            assert await core.end() == 0, core.said
            size = await district.everything_is_held()
        assert uplink.said.count("conflict") == 0
    judged(district, operator, plant, witness, size)


def judged(district: District, operator: Operator, plant: Plant, witness: Witness, size: int) -> None:
    district.sound()
    place = district.site
    made = entries(place)
    assert len(made) == size
    keys = Keyring(district.centre.log(place.origin) / "keyring", place.origin, district.centre.recipient())
    with LogReader(district.centre.log(place.origin), place.origin) as copy:
        theirs = entries(place, copy, keys.key)
        for known, root in witness.trees.items():
            assert copy.root(known) == root, f"the tree of {known} leaves is not the one that was told"
    assert [(e.leaf, _plain(e.content)) for e in theirs] == [(e.leaf, _plain(e.content)) for e in made]

    acts = {e.content.reason: e.leaf.seq for e in made if e.kind == Kind.act}
    times = Counter(e.content.reason for e in made if e.kind == Kind.act)
    assert max(times.values()) == 1, "an act was recorded twice"
    assert {reason: acts.get(reason) for reason in operator.told} == operator.told
    assert not operator.refused & acts.keys()
    assert acts.keys() <= operator.told.keys() | operator.unknown
    assert len(operator.told) > 20, "too little was done for this to mean anything"

    counts = np.concatenate([_counts(e.content, plant.tags["COUNT"]) for e in made if e.kind == Kind.readings])
    assert len(counts) > 100 and (np.diff(counts) > 0).all(), "a reading was recorded twice, or out of order"
    assert counts[-1] < plant.count
    transitions = [e.content for e in made if e.kind == Kind.transition]
    assert len({(t.alarm, t.version) for t in transitions}) == len(transitions) > 5
    boots = [e.leaf.boot for e in made if e.kind == Kind.epoch]
    assert len(set(boots)) == CORE_KILLS + 1


def _counts(readings: Any, tag: int) -> Any:
    return readings.value[readings.tag == tag]


def _plain(content: Any) -> Any:
    """Comparable, NaN included."""
    return content.value.tobytes() if isinstance(content, Readings) else repr(content)
