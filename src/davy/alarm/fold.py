"""The state of every alarm as the fold of its transitions (contracts.md 6). Pure.

The same fold runs at the edge as the alarms move, after a crash over what the log holds, at the
centre, and in fsck: there is no second store of alarm state.
"""

import math
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Self

import cbor2

from davy.alarm import state as states
from davy.errors import Corrupt
from davy.fact.event import AlarmType, Cause, Transition

MACHINE = frozenset(map(int, (Cause.activated, Cause.escalated, Cause.eased, Cause.returned, Cause.latched)))
ANNUNCIATES = frozenset(map(int, (Cause.activated, Cause.escalated)))
SILENCES = frozenset(map(int, (Cause.shelved, Cause.one_shot_shelved, Cause.suppressed, Cause.removed_from_service)))
NORMAL = int(states.NORMAL)


@dataclass(slots=True)
class AlarmView:
    """One alarm as its transitions left it; field meanings as in fact.event.Transition.

    priority: of its level, or of the last it had. value, status, limit, source_time: of the reading that last
    moved it. time: of the last transition; raised: of the last annunciation (us UTC, 0 if never).
    acked_by: who acknowledged this annunciation. silenced_by, reason: who shelved, suppressed or
    took it out of service last, and why; "" once nothing of that stands.
    """

    alarm: int
    tag: int
    alarm_class: int
    priority: int
    version: int = 0
    activation: int = 0
    state: int = NORMAL
    level: int = 0
    value: float = math.nan
    status: int = 0
    limit: float = math.nan
    source_time: int = 0
    time: int = 0
    raised: int = 0
    acked_by: str = ""
    silenced_by: str = ""
    reason: str = ""
    until: int = 0
    historical: bool = False

    @property
    def is_normal(self) -> bool:
        return self.state == NORMAL

    @property
    def kind(self) -> AlarmType:
        return AlarmType(self.alarm % 8)

    @property
    def letter(self) -> str:
        """The ISA-18.2 letter of its state."""
        return states.letter(self.state)

    def apply(self, t: Transition) -> None:
        """Become what `t` says."""
        self.alarm_class, self.priority = t.alarm_class, t.priority
        self.version, self.activation = t.version, t.activation
        self.state, self.level, self.time, self.until = t.state, t.level, t.time, t.until
        cause = t.cause
        if cause in MACHINE:
            self.value, self.status, self.limit, self.source_time = t.value, t.status, t.limit, t.source_time
            if cause in ANNUNCIATES:
                self.raised, self.acked_by = t.time, ""
        elif cause == Cause.acknowledged:
            self.acked_by = t.actor
        elif cause in SILENCES:
            self.silenced_by, self.reason = t.actor, t.reason
        elif not t.state & states.SILENCED:
            self.silenced_by = self.reason = ""

    def plain(self) -> dict[str, Any]:
        """CBOR-able, for the live feed: the fields, and `letter` and `type` by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "letter": self.letter,
            "type": self.kind.name,
        }


_FIELDS = attrgetter(*(f.name for f in fields(AlarmView)))


class Fold:
    """All alarms of one origin that ever moved; live and historical ones stand apart.

    Owned by whoever feeds it, one thread.
    """

    def __init__(self) -> None:
        self.live: dict[int, AlarmView] = {}
        self.historical: dict[int, AlarmView] = {}

    def views(self, historical: bool) -> dict[int, AlarmView]:
        return self.historical if historical else self.live

    def apply(self, t: Transition) -> bool:
        """Take `t` in. False, and nothing changed, where it is known already: applying twice is safe.

        A gap in the versions is taken as it is (`problem` tells); what the log says, stands. So is
        a later transition that counts from the beginning again, as a site does that lost its state;
        at an `epoch` leaf start anew with `Fold.of` all the same.
        """
        views = self.views(t.historical)
        view = views.get(t.alarm)
        if view is None:
            view = views[t.alarm] = AlarmView(t.alarm, t.tag, t.alarm_class, t.priority, historical=t.historical)
        if t.version <= view.version and t.time <= view.time:
            return False
        view.apply(t)
        return True

    def problem(self, t: Transition) -> str | None:
        """What is wrong with `t` as the next transition of its alarm, for fsck; None when all is right."""
        view = self.views(t.historical).get(t.alarm) or AlarmView(t.alarm, t.tag, t.alarm_class, t.priority)
        place = f"alarm {t.alarm} version {t.version}"
        if t.version != view.version + 1:
            return f"{place}: expected version {view.version + 1}"
        if (t.state_before, t.level_before) != (view.state, view.level):
            before = f"{states.describe(view.state)}, level {view.level}"
            return f"{place}: expected to start {before}, got {states.describe(t.state_before)}, level {t.level_before}"
        if not states.legal(t.state_before, t.cause, t.state):
            return f"{place}: {states.describe(t.state_before)} cannot become {states.describe(t.state)} by {t.cause}"
        if t.activation != view.activation + (t.cause in ANNUNCIATES):
            return f"{place}: expected activation {view.activation + (t.cause in ANNUNCIATES)}, got {t.activation}"
        return None

    def standing(self, historical: bool = False) -> list[AlarmView]:
        """Copies of the alarms that are not normal, by alarm number."""
        return [copy(v) for _, v in sorted(self.views(historical).items()) if not v.is_normal]

    def snapshot(self) -> list[list[Any]]:
        """Every alarm as a list of AlarmView's fields, ordered; plain CBOR values."""
        both = (*sorted(self.live.items()), *sorted(self.historical.items()))
        return [list(_FIELDS(view)) for _, view in both]

    @classmethod
    def of(cls, snapshot: Iterable[list[Any]]) -> Self:
        """Inverse of `snapshot`. Raises Corrupt."""
        fold = cls()
        try:
            for row in snapshot:
                view = AlarmView(*row)
                states.letter(view.state)
                fold.views(view.historical)[view.alarm] = view
        except (TypeError, ValueError, KeyError) as error:
            raise Corrupt(f"alarm snapshot: {error}") from error
        return fold

    def agrees(self, snapshot: Any) -> bool:
        """Whether this fold is the one `Alarms.snapshot` holds, bit for bit (NaN included)."""
        return cbor2.dumps(self.snapshot(), canonical=True) == cbor2.dumps(snapshot["alarms"], canonical=True)
