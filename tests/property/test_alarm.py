"""The alarm engine against a model that knows no arrays, no quiet intervals and no tables."""

import math
from dataclasses import dataclass, field
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alarm_site import START, readings
from davy.alarm import Alarms, Fold, number
from davy.alarm.act import SHELVE_MAX
from davy.clock import SECOND
from davy.errors import ActError
from davy.fact import Act, AlarmType, Cause, State, Transition, Verb
from davy.reading import Class, Flag, Hazard, Status, Tag, TagTable

TAGS = (
    Tag("u0", 0, "gas", hazard=Hazard.high, alarm_class=Class.statutory, high=3.0, high_high=6.0, deadband=1.0,
        on_delay=2 * SECOND, stale_after=1),
    Tag("u1", 1, "level", hazard=Hazard.both, low_low=1.0, low=2.0, high=7.0, deadband=0.5, off_delay=3 * SECOND,
        on_delay=SECOND, latch=True),
    Tag("u2", 2, "door", type="bool", discrete=1.0, latch=True),
    Tag("u3", 3, "flow", hazard=Hazard.low, low=4.0, deadband=1.0, high=4.5, stale_after=1),
)  # fmt: skip
TABLE = TagTable(1, TAGS)
KINDS = {
    0: (AlarmType.high, AlarmType.stale, AlarmType.bad),
    1: (AlarmType.high, AlarmType.low, AlarmType.bad),
    2: (AlarmType.discrete, AlarmType.bad),
    3: (AlarmType.high, AlarmType.low, AlarmType.stale, AlarmType.bad),
}


@dataclass
class Timer:
    due: int
    wall: int | None
    since: int


