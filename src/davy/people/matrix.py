"""The permission matrix as data: (act, role, alarm class, place) -> allowed (contracts.md 2 and 7).

Pure. Acts on alarms carry the names of fact.event.Verb; the others are the console's own. What no
row allows is refused. No row lets a centre acknowledge, shelve, suppress, reset or take out of
service: those names stand only in rows whose place is `edge`.
"""

from enum import StrEnum
from typing import NamedTuple

from davy.fact.event import Verb
from davy.reading.tag import Class


class Role(StrEnum):
    viewer = "viewer"
    operator = "operator"
    manager = "manager"
    inspector = "inspector"
    admin = "admin"


class Place(StrEnum):
    edge = "edge"
    centre = "centre"


class Row(NamedTuple):
    acts: frozenset[str]
    roles: frozenset[Role]
    classes: frozenset[Class]
    places: frozenset[Place]


def _row(acts: str, roles: str, classes: str, places: str) -> Row:
    return Row(
        frozenset(acts.split()),
        frozenset(map(Role, roles.split())),
        frozenset(map(Class, classes.split())),
        frozenset(map(Place, places.split())),
    )


_ALL = "viewer operator manager inspector admin"
_SITE = "operator manager admin"
_ANY = "statutory process info"

#: `admin` stands beside the manager at the edge because on a small site they are one person.
MATRIX: tuple[Row, ...] = (
    _row("view", _ALL, _ANY, "edge centre"),
    _row("people", "admin", _ANY, "edge centre"),
    _row("acknowledge add_comment reset unshelve", _SITE, _ANY, "edge"),
    _row("timed_shelve one_shot_shelve", _SITE, "process info", "edge"),
    _row("suppress remove_from_service", "manager admin", "process info", "edge"),
    _row("unsuppress place_in_service", "manager admin", _ANY, "edge"),
)

#: Every act the matrix speaks of.
ACTS: frozenset[str] = frozenset(act for row in MATRIX for act in row.acts)


def allowed(act: str | Verb, role: str, alarm_class: str | Class, place: str) -> bool:
    """Whether a person of `role` may do `act` to an alarm of `alarm_class` from `place`. Unknown words: no.

    For acts that touch no alarm (`view`, `people`) the class does not matter.
    """
    name = act.name if isinstance(act, Verb) else act
    return any(
        name in row.acts and role in row.roles and alarm_class in row.classes and place in row.places for row in MATRIX
    )
