"""A site that version 0.1.0 wrote is opened, judged, gone on with and rebuilt by this one.

`v0.1.0/quay` is a whole site folder, its secrets thrown away by being published here. It was written once, by

    PYTHONPATH=src:tests python tests/golden/test_v010.py tests/golden/v0.1.0

and is never written again: what it holds is what upgrades must cope with.
"""

import asyncio
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from davy.alarm import number
from davy.blackbox.keyring import Keyring
from davy.blackbox.reader import LogReader
from davy.blackbox.signer import read_box_key
from davy.clock import SECOND, SimulatedClock
from davy.edge import config as edges
from davy.edge import signer
from davy.edge.config import Site
from davy.fact import AlarmType, Kind, Verb
from davy.reading.readings import COLUMNS
from davy.reading.uid import uuid7
from davy.record.history import ParquetHistory
from davy.record.project import Projection, rebuild
from sites import FLOW, GAS, LEVEL, NOW, Box, entries, fsck, many

HERE = Path(__file__).with_name("v0.1.0")
HOUR = 3600 * SECOND
LEVEL_HIGH, GAS_HIGH = number(LEVEL, AlarmType.high), number(GAS, AlarmType.high)

YAML = """\
# A site as version 0.1.0 knew it.
version: 1
org: zs
site: quay
name: {en: Quay 7, zh: 七号码头}
position: [121.8412, 30.8625]
links:
  plc: {kind: modbus-tcp, address: "127.0.0.1:502", poll: 1s}
"""
TAGS = """\
uid,tag,name_en,name_zh,link,address,type,unit,range_low,range_high,hazard,class,priority,low,high,high_high,stale_after
,T101.LEVEL,Tank 101 level,T101 液位,plc,1!40001,float32 CDAB,%,0,100,both,process,2,15,85,90,
,AT-07.CH4,Pump room gas,泵房可燃气,plc,1!40011,uint16,%LEL,0,100,high,statutory,1,,25,50,2h
,F1,,,plc,1!40021,float32 CDAB,m3/h,,,,,,,,,
"""


async def write(folder: Path) -> None:
    """The site, with everything in its log that 0.1.0 put into logs, its history, and what to expect of them."""
    place = folder / "quay"
    place.mkdir(parents=True)
    (place / "site.yaml").write_text(YAML, encoding="utf-8")
    (place / "tags.csv").write_text(TAGS, encoding="utf-8")
    edges.write(place, lambda: uuid7(NOW, os.urandom(10)))
    site = edges.load(place)
    signer.build(site)
    clock, noise = SimulatedClock(NOW, SECOND * 1000), np.random.default_rng(1)
    box = Box(site, clock)
    for hour in range(3):
        await _an_hour(box, noise, hour)
    box.stop()
    clock.advance(60 * SECOND)
    box = Box(site, clock)
    await _an_hour(box, noise, 3)
    box.stop()
    with ParquetHistory(site.data / "history") as history, LogReader(site.log, site.origin) as reader:
        projection = Projection(reader, _keys(site).key, history, clock)
        while projection.step():
            pass
        projection.flush()
    (folder / "expected.json").write_text(json.dumps(_seen(site), indent=1) + "\n")


async def _an_hour(box: Box, noise: np.random.Generator, hour: int) -> None:
    for _ in range(60):
        walk = np.round(50 + np.cumsum(noise.standard_normal(60)), 2)
        box.core.ingest(many(FLOW, walk, box.clock))
        box.core.step()
        box.reads(level=float(walk[0]), gas=round(abs(float(walk[1])) / 10, 1))
        await box.lives(20 * SECOND, 20 * SECOND)
    box.reads(level=95.25, gas=[30.0, 55.0, 101.0, np.nan][hour])
    if not box.core.alarms.view(GAS_HIGH).state & 2:
        await box.act(Verb.acknowledge, GAS_HIGH, reason="", role="manager")
    await box.act(Verb.add_comment, GAS_HIGH, reason="检查 checked")
    if hour == 1:
        await box.act(Verb.timed_shelve, LEVEL_HIGH, reason="gauge", until=box.clock.now_us() + 8 * HOUR)
    if hour == 2:
        box.clock.jump(5 * SECOND)
    await box.lives(HOUR - 1200 * SECOND, 600 * SECOND)
    await box.durable()


