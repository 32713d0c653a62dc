"""Where a core goes on after a stop: the fold of its own log since the last `epoch` leaf.

There is no second store of alarm state (contracts.md 6): the snapshot in the last epoch leaf, and
every transition after it, is the state. Nothing found here ever stops the core from starting.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from davy.alarm import Alarms
from davy.blackbox.log import Log
from davy.blackbox.seal import open_chunk
from davy.errors import DavyError
from davy.fact import Epoch, Kind, Leaf, Transition, decode_leaf
from davy.reading import TagTable

log_line = structlog.get_logger()
_PAGE = 256


@dataclass(frozen=True, slots=True)
class Resumed:
    """boot, epoch, tags_version: the last ones used, 0 for a new log. lost: why alarm state was not restored, or ""."""

    alarms: Alarms
    boot: int
    epoch: int
    tags_version: int
    lost: str


def counts(log: Log) -> tuple[int, int, int]:
    """(boot, epoch, tags_version) of the newest leaf, all 0 in a new log."""
    if log.size == 0:
        return 0, 0, 0
    last = decode_leaf(log.leaves(log.size - 1, log.size)[0])
    return last.boot, last.epoch, last.tags_version


def resume(log: Log, tags: TagTable, key: Callable[[int], bytes]) -> Resumed:
    """The state the log holds. key: key of a body by its key_id; raises DavyError where it is gone."""
    if log.size == 0:
        return Resumed(Alarms(tags), *counts(log), "")
    try:
        alarms = _fold(log, tags, key)
        lost = ""
    except DavyError as error:
        log_line.error("alarm_state_not_restored", reason=error.reason, err=str(error))
        alarms, lost = Alarms(tags), f"{error.reason}: {error}"
    return Resumed(alarms, *counts(log), lost)


def _fold(log: Log, tags: TagTable, key: Callable[[int], bytes]) -> Alarms:
    tail: list[Leaf] = []
    for end in range(log.size, 0, -_PAGE):
        page = [decode_leaf(data) for data in log.leaves(max(0, end - _PAGE), end)]
        epochs = [i for i, leaf in enumerate(page) if leaf.kind == Kind.epoch]
        if not epochs:
            tail = [leaf for leaf in page if leaf.kind == Kind.transition] + tail
            continue
        start = page[epochs[-1]]
        tail = [leaf for leaf in page[epochs[-1] :] if leaf.kind == Kind.transition] + tail
        alarms = Alarms.restore(tags, Epoch.decode(_body(log, start, key)).snapshot)
        for leaf in tail:
            alarms.apply(Transition.decode(_body(log, leaf, key)))
        return alarms
    return Alarms(tags)


def _body(log: Log, leaf: Leaf, key: Callable[[int], bytes]) -> bytes:
    return open_chunk(leaf, log.body(leaf.seq, leaf), key(leaf.key_id), log.origin)
