"""What the judge says of single readings, and what a reading may move."""

import numpy as np
import pytest

from davy.errors import UnknownTarget
from davy.quality import FUTURE_TOLERANCE, Judge
from davy.reading import Flag, Hazard, Readings, Status, Tag, TagTable

S = 1_000_000
NOW = 1_700_000_000 * S

GAS, PLAIN, SLOW, QUIET = 0, 1, 2, 3
TAGS = TagTable(
    7,
    (
        Tag("g", GAS, "AT-07.CH4", range_low=0, range_high=100, signal="4-20mA", hazard=Hazard.high, stale_after=3 * S),
        Tag("p", PLAIN, "T101.LEVEL", range_low=0, range_high=100, stale_after=5 * S),
        Tag("s", SLOW, "T101.TEMP", frozen_after=10 * S),
        Tag("q", QUIET, "SPARE"),
    ),
)


def one(
    tag: int, value: float, at: float = 0.0, *, seen: float | None = None, status: int = 0, flags: int = 0
) -> Readings:
    """One reading; `at` and `seen` (source and server time) in seconds after NOW."""
    return many([(tag, value, at, at if seen is None else seen, status, flags)])


def many(rows: list[tuple[int, float, float, float, int, int]]) -> Readings:
    tag, value, at, seen, status, flags = zip(*rows, strict=True)
    us = [np.array([NOW + round(t * S) for t in times], np.int64) for times in (at, seen)]
    words = [np.array(w, np.uint32) for w in (tag, status, flags)]
    return Readings(words[0], np.array(value, float), words[1], words[2], *us, "o", 7, round(seen[-1] * 1e9), 4)


def verdict(r: Readings) -> tuple[Status, Flag]:
    assert len(r) == 1
    return Status(int(r.status[0])), Flag(int(r.flags[0]))


GOOD = (Status.Good, Flag(0))
OVER = (Status.UncertainEngineeringUnitsExceeded, Flag.over_range)
UNDER = (Status.UncertainEngineeringUnitsExceeded, Flag.under_range)


@pytest.mark.feature("F09")
@pytest.mark.parametrize(
    ("ma", "expected"),
    [
        (4.0, GOOD),
        (12.0, GOOD),
        (20.0, GOOD),
        (20.2, OVER),
        (20.96, OVER),
        (21.0, (Status.BadSensorFailure, Flag.over_range)),
        (24.0, (Status.BadSensorFailure, Flag.over_range)),
        (3.9, UNDER),
        (3.62, UNDER),
        (3.6, (Status.BadSensorFailure, Flag.under_range)),
        (0.0, (Status.BadSensorFailure, Flag.under_range)),
    ],
)
def test_a_current_loop_is_judged_by_range_and_ne_43(ma: float, expected: tuple[Status, Flag]) -> None:
    percent_lel = (ma - 4) * 6.25
    assert verdict(Judge(TAGS).judge(one(GAS, percent_lel))) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(100.0, GOOD), (100.01, OVER), (1e300, OVER), (-0.01, UNDER), (0.0, GOOD), (-0.0, GOOD)],
)
def test_without_a_current_loop_there_is_a_range_and_no_fault_band(value: float, expected: tuple[Status, Flag]) -> None:
    assert verdict(Judge(TAGS).judge(one(PLAIN, value))) == expected


@pytest.mark.parametrize("tag", [GAS, PLAIN, QUIET])
def test_what_is_not_a_number_is_bad_and_an_infinity_keeps_its_direction(tag: int) -> None:
    judge = Judge(TAGS)
    assert verdict(judge.judge(one(tag, np.nan, 1))) == (Status.Bad, Flag(0))
    assert verdict(judge.judge(one(tag, np.inf, 2))) == (Status.BadSensorFailure, Flag.over_range)
    assert verdict(judge.judge(one(tag, -np.inf, 3))) == (Status.BadSensorFailure, Flag.under_range)


