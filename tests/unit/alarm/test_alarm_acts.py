"""What people may do to an alarm, and what is refused them."""

import pytest

from davy.alarm.act import ACTS, SHELVE_DEFAULT, SHELVE_MAX
from davy.clock import SECOND
from davy.errors import BadRequest, NotAllowed, StaleVersion, UnknownTarget
from davy.fact import AlarmType, Cause, State, Verb
from davy.reading import Class, Hazard, Status

HOUR = 3600.0
SILENCING = [Verb.timed_shelve, Verb.one_shot_shelve, Verb.suppress, Verb.remove_from_service]


def test_every_verb_has_its_row():
    assert set(ACTS) == set(Verb)


@pytest.mark.feature("F23")
def test_acknowledging_a_returned_alarm_makes_it_normal(site):
    s = site(high=20.0)
    s.reads(25)
    s.reads(1)
    assert s.act(Verb.acknowledge) == ["acknowledged"]
    assert s.letter() == "A"
    assert (s.log[-1].actor, s.view().acked_by) == ("p:1", "p:1")


@pytest.mark.feature("F23")
def test_shelved_alarm_returns_unacknowledged_when_shelving_expires(site):
    s = site(high=20.0)
    s.reads(25, at=0)
    s.act(Verb.acknowledge)
    s.act(Verb.timed_shelve, until=s.us + 600 * SECOND)
    view = s.view()
    assert (s.letter(), view.silenced_by, view.reason, view.until) == (
        "G",
        "p:1",
        "pump under repair",
        s.us + 600 * SECOND,
    )
    assert s.tick(599) == []
    assert s.tick(600) == ["shelving_expired"]
    assert (s.letter(), s.view().until, s.view().silenced_by) == ("B", 0, "")


def test_a_shelved_alarm_is_still_evaluated_and_logged(site):
    s = site(high=20.0, high_high=50.0)
    s.act(Verb.timed_shelve)
    assert s.reads(25) == ["activated"]
    assert s.reads(60) == ["escalated"]
    assert s.reads(1) == ["returned"]
    assert all(t.state & State.shelved and t.until for t in s.log)
    assert s.act(Verb.unshelve) == ["unshelved"]
    assert s.letter() == "D"


def test_shelving_without_an_end_lasts_a_shift_and_no_longer_than_a_day(site):
    s = site(high=20.0)
    s.act(Verb.timed_shelve)
    assert s.view().until == s.us + SHELVE_DEFAULT
    s.act(Verb.timed_shelve, until=s.us + SHELVE_MAX)
    for until in (s.us + SHELVE_MAX + 1, s.us, s.us - 1):
        with pytest.raises(BadRequest, match="an end within 24 h"):
            s.act(Verb.timed_shelve, until=until)
    assert s.tick(8 * HOUR) == []
    assert s.tick(24 * HOUR) == ["shelving_expired"]


def test_a_one_shot_shelving_ends_with_the_alarm(site):
    s = site(high=20.0)
    s.reads(25)
    s.act(Verb.one_shot_shelve)
    assert s.reads(1) == ["returned", "shelving_expired"]
    assert s.letter() == "D"
    assert s.tick(9 * HOUR) == []


def test_a_one_shot_shelving_ends_by_the_clock_too(site):
    s = site(high=20.0)
    s.reads(25, at=0)
    s.act(Verb.one_shot_shelve)
    assert s.tick(8 * HOUR) == ["shelving_expired"]
    assert s.letter() == "B"
    s.act(Verb.one_shot_shelve)
    s.act(Verb.timed_shelve)
    assert not s.has(State.one_shot)


def test_a_wall_clock_set_back_does_not_prolong_a_shelving(site):
    s = site(high=20.0)
    s.act(Verb.timed_shelve, until=s.us + 60 * SECOND)
    assert len(s.alarms.tick(s.us - 10**12, s.mono + 60 * 10**9)) == 1


@pytest.mark.parametrize(
    ("begin", "end", "letter"),
    [(Verb.suppress, Verb.unsuppress, "H"), (Verb.remove_from_service, Verb.place_in_service, "I")],
)
def test_leaving_the_last_silence_calls_for_a_person_again(site, begin, end, letter):
    s = site(high=20.0)
    s.reads(25)
    s.act(Verb.acknowledge)
    s.act(Verb.timed_shelve)
    s.act(begin)
    assert s.letter() == letter
    s.act(Verb.unshelve)
    assert s.has(State.acked)
    s.act(end)
    assert s.letter() == "B"
    with pytest.raises(BadRequest):
        s.act(end)


@pytest.mark.feature("F23")
@pytest.mark.parametrize("verb", SILENCING)
@pytest.mark.parametrize("kind", [AlarmType.high, AlarmType.bad])
def test_no_one_person_silences_a_statutory_alarm(site, verb, kind):
    s = site(high=20.0, hazard=Hazard.high, alarm_class=Class.statutory)
    s.reads(25, status=Status.Good)
    with pytest.raises(NotAllowed, match="statutory"):
        s.act(verb, kind)
    with pytest.raises(NotAllowed):
        s.act(verb, kind, version=99, role="admin", second="p:2")
    assert not s.view(kind).state & State.shelved


@pytest.mark.parametrize("verb", [v for v in Verb if v is not Verb.add_comment])
def test_a_centre_moves_no_alarm_but_may_comment(site, verb):
    s = site(high=20.0)
    s.reads(25)
    with pytest.raises(NotAllowed, match="only at the edge"):
        s.act(verb, place="centre")
    assert s.act(Verb.add_comment, place="centre") == []


@pytest.mark.parametrize("verb", SILENCING)
def test_silence_needs_a_reason(site, verb):
    with pytest.raises(BadRequest, match="expected a reason"):
        site(high=20.0).act(verb, reason=" ")


def test_a_person_who_saw_an_older_state_is_told(site):
    s = site(high=20.0)
    s.reads(25)
    seen = s.view().version
    s.reads(1)
    with pytest.raises(StaleVersion, match="at version 2 now, you saw 1"):
        s.act(Verb.acknowledge, version=seen)


def test_acts_on_what_is_not_there_are_refused(site):
    s = site(high=20.0)
    for alarm in (1, 7, 8, -1, 10**9):
        with pytest.raises(UnknownTarget):
            s.act(Verb.acknowledge, alarm=alarm)
    with pytest.raises(BadRequest, match="verb"):
        s.act(99)
    with pytest.raises(BadRequest, match="person"):
        s.act(Verb.acknowledge, actor="")


def test_a_refused_act_changes_nothing(site):
    s = site(high=20.0)
    s.reads(25)
    before = s.alarms.snapshot()
    for verb in (Verb.reset, Verb.unshelve, Verb.unsuppress, Verb.place_in_service):
        with pytest.raises(BadRequest, match="cannot be"):
            s.act(verb)
    assert str(s.alarms.snapshot()) == str(before)


def test_a_comment_moves_nothing(site):
    s = site(high=20.0)
    assert s.act(Verb.add_comment) == []
    assert s.view().version == 0


def test_every_transition_of_a_person_names_them_and_the_reason(site):
    s = site(high=20.0)
    s.act(Verb.suppress)
    t = s.log[-1]
    assert (t.cause, t.actor, t.reason, t.version) == (Cause.suppressed, "p:1", "pump under repair", 1)
    assert t.value != t.value
