"""What a single alarm does over time."""

import math

import pytest

from davy.clock import SECOND
from davy.fact import AlarmType, State, Verb
from davy.reading import Class, Flag, Hazard, Status

GAS = {"hazard": Hazard.high, "alarm_class": Class.statutory, "high": 20.0, "high_high": 50.0, "deadband": 2.0}
OVER = Flag.over_range


@pytest.mark.feature("F17", "F23")
def test_high_is_active_at_its_limit_and_returns_only_below_limit_minus_deadband(site):
    s = site(high=20.0, deadband=2.0)
    assert s.reads(math.nextafter(20, 0)) == []
    assert s.reads(20.0) == ["activated"]
    assert s.reads(18.0) == []
    assert s.reads(math.nextafter(18, 0)) == ["returned"]
    assert s.letter() == "D"


@pytest.mark.feature("F17", "F23")
def test_low_is_active_at_its_limit_and_returns_only_above_limit_plus_deadband(site):
    s = site(low=5.0, low_low=2.0, deadband=1.0)
    assert s.reads(math.nextafter(5, 9)) == []
    assert s.reads(5.0) == ["activated"]
    assert s.reads(2.0) == ["escalated"]
    assert s.reads(3.0) == []
    assert s.reads(math.nextafter(3, 9)) == ["eased"]
    assert s.reads(6.0) == []
    assert s.reads(math.nextafter(6, 9)) == ["returned"]


def test_high_high_is_the_same_alarm_unacknowledged_again_one_priority_up(site):
    s = site(**GAS, priority=2)
    s.reads(30)
    s.act(Verb.acknowledge)
    assert (s.letter(), s.view().priority, s.view().activation) == ("C", 2, 1)
    assert s.reads(50) == ["escalated"]
    assert (s.letter(), s.view().level, s.view().priority, s.view().activation) == ("B", 2, 1, 2)
    s.act(Verb.acknowledge)
    assert s.reads(47) == ["eased"]
    assert (s.letter(), s.view().level, s.view().priority, s.view().activation) == ("C", 1, 2, 2)
    assert s.reads(1) == ["returned"]
    assert s.letter() == "A"
    assert [t.limit for t in s.log if t.limit == t.limit] == [20, 50, 50, 20]


def test_a_jump_straight_past_high_high_is_one_activation_at_the_second_level(site):
    s = site(**GAS)
    assert s.reads(70) == ["activated"]
    assert (s.view().level, s.log[-1].limit, s.log[-1].level_before) == (2, 50.0, 0)
    assert s.reads(0) == ["returned"]


def test_high_high_without_high_is_at_the_second_level(site):
    s = site(high_high=50.0, deadband=1.0)
    assert s.reads(50) == ["activated"]
    assert s.view().level == 2
    assert s.reads(49) == []
    assert s.reads(48) == ["returned"]


def test_infinite_values_are_beyond_a_limit_and_nan_is_no_evidence(site):
    s = site(high=20.0, low=1.0)
    assert s.reads(math.inf) == ["activated"]
    assert s.reads(math.nan) == []
    assert s.has(State.active)
    assert s.reads(-math.inf) == ["returned", "activated"]
    assert s.has(State.active, AlarmType.low)


@pytest.mark.parametrize("alarming", [1.0, 0.0])
def test_a_boolean_alarms_at_its_value_whichever_that_is(site, alarming):
    s = site(type="bool", discrete=alarming)
    assert s.reads(1 - alarming) == []
    assert s.reads(alarming) == ["activated"]
    assert s.reads(alarming) == []
    assert s.reads(math.nan) == []
    assert s.reads(1 - alarming) == ["returned"]


# Delays


def test_an_on_delay_expires_with_no_new_reading(site):
    s = site(high=20.0, on_delay=3 * SECOND)
    assert s.reads(25, at=10) == []
    assert s.tick(12.9) == []
    assert s.tick(13) == ["activated"]
    t = s.log[-1]
    assert (t.value, t.source_time - t.time) == (25.0, -3 * SECOND)


def test_an_on_delay_starts_over_when_the_value_dips_below_the_limit(site):
    s = site(high=20.0, on_delay=3 * SECOND, deadband=5.0)
    s.reads(25, at=0)
    s.reads(19, at=2)
    s.reads(25, at=2.5)
    assert s.tick(5.4) == []
    assert s.tick(5.5) == ["activated"]


def test_a_delay_that_is_over_counts_even_if_the_next_reading_is_normal(site):
    s = site(high=20.0, on_delay=3 * SECOND)
    s.reads(25, at=0)
    assert s.reads(1, at=3) == ["activated", "returned"]


