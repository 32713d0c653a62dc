"""The alarms a tag gives, worked out once from its row in the tag table. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from davy.alarm.table import BAD, CONDITIONS, Treatment, treatment
from davy.fact.event import AlarmType, Level
from davy.reading import Class, Flag, Hazard, Tag

ALARM_CLASS = {Class.statutory: 0, Class.process: 1, Class.info: 2}
STATUTORY = ALARM_CLASS[Class.statutory]
LEAST_URGENT = 4
EVERYTHING = (-math.inf, math.inf)
NOTHING = (math.inf, -math.inf)


def number(tag: int, kind: AlarmType) -> int:
    """The alarm's number: unique in an origin, forever, as tag indices are."""
    return tag * 8 + kind


class Band(NamedTuple):
    """low <= value <= high is inside; (below, above) is the widest interval that lies outside."""

    low: float
    high: float
    below: float
    above: float


def at_least(limit: float) -> Band:
    return Band(limit, math.inf, -math.inf, math.nextafter(limit, -math.inf))


def at_most(limit: float) -> Band:
    return Band(-math.inf, limit, math.nextafter(limit, math.inf), math.inf)


def exactly(value: float) -> Band:
    """A Boolean's other value is taken to lie toward zero, or above it for zero itself."""
    return Band(value, value, *(at_least(value)[2:] if value > 0 else at_most(value)[2:]))


class Setpoint(NamedTuple):
    """A limit: on while the value is in `on`; once on, off when it has left `off` (the deadband)."""

    level: int
    limit: float
    on: Band
    off: Band


@dataclass(frozen=True, slots=True)
class Rule:
    """One alarm of one tag. Setpoints rise in level; delays in us.

    priority, limits and quiet go by level 0, 1, 2. quiet: (floor, ceiling) between which no value
    moves the alarm off that level. sees: the condition bits that mean something for it.
    """

    number: int
    kind: AlarmType
    tag: int
    alarm_class: int
    setpoints: tuple[Setpoint, ...]
    priority: tuple[int, int, int]
    limits: tuple[float, float, float]
    quiet: tuple[tuple[float, float], ...]
    sees: int
    on_delay: int
    off_delay: int
    latch: bool
    is_prompt: bool  # no delays

    @property
    def is_compared(self) -> bool:
        """Whether its readings' values matter to it, and not only their condition."""
        return self.kind in (AlarmType.high, AlarmType.low, AlarmType.discrete)

    @property
    def top(self) -> int:
        """The level of a reading beyond every limit."""
        return self.setpoints[-1].level

    def treats(self, condition: int) -> Treatment:
        """What this alarm makes of a reading of `condition`."""
        return treatment(self.kind, condition & self.sees)


def interval(setpoints: tuple[Setpoint, ...], level: int, crossed: Sequence[object] = ()) -> tuple[float, float]:
    """(floor, ceiling) in which no setpoint changes its mind; `crossed[i]` is true where it waits for a delay."""
    floor, ceiling = EVERYTHING
    for index, point in enumerate(setpoints):
        is_on = level >= point.level
        band = point.off if is_on else point.on
        is_inside = is_on != bool(crossed and crossed[index])
        floor = max(floor, band.low if is_inside else band.below)
        ceiling = min(ceiling, band.high if is_inside else band.above)
    return floor, ceiling


@cache
def seen_bits(hazard: Hazard) -> int:
    """What an alarm of a tag with this hazard sees: going off scale the harmless way means nothing."""
    seen = CONDITIONS | BAD
    if hazard not in (Hazard.high, Hazard.both):
        seen &= ~int(Flag.over_range)
    if hazard not in (Hazard.low, Hazard.both):
        seen &= ~int(Flag.under_range)
    return seen


