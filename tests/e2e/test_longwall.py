"""A real longwall, thirty-second values of five days, through a whole district: it arrives, value by value."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from davy import wire
from davy.alarm import number
from davy.clock import SECOND
from davy.errors import DavyError
from davy.fact import AlarmType, Cause
from davy.source.replay.config import instant_us
from district import CLOCK, District, Process, enrol, intake_of, make_centre, make_site, running

START, STEP = "2014-03-02T00:00:00Z", 30 * SECOND
COLUMNS = ("MM31", "MM116", "AS038", "PG072", "PD", "BA13", "DMM116", "MM116_pred")
YAML = """\
version: 1
org: coal
site: longwall
links:
  recorded: {{kind: replay, path: "{path}", start: "{start}", step: 30s, speed: fast}}
"""
#: 1.0 % is the limit; no delay and no deadband, so that every crossing counts.
TAGS = "uid,tag,link,address,unit,high\n" + "".join(
    f",{name},recorded,{name},{'%' if name.startswith('MM') else '1'},{'1.0' if name in ('MM31', 'MM116') else ''}\n"
    for name in COLUMNS
)


def rows(path: Path) -> np.ndarray:
    """float64[rows, columns] as Python reads them, apart from any code of ours."""
    lines = path.read_text().partition("@DATA")[2].split()
    return np.array([[float(cell) for cell in line.split(",")] for line in lines])


@pytest.mark.shared
@pytest.mark.feature("F01", "F15", "F30", "F31", "F39")
@pytest.mark.timeout(900)
async def test_a_replayed_longwall_stands_at_the_centre_value_by_value(shared: Path, tmp_path: Path) -> None:
    path = shared / "datasets" / "coal_methane" / "methane-train.arff"
    truth = rows(path)
    centre = make_centre(tmp_path / "county")
    site = make_site(tmp_path / "longwall", YAML.format(path=path, start=START), TAGS, centre)
    tags = {name: site.tags.by_name[name].index for name in COLUMNS}
    processes = [Process("davy.edge.signer", site.folder, "signer.sock"), Process("davy.edge.uplink", site.folder)]
    processes += [Process("davy.centre.history", centre.folder, "history.sock")]
    processes += [Process("davy.edge.core", site.folder, "core.sock")]
    first = instant_us(START)
    begin, end = first, first + len(truth) * STEP
    async with running(intake_of(centre)):
        await enrol(site, centre)
        began = CLOCK.mono_ns()
        async with running(*processes), wire.Client(centre.run / "history.sock") as history:
            held = {name: await arrived(history, site.origin, tags[name], begin, end, len(truth)) for name in COLUMNS}
            print(f"in the centre after {(CLOCK.mono_ns() - began) / 1e9:.1f} s")
            moved = await history.call("query", kind="transitions", origin=site.origin, t0=0, t1=2 * end, n=0)
            async with wire.Client(site.run / "core.sock") as core:
                status = await core.call("status")
            await processes[-1].end()
            await District(site, centre).everything_is_held()
    times = first + STEP * np.arange(len(truth))
    for column, name in enumerate(COLUMNS):
        assert held[name]["value"] == truth[:, column].astype("<f8").tobytes(), f"{name}: not bit for bit"
        assert held[name]["source_time"] == times.astype("<i8").tobytes()
        assert not np.frombuffer(held[name]["status"], "<u4").any()
    assert (status["dropped_readings"], status["readings_in"]) == (0, truth.size)

    alarm, cause = np.frombuffer(moved["alarm"], "<i8"), np.frombuffer(moved["cause"], "<i8")
    activations = {name: int(((alarm == number(tags[name], AlarmType.high)) & (cause == Cause.activated)).sum())
                   for name in ("MM116", "MM31")}  # fmt: skip
    assert activations == {"MM116": 140, "MM31": 0}
    high = alarm == number(tags["MM116"], AlarmType.high)
    above = truth[:, 1] >= 1.0
    rising = times[above & np.diff(above, prepend=False)]
    at = np.frombuffer(moved["source_time"], "<i8")[high & (cause == Cause.activated)]
    assert at.tolist() == rising.tolist(), "each at the very row that crossed the limit"
    District(site, centre).sound()
    ours = {t.index for t in site.tags.tags if t.link == "davy"}
    assert not ours & set((alarm // 8).tolist()), "nothing of Davy's own was in trouble"


async def arrived(history: wire.Client, origin: str, tag: int, begin: int, end: int, count: int) -> dict[str, bytes]:
    """The readings of `tag` at the centre, once there are `count` of them."""
    found: dict[str, bytes] = {}
    for _ in range(1200):
        try:
            found = await history.call("query", kind="range", origin=origin, tags=[tag], t0=begin, t1=end)
        except DavyError:  # it does not know the origin yet
            found = {}
        if len(found.get("value", b"")) >= 8 * count:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"tag {tag}: {len(found.get('value', b'')) // 8} of {count} readings came within two minutes")
