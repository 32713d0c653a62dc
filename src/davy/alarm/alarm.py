"""One alarm and the time its limits have been crossed for. Pure: time comes in as `now`, in us.

`now` runs on whatever clock the caller judges by: monotonic time for live readings, source time
for historical ones.
"""

from typing import NamedTuple

from davy.alarm.fold import AlarmView
from davy.alarm.rule import EVERYTHING, NOTHING, Rule, interval
from davy.alarm.table import Treatment
from davy.fact.event import State

NEVER = 1 << 62
_HELD = int(State.active | State.latched)
# Looking a member up in its enum costs 0.1 us, an IntFlag operation 1 us: names and integers on the hot path.
_EVALUATE, _RAISE_ONLY, _BEYOND = Treatment.evaluate, Treatment.raise_only, Treatment.beyond
_HOLD, _INHIBIT, _RAISED = Treatment.hold, Treatment.inhibit, Treatment.raised

#: What moved an alarm: value, status and source time (us UTC) of a reading.
Seen = tuple[float, int, int]


class Delay(NamedTuple):
    """A limit crossed, but not for long enough yet.

    due: on the clock of `now`; since: us UTC when it began; wall: us UTC by which it ends at the
    latest, for delays that a restart interrupted, else NEVER.
    """

    due: int
    since: int
    wall: int
    seen: Seen


class Alarm:
    """A rule, where it stands, and its running delays, one a setpoint.

    quiet: (floor, ceiling) in which no value changes anything. treatment: what the table says of
    the readings that come in now. is_plain: nothing but the value matters, and at once.
    """

    __slots__ = ("_resumed", "delays", "is_plain", "quiet", "rule", "treatment", "view")

    def __init__(self, rule: Rule, view: AlarmView, treatment: Treatment) -> None:
        self.rule = rule
        self.view = view
        self.treatment = treatment
        self.delays: list[Delay | None] = [None] * len(rule.setpoints)
        self._resumed: dict[int, int] | None = None  # setpoint -> us UTC when its delay began, before a restart
        self.settle()

    @property
    def is_held(self) -> bool:
        """Over range has been reached: active at the top level until reset, whatever comes."""
        return self.view.state & _HELD == _HELD

    @property
    def is_delayed(self) -> bool:
        return any(self.delays)

    def settle(self) -> None:
        """Work out `quiet` from the level and what is delayed."""
        self.is_plain = False
        if self.treatment == _RAISE_ONLY:
            self.quiet = NOTHING
        elif self.treatment != _EVALUATE or self.is_held:
            self.quiet = EVERYTHING
        elif any(self.delays):
            self.quiet = interval(self.rule.setpoints, self.view.level, self.delays)
        else:
            self.quiet = self.rule.quiet[self.view.level]
            self.is_plain = self.rule.is_prompt

    def compare(self, value: float) -> int:
        """The level `value` leads to, delays apart: that of the highest setpoint which is on, for they nest."""
        before = self.view.level
        level = 0
        for point in self.rule.setpoints:
            band = point.off if before >= point.level else point.on
            if band.low <= value <= band.high:
                level = point.level
        return level

    def sense(self, seen: Seen, now: int, wall: int) -> int:
        """Take a reading in; the level it leads to, now. `wall`: us UTC now, remembered with a delay."""
        treatment = self.treatment
        if treatment == _BEYOND:
            self._drop()
            return self.rule.top
        level = self.view.level
        if self.is_held:
            return level
        if treatment in (_EVALUATE, _RAISE_ONLY):
            if seen[0] == seen[0]:  # not NaN
                level = self._compare(seen, now, wall)
        elif treatment == _HOLD:
            self._drop(level)
        elif treatment == _INHIBIT:
            self._drop()
        else:
            level = self._toward(0, treatment == _RAISED, level, seen, now, wall)
        return level

    def _compare(self, seen: Seen, now: int, wall: int) -> int:
        """Each setpoint by itself; they nest, so the alarm's level is the highest one that is on."""
        before = level = self.view.level
        value, may_return = seen[0], self.treatment == _EVALUATE
        for index, point in enumerate(self.rule.setpoints):
            band = point.off if before >= point.level else point.on
            is_inside = band.low <= value <= band.high
            if is_inside or may_return:
                level = self._toward(index, is_inside, level, seen, now, wall)
        return level

    def _toward(self, index: int, on: bool, level: int, seen: Seen, now: int, wall: int) -> int:
        """Setpoint `index` is, by this reading, on or off: the level once its delay has passed."""
        points = self.rule.setpoints
        if (self.view.level >= points[index].level) == on:
            self._cancel(index)
            return level
        length = self.rule.on_delay if on else self.rule.off_delay
        if length:
            delay = self.delays[index]
            if delay is None:
                delay = self.delays[index] = self._begin(index, length, seen, now, wall)
            if delay.due > now:  # one that is over by the wall clock alone was ended by `expire` before
                return level
            self.delays[index] = None
        return max(level, points[index].level) if on else min(level, points[index - 1].level if index else 0)

    def _begin(self, index: int, length: int, seen: Seen, now: int, wall: int) -> Delay:
        since = self._resumed.pop(index, None) if self._resumed else None
        if since is None:
            return Delay(now + length, wall, NEVER, seen)
        # Interrupted by a restart: the time that passed by the wall clock counts.
        return Delay(now + length - max(0, wall - since), since, since + length, seen)

    def _cancel(self, index: int) -> None:
        self.delays[index] = None
        if self._resumed:
            self._resumed.pop(index, None)

    def _drop(self, falling_from: int = 2) -> None:
        """Stop the delays of setpoints up to this level: all, or those on their way to normal."""
        for index, point in enumerate(self.rule.setpoints):
            if point.level <= falling_from:
                self._cancel(index)

    def expire(self, now: int, wall: int) -> tuple[int, Seen | None]:
        """(level, reading that began it) once delays that are over have done their work; no reading needed."""
        before = level = self.view.level
        moved: Seen | None = None
        for index, (point, delay) in enumerate(zip(self.rule.setpoints, self.delays, strict=True)):
            if delay is None or (delay.due > now and delay.wall > wall):
                continue
            self.delays[index] = None
            if before >= point.level:  # the lowest one that lets go decides, so the first met
                below = self.rule.setpoints[index - 1].level if index else 0
                if below < level:
                    level, moved = below, delay.seen
            else:
                level, moved = point.level, delay.seen
        return level, moved

    @property
    def due(self) -> int:
        """When the first delay ends, on the clock of `now`; NEVER when none runs."""
        return min((d.due for d in self.delays if d), default=NEVER)

    @property
    def wall(self) -> int:
        return min((d.wall for d in self.delays if d), default=NEVER)

    def running(self) -> list[list[int]]:
        """[setpoint, us UTC when its delay began] of each, for a snapshot."""
        since = {i: d.since for i, d in enumerate(self.delays) if d} | (self._resumed or {})
        return [[index, at] for index, at in sorted(since.items())]

    def resume(self, running: dict[int, int]) -> None:
        """Take up delays of a snapshot: each goes on if the next reading confirms it, or is dropped."""
        self._resumed = {index: since for index, since in running.items() if index < len(self.delays)}

    def follow(self, view: AlarmView) -> None:
        """Become what the log says it is; delays from before mean nothing then."""
        self.view = view
        self._drop()
