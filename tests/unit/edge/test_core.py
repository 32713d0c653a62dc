"""The river of a site: readings in; act, log, tell; people; and its own faults as alarms of its own."""

import asyncio
import errno
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from davy.alarm import number
from davy.blackbox.fs import Fs
from davy.blackbox.log import Log
from davy.clock import SECOND, SimulatedClock, SourceClock
from davy.edge import core as cores
from davy.edge import recorder as recorders
from davy.edge.core import build
from davy.errors import BadRequest, NotAllowed, StaleVersion, UnknownTarget, Unreachable
from davy.fact import Act, AlarmType, Cause, Kind, Transition, Verb
from davy.fact.event import State
from davy.reading import Flag, Status
from sites import FLOW, GAS, LEVEL, NOW, PERSON, Box, Here, batch, entries, fsck, site

LEVEL_HIGH, GAS_HIGH = number(LEVEL, AlarmType.high), number(GAS, AlarmType.high)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    made = Box(site(tmp_path / "quay"))
    yield made
    made.signer.away = None
    if made.core.recorder._thread.is_alive():
        made.stop()


def standing(box: Box) -> dict[int, int]:
    """Active alarms and their level."""
    return {v.alarm: v.level for v in box.core.alarms.standing() if v.state & State.active}


@pytest.mark.feature("F15", "F31")
async def test_what_is_read_stands_in_the_log_judged_and_bit_for_bit(box: Box) -> None:
    values = [50.0, 50.1, np.nextafter(50.1, 51), -0.0, 101.5]
    for value in values:
        box.reads(level=value, flow=-1e-300)
        box.clock.advance(SECOND // 10)
    await box.durable()
    box.stop()
    made = [e.content for e in entries(box.site) if e.kind == Kind.readings]
    rows = np.concatenate([r.value[r.tag == LEVEL] for r in made])
    assert rows.tobytes() == np.array(values).tobytes()
    flags = np.concatenate([r.flags[r.tag == LEVEL] for r in made])
    assert flags[-1] & Flag.over_range and not flags[:-3].any()
    assert fsck(box.site).findings == []


@pytest.mark.feature("F15")
async def test_an_alarm_is_acted_on_before_it_is_logged_and_told_after(tmp_path: Path) -> None:
    steps: list[str] = []
    place = site(tmp_path / "quay")

    def output(transitions: Any) -> None:
        waiting = box.core.recorder.backlog
        steps.append(f"act {len(transitions)}, {waiting - before} put")

    box = Box(place, outputs=[output], start=False)
    before = box.core.recorder.backlog
    put, tell = box.core.recorder.put_event, box.core.live.transitions
    box.core.recorder.put_event = lambda kind, event: steps.append("log") or put(kind, event)  # type: ignore[method-assign]
    box.core.live.transitions = lambda ts: steps.append("tell") or tell(ts)  # type: ignore[method-assign]
    box.reads(gas=30.0)
    assert steps == ["act 1, 0 put", "log", "tell"]
    box.core.recorder.start()
    await box.durable()
    box.stop()
    (transition,) = [e.content for e in entries(place) if e.kind == Kind.transition]
    assert (transition.alarm, transition.cause, transition.value) == (GAS_HIGH, Cause.activated, 30.0)


async def test_the_reading_that_raised_an_alarm_is_sealed_within_the_second(box: Box) -> None:
    box.reads(gas=1.0)
    await box.lives(2 * SECOND)
    box.reads(gas=30.0)
    await box.lives(SECOND + SECOND // 10)
    await box.durable()
    box.stop()
    made = entries(box.site)
    (at,) = [e.leaf.seq for e in made if e.kind == Kind.transition]
    following = [e for e in made[at:] if e.kind == Kind.readings]
    assert 30.0 in following[0].content.value


async def test_no_device_may_hold_an_alarm_back(box: Box) -> None:
    flags = int(Flag.calibration | Flag.maintenance | Flag.bypass)
    box.core.ingest(batch({GAS: 60.0}, box.clock, flags=flags))
    box.core.step()
    assert standing(box) == {GAS_HIGH: 2}
    box.core.seal()
    await box.durable()
    box.stop()
    (seen,) = [e.content for e in entries(box.site) if e.kind == Kind.readings and GAS in e.content.tag]
    assert not (seen.flags & np.uint32(flags)).any()


@pytest.mark.feature("F23")
async def test_an_act_is_answered_with_its_place_in_the_log(box: Box) -> None:
    box.reads(gas=30.0)
    first = await box.act(Verb.acknowledge, GAS_HIGH)
    second = await box.act(Verb.add_comment, GAS_HIGH, reason="夜班巡检")
    box.stop()
    made = entries(box.site)
    assert [made[i].kind for i in (first, second)] == [Kind.act, Kind.act]
    assert made[first].content == Act(PERSON, "operator", Verb.acknowledge, GAS_HIGH, 1, "", 0, NOW)
    assert made[second].content.reason == "夜班巡检"
    after = made[first + 1].content
    assert isinstance(after, Transition) and (after.cause, after.actor) == (Cause.acknowledged, PERSON)


@pytest.mark.feature("F23", "F37")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"role": "viewer"}, NotAllowed),
        ({"role": "inspector"}, NotAllowed),
        ({"role": "nobody"}, NotAllowed),
        ({"version": 0}, StaleVersion),
        ({"version": 7}, StaleVersion),
        ({"actor": ""}, BadRequest),
        ({"verb": 99}, BadRequest),
        ({"verb": "acknowledge"}, BadRequest),
        ({"alarm": 999_999}, UnknownTarget),
        ({"alarm": -1}, BadRequest),
        ({"alarm": 1 << 80}, BadRequest),
        ({"alarm": None}, BadRequest),
        ({"reason": "x" * 5000}, BadRequest),
        ({"reason": b"bytes"}, BadRequest),
        ({"verb": Verb.add_comment}, BadRequest),  # without words
        ({"verb": Verb.reset}, BadRequest),  # nothing is latched
    ],
)
async def test_an_act_that_may_not_be_changes_nothing(box: Box, change: dict[str, Any], error: type[Exception]) -> None:
    box.reads(gas=30.0)
    await box.durable()
    before = box.core.recorder.log.size
    wanted = {"actor": PERSON, "role": "operator", "verb": Verb.acknowledge, "alarm": GAS_HIGH, "version": 1}
    with pytest.raises(error):
        await box.core.act(**(wanted | change))
    await box.durable()
    assert box.core.recorder.log.size == before
    assert not box.core.alarms.view(GAS_HIGH).state & State.acked


