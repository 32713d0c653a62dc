"""What one origin looks like right now, kept from the items of its live feed.

Pure: items in, state out; the time comes in. One Picture belongs to one event loop. It may lag or
skip readings (the feed drops oldest first), it never invents one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from davy.alarm.fold import AlarmView
from davy.clock import SECOND
from davy.errors import BadRequest
from davy.fact.event import AlarmType, State, Transition
from davy.reading import Tag, TagTable
from davy.reading.readings import COLUMNS
from davy.reading.status import Status

#: A value is called rising or falling against one at least this much older.
TREND_OVER = 30 * SECOND
NEVER = 0


_VIEW = {f.name for f in fields(AlarmView)}
_TRANSITION = {f.name for f in fields(Transition)}


def is_hidden(alarm: AlarmView) -> bool:
    """Somebody or some logic keeps it off the list; it is still judged and recorded."""
    return bool(alarm.state & (State.shelved | State.suppressed | State.out_of_service))


def is_listed(alarm: AlarmView) -> bool:
    return not alarm.is_normal and not is_hidden(alarm)


def is_unacknowledged(alarm: AlarmView) -> bool:
    return not alarm.state & State.acked


def urgency(alarm: AlarmView) -> tuple[int, bool, bool, bool, int, int]:
    """Sort key of the list, what kills first on top: by priority; what stands before what has returned; what is
    measured before what cannot be; unacknowledged first; then newest."""
    stands = bool(alarm.state & (State.active | State.latched))
    unmeasured = alarm.kind in (AlarmType.stale, AlarmType.bad)
    return alarm.priority, not stands, unmeasured, not is_unacknowledged(alarm), -alarm.raised, alarm.alarm


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """size, time: of the newest signed tree, us UTC; held_size, held_time: what the mirror cosigned, 0 = nothing.

    exposure_us: age of the oldest entry nobody else holds, None where there is no centre. note: the
    signed note's text, if sent.
    """

    size: int = 0
    time: int = 0
    held_size: int = 0
    held_time: int = 0
    exposure_us: int | None = None
    note: str = ""

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Checkpoint":
        note = plain.get("note") or ""
        text = note.decode("utf-8", "replace") if isinstance(note, bytes) else str(note)
        size, time, held_size, held_time = (int(plain.get(n) or 0) for n in ("size", "time", "held_size", "held_time"))
        exposure = plain.get("exposure_us")
        return cls(size, time, held_size, held_time, None if exposure is None else int(exposure), text)

    @property
    def behind(self) -> int:
        """Entries that lie here only."""
        return max(0, self.size - self.held_size)


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest reading of one tag; value NaN and server_time 0 where none came yet."""

    value: float
    status: int
    flags: int
    source_time: int
    server_time: int


