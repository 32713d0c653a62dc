"""OPC UA status codes, the flags beside them, and their translations.

A status is a uint32 (OPC UA Part 4, 7.39; symbolic names from Part 6 Annex A): the top two bits
give the severity. Quality never changes a value; it only says how far to trust it.
"""

from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]


class Status(IntEnum):
    """The status codes Davy itself sets or tells apart; any other uint32 is carried unchanged."""

    Good = 0x00000000
    GoodLocalOverride = 0x00960000
    Uncertain = 0x40000000
    UncertainNoCommunicationLastUsableValue = 0x408F0000
    UncertainLastUsableValue = 0x40900000
    UncertainSubstituteValue = 0x40910000
    UncertainSensorNotAccurate = 0x40930000
    UncertainEngineeringUnitsExceeded = 0x40940000
    UncertainSubNormal = 0x40950000
    Bad = 0x80000000
    BadCommunicationError = 0x80050000
    BadTimeout = 0x800A0000
    BadNoCommunication = 0x80310000
    BadWaitingForInitialData = 0x80320000
    BadConfigurationError = 0x80890000
    BadNotConnected = 0x808A0000
    BadDeviceFailure = 0x808B0000
    BadSensorFailure = 0x808C0000
    BadOutOfService = 0x808D0000
    BadNoData = 0x809B0000


class Flag(IntFlag):
    """Why a reading is doubted or special; bits of `Readings.flags` (contracts.md 4)."""

    frozen = 1 << 0
    spike = 1 << 1
    rate = 1 << 2
    over_range = 1 << 3
    under_range = 1 << 4
    calibration = 1 << 5
    maintenance = 1 << 6
    bypass = 1 << 7
    out_of_order = 1 << 8
    future = 1 << 9
    duplicate = 1 << 10
    clock_suspect = 1 << 11
    no_source_time = 1 << 12
    historical = 1 << 13
    stale = 1 << 14
    substituted = 1 << 15
    blocked = 1 << 16


SEVERITY_MASK = 0xC0000000
GOOD, UNCERTAIN, BAD = 0, 0x40000000, 0x80000000


def is_good(status: U32) -> NDArray[np.bool_]:
    """True where the top two bits say Good. Shape of `status`."""
    good: NDArray[np.bool_] = (status & np.uint32(SEVERITY_MASK)) == 0
    return good


def is_bad(status: U32) -> NDArray[np.bool_]:
    """True where the top bit is set (Bad, and the reserved 0b11)."""
    bad: NDArray[np.bool_] = status >= np.uint32(BAD)
    return bad


def name(status: int) -> str:
    """The symbolic name, or the severity and the hex code for one without a name here."""
    try:
        return Status(status).name
    except ValueError:
        word = {GOOD: "Good", UNCERTAIN: "Uncertain"}.get(status & SEVERITY_MASK, "Bad")
        return f"{word} 0x{status:08X}"


def severity(status: int) -> str:
    """`good`, `uncertain` or `bad`."""
    return {GOOD: "good", UNCERTAIN: "uncertain"}.get(status & SEVERITY_MASK, "bad")
