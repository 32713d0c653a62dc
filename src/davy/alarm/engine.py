"""All alarms of an origin: judged readings, ticks and acts in, transitions out. Pure.

Nothing changes state but a transition, and every transition goes through the same `Fold` that
rebuilds the state after a crash. Delays and shelvings run on monotonic time.
"""

from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from davy.alarm import state as states
from davy.alarm.act import SHELVE_MAX, check
from davy.alarm.alarm import NEVER
from davy.alarm.fold import AlarmView, Fold
from davy.alarm.lane import Lane
from davy.alarm.rule import Rule, rules_of
from davy.alarm.table import conditions
from davy.errors import Corrupt, UnknownTarget
from davy.fact.event import Act, Cause, State, Transition
from davy.reading import Flag, Readings, TagTable

SNAPSHOT_VERSION = 1
NOT_CONFIGURED = "no longer configured"
_HISTORICAL = np.uint32(Flag.historical)


class Alarms:
    """The alarm engine of one origin. Owned by one thread; methods never block.

    `now_us` is us UTC, `mono_ns` monotonic; both from the caller's clock, never going back within a
    process for `mono_ns`. Returned transitions are in the order things happened and are already
    folded into the state here.
    """

    def __init__(self, tags: TagTable, fold: Fold | None = None) -> None:
        self.fold = fold or Fold()
        self._rules: list[tuple[Rule, ...]] = [()] * tags.size
        for tag in tags.tags:
            self._rules[tag.index] = rules_of(tag)
        self._live = Lane(self._rules, self.fold.live, historical=False)
        self._past: Lane | None = None  # made with the first historical reading
        self._is_awake = False  # whether the clocks have been seen since the state was loaded

    # Readings and time

    def judge(self, r: Readings, now_us: int, mono_ns: int) -> list[Transition]:
        """What judged readings do, in their order; quality must have been there before.

        Historical readings are judged in their source time, on state of their own.
        """
        out = self.tick(now_us, mono_ns)
        tag = r.tag.astype(np.int64)
        condition = conditions(r.status, r.flags)
        hits = self._live.limits.outside(tag, r.value, condition)
        if not len(hits):
            return out
        past = condition & _HISTORICAL != 0
        if past.any():
            self._split(r, past, now_us, mono_ns // 1000, out)
        else:
            self._live.follow(r, tag, condition, hits, now_us, mono_ns // 1000, out)
        return out

    def _split(self, r: Readings, past: NDArray[np.bool_], now_us: int, now: int, out: list[Transition]) -> None:
        for lane, part in ((self._live, r.take(~past)), (self._lane(True), r.take(past))):
            tag = part.tag.astype(np.int64)
            condition = conditions(part.status, part.flags) & ~_HISTORICAL
            hits = lane.limits.outside(tag, part.value, condition)
            lane.follow(part, tag, condition, hits, now_us, now, out)

    def tick(self, now_us: int, mono_ns: int) -> list[Transition]:
        """What happens by the clock alone: delays that are over, shelvings that end. Cheap when there is nothing."""
        out: list[Transition] = []
        if not self._is_awake:
            self._wake(now_us, mono_ns // 1000, out)
        self._live.tick(now_us, mono_ns // 1000, out)
        return out

    def _wake(self, now_us: int, now: int, out: list[Transition]) -> None:
        """First sight of the clocks after a start: tie shelvings to them, and end what no rule stands for."""
        self._is_awake = True
        for number, view in self.fold.live.items():
            if view.state & State.shelved and number not in self._live.shelved:
                left = min(max(0, view.until - now_us), SHELVE_MAX)
                self._live.shelved[number] = (now + left, view.until)
            if view.state & State.active and self._live.rule(number) is None:
                self._live.emit(view, None, int(Cause.returned), now_us, out, level=0, reason=NOT_CONFIGURED)
        self._live.plan()

    # People

    def act(self, act: Act, now_us: int, mono_ns: int) -> list[Transition]:
        """Carry out what a person decided; a comment moves nothing and is only written down by the caller.

        Raises UnknownTarget, NotAllowed (class or place), StaleVersion or BadRequest, and then
        nothing has changed. The role is the caller's business.
        """
        view, rule = self._target(act.alarm)
        alarm_class = view.alarm_class if rule is None else rule.alarm_class
        cause, until = check(act, view, alarm_class, now_us)
        out: list[Transition] = []
        if cause is None:
            return out
        states.after(view.state, cause)  # refuses before anything is touched
        lane = self._live
        if until:
            lane.shelved[act.alarm] = (mono_ns // 1000 + until - now_us, NEVER)
        lane.emit(view, rule, int(cause), now_us, out, actor=act.actor, reason=act.reason, until=until)
        if cause == Cause.reset:
            lane.look_again(view.tag)
        lane.plan()
        return out

    def _target(self, number: int) -> tuple[AlarmView, Rule | None]:
        rule = self._live.rule(number)
        view = self.fold.live.get(number) if rule is None else self._live.alarm(rule).view
        if view is None:
            raise UnknownTarget(f"alarm {number}: no such alarm here")
        return view, rule

    def standing(self, historical: bool = False) -> list[AlarmView]:
        """Copies of the alarms that are not normal, by number."""
        return self.fold.standing(historical)

    def view(self, alarm: int) -> AlarmView:
        """A copy of one live alarm, moved or not. Raises UnknownTarget."""
        return copy(self._target(alarm)[0])

    # Rest and resumption

    def snapshot(self) -> dict[str, Any]:
        """Everything a fold may start from, as plain CBOR: all alarms, and when running delays began."""
        lanes = [self._live] if self._past is None else [self._live, self._past]
        running = [
            [lane.historical, number, alarm.running()]
            for lane in lanes
            for number, alarm in sorted(lane.alarms.items())
            if alarm.running()
        ]
        return {"v": SNAPSHOT_VERSION, "alarms": self.fold.snapshot(), "delays": running}

    @classmethod
    def restore(cls, tags: TagTable, snapshot: Any) -> Self:
        """The engine of `snapshot`; `apply` what happened since, then go on. Raises Corrupt.

        Each alarm is looked at afresh with the next reading of its tag: state is what was folded and
        what the inputs say now. A running delay keeps its beginning if that reading confirms it, and
        then ends at the earlier of wall and monotonic time (contracts.md 12).
        """
        if not isinstance(snapshot, dict) or snapshot.get("v") != SNAPSHOT_VERSION:
            raise Corrupt(f"alarm snapshot: expected version {SNAPSHOT_VERSION}")
        try:
            alarms = cls(tags, Fold.of(snapshot["alarms"]))
            delays = [(bool(past), int(number), dict(running)) for past, number, running in snapshot["delays"]]
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"alarm snapshot: {error!r}") from error
        for historical in (False, True):
            for view in alarms.fold.views(historical).values():
                lane = alarms._lane(historical)
                if lane.rule(view.alarm):
                    lane.look_again(view.tag)
        for historical, number, running in delays:
            lane = alarms._lane(historical)
            if rule := lane.rule(number):
                lane.alarm(rule).resume(running)
                lane.look_again(rule.tag)
        return alarms

    def apply(self, t: Transition) -> None:
        """Fold in what the log holds since the snapshot, oldest first, before anything is judged."""
        if not self.fold.apply(t):
            return
        self._is_awake = False
        lane = self._lane(t.historical)
        if rule := lane.rule(t.alarm):
            lane.alarm(rule).follow(lane.views[t.alarm])
            lane.look_again(rule.tag)

    def _lane(self, historical: bool) -> Lane:
        if not historical:
            return self._live
        if self._past is None:
            self._past = Lane(self._rules, self.fold.historical, historical=True)
        return self._past