@pytest.mark.feature("F23")
@pytest.mark.parametrize("verb", [Verb.timed_shelve, Verb.one_shot_shelve, Verb.suppress, Verb.remove_from_service])
@pytest.mark.parametrize("role", ["operator", "manager", "admin", "inspector"])
async def test_nobody_alone_silences_a_statutory_alarm(box: Box, verb: Verb, role: str) -> None:
    box.reads(gas=30.0)
    with pytest.raises(NotAllowed):
        await box.act(verb, GAS_HIGH, role=role, reason="it is loud")
    assert standing(box) == {GAS_HIGH: 1}


async def test_an_alarm_whose_tag_is_gone_can_still_be_acknowledged(tmp_path: Path) -> None:
    place = site(tmp_path / "quay")
    box = Box(place)
    box.reads(flow=1.0, level=95.0)
    box.stop()
    kept = tuple(t for t in place.tags.tags if t.index != LEVEL)
    again = Box(replace(place, tags=replace(place.tags, tags=kept, version=2)), box.clock)
    again.passes(SECOND)
    view = again.core.alarms.view(LEVEL_HIGH)
    assert not view.state & State.active and not view.state & State.acked
    await again.act(Verb.acknowledge, LEVEL_HIGH)
    assert again.core.alarms.standing() == []
    again.stop()
    assert fsck(place).findings == []


