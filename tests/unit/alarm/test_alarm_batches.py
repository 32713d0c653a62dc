"""Batches: no crossing is missed or told twice, in whatever shape readings come."""

import numpy as np
import pytest

from alarm_site import START, Site, readings
from davy.alarm import Alarms, number
from davy.clock import SECOND
from davy.fact import AlarmType, Cause, Level
from davy.reading import Flag, Readings, Status, Tag, TagTable

LIMIT = 1.0


def activations(transitions, tag):
    return sum(t.cause == Cause.activated and t.alarm == number(tag, AlarmType.high) for t in transitions)


@pytest.mark.feature("F17", "F23")
@pytest.mark.parametrize("size", [1, 7, 50, 5_000, 1_000_000])
def test_the_real_longwall_has_140_methane_alarms_at_mm116_and_none_at_mm31(shared, size):
    names, rows = [], []
    for line in (shared / "datasets/coal_methane/methane-train.arff").read_text().splitlines():
        if line.startswith("@ATTRIBUTE"):
            names.append(line.split("'")[1])
        elif line[:1].isdigit():
            rows.append([float(cell) for cell in line.split(",")])
    data = np.array(rows)
    tags = TagTable(1, tuple(Tag(f"u{i}", i, name, high=LIMIT) for i, name in enumerate(names) if name[:2] == "MM"))
    chosen = [t.index for t in tags.tags][:2]
    assert [tags[i].name for i in chosen] == ["MM31", "MM116"]
    n = len(data) if size > 1 else 2_000
    tag = np.tile(np.array(chosen, np.uint32), n)
    value = data[:n, chosen].ravel()
    time = START + np.repeat(np.arange(n), 2) * 30 * SECOND
    whole = readings(tag, value, time=time)
    alarms = Alarms(tags)
    out = [
        t
        for k, first in enumerate(range(0, len(whole), size))
        for t in alarms.judge(whole.take(slice(first, first + size)), START + k, k)
    ]
    above = data[:n, chosen[1]] >= LIMIT
    expected = int(above[0]) + int((above[1:] & ~above[:-1]).sum())
    assert expected == 140 or size == 1
    assert activations(out, chosen[1]) == expected
    assert activations(out, chosen[0]) == 0
    # every transition names the very reading that did it
    by_time = dict(zip(whole.source_time[1::2].tolist(), value[1::2].tolist(), strict=True))
    assert all(by_time[t.source_time] == t.value for t in out)


def test_a_tag_that_chatters_within_a_batch_gives_every_crossing_in_order():
    site = Site(Tag("u0", 0, "T", high=LIMIT, low=-LIMIT), Tag("u1", 1, "U", high=LIMIT))
    value = [0, 2, 0, -2, 2, 2, 0]
    tag = [0] * len(value)
    out = site.alarms.judge(readings([*tag, 1, *tag], [*value, 5, *value], time=START + np.arange(15)), START, 0)
    seen = [(t.source_time - START, AlarmType(t.alarm % 8).name, Cause(t.cause).name) for t in out if t.tag == 0]
    once = [(1, "high", "activated"), (2, "high", "returned"), (3, "low", "activated"),
            (4, "high", "activated"), (4, "low", "returned"), (6, "high", "returned")]  # fmt: skip
    assert seen == once + [(at + 8, kind, cause) for at, kind, cause in once]
    assert [t.source_time for t in out] == sorted(t.source_time for t in out)
    assert activations(out, 1) == 1


@pytest.mark.parametrize("seed", range(4))
def test_cutting_a_stream_into_batches_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    tags = TagTable(1, tuple(
        Tag(f"u{i}", i, f"T{i}", low_low=-2.0, low=-1.0, high=1.0, high_high=2.0, deadband=0.3, latch=bool(i % 2))
        for i in range(6)
    ))  # fmt: skip
    n = 4_000
    tag = rng.choice(6, n, p=[0.6, 0.2, 0.1, 0.05, 0.03, 0.02])
    status = rng.choice([0, 0, 0, 0, Status.Uncertain, Status.Bad], n)
    flags = rng.choice([0] * 20 + [Flag.over_range, Flag.stale, Flag.spike, Flag.out_of_order, Flag.calibration], n)
    value = rng.normal(0, 1.2, n).round(1)
    value[rng.random(n) < 0.02] = np.nan
    whole = readings(tag, value, status, flags, START + np.arange(n))

    def run(cuts):
        alarms = Alarms(tags)
        out = [
            t for a, b in zip([0, *cuts], [*cuts, n], strict=True) for t in alarms.judge(whole.take(slice(a, b)), 0, 0)
        ]
        return [(t.source_time, t.alarm, t.version, t.cause, t.state, t.level) for t in out]

    one_by_one = run(range(1, n))
    assert len(one_by_one) > 500
    assert run([]) == one_by_one
    assert run(sorted(rng.choice(n, 30, replace=False))) == one_by_one


def test_a_single_crossing_is_found_wherever_it_stands_in_a_long_batch_of_one_tag():
    n = 1_300
    for at in (*range(200), *range(1_140, 1_170), n - 2, n - 1):
        site = Site(Tag("u0", 0, "T", high=LIMIT))
        value = np.zeros(n)
        value[[at - 40, at]] = 2.0  # the first brings the rest into view
        out = site.alarms.judge(readings([0] * n, value, time=START + np.arange(n)), START, 0)
        raised = [t.source_time - START for t in out if t.cause == Cause.activated]
        assert raised == sorted({(at - 40) % n, at})


def test_live_and_historical_readings_in_one_batch_go_each_their_way():
    site = Site(Tag("u0", 0, "T", high=LIMIT))
    flags = [0, Flag.historical, 0, Flag.historical]
    out = site.alarms.judge(readings([0] * 4, [2, 2, 0, 2], flags=flags), START, 0)
    assert [(Cause(t.cause).name, t.historical) for t in out] == [
        ("activated", False), ("returned", False), ("activated", True),
    ]  # fmt: skip


def test_an_empty_batch_and_an_empty_tag_table_are_fine():
    alarms = Alarms(TagTable(1, ()))
    assert alarms.judge(Readings.empty(), 0, 0) == []
    assert alarms.tick(0, 0) == []
    assert alarms.snapshot()["alarms"] == []


def test_a_storm_of_bad_readings_alarms_every_tag_once_and_is_quiet_then():
    n = 500
    tags = TagTable(1, tuple(Tag(f"u{i}", i, f"T{i}", high=LIMIT) for i in range(n)))
    alarms = Alarms(tags)
    bad = readings(range(n), [np.nan] * n, Status.BadNotConnected)
    assert {t.alarm % 8 for t in alarms.judge(bad, 0, 0)} == {AlarmType.bad}
    assert len(alarms.standing()) == n
    assert alarms.judge(bad, 0, 0) == []
    back = alarms.judge(readings(range(n), [2.0] * n), 0, 0)
    assert sorted(t.cause for t in back) == [Cause.activated] * n + [Cause.returned] * n
    assert {v.level for v in alarms.standing()} == {Level.normal, Level.first}
