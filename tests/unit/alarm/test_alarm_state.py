"""The tables, exhaustively: states, silences, the status x rule table, and their picture."""

from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest

from davy.alarm import state as states
from davy.alarm.picture import page
from davy.alarm.rule import rules_of
from davy.alarm.table import BAD, TABLE, Treatment, conditions, treatment
from davy.errors import BadRequest
from davy.fact import AlarmType, Cause, State
from davy.reading import Class, Flag, Hazard, Tag
from davy.reading.status import is_bad

ALL_STATES = sorted({before for before, _ in states.NEXT[0]})


def subsets(flags):
    return chain.from_iterable(combinations(flags, n) for n in range(len(flags) + 1))


def test_every_path_of_the_isa_diagram_is_in_the_table():
    names = {s: letter for s, letter in states.LETTERS.items() if s not in (states.HELD, states.HELD_ACKED)}
    arrows = {
        (names[b], c.name, names[a])
        for (b, c), a in (states.PROCESS | states.LATCHING).items()
        if b in names and a in names
    } | {(names[b], "returned plain", names[states.PROCESS[b, Cause.returned]]) for b in (states.UNACKED, states.ACKED)}
    assert arrows == {
        ("A", "activated", "B"), ("D", "activated", "B"), ("E", "activated", "B"), ("F", "activated", "B"),
        ("B", "escalated", "B"), ("C", "escalated", "B"), ("B", "eased", "B"), ("C", "eased", "C"),
        ("B", "returned", "E"), ("C", "returned", "F"), ("B", "returned plain", "D"), ("C", "returned plain", "A"),
        ("B", "acknowledged", "C"), ("D", "acknowledged", "A"), ("E", "acknowledged", "F"), ("F", "reset", "A"),
    }  # fmt: skip


def test_the_process_goes_on_underneath_every_silence_as_it_would_without():
    for state in ALL_STATES:
        core, beside = state & states.PROCESS_BITS, state & ~states.PROCESS_BITS
        for cause in set(Cause) - set(states.SILENCING):
            for table in states.NEXT:
                expected = table.get((int(core), int(cause)))
                assert table.get((state, int(cause))) == (None if expected is None else expected | beside)


@pytest.mark.parametrize("cause", list(states.SILENCING))
def test_a_silence_moves_only_its_own_bits_and_brings_an_active_alarm_back_unacknowledged(cause):
    silence = states.SILENCING[cause]
    for state in ALL_STATES:
        after = states.NEXT[0].get((state, int(cause)))
        if state & silence.needs != silence.needs or state & silence.forbids:
            assert after is None
            continue
        expected = state & ~silence.clears | silence.sets
        surfaces = state & states.SILENCED and not expected & states.SILENCED and state & State.active
        assert after == (expected & ~State.acked if surfaces else expected)


def test_what_no_table_names_is_refused_in_words():
    with pytest.raises(BadRequest, match="state acked: cannot be acknowledged"):
        states.after(int(State.acked), Cause.acknowledged)
    assert not states.legal(int(State.acked), Cause.acknowledged, int(State.acked))
    assert states.legal(int(State.active), Cause.returned, int(State.latched))
    assert states.legal(int(State.active), Cause.returned, 0)


def test_letters_put_out_of_service_before_suppressed_before_shelved():
    bits = State.active | State.shelved
    assert [states.letter(int(b)) for b in (State.acked, bits, bits | State.suppressed, State.out_of_service)] == list(
        "AGHI"
    )


NAMED = [Flag.over_range, Flag.under_range, Flag.calibration, Flag.maintenance, Flag.out_of_order, Flag.stale, BAD]


@pytest.mark.parametrize("kind", list(AlarmType))
def test_the_status_x_rule_table_answers_every_combination_as_contracts_5_says(kind):
    beyond = {AlarmType.high: Flag.over_range, AlarmType.low: Flag.under_range}.get(kind, 0)
    for bits in subsets(NAMED):
        condition = sum(int(b) for b in bits)
        answer = treatment(kind, condition)
        if kind in (AlarmType.high, AlarmType.low, AlarmType.discrete):
            if condition & (Flag.calibration | Flag.maintenance):
                expected = Treatment.inhibit
            elif condition & beyond:
                expected = Treatment.beyond
            elif condition & (BAD | Flag.stale):
                expected = Treatment.hold
            else:
                expected = Treatment.raise_only if condition & Flag.out_of_order else Treatment.evaluate
        elif condition & Flag.maintenance:
            expected = Treatment.inhibit
        elif condition & Flag.stale:
            expected = Treatment.raised if kind is AlarmType.stale else Treatment.hold
        else:
            is_raised = kind is AlarmType.bad and condition & BAD
            expected = Treatment.raised if is_raised else Treatment.cleared
        assert answer is expected, (kind, bits)


