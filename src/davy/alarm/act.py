"""What a person may do to an alarm, as data (OPC UA Part 9 methods; contracts.md 7). Pure.

Roles are not checked here but by the matrix in `people`; the rules of the alarm's class are.
"""

from typing import NamedTuple

from davy.alarm.fold import AlarmView
from davy.alarm.rule import STATUTORY
from davy.errors import BadRequest, NotAllowed, StaleVersion
from davy.fact.event import Act, Cause, Verb

HOUR = 3_600_000_000  # us
#: [D] A shelving without a stated end lasts 8 h, one shift; none may be asked for beyond 24 h.
SHELVE_DEFAULT = 8 * HOUR
SHELVE_MAX = 24 * HOUR


class Rights(NamedTuple):
    """cause: what the act does, None for a comment; silences: no one person may, on a statutory alarm."""

    cause: Cause | None
    silences: bool = False
    needs_reason: bool = False
    shelves: bool = False


ACTS: dict[Verb, Rights] = {
    Verb.acknowledge: Rights(Cause.acknowledged),
    Verb.timed_shelve: Rights(Cause.shelved, silences=True, needs_reason=True, shelves=True),
    Verb.one_shot_shelve: Rights(Cause.one_shot_shelved, silences=True, needs_reason=True, shelves=True),
    Verb.unshelve: Rights(Cause.unshelved),
    Verb.suppress: Rights(Cause.suppressed, silences=True, needs_reason=True),
    Verb.unsuppress: Rights(Cause.unsuppressed),
    Verb.remove_from_service: Rights(Cause.removed_from_service, silences=True, needs_reason=True),
    Verb.place_in_service: Rights(Cause.placed_in_service),
    Verb.reset: Rights(Cause.reset),
    Verb.add_comment: Rights(None, needs_reason=True),
}


def check(act: Act, view: AlarmView, alarm_class: int, now_us: int) -> tuple[Cause | None, int]:
    """(what the act does, us UTC when a shelving it begins ends or 0).

    Raises NotAllowed, StaleVersion or BadRequest. Whether the state admits it, `state.after` says.
    """
    try:
        rights = ACTS[Verb(act.verb)]
    except ValueError:
        raise BadRequest(f"verb: expected 0 to {max(Verb):d}, got {act.verb}") from None
    name = Verb(act.verb).name
    if not act.actor:
        raise BadRequest(f"{name}: expected the person who does it, got none")
    if act.place != "edge" and rights.cause is not None:
        raise NotAllowed(f"{name}: only at the edge, by a person signed in there, got {act.place!r}")
    if rights.silences and alarm_class == STATUTORY:
        raise NotAllowed(f"{name}: alarm {act.alarm} is of class statutory, which no one person may silence")
    if act.version != view.version:
        raise StaleVersion(f"{name}: alarm {act.alarm} is at version {view.version} now, you saw {act.version}")
    if rights.needs_reason and not act.reason.strip():
        raise BadRequest(f"{name}: expected a reason, got none")
    return rights.cause, _shelved_until(act, now_us) if rights.shelves else 0


def _shelved_until(act: Act, now_us: int) -> int:
    until = act.until or now_us + SHELVE_DEFAULT
    if not now_us < until <= now_us + SHELVE_MAX:
        asked = (until - now_us) / HOUR
        raise BadRequest(f"shelve: expected an end within {SHELVE_MAX // HOUR} h from now, got {asked:.1f} h")
    return until
