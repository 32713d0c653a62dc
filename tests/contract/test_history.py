"""One suite for every history: what promise.History says, over a naive list in memory and over Parquet."""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from davy.reading import Readings, Status, concat
from davy.reading.readings import COLUMNS
from davy.reading.status import is_bad, is_good
from davy.record.files import HOUR
from davy.record.history import ParquetHistory
from davy.record.promise import Buckets, Dropped, History

SECOND = 1_000_000
NOON = 1_763_812_800 * SECOND  # a full hour


def readings(tag: Any, value: Any, source_time: Any, status: Any = 0, flags: Any = 0, delay: Any = 0) -> Readings:
    """A batch; what is one number holds for all rows."""
    source = np.atleast_1d(np.asarray(source_time, np.int64))
    n = max(len(source), np.size(tag), np.size(value))

    def full(value: Any, dtype: str) -> Any:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype), n))

    source = full(source, "<i8")
    return Readings(
        full(tag, "<u4"), full(value, "<f8"), full(status, "<u4"), full(flags, "<u4"), source, source + delay
    )


@dataclass
class Naive:
    """A list. Slow and plainly right: the oracle of this suite and of the property tests."""

    batches: list[Readings] = field(default_factory=list)
    position: int = 0

    def append(self, readings: Readings, leaf: int) -> None:
        if leaf >= self.position:
            self.batches.append(readings)
            self.position = leaf + 1

    def flush(self) -> None: ...

    def latest(self, tags: Sequence[int] | None = None) -> Readings:
        newest: dict[int, tuple[int, int]] = {}
        rows = concat(self.batches)
        for i, tag in enumerate(rows.tag.tolist()):
            time = min(int(rows.source_time[i]), int(rows.server_time[i]))
            if tag not in newest or time >= newest[tag][0]:
                newest[tag] = time, i
        wanted = sorted(newest) if tags is None else [t for t in tags if t in newest]
        return rows.take(np.array([newest[t][1] for t in wanted], np.int64))

    def range(self, tags: Sequence[int], t0: int, t1: int) -> Readings:
        rows = concat(self.batches)
        found = []
        for tag in tags:
            at = [i for i in range(len(rows)) if rows.tag[i] == tag and t0 <= rows.source_time[i] < t1]
            found.append(sorted(at, key=lambda i: (rows.source_time[i], rows.server_time[i])))
        return rows.take(np.array([i for at in found for i in at], np.int64))

    def _sums(self, groups: list[tuple[int, int, list[int]]]) -> Buckets:
        rows = concat(self.batches)
        out: list[tuple[Any, ...]] = []
        for tag, time, at in groups:
            status, value = rows.status[at], rows.value[at]
            value = value[~np.isnan(value)]
            with np.errstate(all="ignore"):
                sums = (value.min(), value.max(), value.mean()) if len(value) else (np.nan, np.nan, np.nan)
            out.append((tag, time, len(at), is_good(status).sum(), is_bad(status).sum(), *sums))
        columns = list(zip(*out, strict=True)) or [()] * 8
        dtypes = ("<u4", "<i8", "<u4", "<u4", "<u4", "<f8", "<f8", "<f8")
        return Buckets(*(np.array(c, d) for c, d in zip(columns, dtypes, strict=True)))

    def buckets(self, tags: Sequence[int], t0: int, t1: int, n: int) -> Buckets:
        rows, span, groups = concat(self.batches), t1 - t0, []
        for tag in tags:
            within = [i for i in range(len(rows)) if rows.tag[i] == tag and t0 <= rows.source_time[i] < t1]
            for b in range(n):
                at = [i for i in within if (int(rows.source_time[i]) - t0) * n // span == b]
                groups.append((tag, t0 + -(-b * span // n), at))
        return self._sums(groups)

    def rollup(self, t0: int, t1: int, step: int) -> Buckets:
        rows, groups = concat(self.batches), {}
        for i, (tag, time) in enumerate(zip(rows.tag.tolist(), rows.source_time.tolist(), strict=True)):
            if t0 <= time < t1:
                groups.setdefault((tag, time // step * step), []).append(i)
        return self._sums([(*key, at) for key, at in sorted(groups.items())])

    def retention(self, before: int) -> list[Dropped]:
        gone = [b for b in self.batches if b.source_time.max() < before]
        self.batches = [b for b in self.batches if b.source_time.max() >= before]
        return [Dropped("", int(b.source_time.min()), int(b.source_time.max()), 0, 0, 0) for b in gone]


def same(got: Readings, expected: Readings) -> None:
    """Bit for bit."""
    for name, _ in COLUMNS:
        assert getattr(got, name).tobytes() == getattr(expected, name).tobytes(), name


def same_sums(got: Buckets, expected: Buckets) -> None:
    for name in ("tag", "time", "count", "good", "bad"):
        assert np.array_equal(getattr(got, name), getattr(expected, name)), name
    for name in ("min", "max"):
        assert np.array_equal(getattr(got, name), getattr(expected, name), equal_nan=True), name
    assert np.allclose(got.avg, expected.avg, rtol=1e-9, equal_nan=True)


Open = Callable[[], History]


@pytest.fixture(params=["naive", "parquet, in memory", "parquet, flushed", "parquet, merged"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[History]:
    """The promise, with rows in every place an adapter may keep them when a query comes."""
    if request.param == "naive":
        yield Naive()
        return

    class Flushing(ParquetHistory):
        def append(self, readings: Readings, leaf: int) -> None:
            super().append(readings, leaf)
            if request.param != "parquet, in memory":
                self.flush()
            if request.param == "parquet, merged":
                self._durable += 1  # as if a leaf without readings had been flushed: no file is being written
                self.tidy(0)
                self._durable -= 1
                self.tidy(6_000_000_000)

    with Flushing(tmp_path / "history") as parquet:
        yield parquet


ODD = [
    0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1.7976931348623157e308,
    *(struct.unpack("<d", struct.pack("<Q", b))[0] for b in (0x7FF8000000000001, 0xFFF8DEADBEEF0001, 0x7FF0000000000ABC)),
]  # fmt: skip


@pytest.mark.feature("F15")
def test_every_value_comes_back_bit_for_bit_with_status_flags_and_both_times(history: History) -> None:
    value = np.array(ODD * 3)
    n = len(value)
    batch = readings(7, value, NOON + np.arange(n) * SECOND, np.arange(n) * 0x01010101, np.arange(n), np.arange(n) * 37)
    history.append(batch, 0)
    same(history.range([7], NOON, NOON + HOUR), batch)


def test_a_range_is_by_tag_as_asked_then_by_time_and_holds_its_start_but_not_its_end(history: History) -> None:
    history.append(readings([1, 2, 1, 2], [1, 2, 3, 4], NOON + np.array([0, 0, 1, 1])), 0)
    history.append(readings([1, 2, 1, 2], [5, 6, 7, 8], NOON + np.array([3, 3, 2, 2])), 1)
    got = history.range([2, 9, 1], NOON, NOON + 3)
    assert got.tag.tolist() == [2, 2, 2, 1, 1, 1]
    assert got.value.tolist() == [2, 4, 8, 1, 3, 7]


def test_readings_of_one_time_stay_in_the_order_they_came(history: History) -> None:
    for leaf in range(5):
        history.append(readings(3, leaf * 10 + np.arange(4.0), NOON), leaf)
    assert history.range([3], NOON, NOON + 1).value.tolist() == [leaf * 10 + k for leaf in range(5) for k in range(4)]


def test_a_leaf_that_was_taken_before_is_passed_over(history: History) -> None:
    history.append(readings(1, 1.0, NOON), 4)
    assert history.position == 5
    history.append(readings(1, 9.0, NOON), 4)
    history.append(readings(1, 9.0, NOON), 2)
    assert history.range([1], 0, NOON + 1).value.tolist() == [1.0]


def test_buckets_count_good_and_bad_and_leave_out_only_nan(history: History) -> None:
    status = [Status.Good, Status.BadSensorFailure, Status.Uncertain, Status.Bad]
    history.append(readings(1, [1.0, np.nan, 3.0, 50.0], NOON + np.arange(4), status), 0)
    got = history.buckets([1], NOON, NOON + 8, 2)
    assert (got.count.tolist(), got.good.tolist(), got.bad.tolist()) == ([4, 0], [1, 0], [2, 0])
    assert (got.min[0], got.max[0], got.avg[0]) == (1.0, 50.0, 18.0)
    assert got.time.tolist() == [NOON, NOON + 4]
    assert np.isnan([got.min[1], got.max[1], got.avg[1]]).all()
    assert got.percent_good[0] == 25.0 and np.isnan(got.percent_good[1])


def test_buckets_and_rollups_agree_with_a_plain_count(history: History) -> None:
    rng = np.random.default_rng(5)
    naive = Naive()
    for leaf in range(12):
        n = int(rng.integers(1, 40))
        status = rng.choice([0, 0, 0, 0x40900000, 0x808C0000], n)
        value = np.where(rng.random(n) < 0.1, np.nan, rng.normal(50, 20, n).round(2))
        time = NOON + rng.integers(-2 * HOUR, 2 * HOUR, n)
        batch = readings(rng.integers(0, 4, n), value, time, status)
        for each in (history, naive):
            each.append(batch, leaf)
    span = (NOON - HOUR - 17, NOON + HOUR + 1234)
    for n in (1, 7, 500):
        same_sums(history.buckets([3, 0, 9], *span, n), naive.buckets([3, 0, 9], *span, n))
    for step in (SECOND * 600, HOUR, 86_400 * SECOND):
        same_sums(history.rollup(*span, step), naive.rollup(*span, step))
    same(history.range([0, 1, 2, 3], *span), naive.range([0, 1, 2, 3], *span))


def test_nothing_is_found_where_nothing_was_recorded(history: History) -> None:
    assert len(history.range([1], NOON, NOON + HOUR)) == 0
    assert len(history.rollup(NOON, NOON + HOUR, SECOND)) == 0
    assert history.buckets([1], NOON, NOON + HOUR, 3).count.tolist() == [0, 0, 0]
    assert len(history.latest()) == 0


def test_latest_is_the_newest_and_neither_late_data_nor_a_clock_ahead_can_hold_it(history: History) -> None:
    history.append(readings([1, 2], [10.0, 20.0], NOON), 0)
    history.append(readings(1, 99.0, NOON + 9 * HOUR, delay=-9 * HOUR + 5), 1)  # its clock is nine hours ahead
    history.append(readings(1, 5.0, NOON - HOUR, delay=HOUR), 2)  # a late one
    assert history.latest([2, 1, 8]).value.tolist() == [20.0, 99.0]
    history.append(readings(1, 11.0, NOON + 60), 3)
    history.append(readings([1, 1], [12.0, 13.0], NOON + 60), 4)  # of equals the last
    assert history.latest().value.tolist() == [13.0, 20.0]


def test_months_of_back_fill_in_one_batch_stand_value_by_value(history: History) -> None:
    rng = np.random.default_rng(1)
    time = NOON - 90 * 24 * HOUR + np.arange(4000) * 90 * 24 * HOUR // 4000
    batch = readings(5, rng.normal(size=4000), time, delay=90 * 24 * HOUR)
    for leaf in range(4):
        history.append(batch.take(slice(leaf * 1000, leaf * 1000 + 1000)), leaf)
    same(history.range([5], int(time[0]), int(time[-1]) + 1), batch)
    assert history.rollup(int(time[0]), NOON, 24 * HOUR).count.sum() == 4000


def test_impossible_device_times_are_kept_and_harm_nothing(history: History) -> None:
    wild = [-(1 << 63), -1, 0, (1 << 63) - 1, NOON]
    history.append(readings(1, np.arange(5.0), wild), 0)
    assert history.range([1], NOON, NOON + 1).value.tolist() == [4.0]
    assert history.range([1], -(1 << 61), 1).value.tolist() == [1.0, 2.0]
    assert history.rollup(-HOUR, NOON + 1, HOUR).time.tolist() == [-HOUR, 0, NOON]


def test_retention_gives_up_only_what_is_all_older_and_says_so(history: History) -> None:
    for leaf, hour in enumerate((-30, -20, -1)):
        history.append(readings(1, leaf, NOON + hour * HOUR + np.arange(3)), leaf)
    if isinstance(history, ParquetHistory):
        history.flush()
    dropped = history.retention(NOON - 10 * HOUR)
    left = history.range([1], 0, NOON).value.tolist()
    assert left[-3:] == [2, 2, 2]
    assert len(left) + 3 * len(dropped) >= 9 and all(d.t1 < NOON - 10 * HOUR for d in dropped)
    assert history.retention(NOON - 10 * HOUR) == []