def test_spike_rate_frozen_and_other_doubts_are_in_no_row_so_they_delay_nothing():
    named = {bit for rows in TABLE.values() for bit, _ in rows} - {0, BAD}
    doubts = [f for f in Flag if f not in named and f is not Flag.historical]
    assert {Flag.spike, Flag.rate, Flag.frozen, Flag.clock_suspect, Flag.bypass} <= set(doubts)
    flags = np.array([int(f) for f in doubts], np.uint32)
    assert not conditions(np.zeros(len(flags), np.uint32), flags).any()


def test_uncertain_is_judged_like_good_and_every_bad_code_as_bad():
    codes = np.array([0, 0x00960000, 0x40940000, 0x7FFFFFFF, 0x80000000, 0x808C0000, 0xC0000000], np.uint32)
    found = conditions(codes, np.zeros(len(codes), np.uint32))
    assert ((found != 0) == is_bad(codes)).all()


@pytest.mark.parametrize(
    ("hazard", "high", "low"),
    [
        ("high", "beyond", "evaluate"),
        ("low", "evaluate", "beyond"),
        ("both", "beyond", "beyond"),
        ("none", "evaluate", "evaluate"),
    ],
)
def test_off_scale_counts_only_in_the_direction_of_the_hazard(hazard, high, low):
    tag = Tag("u", 0, "T", hazard=Hazard(hazard), high=9.0, low=1.0)
    rules = {r.kind: r for r in rules_of(tag)}
    assert rules[AlarmType.high].treats(int(Flag.over_range)).name == high
    assert rules[AlarmType.low].treats(int(Flag.under_range)).name == low
    assert rules[AlarmType.high].treats(int(Flag.under_range)).name == "evaluate"
    assert rules[AlarmType.low].treats(int(Flag.over_range)).name == "evaluate"


@pytest.mark.parametrize("hazard", list(Hazard))
@pytest.mark.parametrize("kind", list(AlarmType))
def test_every_alarm_of_every_hazard_sees_bad_and_stale(hazard, kind):
    tag = Tag("u", 0, "T", hazard=hazard, high=9.0, low=1.0, discrete=1.0, stale_after=1)
    (rule,) = (r for r in rules_of(tag) if r.kind is kind)
    for condition in (BAD, int(Flag.stale), BAD | int(Flag.stale), 0):
        assert rule.treats(condition) is treatment(kind, condition)


def test_health_alarms_of_a_statutory_tag_are_as_urgent_as_its_worst_limit():
    def priorities(**fields):
        return {r.kind.name: r.priority[1:] for r in rules_of(Tag("u", 0, "T", stale_after=1, priority=2, **fields))}

    statutory = {"alarm_class": Class.statutory, "hazard": Hazard.high}
    assert priorities(high=1.0, high_high=2.0, **statutory) == {"high": (2, 1), "stale": (1, 1), "bad": (1, 1)}
    assert priorities(high=1.0, **statutory) == {"high": (2, 1), "stale": (2, 2), "bad": (2, 2)}
    assert priorities(high=1.0) == {"high": (2, 1), "stale": (3, 3), "bad": (3, 3)}
    assert priorities(alarm_class=Class.info, high=1.0) == {"high": (2, 1), "stale": (3, 3)}


def test_a_tag_without_limits_gives_no_alarm_and_limits_in_the_wrong_order_are_refused():
    assert rules_of(Tag("u", 0, "T")) == ()
    with pytest.raises(ValueError, match="expected high <= high_high, got 3 and 2"):
        rules_of(Tag("u", 0, "T", high=3.0, high_high=2.0))
    with pytest.raises(ValueError, match="expected low_low <= low"):
        rules_of(Tag("u", 0, "T", low=1.0, low_low=2.0))


def test_the_picture_in_the_docs_is_drawn_from_the_tables():
    path = Path(__file__).resolve().parents[3] / "docs" / "alarm-states.md"
    assert path.read_text() == page(), "run: python -m davy.alarm.picture > docs/alarm-states.md"
