"""One set of alarm states, moved by readings and by the clock. Pure."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from davy.alarm import state as states
from davy.alarm.alarm import NEVER, Alarm, Seen
from davy.alarm.fold import ANNUNCIATES, AlarmView
from davy.alarm.limits import Limits, Positions
from davy.alarm.rule import EVERYTHING, NOTHING, Rule
from davy.alarm.table import Treatment
from davy.fact.event import Cause, State, Transition
from davy.reading import Readings

NO_LIMIT = math.nan
NO_READING: Seen = (math.nan, 0, 0)
#: A condition no reading has: after it, every reading is new.
UNKNOWN = 0xFFFF_FFFF

# Plain names and integers: looking up an enum member costs 0.1 us, an operation on IntFlag members 1 us.
_BEYOND = Treatment.beyond
#: Treatments that leave a normal alarm normal.
_MOVES_NOTHING = (Treatment.hold, Treatment.inhibit, Treatment.cleared)
_SHELVED, _ONE_SHOT = int(State.shelved), int(State.one_shot)
_ACTIVATED, _ESCALATED = int(Cause.activated), int(Cause.escalated)
_EASED, _RETURNED = int(Cause.eased), int(Cause.returned)
_LATCHED, _EXPIRED = int(Cause.latched), int(Cause.shelving_expired)


class Lane:
    """The live states, or those of historical readings, which keep their own source time.

    rules: by tag index. views: of the alarms that ever moved; shared with the fold. alarms: those
    that were ever looked at, by number. shelved: alarm -> (monotonic us, us UTC), its end being the
    first of them. Transitions are appended to `out`, already folded into the views.
    """

    def __init__(self, rules: Sequence[tuple[Rule, ...]], views: dict[int, AlarmView], historical: bool) -> None:
        self.rules = rules
        self.views = views
        self.historical = historical
        self.alarms: dict[int, Alarm] = {}
        self.limits = Limits(len(rules))
        self.shelved: dict[int, tuple[int, int]] = {}
        self._compared = [tuple(r for r in own if r.is_compared) for own in rules]
        self._delayed: dict[int, Alarm] = {}
        self._due = self._wall_due = NEVER  # nothing ends before, on either clock
        for tag, own in enumerate(rules):
            if own:
                self._settle(tag)

    def rule(self, number: int) -> Rule | None:
        tag = number // 8
        own = self.rules[tag] if 0 <= tag < len(self.rules) else ()
        return next((rule for rule in own if rule.number == number), None)

    def alarm(self, rule: Rule) -> Alarm:
        """The alarm of a rule; from now on it is kept."""
        alarm = self.alarms.get(rule.number)
        if alarm is None:
            view = self.views.get(rule.number)
            if view is None:
                blank = (rule.number, rule.tag, rule.alarm_class, rule.priority[1])
                view = AlarmView(*blank, historical=self.historical)
            treatment = rule.treats(self.limits.condition.item(rule.tag))
            alarm = self.alarms[rule.number] = Alarm(rule, view, treatment)
        return alarm

    def look_again(self, tag: int) -> None:
        """Let the next reading of the tag say where all its alarms stand."""
        self.limits.condition[tag] = UNKNOWN

    # Readings

    def follow(
        self,
        r: Readings,
        tag: NDArray[np.int64],
        condition: NDArray[np.uint32],
        hits: Positions,
        now_us: int,
        now: int,
        out: list[Transition],
    ) -> None:
        """Walk the readings of every tag that `hits` names, from one that matters to the next.

        tag: int64[N] of `r`. now: monotonic us. Transitions come in the order of the batch.
        """
        found: list[Transition] = []
        order: list[int] = []  # where in the batch each one comes from
        for at, index, its_condition, seen in self.limits.crossings(r, tag, condition, hits):
            self._sense(index, its_condition, seen, now_us, now, found)
            while len(order) < len(found):
                order.append(at)
        out += [found[i] for i in sorted(range(len(found)), key=order.__getitem__)]

    def _sense(self, tag: int, condition: int, seen: Seen, now_us: int, now: int, out: list[Transition]) -> None:
        """Show one reading to those alarms of its tag that it concerns, and set the tag's quiet interval anew."""
        limits, value = self.limits, seen[0]
        is_new = condition != limits.condition.item(tag)
        if is_new:
            limits.condition[tag] = condition
        floor, ceiling = EVERYTHING
        for rule in self.rules[tag] if is_new else self._compared[tag]:
            alarm = self.alarms.get(rule.number)
            if is_new and alarm is None and self._is_unmoved(rule, condition):
                continue
            low, high = rule.quiet[0] if alarm is None else alarm.quiet
            if is_new or not low <= value <= high:
                alarm = alarm or self.alarm(rule)
                if is_new:
                    alarm.treatment = rule.treats(condition)
                    self._show(alarm, seen, now_us, now, out)
                elif alarm.is_plain:  # as `_show` would, in a fifth of the time
                    self._move(alarm, alarm.compare(value), seen, now_us, out)
                    alarm.quiet = rule.quiet[alarm.view.level]
                else:
                    self._show(alarm, seen, now_us, now, out)
                low, high = alarm.quiet
            if low > floor:
                floor = low
            if high < ceiling:
                ceiling = high
        limits.floor[tag], limits.ceiling[tag] = floor, ceiling

    def _is_unmoved(self, rule: Rule, condition: int) -> bool:
        """Whether an alarm nobody has looked at yet can stay so; thousands of tags may turn Bad at once."""
        return rule.number not in self.views and rule.treats(condition) in _MOVES_NOTHING

    def _show(self, alarm: Alarm, seen: Seen, now_us: int, now: int, out: list[Transition]) -> None:
        wall = now_us
        if self.historical:
            now = wall = seen[2]
            self._expire(alarm, now, wall, now_us, out)
        self._move(alarm, alarm.sense(seen, now, wall), seen, now_us, out)
        self._watch(alarm)

    def _settle(self, tag: int) -> None:
        floor, ceiling = EVERYTHING
        for rule in self._compared[tag]:
            alarm = self.alarms.get(rule.number)
            low, high = rule.quiet[0] if alarm is None else alarm.quiet
            floor, ceiling = max(floor, low), min(ceiling, high)
        self.limits.set(tag, floor, ceiling)

    # Time

    def tick(self, now_us: int, now: int, out: list[Transition]) -> None:
        """Do what is due at `now` (monotonic us) or, for what a restart interrupted, at us UTC `now_us`."""
        if now < self._due and now_us < self._wall_due:
            return
        for alarm in sorted(self._delayed.values(), key=lambda a: (a.due, a.rule.number)):
            self._expire(alarm, now, now_us, now_us, out)
            self._watch(alarm)
            self._settle(alarm.rule.tag)
        over = [number for number, (due, wall) in self.shelved.items() if now >= due or now_us >= wall]
        for number in over:
            self.emit(self.views[number], self.rule(number), _EXPIRED, now_us, out)
        self.plan()

    def plan(self) -> None:
        """Find what is due next."""
        delayed = self._delayed.values()
        self._due = min([NEVER, *(a.due for a in delayed), *(due for due, _ in self.shelved.values())])
        self._wall_due = min([NEVER, *(a.wall for a in delayed), *(wall for _, wall in self.shelved.values())])

    def _expire(self, alarm: Alarm, now: int, wall: int, now_us: int, out: list[Transition]) -> None:
        if alarm.is_delayed:
            level, seen = alarm.expire(now, wall)
            if seen is not None:
                self._move(alarm, level, seen, now_us, out)

    def _watch(self, alarm: Alarm) -> None:
        """After anything that may have moved an alarm, or begun or ended a delay."""
        alarm.settle()
        if alarm.rule.is_prompt:
            return
        if self.historical:
            if alarm.is_delayed:
                alarm.quiet = NOTHING  # only its own readings carry its time, so each must be looked at
        elif alarm.is_delayed:
            self._delayed[alarm.rule.number] = alarm
            self._due, self._wall_due = min(self._due, alarm.due), min(self._wall_due, alarm.wall)
        else:
            self._delayed.pop(alarm.rule.number, None)

    # Out

    def _move(self, alarm: Alarm, level: int, seen: Seen, now_us: int, out: list[Transition]) -> None:
        """Bring an alarm to `level`, and hold it there if it was driven beyond every limit."""
        view, rule = alarm.view, alarm.rule
        before = view.level
        if level > before:
            self.emit(view, rule, _ESCALATED if before else _ACTIVATED, now_us, out, level, seen)
        elif level < before:
            self.emit(view, rule, _EASED if level else _RETURNED, now_us, out, level, seen)
            if not level and view.state & _ONE_SHOT:
                self.emit(view, rule, _EXPIRED, now_us, out)
        if alarm.treatment == _BEYOND and not alarm.is_held:
            self.emit(view, rule, _LATCHED, now_us, out, None, seen)

    def emit(
        self,
        view: AlarmView,
        rule: Rule | None,
        cause: int,
        now_us: int,
        out: list[Transition],
        level: int | None = None,
        seen: Seen = NO_READING,
        actor: str = "",
        reason: str = "",
        until: int = 0,
    ) -> None:
        """The one place where an alarm changes: a transition, folded and handed out.

        `rule` is None for an alarm that is no longer configured; `level` None leaves it.
        """
        before = view.level
        if level is None:
            level = before
        priority, alarm_class, limit, latch = view.priority, view.alarm_class, NO_LIMIT, False
        if rule is not None:
            alarm_class, latch = rule.alarm_class, rule.latch
            if level:
                priority = rule.priority[level]
            if seen is not NO_READING:
                limit = rule.limits[level if level > before else before]
        state = states.after(view.state, cause, latch)
        if state & _SHELVED:
            until = until or view.until
        elif self.shelved:
            self.shelved.pop(view.alarm, None)
        t = Transition(
            view.alarm,
            view.tag,
            view.version + 1,
            view.activation + (cause in ANNUNCIATES),
            cause,
            view.state,
            state,
            before,
            level,
            priority,
            alarm_class,
            seen[0],
            seen[1],
            limit,
            seen[2],
            now_us,
            actor,
            reason,
            until,
            self.historical,
        )
        if not view.version:
            self.views[view.alarm] = view
        view.apply(t)
        out.append(t)
