"""State after a stop: fold of the log and the inputs that come in."""

import cbor2
import pytest

from davy.alarm import Alarms, Fold
from davy.clock import SECOND
from davy.errors import Corrupt
from davy.fact import AlarmType, Cause, State, Verb
from davy.reading import Class, Flag, Hazard, Status, Tag, TagTable


def test_an_alarm_goes_on_where_it_stood(site):
    s = site(high=20.0, high_high=50.0)
    s.reads(60)
    s.act(Verb.acknowledge)
    s.restart(5)
    assert s.reads(60) == []
    assert (s.letter(), s.view().level, s.view().activation) == ("C", 2, 1)
    assert s.reads(30) == ["eased"]


def test_an_alarm_whose_condition_went_while_the_box_was_off_returns_with_the_first_reading(site):
    s = site(high=20.0)
    s.reads(25)
    s.restart()
    assert s.tick(100) == []
    assert s.reads(1) == ["returned"]


def test_health_alarms_return_with_the_first_good_reading_after_a_restart(site):
    s = site(high=20.0, stale_after=SECOND)
    s.reads(1, status=Status.Bad)
    s.reads(1, flags=Flag.stale, status=Status.BadNoCommunication)
    s.restart()
    assert sorted(s.reads(float("nan"))) == ["returned", "returned"]


def test_the_hold_of_an_over_range_survives(site):
    s = site(high=20.0, hazard=Hazard.high, alarm_class=Class.statutory)
    s.reads(101, flags=Flag.over_range)
    s.restart()
    assert s.reads(1) == []
    assert s.has(State.active | State.latched)


def test_a_shelving_survives_and_ends_by_the_wall_clock(site):
    s = site(high=20.0)
    s.reads(25, at=0)
    s.act(Verb.timed_shelve, until=s.us + 600 * SECOND)
    s.restart(300)
    assert s.tick(599) == []
    assert s.tick(600) == ["shelving_expired"]


def test_a_shelving_that_ended_while_the_box_was_off_ends_at_once(site):
    s = site(high=20.0)
    s.act(Verb.one_shot_shelve, until=s.us + 60 * SECOND)
    s.restart(61)
    assert s.tick(s.now) == ["shelving_expired"]


def test_a_clock_that_woke_in_the_past_prolongs_no_shelving_beyond_what_is_allowed(site):
    s = site(high=20.0)
    s.act(Verb.timed_shelve, until=s.us + 3600 * SECOND)
    s.restart()
    assert s.alarms.tick(0, s.mono) == []  # 1970
    assert len(s.alarms.tick(SECOND, s.mono + 24 * 3600 * 10**9)) == 1


def test_a_running_on_delay_goes_on_if_the_first_reading_confirms_it(site):
    s = site(high=20.0, on_delay=60 * SECOND)
    s.reads(25, at=0)
    s.restart(50)
    assert s.reads(25) == []
    assert s.tick(59) == []
    assert s.tick(60) == ["activated"]


def test_a_running_on_delay_is_dropped_if_the_first_reading_denies_it(site):
    s = site(high=20.0, on_delay=60 * SECOND)
    s.reads(25, at=0)
    s.restart(50)
    assert s.tick(70) == []
    assert s.reads(1) == []
    assert s.reads(25, at=71) == []
    assert s.tick(130) == []
    assert s.tick(131) == ["activated"]


def test_an_interrupted_delay_ends_at_the_earlier_of_wall_and_monotonic_time(site):
    s = site(high=20.0, on_delay=60 * SECOND)
    s.reads(25, at=0)
    s.restart()
    assert s.alarms.tick(0, s.mono) == []
    judged = s.reads(25, at=10)
    assert judged == []
    assert s.alarms.tick(s.us - 10**9, s.mono + 50 * 10**9)[0].cause == Cause.activated


def test_what_a_restart_interrupted_ends_when_the_wall_clock_is_put_right(site):
    s = site(high=20.0, on_delay=60 * SECOND)
    s.reads(25, at=0)
    s.act(Verb.timed_shelve, until=s.us + 600 * SECOND)
    s.restart()
    s.reads(25, at=10)
    mono = s.mono
    assert [t.cause for t in s.alarms.tick(s.us + 50 * SECOND - 1, mono)] == []
    assert [t.cause for t in s.alarms.tick(s.us + 50 * SECOND, mono)] == [Cause.activated]
    assert [t.cause for t in s.alarms.tick(s.us + 590 * SECOND - 1, mono)] == []
    assert [t.cause for t in s.alarms.tick(s.us + 590 * SECOND, mono)] == [Cause.shelving_expired]