async def test_a_person_who_leaves_before_the_answer_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "SEALED_DEADLINE_S", 0.05)
    box = Box(site(tmp_path / "quay"), start=False)
    box.reads(gas=30.0)
    with pytest.raises(Unreachable, match="not sealed"):
        await box.act(Verb.acknowledge, GAS_HIGH)
    hasty = asyncio.create_task(box.act(Verb.add_comment, GAS_HIGH, reason="leaving"))
    await asyncio.sleep(0.01)
    hasty.cancel()
    await asyncio.gather(hasty, return_exceptions=True)
    box.core.recorder.start()
    await box.durable()
    monkeypatch.setattr(cores, "SEALED_DEADLINE_S", 15.0)
    await box.act(Verb.add_comment, GAS_HIGH, reason="still here")
    box.stop()
    acts = [e.content for e in entries(box.site) if e.kind == Kind.act]
    assert [(a.verb, a.reason) for a in acts] == [(0, ""), (9, "leaving"), (9, "still here")]


class Refusing(Fs):
    """A disk that refuses every write while `error` is set."""

    error = 0

    def write(self, fd: int, data: bytes) -> None:
        if self.error:
            raise OSError(self.error, "refused")
        super().write(fd, data)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    made = Refusing()
    monkeypatch.setattr(cores, "Log", SimpleNamespace(open=lambda path, origin: Log.open(path, origin, made)))
    monkeypatch.setattr(recorders, "RETRY_S", 0.02)
    return made


