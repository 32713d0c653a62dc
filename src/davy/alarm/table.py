"""Which reading may move which alarm: the status x rule table of contracts.md 5, as data. Pure.

A reading's *condition* is a uint32: its bits of `CONDITIONS`, and bit 31 where its status is Bad.
Flags that stand in no row (spike, rate, frozen, clock_suspect, ...) neither delay nor inhibit
anything, so they cannot keep a statutory H/HH from sounding; Uncertain is judged like Good.
"""

from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from davy.fact.event import AlarmType
from davy.reading.status import Flag


class Treatment(IntEnum):
    """What an alarm makes of a reading."""

    evaluate = 0  # compare the value
    raise_only = 1  # compare it, but a late value returns nothing to normal
    beyond = 2  # beyond every limit, at once, whatever the value; holds until reset
    hold = 3  # no evidence: nothing returns, a running on-delay runs on
    inhibit = 4  # neither raise nor return; delays stop
    raised = 5  # the condition of the alarm itself is true
    cleared = 6  # and false


BAD = 1 << 31
# An int, for the complement of an IntFlag knows only its own bits and would lose BAD.
CONDITIONS = int(
    Flag.over_range | Flag.under_range | Flag.calibration | Flag.maintenance | Flag.out_of_order
    | Flag.historical | Flag.stale
)  # fmt: skip

T = Treatment
_PERSON = ((Flag.maintenance, T.inhibit), (Flag.calibration, T.inhibit))
_DOUBT = ((Flag.stale, T.hold), (BAD, T.hold), (Flag.out_of_order, T.raise_only), (0, T.evaluate))

#: For each kind of alarm, the first row whose bit the reading has (0: any reading) says what to do.
#: `over_range` and `under_range` count only in the direction of the tag's hazard (see `seen_bits`).
TABLE: dict[AlarmType, tuple[tuple[int, Treatment], ...]] = {
    AlarmType.high: (*_PERSON, (Flag.over_range, T.beyond), *_DOUBT),
    AlarmType.low: (*_PERSON, (Flag.under_range, T.beyond), *_DOUBT),
    AlarmType.discrete: (*_PERSON, *_DOUBT),
    AlarmType.stale: ((Flag.maintenance, T.inhibit), (Flag.stale, T.raised), (0, T.cleared)),
    # Silence has its own alarm, so it says nothing about Bad.
    AlarmType.bad: ((Flag.maintenance, T.inhibit), (Flag.stale, T.hold), (BAD, T.raised), (0, T.cleared)),
}


@cache
def treatment(kind: AlarmType, condition: int) -> Treatment:
    """The table's answer for an alarm of `kind` and a reading of `condition`."""
    return next(what for bit, what in TABLE[kind] if bit == 0 or condition & bit)


def conditions(status: NDArray[np.uint32], flags: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """uint32[N]: the condition of each reading."""
    out: NDArray[np.uint32] = flags & _FLAGS
    out |= status & _BAD
    return out


_FLAGS, _BAD = np.uint32(CONDITIONS), np.uint32(BAD)
