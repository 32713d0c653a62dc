"""What other processes may say to the core, taken apart and judged before it touches anything."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from davy.errors import BadRequest, NotAllowed
from davy.fact import Act, Verb
from davy.people.matrix import allowed
from davy.reading import Class, Readings, TagTable
from davy.reading.readings import COLUMNS

#: Characters of a name or a reason; what a person writes is far below, and a leaf has an end.
MAX_TEXT = 2000
#: Times beyond are no times (us UTC; the year 2255).
MAX_TIME = 1 << 53
_CLASSES = tuple(Class)
_TEXTS, _NUMBERS = ("actor", "role", "reason"), ("verb", "alarm", "version", "until")


def act_of(now: int, **said: Any) -> Act:
    """The act a console asks for. Raises BadRequest."""
    for name in _TEXTS:
        if not isinstance(said[name], str) or len(said[name]) > MAX_TEXT:
            raise BadRequest(f"act: expected at most {MAX_TEXT} characters as {name}, got {said[name]!r:.80}")
    for name in _NUMBERS:
        value = said[name]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_TIME:
            raise BadRequest(f"act: expected a number from 0 on as {name}, got {value!r:.80}")
    if said["verb"] not in Verb._value2member_map_:
        raise BadRequest(f"act: expected a verb of 0 to {max(Verb):d}, got {said['verb']}")
    return Act(**said, time=now)


def may(act: Act, alarm_class: int) -> None:
    """Raises NotAllowed where the matrix has no row for this role, verb and class (0 statutory, 1 process, 2 info)."""
    name = _CLASSES[alarm_class]
    if not allowed(Verb(act.verb), act.role, name, "edge"):
        raise NotAllowed(f"{act.role} may not {Verb(act.verb).name} an alarm of class {name}")


def readings_of(columns: Mapping[str, bytes], tags: TagTable, now: int, **shared: Any) -> Readings:
    """Readings that another process brings: the columns of a row but server_time, as little-endian bytes.

    now: us UTC, their server_time; shared: the batch fields. Raises BadRequest, and then none of them counts.
    """
    try:
        found: dict[str, Any] = {
            name: np.frombuffer(columns[name], kind) for name, kind in COLUMNS if name != "server_time"
        }
        readings = Readings(**found, server_time=np.full(len(found["tag"]), now, np.int64), **shared)
    except (KeyError, TypeError, ValueError) as error:  # a column is missing, no bytes, cut, or shorter than others
        raise BadRequest(f"readings: expected five columns of one length: {error}") from error
    tag, time = readings.tag, readings.source_time
    if len(tag) and not (tag.max() < tags.size and tags.known[tag].all()):
        raise BadRequest(f"readings: expected tag indices of table version {tags.version}")
    if len(tag) and not (time.min() >= 0 and time.max() < MAX_TIME):
        raise BadRequest(f"readings: expected times of 0 to {MAX_TIME} us, got {time.min()} to {time.max()}")
    return readings