@pytest.mark.feature("F31")
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
async def test_a_disk_that_refuses_is_an_alarm_at_once_and_everything_else_goes_on(
    disk: Refusing, tmp_path: Path, error: int
) -> None:
    box = Box(site(tmp_path / "quay"))
    await box.durable()
    disk.error = error
    box.reads(gas=30.0)
    assert [t.alarm for t in box.told] == [GAS_HIGH], "the gas alarm waits for no disk"
    await box.until(lambda: box.core.recorder.faults.disk)
    box.passes(SECOND // 10)
    assert box.ailing() == {"DAVY.DISK"}
    acting = asyncio.create_task(box.act(Verb.acknowledge, GAS_HIGH))
    box.passes(2 * SECOND)
    assert box.ailing() == {"DAVY.DISK", "DAVY.LOG"}
    disk.error = 0
    assert await acting > 0
    await box.until(lambda: not box.core.recorder.faults.disk and not box.core.recorder.backlog)
    await box.lives(9 * SECOND)
    assert box.ailing() == {"DAVY.DISK", "DAVY.LOG"}, "a fault that comes and goes is one alarm"
    await box.lives(3 * SECOND)
    assert box.ailing() == set()
    await box.durable()
    box.stop()
    made = entries(box.site)
    kept = [(e.content.tag, Cause(e.content.cause).name) for e in made if e.kind == Kind.transition]
    tag = box.site.tags.by_name["DAVY.DISK"].index
    assert [cause for t, cause in kept if t == tag] == ["activated", "returned"]
    assert kept[0] == (GAS, "activated")
    assert fsck(box.site).findings == []


async def test_a_signer_that_is_away_is_an_alarm_and_ends_when_it_is_back(box: Box) -> None:
    await box.durable()
    box.signer.away = Unreachable("socket signer.sock: gone")
    box.reads(flow=1.0)
    box.core.seal()
    await eventually(box, {"DAVY.SIGNER"})
    box.signer.away = None
    await eventually(box, set())


async def eventually(box: Box, ailing: set[str]) -> None:
    for _ in range(500):
        box.passes(SECOND // 10)
        await asyncio.sleep(0.02)
        if box.ailing() == ailing:
            return
    assert box.ailing() == ailing


async def test_readings_that_had_to_go_are_one_alarm_however_often(box: Box) -> None:
    for n in range(1, 10):
        box.core.recorder.faults.dropped = n
        await box.lives(2 * SECOND, SECOND)
    assert box.ailing() == {"DAVY.DROPS"}
    await box.lives(62 * SECOND, SECOND)
    assert box.ailing() == set()
    tag = box.site.tags.by_name["DAVY.DROPS"].index
    assert [Cause(t.cause).name for t in box.told if t.tag == tag] == ["activated", "returned"]


async def test_what_the_centre_does_not_hold_for_a_minute_is_an_alarm_also_when_the_uplink_is_dead(box: Box) -> None:
    box.core.held({"exposure_us": 0, "at": box.clock.now_us()})
    await box.lives(50 * SECOND, SECOND)
    assert box.ailing() == set()
    await box.lives(11 * SECOND, SECOND)
    assert box.ailing() == {"DAVY.HELD"}
    box.core.held({"exposure_us": 2 * SECOND, "at": box.clock.now_us()})
    await box.lives(11 * SECOND, SECOND)
    assert box.ailing() == set()
    box.core.held({"exposure_us": 61 * SECOND, "at": box.clock.now_us()})
    await box.lives(SECOND, SECOND)
    assert box.ailing() == {"DAVY.HELD"}


async def test_an_old_report_of_the_uplink_raises_nothing_at_a_start(box: Box) -> None:
    box.core.held({"exposure_us": 0, "at": NOW - 3600 * SECOND})
    await box.lives(30 * SECOND, SECOND)
    assert box.ailing() == set()


@pytest.mark.feature("F31")
async def test_a_jump_of_the_wall_clock_is_a_leaf_and_moves_no_delay(box: Box) -> None:
    box.reads(gas=1.0)
    for by in (90 * SECOND, -45 * SECOND, SECOND // 2):
        box.clock.jump(by)
        box.passes(SECOND // 10)
        box.reads(gas=1.0)
    assert standing(box) == {}
    await box.durable()
    box.stop()
    jumps = [e.content.detail["by_us"] for e in entries(box.site) if e.kind == Kind.clock]
    assert jumps == [90 * SECOND, -45 * SECOND], "half a second is no fact of its own"
    assert fsck(box.site).findings == []


async def test_silence_is_an_alarm_by_the_clock_alone(box: Box) -> None:
    box.reads(gas=1.0)
    box.passes(4 * SECOND)
    assert standing(box) == {number(GAS, AlarmType.stale): 1}
    assert box.core.live.latest.status[GAS] != Status.Good
    box.reads(gas=1.0)
    assert standing(box) == {}


async def test_keys_change_every_hour_and_what_is_sealed_before_and_after_opens(box: Box) -> None:
    box.reads(gas=30.0, level=50.0)
    await box.durable()
    for _ in range(2):
        box.clock.advance(3600 * SECOND)
        box.core.sweep()
        box.reads(gas=30.5, level=50.5)
        await box.durable()
    box.stop()
    made = entries(box.site)
    assert [e.content.reason for e in made if e.kind == Kind.epoch] == ["start", "hour", "hour"]
    report = fsck(box.site)
    assert (report.findings, report.opened) == ([], len(made))


COLUMNS = {
    "tag": np.array([LEVEL, FLOW], "<u4").tobytes(),
    "value": np.array([95.0, 2.0], "<f8").tobytes(),
    "status": np.zeros(2, "<u4").tobytes(),
    "flags": np.zeros(2, "<u4").tobytes(),
    "source_time": np.full(2, NOW, "<i8").tobytes(),
}


@pytest.mark.feature("F15")
async def test_readings_of_another_process_are_judged_like_any(box: Box) -> None:
    readings = box.core.handlers()["readings"]
    assert await readings(columns=COLUMNS) == 2  # type: ignore[misc]
    box.core.step()
    assert standing(box) == {LEVEL_HIGH: 2}


@pytest.mark.parametrize(
    "change",
    [
        {"tag": None},
        {"tag": np.array([LEVEL, 999], "<u4").tobytes()},
        {"tag": np.array([LEVEL, 0xFFFFFFFF], "<u4").tobytes()},
        {"tag": COLUMNS["tag"][:4]},
        {"value": COLUMNS["value"][:-1]},
        {"value": COLUMNS["value"] * 2},
        {"value": "95.0"},
        {"status": 0},
        {"source_time": np.array([NOW, -1], "<i8").tobytes()},
        {"source_time": np.array([NOW, 1 << 62], "<i8").tobytes()},
    ],
)
async def test_nonsense_for_readings_is_refused_whole(box: Box, change: dict[str, Any]) -> None:
    readings = box.core.handlers()["readings"]
    columns = {name: data for name, data in (COLUMNS | change).items() if data is not None}
    with pytest.raises(BadRequest):
        await readings(columns=columns)  # type: ignore[misc]
    box.core.step()
    assert (box.core.readings_in, standing(box)) == (0, {})


async def test_a_start_says_what_it_runs_with(box: Box) -> None:
    await box.durable()
    box.stop()
    made = entries(box.site)
    assert [e.kind for e in made[:3]] == [Kind.epoch, Kind.tags, Kind.config]
    assert made[2].content.content["site"] == "quay"
    assert [t["name"] for t in made[1].content.tags][:3] == ["T101.LEVEL", "AT-07.CH4", "F1"]


async def test_a_replay_runs_in_its_own_time_and_its_age_is_no_fault(tmp_path: Path) -> None:
    """Rows of 2014, a day apart, are no log that is a day late, nor a centre that lags by years."""
    place = site(tmp_path / "quay")
    pace, source = SimulatedClock(NOW, 1_000_000_000), SourceClock()
    core = build(place, source, Here(place), [], pace)
    core.held({"exposure_us": 10**15, "at": NOW})
    old = SimulatedClock(1_400_000_000 * SECOND)
    for _ in range(30):
        old.advance(24 * 3600 * SECOND)
        core.ingest(batch({LEVEL: 50.0, GAS: 1.0, FLOW: 1.0}, old))
        core.step()
        core.sweep()
    assert source.now_us() == old.now_us()
    assert {v.tag for v in core.alarms.standing()} == {GAS}, "a day of silence is an alarm, in its own time"
    core.recorder.log.close()


async def test_a_replay_waits_for_the_record(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "REPLAY_AHEAD", 1)
    await box.core.has_room()
    box.core.recorder._queued_readings = 5  # as if the disk were slow
    waiting = asyncio.create_task(box.core.has_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    box.core.recorder._queued_readings = 0
    for _ in range(100):
        box.clock.advance(SECOND // 10)
        await asyncio.sleep(0)
        if waiting.done():
            return
    raise AssertionError("the replay did not go on")


@pytest.mark.feature("F15", "F31")
async def test_a_log_that_cannot_be_opened_stops_no_alarm_and_is_tried_again(tmp_path: Path) -> None:
    place = site(tmp_path / "quay")
    before = Box(place)
    before.reads(gas=30.0, level=95.0)
    await before.durable()
    before.stop()
    whole = (place.log / "checkpoint").read_bytes()
    (place.log / "checkpoint").write_bytes(b"not a checkpoint")

    box = Box(place)
    box.reads(gas=30.0)
    assert [t.alarm for t in box.told] == [GAS_HIGH]
    await box.until(lambda: box.core.recorder.faults.disk, "the fault")
    box.passes(SECOND)
    assert "DAVY.DISK" in box.ailing()

    (place.log / "checkpoint").write_bytes(whole)
    await box.until(lambda: not box.core.recorder.backlog, "the log")
    await box.lives(12 * SECOND)
    assert "DAVY.DISK" not in box.ailing()
    await box.durable()
    box.stop()
    made = entries(place)
    assert [e.leaf.boot for e in made if e.kind == Kind.transition and e.content.alarm == GAS_HIGH] == [1, 2]
    assert [e.leaf.boot for e in made if e.kind == Kind.unverified_start] == [2]
    assert {e.leaf.boot for e in made} == {1, 2}
    assert sorted({e.leaf.epoch for e in made}) == [1, 2]
    assert fsck(place).findings == []