@dataclass
class Plain:
    """One alarm as a person would keep it on paper."""

    tag: Tag
    kind: AlarmType
    active: bool = False
    acked: bool = True
    latched: bool = False
    silences: set[str] = field(default_factory=set)
    one_shot: bool = False
    until: int = 0
    shelf: tuple[int, int | None] = (0, None)
    version: int = 0
    activation: int = 0
    on: dict[int, bool] = field(default_factory=dict)
    timers: dict[int, Timer] = field(default_factory=dict)
    resumed: dict[int, int] = field(default_factory=dict)
    told: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self):
        t = self.tag
        given = {
            AlarmType.high: {1: t.high, 2: t.high_high},
            AlarmType.low: {1: t.low, 2: t.low_low},
        }.get(self.kind, {1: t.discrete})
        self.limits = {k: x for k, x in given.items() if x is not None} or {1: math.nan}
        self.on = dict.fromkeys(self.limits, False)

    @property
    def level(self):
        return max((k for k, is_on in self.on.items() if is_on), default=0)

    @property
    def is_limit(self):
        return self.kind in (AlarmType.high, AlarmType.low, AlarmType.discrete)

    def tell(self, cause):
        self.version += 1
        bits = (self.active, self.acked, self.latched, frozenset(self.silences), self.one_shot)
        until = self.until if "shelved" in self.silences else 0
        self.told.append((cause, bits, self.level, self.version, self.activation, until))

    # What the process does

    def true_at(self, level, value):
        """Whether the limit of `level` is passed, given whether it was."""
        x, db = self.limits[level], self.tag.deadband
        if self.kind is AlarmType.high:
            return not value < x - db if self.on[level] else value >= x
        if self.kind is AlarmType.low:
            return not value > x + db if self.on[level] else value <= x
        return value == x

    def reading(self, value, bad, flags, now, wall):
        before = self.level
        hazard = self.tag.hazard
        over = self.kind is AlarmType.high and flags & Flag.over_range and hazard in (Hazard.high, Hazard.both)
        under = self.kind is AlarmType.low and flags & Flag.under_range and hazard in (Hazard.low, Hazard.both)
        held = self.active and self.latched
        if flags & Flag.maintenance or (self.is_limit and flags & Flag.calibration):
            if not held:
                self.timers, self.resumed = {}, {}
        elif over or under:
            self.timers, self.resumed = {}, {}
            self.on = dict.fromkeys(self.limits, True)
            self.follow(before)
            if not (self.active and self.latched):
                self.latched = True
                self.tell("latched")
        elif held:
            pass
        elif not self.is_limit:
            if self.kind is AlarmType.bad and flags & Flag.stale:
                self.stop_falling()
            else:
                self.wish(1, bool(flags & Flag.stale) if self.kind is AlarmType.stale else bad, now, wall)
                self.follow(before)
        elif bad or flags & Flag.stale:
            self.stop_falling()
        elif not math.isnan(value):
            wishes = {level: self.true_at(level, value) for level in self.limits}
            for level, is_true in wishes.items():
                if is_true or not flags & Flag.out_of_order:
                    self.wish(level, is_true, now, wall)
            self.follow(before)

    def stop_falling(self):
        for level in self.limits:
            if self.on[level]:
                self.timers.pop(level, None)
                self.resumed.pop(level, None)

    def wish(self, level, is_true, now, wall):
        if is_true == self.on[level]:
            self.timers.pop(level, None)
            self.resumed.pop(level, None)
            return
        length = self.tag.off_delay if self.on[level] else self.tag.on_delay * self.is_limit
        if level not in self.timers:
            if level in self.resumed:
                since = self.resumed.pop(level)
                passed = min(max(wall - since, 0), length)
                self.timers[level] = Timer(now + length - passed, since + length, since)
            else:
                self.timers[level] = Timer(now + length, None, wall)
        self.fire(level, now, wall)

    def fire(self, level, now, wall):
        timer = self.timers[level]
        if now >= timer.due or (timer.wall is not None and wall >= timer.wall):
            del self.timers[level]
            self.on[level] = not self.on[level]

    def passes(self, now, wall):
        before = self.level
        for level in list(self.timers):
            self.fire(level, now, wall)
        self.follow(before)
        if "shelved" in self.silences:
            due, end = self.shelf
            if now >= due or (end is not None and wall >= end):
                self.end("shelved", "shelving_expired")

    def follow(self, before):
        level = self.level
        if level > before:
            self.active, self.acked = True, False
            if before == 0:
                self.latched = False
            self.activation += 1
            self.tell("escalated" if before else "activated")
        elif level and level < before:
            self.tell("eased")
        elif level < before:
            self.active = False
            self.latched = self.tag.latch and self.is_limit
            self.tell("returned")
            if self.one_shot:
                self.end("shelved", "shelving_expired")

    # What people do

    def end(self, silence, cause):
        self.silences.discard(silence)
        if silence == "shelved":
            self.one_shot = False
        if not self.silences and self.active:
            self.acked = False
        self.tell(cause)

    def act(self, verb, until, now, wall):
        """True if it may be done, and then it is."""
        silencing = {"timed_shelve", "one_shot_shelve", "suppress", "remove_from_service"}
        if verb in silencing and self.tag.alarm_class is Class.statutory:
            return False
        if verb == "acknowledge" and not self.acked:
            self.acked = True
            self.tell("acknowledged")
        elif verb == "reset" and self.acked and self.latched:
            self.latched = False
            self.tell("reset")
        elif verb in ("timed_shelve", "one_shot_shelve"):
            self.silences.add("shelved")
            self.one_shot, self.until, self.shelf = verb == "one_shot_shelve", until, (now + until - wall, None)
            self.tell("one_shot_shelved" if self.one_shot else "shelved")
        elif verb == "unshelve" and "shelved" in self.silences:
            self.end("shelved", "unshelved")
        elif verb == "suppress" and "suppressed" not in self.silences:
            self.silences.add("suppressed")
            self.tell("suppressed")
        elif verb == "unsuppress" and "suppressed" in self.silences:
            self.end("suppressed", "unsuppressed")
        elif verb == "remove_from_service" and "out_of_service" not in self.silences:
            self.silences.add("out_of_service")
            self.tell("removed_from_service")
        elif verb == "place_in_service" and "out_of_service" in self.silences:
            self.end("out_of_service", "placed_in_service")
        else:
            return False
        return True

    # What a stop does

    def running(self):
        return {level: t.since for level, t in self.timers.items()} | self.resumed

    def restart(self, running, now, wall):
        self.timers, self.resumed = {}, dict(running)
        if "shelved" in self.silences:
            self.shelf = (now + min(max(self.until - wall, 0), SHELVE_MAX), self.until)


def _bits(state):
    names = {"shelved", "suppressed", "out_of_service"}
    silences = frozenset(n for n in names if state & State[n])
    return bool(state & 1), bool(state & 2), bool(state & 4), silences, bool(state & State.one_shot)


def _told(t: Transition):
    return Cause(t.cause).name, _bits(t.state), t.level, t.version, t.activation, t.until