def rules_of(tag: Tag) -> tuple[Rule, ...]:
    """Every alarm of `tag`. Raises ValueError where its limits stand in the wrong order."""
    limits = {AlarmType.high: _high(tag), AlarmType.low: _low(tag), AlarmType.discrete: _discrete(tag)}
    rules = [_limit_rule(tag, kind, points) for kind, points in limits.items() if points]
    if tag.stale_after is not None:
        rules.append(_health_rule(tag, AlarmType.stale))
    if tag.alarm_class is Class.statutory or (rules and tag.alarm_class is Class.process):
        rules.append(_health_rule(tag, AlarmType.bad))
    return tuple(rules)


def _rule(
    tag: Tag, kind: AlarmType, points: tuple[Setpoint, ...], priorities: tuple[int, int], on_delay: int, latch: bool
) -> Rule:
    by_level = {p.level: p.limit for p in points}
    return Rule(
        number=number(tag.index, kind),
        kind=kind,
        tag=tag.index,
        alarm_class=ALARM_CLASS[tag.alarm_class],
        setpoints=points,
        priority=(priorities[0], *priorities),
        limits=(math.nan, by_level.get(1, math.nan), by_level.get(2, math.nan)),
        quiet=tuple(interval(points, level) for level in Level),
        sees=seen_bits(tag.hazard),
        on_delay=on_delay,
        off_delay=tag.off_delay,
        latch=latch,
        is_prompt=not (on_delay or tag.off_delay),
    )


def _limit_rule(tag: Tag, kind: AlarmType, points: tuple[Setpoint, ...]) -> Rule:
    priorities = (tag.priority, _more_urgent(tag))
    return _rule(tag, kind, points, priorities, on_delay=tag.on_delay, latch=tag.latch)


def _health_rule(tag: Tag, kind: AlarmType) -> Rule:
    """A blind statutory tag is as urgent as the worst it may hide; elsewhere one step less than its alarms."""
    if tag.alarm_class is not Class.statutory:
        own = min(LEAST_URGENT, tag.priority + 1)
    elif tag.high_high is not None or tag.low_low is not None:
        own = _more_urgent(tag)
    else:
        own = tag.priority
    return _rule(tag, kind, (_UNLIMITED,), (own, own), on_delay=0, latch=False)


def _more_urgent(tag: Tag) -> int:
    return max(1, tag.priority - 1)


#: On and off by what the table says of a reading's condition, never by its value.
_NEVER = Band(*NOTHING, *EVERYTHING)
_UNLIMITED = Setpoint(Level.first, math.nan, on=_NEVER, off=_NEVER)


def _levels(first: float | None, second: float | None) -> list[tuple[Level, float]]:
    return [
        (level, limit)
        for level, limit in zip((Level.first, Level.second), (first, second), strict=True)
        if limit is not None
    ]


def _high(tag: Tag) -> tuple[Setpoint, ...]:
    if tag.high is not None and tag.high_high is not None and tag.high > tag.high_high:
        raise ValueError(f"tag {tag.name!r}: expected high <= high_high, got {tag.high:g} and {tag.high_high:g}")
    points = [Setpoint(n, x, at_least(x), at_least(x - tag.deadband)) for n, x in _levels(tag.high, tag.high_high)]
    return tuple(points) or _range_only(tag, Hazard.high)


def _low(tag: Tag) -> tuple[Setpoint, ...]:
    if tag.low is not None and tag.low_low is not None and tag.low_low > tag.low:
        raise ValueError(f"tag {tag.name!r}: expected low_low <= low, got {tag.low_low:g} and {tag.low:g}")
    points = [Setpoint(n, x, at_most(x), at_most(x + tag.deadband)) for n, x in _levels(tag.low, tag.low_low)]
    return tuple(points) or _range_only(tag, Hazard.low)


def _discrete(tag: Tag) -> tuple[Setpoint, ...]:
    if tag.discrete is None:
        return ()
    return (Setpoint(Level.first, tag.discrete, exactly(tag.discrete), exactly(tag.discrete)),)


def _range_only(tag: Tag, direction: Hazard) -> tuple[Setpoint, ...]:
    """A statutory tag with a hazard but no limit that way still alarms when driven over range."""
    if tag.alarm_class is Class.statutory and tag.hazard in (direction, Hazard.both):
        return (_UNLIMITED,)
    return ()
