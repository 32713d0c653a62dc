"""What is remembered of each tag to judge its next reading: order, repetition, freezing."""

import numpy as np
from numpy.typing import NDArray

from davy.quality.band import worsen
from davy.quality.bytag import ByTag
from davy.reading import Flag, Readings, Status
from davy.reading.status import U32, is_bad

I64 = NDArray[np.int64]

NEVER = np.iinfo(np.int64).min
#: Readings that take no part in time order: their source_time is not the device's, or is not true.
UNTIMED = np.uint32(Flag.future | Flag.no_source_time)
NO_SOURCE_TIME = np.uint32(Flag.no_source_time)


class Memory:
    """Per tag the last reading that was not late; only `judge` writes it.

    newest: greatest source_time seen, of readings that are neither `future` nor `no_source_time`:
    one reading from the year 2099 must not make every later one late.
    source, value, status: the last reading as it arrived. level: its value, NaN where it was judged
    Bad, and since: when that level began; so a Bad reading ends a frozen spell and begins none.
    frozen_after: int64[size] us, or None where no tag asks.
    """

    def __init__(self, size: int, frozen_after: I64 | None) -> None:
        self.newest = np.full(size, NEVER)
        self.source = np.full(size, NEVER)
        self.value = np.full(size, np.nan)
        self.status = np.full(size, Status.BadWaitingForInitialData, np.uint32)
        self.level = np.full(size, np.nan)
        self.since = np.zeros(size, np.int64)
        self.frozen_after = frozen_after

    def judge(self, by: ByTag, r: Readings, status: U32, flags: U32, clock: I64) -> tuple[U32, U32]:
        """Judge `r` against what went before, then remember it.

        `status` and `flags` are what is known so far (not written to); `clock`: int64[N] us, the
        time by which a level grows old. A late reading is flagged and otherwise forgotten.
        """
        late = self._late(by, r.source_time, flags)
        if late is not None:
            flags = _mark(flags, by, late, Flag.out_of_order)
            if late.all():
                return status, flags
            by = by.keep(~late)
        flags = self._repeats(by, r, flags)
        if self.frozen_after is not None:
            status, flags = self._frozen(by, self.frozen_after[by.tag], r.value, status, flags, by.take(clock))
        return status, flags

    def _late(self, by: ByTag, source_time: I64, flags: U32) -> NDArray[np.bool_] | None:
        """Which rows are older than one already here (in `by` order), None for none; moves `newest`."""
        untimed = flags & UNTIMED
        some = np.count_nonzero(untimed)
        if some == len(untimed):
            return None
        order = by.take(source_time)
        if some:
            order = np.where(by.take(untimed) != 0, NEVER, order)
        back = order < by.previous(self.newest, order)
        if np.count_nonzero(back) == 0:
            self.newest[by.tags] = by.last(order)
            return None
        late: NDArray[np.bool_] = ((order < self.newest[by.tag]) | by.behind(order)) & (order != NEVER)
        self.newest[by.tags] = np.maximum(self.newest[by.tags], by.highest(order))
        return late if np.count_nonzero(late) else None

    def _repeats(self, by: ByTag, r: Readings, flags: U32) -> U32:
        source, value, status = by.take(r.source_time), by.take(r.value), by.take(r.status)
        again = source == by.previous(self.source, source)
        if np.count_nonzero(again):
            again &= value.view(np.int64) == by.previous(self.value, value).view(np.int64)  # bits: NaN repeats too
            again &= status == by.previous(self.status, status)
            again &= (by.take(flags) & NO_SOURCE_TIME) == 0
            flags = _mark(flags, by, again, Flag.duplicate)
        tags = by.tags
        self.source[tags] = by.last(source)
        self.value[tags] = by.last(value)
        self.status[tags] = by.last(status)
        return flags

    def _frozen(
        self, by: ByTag, after: I64, value: NDArray[np.float64], status: U32, flags: U32, clock: I64
    ) -> tuple[U32, U32]:
        level, bad = by.take(value), is_bad(by.take(status))
        if np.count_nonzero(bad):
            level = np.where(bad, np.nan, level)
        changed = level != by.previous(self.level, level)  # a NaN differs from everything
        began = by.carry(np.where(changed, clock, by.previous(self.since, clock)), changed)
        tags = by.tags
        self.level[tags] = by.last(level)
        self.since[tags] = by.last(began)
        frozen = (clock - began >= after) & ~changed
        if np.count_nonzero(frozen):
            rows = by.rows_at(np.flatnonzero(frozen))
            status = worsen(status, rows, np.uint32(Status.UncertainLastUsableValue))
            flags = _mark(flags, by, frozen, Flag.frozen)
        return status, flags


def _mark(flags: U32, by: ByTag, where: NDArray[np.bool_], flag: Flag) -> U32:
    out = flags.copy()
    out[by.rows_at(np.flatnonzero(where))] |= np.uint32(flag)
    return out