def test_each_level_waits_for_its_own_delay(site):
    s = site(high=20.0, high_high=50.0, on_delay=5 * SECOND)
    s.reads(25, at=0)
    s.reads(60, at=3)
    assert s.tick(5) == ["activated"]
    assert s.view().level == 1
    assert s.tick(7.9) == []
    assert s.tick(8) == ["escalated"]
    assert s.log[-1].value == 60


def test_an_off_delay_expires_with_no_new_reading_and_is_cancelled_inside_the_deadband(site):
    s = site(high=20.0, deadband=2.0, off_delay=10 * SECOND)
    s.reads(25, at=0)
    s.reads(10, at=1)
    s.reads(19, at=5)
    assert s.tick(30) == []
    s.reads(10, at=31)
    assert s.tick(40.9) == []
    assert s.tick(41) == ["returned"]


def test_both_levels_let_go_together_when_their_off_delays_end_together(site):
    s = site(high=20.0, high_high=50.0, off_delay=10 * SECOND)
    s.reads(60, at=0)
    s.reads(1, at=1)
    assert s.tick(11) == ["returned"]
    s.reads(60, at=20)
    s.reads(30, at=21)
    s.reads(1, at=25)
    assert s.tick(31) == ["eased"]
    assert s.tick(35) == ["returned"]


def test_a_wall_clock_that_jumps_does_not_touch_a_running_delay(site):
    s = site(high=20.0, on_delay=3 * SECOND)
    s.reads(25, at=0)
    for jump in (-(10**12), 10**12):
        assert s.alarms.tick(s.us + jump, s.mono + 2_999_999_000) == []
    assert len(s.alarms.tick(s.us, s.mono + 3_000_000_000)) == 1


# Latch


def test_a_latched_alarm_needs_acknowledge_and_reset_in_that_order(site):
    s = site(high=20.0, latch=True)
    s.reads(25)
    assert s.reads(1) == ["returned"]
    assert s.letter() == "E"
    s.act(Verb.acknowledge)
    assert s.letter() == "F"
    assert s.reads(25) == ["activated"]
    assert s.letter() == "B"
    s.act(Verb.acknowledge)
    s.reads(1)
    assert s.letter() == "F"
    s.act(Verb.reset)
    assert s.letter() == "A"


# Quality


def test_bad_neither_raises_nor_returns_a_limit_alarm_but_raises_its_own(site):
    s = site(**GAS)
    assert s.reads(90, status=Status.BadNotConnected) == ["activated"]
    assert (s.letter(AlarmType.bad), s.letter()) == ("B", "A")
    assert s.reads(30) == ["activated", "returned"]
    assert s.reads(0, status=Status.BadNotConnected) == ["activated"]
    assert s.letter() == "B"
    assert sorted(s.reads(0)) == ["returned", "returned"]


def test_bad_lets_an_on_delay_run_on_and_stops_an_off_delay(site):
    s = site(high=20.0, on_delay=3 * SECOND, off_delay=3 * SECOND)
    s.reads(25, at=0)
    s.reads(0, at=1, status=Status.Bad)
    assert s.tick(3) == ["activated"]
    assert s.reads(1, at=4) == []
    s.reads(1, at=5, status=Status.Bad)
    assert "returned" not in s.tick(20)
    assert s.has(State.active)


def test_an_uncertain_reading_is_judged(site):
    s = site(**GAS)
    assert s.reads(30, status=Status.UncertainSensorNotAccurate) == ["activated"]
    assert s.reads(0, status=Status.UncertainLastUsableValue) == ["returned"]


def test_silence_raises_the_stale_alarm_and_not_the_bad_one_and_holds_the_limit_alarm(site):
    s = site(**GAS, stale_after=5 * SECOND)
    s.reads(30)
    assert s.reads(30, flags=Flag.stale, status=Status.BadNoCommunication) == ["activated"]
    assert [s.letter(k) for k in (AlarmType.high, AlarmType.stale, AlarmType.bad)] == ["B", "B", "A"]
    assert s.reads(30) == ["returned"]
    assert s.letter(AlarmType.stale) == "D"


@pytest.mark.parametrize(
    "flags", [Flag.spike, Flag.rate, Flag.frozen, Flag.spike | Flag.rate | Flag.frozen | Flag.bypass]
)
def test_spike_rate_and_frozen_never_delay_a_statutory_alarm(site, flags):
    s = site(**GAS)
    assert s.reads(60, flags=flags) == ["activated"]
    assert s.view().level == 2


