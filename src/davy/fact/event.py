"""The few things that are written down one by one: transitions, acts, configuration, epochs.

Each is a frozen dataclass whose body is its fields as one canonical-CBOR array in field order,
so adding a field is a new leaf version.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag
from functools import cache
from operator import attrgetter
from typing import Any, Self

import cbor2

from davy.errors import Corrupt
from davy.fact.leaf import Kind


class Level(IntEnum):
    """How far an alarm has gone in its direction; 0 is normal. Escalation re-annunciates."""

    normal = 0
    first = 1  # high or low, discrete, stale, bad
    second = 2  # high_high or low_low


class AlarmType(IntEnum):
    """One alarm (rule) is (tag, type); high and low are exclusive-level alarms, one a direction."""

    high = 0
    low = 1
    discrete = 2
    stale = 3
    bad = 4


class State(IntFlag):
    """Alarm state as OPC UA Part 9 (contracts.md 6). Normal is `acked` alone."""

    active = 1
    acked = 2
    latched = 4
    shelved = 8
    suppressed = 16
    out_of_service = 32
    one_shot = 64  # beside shelved: the shelving also ends when the alarm returns to normal


class Cause(IntEnum):
    """What moved an alarm from one state to the next."""

    activated = 0
    escalated = 1
    eased = 2
    returned = 3
    acknowledged = 4
    reset = 5
    shelved = 6
    unshelved = 7
    shelving_expired = 8
    suppressed = 9
    unsuppressed = 10
    removed_from_service = 11
    placed_in_service = 12
    latched = 13  # over range: stays active until reset, whatever the value says next
    one_shot_shelved = 14


class Verb(IntEnum):
    """What a person may do to an alarm; names as in the OPC UA Part 9 nodeset."""

    acknowledge = 0
    timed_shelve = 1
    one_shot_shelve = 2
    unshelve = 3
    suppress = 4
    unsuppress = 5
    remove_from_service = 6
    place_in_service = 7
    reset = 8
    add_comment = 9


@cache
def _getter(event: Any) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*(f.name for f in fields(event)))


class _Event:
    """Positional CBOR for the dataclasses below."""

    __slots__ = ()

    def encode(self) -> bytes:
        return cbor2.dumps(_getter(type(self))(self), canonical=True)  # type: ignore[arg-type]  # classes are hashable

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Inverse of `encode`. Raises Corrupt."""
        try:
            values = cbor2.loads(data)
            return cls(*values)
        except Exception as error:  # cbor2 and the constructor raise many kinds on garbage
            raise Corrupt(f"{cls.__name__} body: {error}") from error


# Not frozen: __setattr__ field by field would make each one cost 4 us instead of 0.4 on the alarm path.
@dataclass(slots=True, unsafe_hash=True)
class Transition(_Event):
    """An alarm changed state.

    alarm: rule number, tag index * 8 + AlarmType, unique in an origin. version: counts the
    transitions of this alarm, so an act can name the state it saw. activation: counts annunciations
    of this alarm (rises on activated and escalated). state_before, state: State bits. level_before,
    level: Level. priority 1..4; alarm_class: 0 statutory, 1 process, 2 info. value, status, limit:
    of the reading that did it (NaN where none; limit: of the level reached, or left). source_time:
    of that reading; time: server, both us UTC. actor "" for the machine, else a pseudonym
    `p:<uid>`. until: us UTC when the standing shelving ends, or 0. historical: judged in source
    time, drives nothing.
    """

    alarm: int
    tag: int
    version: int
    activation: int
    cause: int
    state_before: int
    state: int
    level_before: int
    level: int
    priority: int
    alarm_class: int
    value: float
    status: int
    limit: float
    source_time: int
    time: int
    actor: str = ""
    reason: str = ""
    until: int = 0
    historical: bool = False


@dataclass(frozen=True, slots=True)
class Act(_Event):
    """A person did something to an alarm, signed in at this edge.

    version: the alarm's version the person saw (StaleVersion if it moved on). until: us UTC end of a
    timed shelving, or 0. place: always "edge" here. second: second person's pseudonym or "".
    """

    actor: str
    role: str
    verb: int
    alarm: int
    version: int
    reason: str
    until: int
    time: int
    place: str = "edge"
    second: str = ""


@dataclass(frozen=True, slots=True)
class Tags(_Event):
    """A tag table in full: `tags` are Tag.plain() maps, `refs` float64 little-endian, one an index."""

    version: int
    tags: list[dict[str, Any]]
    refs: bytes


@dataclass(frozen=True, slots=True)
class Config(_Event):
    """What a process ran with: a name ("site", "recipients", ...) and its plain content, no secrets."""

    name: str
    content: Any
    time: int


@dataclass(frozen=True, slots=True)
class Epoch(_Event):
    """A new key epoch. wraps_hash: SHA-256 of the keyring file that holds its wrapped keys.

    snapshot: the whole alarm state (`Alarms.snapshot`), where a fold may start. reason: "start",
    "hour" or "recipients".
    """

    number: int
    wraps_hash: bytes
    snapshot: Any
    tags_version: int
    time: int
    reason: str


@dataclass(frozen=True, slots=True)
class Note(_Event):
    """Anything else the machine notices about itself: clock, gap, reorigin, unverified_start, ...

    what: a slug; detail: plain CBOR values.
    """

    what: str
    detail: dict[str, Any]
    time: int


#: `Note.what` of a gap leaf that says which sealed bodies went to make room; detail: class, first, last (leaves).
BULK_RETIRED = "bulk_retired"

#: The body class of each kind that has an event body.
BODY: dict[Kind, type[_Event]] = {
    Kind.transition: Transition,
    Kind.act: Act,
    Kind.tags: Tags,
    Kind.config: Config,
    Kind.epoch: Epoch,
    Kind.clock: Note,
    Kind.gap: Note,
    Kind.heartbeat: Note,
    Kind.reorigin: Note,
    Kind.unverified_start: Note,
}
