"""The tank farm: seeded, calm when nothing happens, and every incident raises the alarms it announces."""

import csv
import io

import numpy as np
import pytest

from davy.alarm import Alarms
from davy.edge import config, tags
from davy.fact.event import AlarmType, Level
from davy.lab.incidents import SCRIPT, SCRIPT_LENGTH, Effect
from davy.lab.modbus_server import raw
from davy.lab.tankfarm import INSTRUMENTS, TankFarm, site_files
from davy.quality import Judge
from davy.reading import Readings, Status, TagTable, concat
from davy.source.modbus import codec
from davy.source.promise import Batch

STEP = 0.1
POLL = 5  # steps
BATCH = Batch("lab/farm/bb1", 1, 1)


@pytest.fixture
def table(tmp_path) -> TagTable:
    for name, text in site_files(502).items():
        (tmp_path / name).write_text(text)
    number = iter(range(10_000))
    _, made = config.write(tmp_path, lambda: f"00000000-0000-7000-8000-{next(number):012}")
    return made


def readings(farm: TankFarm, shown: dict[str, float], table: TagTable, now: int) -> Readings:
    """What a poll of the farm's controller gives: through the registers and back."""
    silent = farm.silent_units()
    parts = []
    for instrument in farm.instruments:
        tag = table.by_name[instrument.tag]
        where, how = codec.check(tag.address, tag.type)
        index = np.array([tag.index], np.uint32)
        if where.unit in silent:
            parts.append(BATCH.bad(index, Status.BadNoCommunication, now, now * 1000))
            continue
        words = raw(instrument, shown[instrument.tag])
        (request,) = codec.merge([codec.Point(0, where, how, tag.scale, tag.offset)])
        data = bytes(words) if where.area.is_bits else np.array(words, ">u2").tobytes()
        parts.append(BATCH.readings(index, request.decode(data), now, now * 1000))
    return concat(parts)


def play(
    farm: TankFarm, table: TagTable, seconds: float
) -> tuple[list[tuple[str, int, int, float]], set[tuple[str, int]]]:
    """Alarms activated or escalated as (tag, type, level, second), and the flags seen as (tag, bit)."""
    judge, alarms = Judge(table), Alarms(table)
    raised, flags = [], set()
    for step in range(int(seconds / STEP)):
        shown = farm.step(STEP)
        now = int((step + 1) * STEP * 1e6) + 1_700_000_000_000_000
        if step % POLL:
            continue
        judged = judge.judge(readings(farm, shown, table, now))
        transitions = alarms.judge(judged, now, now * 1000) + alarms.tick(now, now * 1000)
        raised += [(table[t.tag].name, t.alarm % 8, t.level, step * STEP) for t in transitions if t.level]
        for bit in range(17):
            flags |= {(table[int(i)].name, 1 << bit) for i in judged.tag[judged.flags & np.uint32(1 << bit) != 0]}
    return raised, flags


def test_a_calm_farm_raises_nothing(table):
    raised, _ = play(TankFarm(7), table, 60)
    assert raised == []


@pytest.mark.parametrize("seed", [1, 2])
def test_every_incident_raises_its_alarms_within_a_minute(table, seed):
    farm = TankFarm(seed)
    farm.begin()
    raised, flags = play(farm, table, SCRIPT_LENGTH)
    for incident in SCRIPT:
        for expect in incident.expects:
            wanted = (expect.tag, expect.type, expect.level)
            times = [s for *what, s in raised if tuple(what) == wanted]
            assert times, f"{incident.name}: {expect}"
            assert incident.start <= times[0] <= incident.start + incident.duration + 1
        for tag, flag in incident.flags:
            assert (tag, int(flag)) in flags, f"{incident.name}: {flag!r}"
    announced = {(e.tag, int(e.type)) for i in SCRIPT for e in i.expects}
    assert {(tag, kind) for tag, kind, _, _ in raised} <= announced, "and no others"


def test_the_same_seed_gives_the_same_minute():
    one, two, other = TankFarm(3), TankFarm(3), TankFarm(4)
    for farm in (one, two, other):
        farm.begin()
    runs = [[farm.step(STEP) for _ in range(100)] for farm in (one, two, other)]
    assert runs[0] == runs[1] != runs[2]


def test_an_unplugged_loop_carries_no_current_and_a_saturated_one_more_than_21_milliampere():
    detector = next(i for i in INSTRUMENTS if i.tag == "AT-11.H2S")
    assert raw(detector, 34.0)[0] > 21_000
    farm = TankFarm(1, tuple(i for i in SCRIPT if i.name == "unplugged"))
    farm.begin()
    seen = [farm.step(1.0)["AT-12.NH3"] for _ in range(30)]
    ammonia = next(i for i in INSTRUMENTS if i.tag == "AT-12.NH3")
    assert {raw(ammonia, v)[0] for v in seen[26:]} == {0}


def test_the_script_names_only_what_the_farm_has():
    names = {i.tag for i in INSTRUMENTS}
    for incident in SCRIPT:
        assert {c.tag for c in incident.causes if c.effect is not Effect.silence} <= names
        assert {e.tag for e in incident.expects} | {t for t, _ in incident.flags} <= names
        assert all(e.level in (Level.first, Level.second) and e.type in AlarmType for e in incident.expects)
        assert incident.start + incident.duration < SCRIPT_LENGTH


def test_the_tag_list_holds_every_instrument_in_columns_the_edge_knows():
    rows = list(csv.DictReader(io.StringIO(site_files(502)["tags.csv"])))
    assert [r["tag"] for r in rows] == [i.tag for i in INSTRUMENTS]
    assert set(rows[0]) <= set(tags.COLUMNS)