def test_a_signalling_nan_is_bad_without_a_warning() -> None:
    value = np.array([0x7FF0000000000001], np.uint64).view(np.float64)
    r = one(GAS, 0.0)
    r = Readings(r.tag, value, r.status, r.flags, r.source_time, r.server_time)
    judged = Judge(TAGS).judge(r)
    assert judged.status[0] == Status.Bad
    assert judged.value.view(np.uint64)[0] == 0x7FF0000000000001


def test_a_bad_status_of_the_source_is_kept_and_its_number_still_shows_its_range() -> None:
    judge = Judge(TAGS)
    assert verdict(judge.judge(one(GAS, np.nan, 0, status=Status.BadTimeout))) == (Status.BadTimeout, Flag(0))
    over = judge.judge(one(GAS, 160.0, 1, status=Status.BadDeviceFailure, flags=Flag.spike))
    assert verdict(over) == (Status.BadDeviceFailure, Flag.over_range | Flag.spike)


def test_an_uncertain_status_keeps_its_own_reason_until_something_worse() -> None:
    judge = Judge(TAGS)
    doubtful = Status.UncertainSensorNotAccurate
    assert verdict(judge.judge(one(GAS, 101.0, 0, status=doubtful))) == (doubtful, Flag.over_range)
    assert verdict(judge.judge(one(GAS, 110.0, 1, status=doubtful)))[0] == Status.BadSensorFailure


def test_a_late_reading_is_flagged_and_moves_nothing() -> None:
    judge = Judge(TAGS)
    assert verdict(judge.judge(one(SLOW, 1.0, 10))) == GOOD
    assert verdict(judge.judge(one(SLOW, 2.0, 9, seen=11))) == (Status.Good, Flag.out_of_order)
    assert verdict(judge.judge(one(SLOW, 1.0, 9.5, seen=12))) == (Status.Good, Flag.out_of_order), "9 is not the newest"
    frozen = verdict(judge.judge(one(SLOW, 1.0, 20)))
    assert frozen == (Status.UncertainLastUsableValue, Flag.frozen), "the late 2.0 was no change of level"


def test_late_readings_within_a_batch_are_found_behind_each_other() -> None:
    at = [5, 3, 4, 6, 5.5, 7]
    r = Judge(TAGS).judge(many([(PLAIN, 1.0 + t, t, 8, 0, 0) for t in at]))
    assert (r.flags & Flag.out_of_order != 0).tolist() == [False, True, True, False, True, False]


def test_a_reading_from_the_future_does_not_make_the_present_late() -> None:
    judge = Judge(TAGS)
    tolerance = FUTURE_TOLERANCE / S
    assert verdict(judge.judge(one(PLAIN, 1.0, tolerance, seen=0))) == GOOD
    assert verdict(judge.judge(one(PLAIN, 1.0, 3e9, seen=1))) == (Status.Good, Flag.future)
    assert verdict(judge.judge(one(PLAIN, 1.5, 3, seen=3))) == GOOD
    assert verdict(judge.judge(one(PLAIN, 1.5, 1, seen=4))) == (Status.Good, Flag.out_of_order)


def test_our_own_time_stands_in_for_a_missing_one_without_making_the_device_late() -> None:
    """A device 10 s slow: our note of a lost link carries our time, its next reading carries its own."""
    judge = Judge(TAGS)
    judge.judge(one(PLAIN, 1.0, -10, seen=0))
    lost = one(PLAIN, np.nan, 5, status=Status.BadNotConnected, flags=Flag.no_source_time)
    assert verdict(judge.judge(lost)) == (Status.BadNotConnected, Flag.no_source_time)
    assert verdict(judge.judge(one(PLAIN, 1.5, -4, seen=6))) == GOOD