def test_a_late_reading_may_raise_but_not_return(site):
    s = site(high=20.0)
    assert s.reads(30, flags=Flag.out_of_order) == ["activated"]
    assert s.reads(1, flags=Flag.out_of_order) == []
    assert s.reads(1) == ["returned"]


@pytest.mark.parametrize("flag", [Flag.calibration, Flag.maintenance])
def test_calibration_and_maintenance_neither_raise_nor_clear(site, flag):
    s = site(**GAS, on_delay=SECOND)
    assert s.reads(60, at=0, flags=flag | OVER) == []
    s.reads(60, at=1)
    s.reads(60, at=1.5, flags=flag)
    assert s.tick(5) == []
    s.reads(60, at=6)
    assert s.tick(7) == ["activated"]
    assert s.reads(0, at=8, flags=flag) == []
    assert s.has(State.active)


# Over range (contracts.md 5): the gas rig


def test_21_1_ma_alarms_at_the_top_level_and_as_bad_at_once_whatever_the_delay(site):
    s = site(**GAS, on_delay=60 * SECOND)
    assert s.reads(106.9, flags=OVER, status=Status.BadSensorFailure) == ["activated", "latched", "activated"]
    assert s.view().level == 2
    assert s.has(State.active | State.latched)
    assert s.has(State.active, AlarmType.bad)


def test_a_starved_bead_folding_back_stays_active_until_acknowledged_and_reset(site):
    s = site(**GAS)
    s.reads(60)
    assert s.reads(101, flags=OVER) == ["latched"]
    for value in (90, 40, 10, 0):  # the gas is still there: the bead only starves
        assert s.reads(value) == []
    assert s.letter() == "B"
    s.act(Verb.acknowledge)
    assert s.reads(0) == []
    assert s.letter() == "C"
    assert s.act(Verb.reset) == ["reset"]
    assert s.has(State.active)
    assert s.reads(0) == ["returned"]
    assert s.letter() == "A"


def test_after_a_reset_the_next_reading_decides_even_when_it_is_as_the_one_before(site):
    s = site(**GAS)
    s.reads(101, flags=OVER)
    s.act(Verb.acknowledge)
    s.act(Verb.reset)
    assert s.reads(101, flags=OVER) == ["latched"]
    s.act(Verb.reset)
    assert s.reads(30) == ["eased"]
    assert s.reads(10) == ["returned"]


@pytest.mark.parametrize(("hazard", "flag", "kind"), [
    (Hazard.low, Flag.under_range, AlarmType.low), (Hazard.both, Flag.under_range, AlarmType.low),
    (Hazard.both, Flag.over_range, AlarmType.high),
])  # fmt: skip
def test_oxygen_and_wind_are_the_mirror_image(site, hazard, flag, kind):
    s = site(hazard=hazard, high=23.5, low=19.5, low_low=18.0, latch=False)
    assert s.reads(21, flags=flag) == ["activated", "latched"]
    assert s.reads(21) == []
    assert s.has(State.active | State.latched, kind)


def test_going_off_scale_the_harmless_way_is_only_a_value(site):
    s = site(hazard=Hazard.low, low=19.5, high=30.0)
    assert s.reads(25, flags=OVER) == []
    assert s.reads(31, flags=OVER) == ["activated"]
    assert s.reads(25) == ["returned"]


def test_a_statutory_tag_without_a_limit_still_alarms_when_driven_over_range(site):
    s = site(hazard=Hazard.high, alarm_class=Class.statutory)
    assert s.reads(1e6) == []
    assert s.reads(100, flags=OVER) == ["activated", "latched"]
    s.act(Verb.acknowledge)
    s.act(Verb.reset)
    assert s.reads(1) == ["returned"]


# Historical


def test_historical_readings_run_in_their_own_time_on_their_own_state(site):
    s = site(high=20.0, on_delay=60 * SECOND)
    s.reads(5, at=1000)
    assert s.past(25, at=0) == []
    assert s.past(25, at=30) == []
    assert s.past(25, at=60) == ["activated"]
    assert s.past(5, at=90) == ["returned"]
    assert all(t.historical for t in s.log)
    assert s.view().version == 0
    assert s.alarms.standing() == []
    assert len(s.alarms.standing(historical=True)) == 1
    assert s.tick(5000) == []


def test_a_historical_delay_ends_between_two_readings_too(site):
    s = site(high=20.0, on_delay=5 * SECOND)
    s.past(25, at=0)
    assert s.past(5, at=30) == ["activated", "returned"]
