"""How far a value may be trusted: the reason, never only a colour."""

import math

import pytest

from davy.clock import SECOND
from davy.console.picture import Latest
from davy.console.quality import age_of, judge
from davy.reading import Flag, Status, Tag

NOW = 1_780_000_000 * SECOND
TAG = Tag(uid="u", index=0, name="T", stale_after=3 * SECOND)


def latest(status: int = 0, flags: int = 0, age_s: float = 1.0, value: float = 5.0) -> Latest:
    at = NOW - int(age_s * SECOND)
    return Latest(value, status, flags, at, at)


@pytest.mark.parametrize(
    ("reading", "kind", "why"),
    [
        (latest(), "good", ""),
        (latest(status=Status.BadNotConnected), "bad", "q_lost"),
        (latest(status=Status.BadSensorFailure, flags=Flag.over_range), "bad", "q_over"),
        (latest(value=math.nan), "bad", "q_bad"),
        (latest(status=0x80AA0000), "bad", "q_bad"),
        (latest(flags=Flag.stale, status=Status.UncertainLastUsableValue), "stale", "q_stale"),
        (latest(age_s=4), "stale", "q_stale"),
        (latest(flags=Flag.frozen), "stale", "q_frozen"),
        (latest(status=Status.UncertainSensorNotAccurate), "unc", "q_drift"),
        (latest(status=0x40AA0000), "unc", "q_uncertain"),
        (latest(flags=Flag.calibration), "unc", "q_calibration"),
        (latest(status=Status.GoodLocalOverride), "unc", "q_substituted"),
        (Latest(math.nan, Status.BadWaitingForInitialData, 0, 0, 0), "bad", "q_waiting"),
    ],
)
def test_each_way_of_not_being_sure_has_its_look_and_its_reason(reading: Latest, kind: str, why: str) -> None:
    found = judge(TAG, reading, NOW)
    assert (found.kind, found.why) == (kind, why)


@pytest.mark.feature("F10")
def test_a_value_grows_stale_on_the_screen_even_when_nobody_says_so() -> None:
    reading = latest(age_s=0)
    assert judge(TAG, reading, NOW).kind == "good"
    assert judge(TAG, reading, NOW + 4 * SECOND).kind == "stale"


def test_the_age_is_by_the_device_unless_its_clock_is_in_doubt() -> None:
    device_behind = Latest(1.0, 0, 0, NOW - 60 * SECOND, NOW - SECOND)
    assert age_of(device_behind, NOW) == 60 * SECOND
    doubtful = Latest(1.0, 0, Flag.clock_suspect, NOW - 60 * SECOND, NOW - SECOND)
    assert age_of(doubtful, NOW) == SECOND
    ahead = Latest(1.0, 0, 0, NOW + 60 * SECOND, NOW - SECOND)
    assert age_of(ahead, NOW) == SECOND
