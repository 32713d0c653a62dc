"""One suite for every history: what promise.History says, over a naive list in memory and over Parquet."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from davy.reading import Readings, Status
from davy.record.files import HOUR
from davy.record.history import ParquetHistory
from davy.record.promise import History
from histories import NOON, SECOND, Naive, readings, same, same_sums


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
    *np.array([0x7FF8000000000001, 0xFFF8DEADBEEF0001, 0x7FF0000000000ABC], "<u8").view("<f8"),
]  # fmt: skip


@pytest.mark.feature("F30", "F10")
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