def test_a_step_back_of_our_clock_makes_no_polled_reading_late() -> None:
    judge = Judge(TAGS)
    judge.judge(one(PLAIN, 1.0, 100, flags=Flag.no_source_time))
    assert verdict(judge.judge(one(PLAIN, 2.0, 40, flags=Flag.no_source_time))) == (Status.Good, Flag.no_source_time)


def test_a_repeat_is_the_same_time_value_bits_and_status() -> None:
    judge = Judge(TAGS)
    assert verdict(judge.judge(one(QUIET, np.nan, 0))) == (Status.Bad, Flag(0))
    assert verdict(judge.judge(one(QUIET, np.nan, 0))) == (Status.Bad, Flag.duplicate)
    assert verdict(judge.judge(one(QUIET, 0.0, 0))) == GOOD
    assert verdict(judge.judge(one(QUIET, -0.0, 0))) == GOOD
    assert verdict(judge.judge(one(QUIET, -0.0, 0, status=Status.Uncertain))) == (Status.Uncertain, Flag(0))
    assert verdict(judge.judge(one(QUIET, -0.0, 1, status=Status.Uncertain))) == (Status.Uncertain, Flag(0))


def test_frozen_begins_when_nothing_changed_for_as_long_as_asked() -> None:
    judge = Judge(TAGS)
    flags = [
        verdict(judge.judge(one(SLOW, v, t)))[1] for t, v in [(0, 4.0), (9.9, 4.0), (10, 4.0), (11, 4.1), (12, 4.1)]
    ]
    assert flags == [Flag(0), Flag(0), Flag.frozen, Flag(0), Flag(0)]


def test_a_bad_reading_ends_a_frozen_spell_and_begins_none() -> None:
    judge = Judge(TAGS)
    judge.judge(one(SLOW, 4.0, 0))
    for t in (20, 40, 60):
        bad = verdict(judge.judge(one(SLOW, 4.0, t, status=Status.BadSensorFailure)))
        assert bad == (Status.BadSensorFailure, Flag(0))
    assert verdict(judge.judge(one(SLOW, 4.0, 61))) == GOOD
    assert verdict(judge.judge(one(SLOW, 4.0, 71)))[1] == Flag.frozen


def test_historical_readings_are_judged_in_source_time_and_change_nothing_live() -> None:
    judge = Judge(TAGS)
    judge.judge(one(SLOW, 1.0, 0))
    past = judge.judge(many([(SLOW, 1.0, t, 5, 0, Flag.historical) for t in (-100, -95, -90, -92)]))
    h = Flag.historical
    assert past.flags.tolist() == [h, h, h | Flag.frozen, h | Flag.out_of_order]
    assert verdict(judge.judge(one(SLOW, 1.0, 6))) == GOOD


def test_a_batch_of_live_and_historical_readings_is_put_back_in_its_order() -> None:
    rows = [(PLAIN, 200.0, 0, 1, 0, 0), (GAS, 1.0, -50, 1, 0, Flag.historical), (GAS, 1.0, 1, 1, 0, 0)]
    r = Judge(TAGS).judge(many(rows))
    assert r.tag.tolist() == [PLAIN, GAS, GAS]
    assert r.flags.tolist() == [Flag.over_range, Flag.historical, 0]


def test_a_tag_the_table_does_not_have_is_refused_before_anything_is_remembered() -> None:
    judge = Judge(TAGS)
    for past in (0, Flag.historical):
        with pytest.raises(UnknownTarget, match="tag index 70000: the tag table ends at 3"):
            judge.judge(many([(PLAIN, 1.0, 9, 9, 0, 0), (70_000, 1.0, 9, 9, 0, past), (GAS, 1.0, 9, 9, 0, 0)]))
    assert verdict(judge.judge(one(PLAIN, 1.0, 0))) == GOOD


def test_a_good_batch_comes_back_as_it_is_and_an_empty_one_too() -> None:
    judge, good = Judge(TAGS), one(PLAIN, 1.0)
    assert judge.judge(good) is good
    assert len(judge.judge(Readings.empty())) == 0