def _keys(site: Site) -> Keyring:
    return Keyring(site.data / "keyring", site.origin, read_box_key(site.secrets))


def _seen(site: Site) -> dict[str, Any]:
    """What must be the same in every later version."""
    made = entries(site)
    report = fsck(site)
    values = np.concatenate([e.content.value for e in made if e.kind == Kind.readings])
    box = Box(site, SimulatedClock(NOW + 6 * HOUR), start=False)
    box.core.recorder.log.close()
    return {
        "size": report.size,
        "root": report.root.hex(),
        "findings": [str(f) for f in report.findings],
        "opened": report.opened,
        "kinds": {Kind(kind).name: n for kind, n in sorted(Counter(e.kind for e in made).items())},
        "readings": len(values),
        "sum": float(np.nansum(values)),
        "acts": [[a.actor, a.verb, a.alarm, a.reason] for a in (e.content for e in made if e.kind == Kind.act)],
        "standing": _standing(box),
    }


def _standing(box: Box) -> list[list[int]]:
    return [[v.alarm, v.version, v.activation, v.state, v.level] for v in box.core.alarms.standing()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A copy of the folder, with its tag list brought up to date as `davy edge check --write` does."""
    shutil.copytree(HERE / "quay", tmp_path / "quay")
    edges.write(tmp_path / "quay", lambda: uuid7(NOW, os.urandom(10)))
    return edges.load(tmp_path / "quay")


@pytest.fixture
def expected() -> dict[str, Any]:
    return dict(json.loads((HERE / "expected.json").read_text()))


@pytest.mark.feature("F31")
def test_its_log_is_judged_sound_and_every_body_opens(site: Site, expected: dict[str, Any]) -> None:
    assert expected["findings"] == []
    assert _seen(site) == expected


@pytest.mark.feature("F15", "F31")
async def test_a_core_goes_on_with_it(site: Site, expected: dict[str, Any]) -> None:
    box = Box(site, SimulatedClock(NOW + 6 * HOUR, 1_000_000_000))
    assert _standing(box) == expected["standing"]
    box.reads(level=50.0, gas=3.0)
    await box.act(Verb.add_comment, LEVEL_HIGH, reason="after the upgrade")
    await box.durable()
    box.stop()
    made = entries(site)
    assert [e.leaf.boot for e in made if e.kind == Kind.epoch][-1] == 3
    assert [e.content.reason for e in made if e.kind == Kind.act][-1] == "after the upgrade"
    report = fsck(site)
    assert report.findings == [] and report.size > expected["size"]
    with LogReader(site.log, site.origin) as reader:
        assert reader.checkpoint() and reader.root(expected["size"]).hex() == expected["root"]


@pytest.mark.feature("F31")
def test_its_history_is_read_and_is_what_the_log_makes_anew(site: Site, expected: dict[str, Any]) -> None:
    def rows() -> list[bytes]:
        with ParquetHistory(site.data / "history") as history:
            found = [history.range([tag], 0, NOW + 100 * HOUR) for tag in (LEVEL, GAS, FLOW)]
            return [getattr(r, column).tobytes() for r in found for column, _ in COLUMNS]

    kept = rows()
    with LogReader(site.log, site.origin) as reader:
        made = rebuild(reader, _keys(site).key, site.data / "history", SimulatedClock(NOW))
    assert (made.readings, made.transitions, made.holes) == (expected["readings"], expected["kinds"]["transition"], [])
    assert rows() == kept and all(kept)


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
