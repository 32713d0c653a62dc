"""A core goes on where its log says it stood, and starts whatever it finds."""

from pathlib import Path

import pytest

from davy.alarm import number
from davy.clock import SECOND, SimulatedClock
from davy.edge import recorder as recorders
from davy.errors import Unreachable
from davy.fact import AlarmType, Kind, Verb
from davy.fact.event import State
from sites import GAS, LEVEL, Box, Here, entries, fsck, site

LEVEL_HIGH, GAS_HIGH = number(LEVEL, AlarmType.high), number(GAS, AlarmType.high)


async def shelved(box: Box) -> None:
    """Level shelved and unacknowledged at its second limit; gas acknowledged at its first."""
    box.reads(level=50.0, gas=1.0)
    box.reads(level=86.0, gas=30.0)
    box.reads(level=95.0)
    await box.act(Verb.acknowledge, GAS_HIGH)
    await box.act(
        Verb.timed_shelve, LEVEL_HIGH, reason="gauge is being changed", until=box.clock.now_us() + 600 * SECOND
    )


def views(box: Box) -> dict[int, tuple[int, int, int, int, str]]:
    return {v.alarm: (v.version, v.activation, v.state, v.level, v.reason) for v in box.core.alarms.standing()}


@pytest.mark.feature("F15", "F31")
async def test_a_restart_goes_on_with_the_alarms_the_log_tells_of(tmp_path: Path) -> None:
    place = site(tmp_path)
    box = Box(place)
    await shelved(box)
    before = views(box)
    assert before[LEVEL_HIGH][2] & State.shelved and before[GAS_HIGH][2] & State.acked
    box.stop()
    clock = SimulatedClock(box.clock.now_us() + 60 * SECOND, 5_000_000)  # a machine that was started anew
    again = Box(place, clock)
    assert (again.core.recorder.boot, again.core.site.tags.version) == (2, 1)
    assert views(again) == before
    again.reads(level=95.0, gas=30.0)
    assert again.told == [], "what stands is not annunciated again"
    assert views(again) == before
    again.passes(545 * SECOND, 5 * SECOND)
    assert views(again)[LEVEL_HIGH][2] & State.shelved == 0, "a shelving ends when it was to end"
    await again.durable()
    again.stop()
    made = entries(place)
    assert [e.leaf.boot for e in made if e.kind == Kind.epoch] == [1, 2]
    assert [e.leaf.epoch for e in made if e.kind == Kind.epoch] == [1, 2]
    assert not [e for e in made if e.kind == Kind.unverified_start]
    assert fsck(place).findings == []


async def test_alarms_acknowledged_to_the_log_survive_a_kill_before_any_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = site(tmp_path)
    box = Box(place)
    await box.durable()
    signed = box.core.recorder.log.published
    assert signed is not None
    monkeypatch.setattr(recorders, "CHECKPOINT_NS", 1 << 62)
    await shelved(box)
    assert box.core.recorder.log.published == signed
    before = views(box)
    box.kill()
    again = Box(place, box.clock)
    assert views(again) == before
    again.stop()
    assert fsck(place).findings == []


async def test_many_starts_count_up_and_never_use_a_number_twice(tmp_path: Path) -> None:
    place = site(tmp_path)
    clock = SimulatedClock(1_750_000_000 * SECOND, 1_000_000_000)
    for boot in range(1, 6):
        box = Box(place, clock)
        assert box.core.recorder.boot == boot
        box.reads(level=50.0 + boot)
        await box.until(lambda box=box: not box.core.recorder.backlog)
        clock.advance(SECOND)
        (box.stop if boot % 2 else box.kill)()
    made = entries(place)
    epochs = [e.leaf.epoch for e in made if e.kind == Kind.epoch]
    assert epochs == sorted(set(epochs))
    versions = [e.content.version for e in made if e.kind == Kind.tags]
    assert versions == sorted(set(versions))


async def test_a_lost_keyring_costs_the_state_of_the_alarms_but_never_the_start(tmp_path: Path) -> None:
    place = site(tmp_path)
    box = Box(place)
    await shelved(box)
    box.stop()
    for path in (place.data / "keyring").glob("*.cbor"):
        path.unlink()
    again = Box(place, box.clock)
    assert views(again) == {}
    again.reads(level=95.0, gas=30.0)
    assert {t.alarm for t in again.told} == {LEVEL_HIGH, GAS_HIGH}, "what is wrong now is annunciated now"
    await again.durable()
    again.stop()
    told = [e.content for e in entries(place) if e.kind == Kind.unverified_start]
    assert [n.what for n in told] == ["unverified_start"]
    assert "key_unknown" in told[0].detail["why"]


@pytest.mark.parametrize("harm", ["signer away", "bodies gone", "bodies damaged"])
async def test_whatever_keeps_the_state_from_being_read_the_core_starts_and_says_so(
    tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = site(tmp_path)
    box = Box(place)
    await shelved(box)
    box.stop()
    folder = place.log / "pack" / "event"
    if harm == "bodies gone":
        for path in folder.iterdir():
            path.unlink()
    elif harm == "bodies damaged":
        for path in folder.glob("*.pack"):
            data = bytearray(path.read_bytes())
            data[40:60] = bytes(20)
            path.write_bytes(data)
    if harm == "signer away":
        monkeypatch.setattr(Here, "key", _gone)
    again = Box(place, box.clock)
    assert views(again) == {}
    again.reads(gas=60.0)
    assert [t.alarm for t in again.told] == [GAS_HIGH]
    await again.durable()
    again.stop()


def _gone(self: Here, key_id: int) -> bytes:
    raise Unreachable("socket signer.sock: gone")