class Both:
    """The engine and the model, given the same things, compared after each."""

    def __init__(self):
        self.engine = Alarms(TABLE)
        self.model = {number(t.index, k): Plain(t, k) for t in TAGS for k in KINDS[t.index]}
        self.wall, self.mono = START, 1_000
        self.fold = Fold()
        self.saved = (self.engine.snapshot(), {n: a.running() for n, a in self.model.items()})
        self.since: list[Transition] = []

    def compare(self, transitions):
        got: dict[int, list[Any]] = {n: [] for n in self.model}
        for t in transitions:
            assert self.fold.problem(t) is None
            assert self.fold.apply(Transition.decode(t.encode()))
            got[t.alarm].append(_told(t))
        self.since += transitions
        for n, alarm in self.model.items():
            assert got[n] == alarm.told, (TABLE[n // 8].name, AlarmType(n % 8).name)
            alarm.told.clear()
            view = self.engine.view(n)
            assert (_bits(view.state)[:3], view.level) == ((alarm.active, alarm.acked, alarm.latched), alarm.level)
        assert self.fold.agrees(self.engine.snapshot())

    def wake(self):
        transitions = self.engine.tick(self.wall, self.mono * 1000)
        for alarm in self.model.values():
            alarm.passes(self.mono, self.wall)
        return transitions

    def read(self, rows):
        r = readings([t for t, *_ in rows], [v for _, v, *_ in rows], [Status.Bad * b for *_, b, _ in rows],
                     [f for *_, f in rows], self.wall)  # fmt: skip
        transitions = self.engine.judge(r, self.wall, self.mono * 1000)
        for alarm in self.model.values():
            alarm.passes(self.mono, self.wall)
        for tag, value, bad, flags in rows:
            for kind in KINDS[tag]:
                self.model[number(tag, kind)].reading(value, bad, flags, self.mono, self.wall)
        self.compare(transitions)

    def wait(self, us, jump):
        self.mono += us
        self.wall += us + jump
        self.compare(self.wake())

    def act(self, tag, which, verb, hours, off):
        kind = KINDS[tag][which % len(KINDS[tag])]
        alarm = number(tag, kind)
        view = self.engine.view(alarm)
        until = self.wall + hours * 3600 * SECOND
        act = Act("p:1", "operator", verb, alarm, view.version + off, "because", until, self.wall)
        try:
            transitions = self.engine.act(act, self.wall, self.mono * 1000)
        except ActError:
            assert off or not self.model[alarm].act(verb.name, until, self.mono, self.wall)
            transitions = []
        else:
            assert not off
            assert self.model[alarm].act(verb.name, until, self.mono, self.wall)
        self.compare(transitions)

    def save(self):
        self.saved = (self.engine.snapshot(), {n: a.running() for n, a in self.model.items()})
        self.since = []

    def crash(self, us):
        """Come back `us` later from the last snapshot and the transitions since, on a new monotonic clock."""
        snapshot, running = self.saved
        moved = {t.alarm for t in self.since}
        self.engine = Alarms.restore(TABLE, cbor2.loads(cbor2.dumps(snapshot)))
        for t in self.since:
            self.engine.apply(t)
        self.mono, self.wall = 5, self.wall + us
        for n, alarm in self.model.items():
            alarm.restart({} if n in moved else running[n], self.mono, self.wall)
        self.compare(self.wake())


_VALUES = st.sampled_from(
    [-math.inf, 0.0, 1.0, 1.5, 1.6, 2.0, 2.5, 3.0, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, math.inf, math.nan]
)
_ODD = [Flag.over_range, Flag.under_range, Flag.stale, Flag.spike, Flag.calibration, Flag.maintenance]
_FLAGS = st.sampled_from([0] * 8 + [*_ODD, Flag.out_of_order, Flag.over_range | Flag.calibration])
_ROW = st.tuples(st.integers(0, 3), _VALUES, st.sampled_from([0, 0, 0, 1]), _FLAGS)
_WAIT = st.sampled_from([0, 1, SECOND, 3 * SECOND, 7200 * SECOND])
_JUMP = st.sampled_from([0, 0, 0, -5 * SECOND, 2 * SECOND, -(10**14), 10**14])
_VERB = st.sampled_from([v for v in Verb if v is not Verb.add_comment])
_HOURS, _VERSION_OFF = st.sampled_from([1, 3, 24]), st.sampled_from([0, 0, 0, 0, -1, 1])
_STEP = st.one_of(
    st.tuples(st.just("read"), st.lists(_ROW, min_size=1, max_size=12)),
    st.tuples(st.just("read"), st.lists(_ROW, min_size=1, max_size=2)),
    st.tuples(st.just("wait"), _WAIT, _JUMP),
    st.tuples(st.just("act"), st.integers(0, 3), st.integers(0, 3), _VERB, _HOURS, _VERSION_OFF),
    st.tuples(st.just("save")),
    st.tuples(st.just("crash"), st.sampled_from([0, SECOND, 3600 * SECOND])),
)


@pytest.mark.feature("F23")
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_STEP, max_size=30))
def test_any_sequence_of_readings_time_acts_and_crashes_is_as_the_plain_model_says(steps):
    both = Both()
    for name, *arguments in steps:
        getattr(both, name)(*arguments)
