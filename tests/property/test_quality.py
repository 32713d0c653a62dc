"""Laws of the judge, and the judge against a naive one that looks at one reading at a time."""

import math
import struct
from dataclasses import dataclass, field
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davy.quality import FUTURE_TOLERANCE, Judge
from davy.reading import Flag, Readings, Status, Tag, TagTable
from davy.reading.readings import COLUMNS

S = 1_000_000
TAGS = TagTable(
    1,
    (
        Tag("a", 0, "a", range_low=0.0, range_high=16.0, signal="4-20mA", frozen_after=3 * S),
        Tag("b", 1, "b", range_low=-5.0, range_high=5.0, frozen_after=2 * S),
        Tag("c", 2, "c"),
        Tag("d", 4, "d", range_high=5.0, frozen_after=10 * S),
    ),
)
Row = tuple[int, float, int, int, int, int]

VALUES = st.sampled_from(
    [1.0, 1.0, 1.0, 2.0, 0.0, -0.0, 5.0, 6.0, -0.4, -0.41, 17.0, 99.0, math.inf, -math.inf, math.nan]
)
STATUS = st.sampled_from([Status.Good] * 6 + [Status.UncertainLastUsableValue, Status.BadNotConnected, 0xC0000000])
FLAGS = st.sampled_from(
    [0] * 6 + [Flag.historical] * 2 + [Flag.no_source_time, Flag.spike, Flag.historical | Flag.rate]
)
TIMES = st.one_of(st.integers(0, 20).map(lambda n: n * S), st.sampled_from([0, -S, 4_070_908_800 * S]))


@st.composite
def sequences(draw: st.DrawFn) -> list[Row]:
    """Readings as they arrive: our own time never goes back, the devices' goes where it likes."""
    rows: list[Row] = []
    now = 10 * S
    for _ in range(draw(st.integers(1, 40))):
        now += draw(st.sampled_from([0, 0, S // 2, S, 2 * S]))
        flags = draw(FLAGS)
        source = now if flags & Flag.no_source_time else draw(st.one_of(TIMES, st.just(now)))
        rows.append((draw(st.sampled_from([0, 0, 1, 2, 4])), draw(VALUES), draw(STATUS), int(flags), source, now))
    return rows


def readings(rows: list[Row]) -> Readings:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    return Readings(*(np.array(c, dtype) for c, (_, dtype) in zip(columns, COLUMNS, strict=True)))


def judged(judge: Judge, rows: list[Row]) -> list[tuple[int, int]]:
    r = judge.judge(readings(rows))
    return list(zip(r.status.tolist(), r.flags.tolist(), strict=True))


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


@dataclass
class Last:
    newest: int | None = None
    before: tuple[int, bytes, int] | None = None
    level: float = math.nan
    since: int = 0


@dataclass
class Naive:
    """One reading at a time, with a dict; the words of quality/__init__.py put as plainly as can be."""

    last: dict[tuple[int, bool], Last] = field(default_factory=dict)

    def judge(self, row: Row) -> tuple[int, int]:
        index, value, status, flags, source, server = row
        tag, historical = TAGS[index], bool(flags & Flag.historical)
        memory = self.last.setdefault((index, historical), Last())
        received = status
        status, flags = self.band(tag, value, status, flags)
        if source > server + FUTURE_TOLERANCE:
            flags |= Flag.future
        if not flags & (Flag.future | Flag.no_source_time):
            if memory.newest is not None and source < memory.newest:
                return status, flags | Flag.out_of_order
            memory.newest = source
        if memory.before == (source, bits(value), received) and not flags & Flag.no_source_time:
            flags |= Flag.duplicate
        memory.before = (source, bits(value), received)
        return self.frozen(tag, memory, value, status, flags, source if historical else server)

    def frozen(self, tag: Tag, m: Last, value: float, status: int, flags: int, now: int) -> tuple[int, int]:
        level = math.nan if status >= Status.Bad else value
        if level != m.level:
            m.level, m.since = level, now
        elif tag.frozen_after is not None and now - m.since >= tag.frozen_after:
            return worse(status, Status.UncertainLastUsableValue), flags | Flag.frozen
        return status, flags

    def band(self, tag: Tag, value: float, status: int, flags: int) -> tuple[int, int]:
        if math.isnan(value):
            return worse(status, Status.Bad), flags
        low = -math.inf if tag.range_low is None else tag.range_low
        high = math.inf if tag.range_high is None else tag.range_high
        if value > high or value == math.inf:
            flags |= Flag.over_range
        elif value < low or value == -math.inf:
            flags |= Flag.under_range
        else:
            return status, flags
        ma = 4 + 16 * (value - low) / (high - low) if tag.signal == "4-20mA" else 12.0
        broken = math.isinf(value) or not 3.6 < ma < 21.0
        return worse(status, Status.BadSensorFailure if broken else Status.UncertainEngineeringUnitsExceeded), flags


def worse(now: int, code: int) -> int:
    return int(code) if code >> 30 > now >> 30 else int(now)


@pytest.mark.feature("F09")
@settings(max_examples=150, deadline=None)
@given(sequences())
def test_the_judge_agrees_with_a_naive_one_reading_by_reading(rows: list[Row]) -> None:
    naive = Naive()
    assert judged(Judge(TAGS), rows) == [naive.judge(row) for row in rows]


@settings(max_examples=80, deadline=None)
@given(sequences(), st.lists(st.integers(0, 40), max_size=6))
def test_however_a_run_of_readings_is_cut_each_is_judged_alike(rows: list[Row], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(rows)]
    judge = Judge(TAGS)
    parts = [judged(judge, rows[a:b]) for a, b in pairwise(edges)]
    assert list(chain.from_iterable(parts)) == judged(Judge(TAGS), rows)


@settings(max_examples=50, deadline=None)
@given(st.lists(sequences(), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_the_order_of_distinct_tags_in_a_batch_is_irrelevant(batches: list[list[Row]], random: object) -> None:
    straight, mixed = Judge(TAGS), Judge(TAGS)
    for rows in batches:
        once = list({row[0]: row for row in rows}.values())
        order = list(range(len(once)))
        random.shuffle(order)  # type: ignore[attr-defined]
        shuffled = judged(mixed, [once[i] for i in order])
        assert [shuffled[order.index(i)] for i in range(len(once))] == judged(straight, once)


@settings(max_examples=50, deadline=None)
@given(sequences())
def test_judging_changes_no_value_and_no_time_and_takes_no_flag_back(rows: list[Row]) -> None:
    before, untouched = readings(rows), readings(rows)
    after = Judge(TAGS).judge(before)
    for column, _ in COLUMNS:
        assert getattr(before, column).tobytes() == getattr(untouched, column).tobytes(), column
        if column not in ("status", "flags"):
            assert getattr(after, column).tobytes() == getattr(before, column).tobytes(), column
    assert (after.flags & before.flags == before.flags).all()
    assert (after.status >> 30 >= before.status >> 30).all()
    assert (after.status == before.status)[before.status >= Status.Bad].all()