class Picture:
    """Tags, newest readings, standing alarms and checkpoint of one origin.

    Arrays are indexed by Tag.index. `version` grows with every change, for ETags; `moves` with every
    transition and every new snapshot, so that a page can tell whether its list is the newest.
    """

    def __init__(self, origin: str, item: Mapping[str, Any], now_us: int) -> None:
        """From a snapshot item. Raises BadRequest when it is not one."""
        self.origin = origin
        self.version = 0
        self.moves = now_us
        self.heard = now_us
        try:
            self.site: dict[str, Any] = dict(item.get("site") or {})
            self.tags = TagTable(int(self.site.get("tags_version", 0)), tuple(Tag.of(t) for t in item["tags"]))
            size = self.tags.size
            self.value = np.full(size, np.nan)
            self.status = np.full(size, int(Status.BadWaitingForInitialData), np.uint32)
            self.flags = np.zeros(size, np.uint32)
            self.source_time = np.zeros(size, np.int64)
            self.server_time = np.zeros(size, np.int64)
            views = (AlarmView(**{k: v for k, v in a.items() if k in _VIEW}) for a in item.get("alarms") or ())
            self.alarms = {view.alarm: view for view in views if not view.is_normal}
            self.checkpoint = Checkpoint.of(item.get("checkpoint") or {})
        except (KeyError, TypeError, ValueError) as error:
            raise BadRequest(f"snapshot of {origin!r}: {error!r}") from error
        self.readings(item.get("latest") or {})
        self._mark_time = self._older_time = now_us
        self._mark = self._older = self.value.copy()

    def readings(self, columns: Mapping[str, Any]) -> NDArray[np.uint32]:
        """Take newest readings from little-endian columns. Gives the tags that changed.

        Tags that the table does not have are passed over: a snapshot with the new table follows.
        """
        if not columns.get("tag"):
            return np.empty(0, np.uint32)
        arrays = {name: np.frombuffer(columns[name], dtype) for name, dtype in COLUMNS if name in columns}
        tag = arrays["tag"]
        if len(arrays) != len(COLUMNS) or any(len(a) != len(tag) for a in arrays.values()):
            raise BadRequest(f"latest of {self.origin!r}: expected {len(COLUMNS)} columns of one length")
        known = tag < self.tags.size
        tag = tag[known]
        for name in ("value", "status", "flags", "source_time", "server_time"):
            getattr(self, name)[tag] = arrays[name][known]
        self.version += 1
        return tag

    def transition(self, item: Mapping[str, Any]) -> AlarmView | None:
        """Move an alarm. Gives it as it now stands, or None where the item changes nothing live."""
        try:
            t = Transition(**{k: v for k, v in item.items() if k in _TRANSITION})
        except TypeError as error:
            raise BadRequest(f"transition of {self.origin!r}: {error}") from error
        view = self.alarms.get(t.alarm) or AlarmView(t.alarm, t.tag, t.alarm_class, t.priority)
        if t.historical or t.version <= view.version:
            return None  # judged in its own time, or told already by the snapshot
        view.apply(t)
        if view.is_normal:
            self.alarms.pop(t.alarm, None)
        else:
            self.alarms[t.alarm] = view
        self.version += 1
        self.moves += 1
        return view

    def held(self, plain: Mapping[str, Any]) -> None:
        self.checkpoint = Checkpoint.of(plain)
        self.version += 1

    def tick(self, now_us: int) -> None:
        """Keep a look back for `rate`; call with every item."""
        self.heard = now_us
        if now_us - self._mark_time >= TREND_OVER:
            self._older_time, self._older = self._mark_time, self._mark
            self._mark_time, self._mark = now_us, self.value.copy()

    def rate(self, index: int, now_us: int) -> float | None:
        """Change of the value in units an hour over the last half minute or more; None when not known."""
        span = now_us - self._older_time
        if span < TREND_OVER or index >= len(self._older):
            return None
        change = float(self.value[index] - self._older[index])
        return None if change != change else change * 3600 * SECOND / span

    def latest(self, index: int) -> Latest:
        return Latest(
            float(self.value[index]),
            int(self.status[index]),
            int(self.flags[index]),
            int(self.source_time[index]),
            int(self.server_time[index]),
        )

    @property
    def newest(self) -> int:
        """us UTC of the newest reading here, 0 without any."""
        return int(self.server_time.max()) if len(self.server_time) else NEVER

    def tally(self) -> dict[int, tuple[int, int]]:
        """priority -> (listed alarms, unacknowledged ones)."""
        out = dict.fromkeys((1, 2, 3, 4), (0, 0))
        for alarm in self.alarms.values():
            if is_listed(alarm):
                count, unacknowledged = out.get(alarm.priority, (0, 0))
                out[alarm.priority] = (count + 1, unacknowledged + is_unacknowledged(alarm))
        return out

    def hidden(self) -> dict[int, AlarmView]:
        """tag -> its most urgent alarm that somebody or some logic keeps off the list."""
        found = sorted((a for a in self.alarms.values() if is_hidden(a)), key=urgency, reverse=True)
        return {alarm.tag: alarm for alarm in found}

    def worst(self) -> dict[int, AlarmView]:
        """tag -> the alarm that stands for the point: listed, highest priority, unacknowledged first."""
        listed = sorted((a for a in self.alarms.values() if is_listed(a)), key=urgency, reverse=True)
        return {alarm.tag: alarm for alarm in listed}