def test_an_alarm_no_longer_configured_returns_by_itself_and_says_why(site):
    s = site(high=20.0, hazard=Hazard.high)
    s.reads(101, flags=Flag.over_range)
    s.alarms = Alarms.restore(TagTable(2, (Tag("u0", 0, "T", low=1.0),)), s.alarms.snapshot())
    assert s.tick(1) == ["returned"]
    assert s.log[-1].reason == "no longer configured"
    assert [v.letter for v in s.alarms.standing()] == ["D"]
    assert s.act(Verb.acknowledge) == ["acknowledged"]
    assert s.alarms.standing() == []
    assert s.reads(0.5, at=2) == ["activated"]


def test_transitions_after_the_snapshot_are_folded_in(site):
    s = site(high=20.0, on_delay=SECOND)
    snapshot = cbor2.loads(cbor2.dumps(s.alarms.snapshot()))
    s.reads(25, at=0)
    s.tick(1)
    s.act(Verb.acknowledge)
    again = Alarms.restore(s.tags, snapshot)
    for t in [*s.log, *s.log]:  # twice is safe
        again.apply(type(t).decode(t.encode()))
    assert again.fold.agrees(s.alarms.snapshot())
    s.alarms = again
    assert s.reads(1, at=2) == ["returned"]


def test_a_delay_of_the_snapshot_that_ended_before_the_stop_is_not_told_twice(site):
    s = site(high=20.0, on_delay=10 * SECOND)
    s.reads(25, at=0)
    snapshot = s.alarms.snapshot()
    s.tick(10)
    s.alarms = Alarms.restore(s.tags, snapshot)
    s.alarms.apply(s.log[-1])
    assert s.reads(25, at=11) == []
    assert s.tick(60) == []
    assert (s.letter(), s.view().activation) == ("B", 1)
    assert s.reads(1) == ["returned"]
    for t in (s.log[0], s.log[-1]):
        s.alarms = Alarms.restore(s.tags, snapshot)
        s.alarms.apply(t)
        s.alarms.apply(s.log[-1])
        assert s.reads(25, at=70) == [], "a delay begins anew after the alarm went and returned"


def test_a_fold_says_what_does_not_follow(site):
    s = site(high=20.0)
    s.reads(25)
    s.reads(1)
    s.act(Verb.acknowledge)
    first, second, third = s.log
    fold = Fold()
    assert fold.problem(second) == "alarm 0 version 2: expected version 1"
    for t in s.log:
        assert fold.problem(t) is None
        assert fold.apply(t)
    assert not fold.apply(second)
    assert not fold.apply(third)
    assert fold.standing() == []
    assert "expected version 4" in (fold.problem(first) or "")
    third.version, third.state_before = 4, int(State.active)
    assert "expected to start acked" in (fold.problem(third) or "")


def test_a_site_that_lost_its_state_counts_from_one_again_and_is_still_heard(site):
    s = site(high=20.0)
    s.reads(25, at=0)
    s.reads(1, at=1)
    fold = Fold()
    for t in s.log:
        fold.apply(t)
    s.alarms = Alarms(s.tags)
    s.reads(25, at=2)
    assert fold.apply(s.log[-1])
    assert fold.standing()[0].state == State.active


JUNK = [
    None,
    {},
    {"v": 2},
    {"v": 1, "alarms": [[1]], "delays": []},
    {"v": 1, "alarms": [[0] * 40], "delays": []},
    {"v": 1, "alarms": 5, "delays": []},
    {"v": 1, "alarms": [], "delays": [5]},
    {"v": 1, "alarms": []},
]


@pytest.mark.parametrize("junk", JUNK)
def test_a_snapshot_that_is_none_is_refused(junk):
    with pytest.raises(Corrupt):
        Alarms.restore(TagTable(1, ()), junk)


def test_a_view_is_plain_enough_for_the_wire(site):
    s = site(high=20.0)
    s.reads(25)
    plain = s.view(AlarmType.high).plain()
    assert (plain["letter"], plain["type"], plain["level"], plain["raised"]) == ("B", "high", 1, s.us)
    assert cbor2.loads(cbor2.dumps(plain)) == plain
