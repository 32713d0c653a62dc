"""Is the value one the instrument can mean? Range, and the fault bands of NAMUR NE 43."""

import numpy as np
from numpy.typing import NDArray

from davy.quality.bytag import ByTag, Index
from davy.reading import Flag, Status, TagTable
from davy.reading.status import SEVERITY_MASK, U32

#: NAMUR NE 43: a 4-20 mA loop at or below, or at or above this, tells of a fault, not of a value.
#: (3.8 and 20.5 mA bound the measurement; between those and the faults it is saturated.)
FAULT_LOW_MA, FAULT_HIGH_MA = 3.6, 21.0
ZERO_MA, FULL_MA = 4.0, 20.0

#: No bound. Finite, so that an infinity lies outside even where no range is given.
UNBOUND = float(np.finfo(np.float64).max)

OVER, UNDER = np.uint32(Flag.over_range), np.uint32(Flag.under_range)


class Bands:
    """Per tag the range and the fault band, in engineering units."""

    def __init__(self, tags: TagTable) -> None:
        self.low = tags.column("range_low", -UNBOUND)
        self.high = tags.column("range_high", UNBOUND)
        self.fault_low = np.full(tags.size, -np.inf)
        self.fault_high = np.full(tags.size, np.inf)
        for tag in tags.tags:
            if tag.signal == "4-20mA" and tag.range_low is not None and tag.range_high is not None:
                per_ma = (tag.range_high - tag.range_low) / (FULL_MA - ZERO_MA)
                self.fault_low[tag.index] = tag.range_low - per_ma * (ZERO_MA - FAULT_LOW_MA)
                self.fault_high[tag.index] = tag.range_high + per_ma * (FAULT_HIGH_MA - FULL_MA)

    def judge(self, by: ByTag, value: NDArray[np.float64], status: U32, flags: U32) -> tuple[U32, U32]:
        """`status` and `flags` (batch order, not written to) with what the values say added."""
        v = by.take(value)
        inside = (v >= self.low[by.tag]) & (v <= self.high[by.tag])  # False for NaN
        if np.count_nonzero(inside) == len(v):
            return status, flags
        outside = np.flatnonzero(~inside)
        return self._outside(by.rows_at(outside), by.tag_at(outside), v[outside], status, flags)

    def _outside(self, rows: Index, tag: Index, v: NDArray[np.float64], status: U32, flags: U32) -> tuple[U32, U32]:
        over, under = v > self.high[tag], v < self.low[tag]
        broken = (v >= self.fault_high[tag]) | (v <= self.fault_low[tag])
        flags = flags.copy()
        flags[rows] |= np.where(over, OVER, np.uint32(0)) | np.where(under, UNDER, np.uint32(0))
        code = np.where(over | under, np.uint32(Status.UncertainEngineeringUnitsExceeded), np.uint32(Status.Bad))
        return worsen(status, rows, np.where(broken, np.uint32(Status.BadSensorFailure), code)), flags


def worsen(status: U32, rows: Index, code: U32 | np.uint32) -> U32:
    """A copy of `status` with `code` at `rows` wherever its severity is the worse one."""
    out = status.copy()
    now = out[rows]
    severity = np.uint32(SEVERITY_MASK)
    out[rows] = np.where((code & severity) > (now & severity), code, now)
    return out
