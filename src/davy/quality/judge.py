"""The judge: one per core process, owned by the task that takes readings from the sources."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from davy.quality.band import Bands
from davy.quality.bytag import ByTag
from davy.quality.memory import NEVER, Memory
from davy.reading import Flag, Readings, Status, TagTable
from davy.reading.status import U32, is_bad

#: A device's clock may lead ours by this much (us) before its readings count as from the future.
#: Our choice [D]: above what NTP leaves between two machines, far below a wrong time zone.
FUTURE_TOLERANCE = 2_000_000

FOREVER = np.iinfo(np.int64).max
HISTORICAL, FUTURE = np.uint32(Flag.historical), np.uint32(Flag.future)


def _durations(tags: TagTable, name: str, unit: int) -> NDArray[np.int64] | None:
    """int64[size] durations in ticks of 1/`unit` us, FOREVER where a tag has none; None if no tag has one."""
    out = np.full(tags.size, FOREVER)
    for tag in tags.tags:
        duration = getattr(tag, name)
        if duration is not None:
            out[tag.index] = min(duration * unit, FOREVER)
    return out if (out != FOREVER).any() else None


class Judge:
    """Judges batches in the order they arrive, and tells of tags that fell silent.

    Keeps state per tag for live readings and, apart from it, for `historical` ones, which are judged
    in source time and change nothing live (contracts.md 12). State starts empty: the first reading
    of a tag is never late, repeated or frozen. However a run of batches is cut, each reading is
    judged alike. Not safe for two tasks at once.
    """

    def __init__(self, tags: TagTable) -> None:
        self._tags = tags
        self._bands = Bands(tags)
        frozen_after = _durations(tags, "frozen_after", 1)
        self._live = Memory(tags.size, frozen_after)
        self._past = Memory(tags.size, frozen_after)
        self._stale_after = _durations(tags, "stale_after", 1000)  # ns
        #: Monotonic ns of the last live reading of each tag; FOREVER once it was told as stale.
        self._heard = np.full(tags.size, NEVER)
        self._origin, self._boot_id = "", 0  # of the last batch

    def judge(self, r: Readings) -> Readings:
        """`r` with status and flags judged; the same rows in the same order, values untouched.

        Raises UnknownTarget, before anything is remembered, if a tag is not in the table.
        """
        past = r.flags & HISTORICAL
        count = np.count_nonzero(past)
        if 0 < count < len(r):
            return self._each(r, past != 0)
        if len(r) == 0:
            return r
        by = ByTag.of(r.tag, self._tags.size)
        status, flags = self._bands.judge(by, r.value, r.status, r.flags)
        early = r.source_time > r.server_time + FUTURE_TOLERANCE
        if np.count_nonzero(early):
            flags = flags | np.where(early, FUTURE, np.uint32(0))
        if count:
            status, flags = self._past.judge(by, r, status, flags, r.source_time)
        else:
            self._heard[by.tags] = r.mono_ns
            self._origin, self._boot_id = r.origin, r.boot_id
            # HOLE: a step of our own wall clock ages every level at once, or none; `frozen` inhibits
            # nothing, so a wrong flag at a step (itself an event) is the lesser evil than a batch
            # whose readings all arrived at one monotonic instant.
            status, flags = self._live.judge(by, r, status, flags, r.server_time)
        return r if status is r.status and flags is r.flags else replace(r, status=status, flags=flags)

    def stale(self, now_us: int, mono_ns: int) -> Readings:
        """A reading for each tag that has now been silent longer than its stale_after; once a silence.

        For a scan by the tick (a few us for 5,000 tags). Ages are monotonic; a tag never heard counts
        from the first scan. Any live reading of a tag, late, repeated or Bad, ends its silence.
        value: the tag's last (NaN if none). status: BadNoCommunication, BadWaitingForInitialData where
        there never was a reading, or the last one's where that is Bad already. flags: stale,
        no_source_time, and the range flags of the value. source_time = server_time = now_us. Already
        judged: not for `judge`. `origin` and `boot_id` are those of the last live batch.

        Stale is Bad, not Uncertain: an Uncertain value would be evaluated (contracts.md 5), so silence
        could return an alarm to normal; Bad holds it, votes for it, and is shown as lost.
        """
        if self._stale_after is None:
            return Readings.empty()
        self._heard[self._heard == NEVER] = mono_ns
        tag = np.flatnonzero(mono_ns - self._heard > self._stale_after)
        if len(tag) == 0:
            return Readings.empty()
        self._heard[tag] = FOREVER
        return self._lost(tag.astype(np.uint32), now_us, mono_ns)

    def _lost(self, tag: NDArray[np.uint32], now_us: int, mono_ns: int) -> Readings:
        value, last = self._live.value[tag], self._live.status[tag]
        status: U32 = np.where(is_bad(last), last, np.uint32(Status.BadNoCommunication))
        flags = np.full(len(tag), Flag.stale | Flag.no_source_time, np.uint32)
        status, flags = self._bands.judge(ByTag.of(tag, self._tags.size), value, status, flags)
        now = np.full(len(tag), now_us, np.int64)
        batch = (self._origin, self._tags.version, mono_ns, self._boot_id)
        return Readings(tag, value, status, flags, now, now.copy(), *batch)

    def _each(self, r: Readings, past: NDArray[np.bool_]) -> Readings:
        """A batch that holds both kinds: each judged by itself, then put back in its place."""
        ByTag.of(r.tag, self._tags.size)  # an unknown tag in one part must not leave the other remembered
        status, flags = r.status.copy(), r.flags.copy()
        for rows in (past, ~past):
            part = self.judge(r.take(rows))
            status[rows], flags[rows] = part.status, part.flags
        return replace(r, status=status, flags=flags)
