"""Status and flags to and from other protocols' words for quality; tables, and how to read them.

Inward, each function gives (status, flags). Outward, what the other protocol cannot say is said
worse, never better: nothing doubtful leaves here as good. The device's word for calibration or
maintenance is a flag on a reading that is still evaluated (contracts.md 5): only a person's sealed
act may inhibit. What is not current is Bad, as in `quality`: silence must not return an alarm.
"""

from davy.reading.status import BAD, GOOD, SEVERITY_MASK, UNCERTAIN, Flag, Status

#: The severity and sub-code of a StatusCode, without its info bits (OPC UA Part 4, 7.39).
CODE_MASK = 0xFFFF0000

Quality = tuple[Status, Flag]

#: OPC DA QQSSSS00 -> status (OPC UA Part 8, A.3.2.3, table A.61). There 0x14, "last known value", is
#: Bad_OutOfService; here as in OPC UA for PROFINET table 15, since it is the link that is out.
OPC_DA: dict[int, Status] = {
    0x00: Status.Bad,
    0x04: Status.BadConfigurationError,
    0x08: Status.BadNotConnected,
    0x0C: Status.BadDeviceFailure,
    0x10: Status.BadSensorFailure,
    0x14: Status.BadCommunicationError,
    0x18: Status.BadNoCommunication,
    0x1C: Status.BadOutOfService,
    0x20: Status.BadWaitingForInitialData,
    0x40: Status.Uncertain,
    0x44: Status.UncertainLastUsableValue,
    0x50: Status.UncertainSensorNotAccurate,
    0x54: Status.UncertainEngineeringUnitsExceeded,
    0x58: Status.UncertainSubNormal,
    0xC0: Status.Good,
    0xD8: Status.GoodLocalOverride,
}
OPC_DA_SEVERITY = {0x00: Status.Bad, 0x40: Status.Uncertain, 0x80: Status.Bad, 0xC0: Status.Good}
#: Codes OPC DA has no word of its own for -> their nearest.
TO_OPC_DA: dict[int, int] = {int(status): code for code, status in OPC_DA.items()} | {
    Status.BadTimeout: 0x18,
    Status.UncertainNoCommunicationLastUsableValue: 0x44,
}
#: The two limit bits: the value is pegged at its lower or upper end. (3, a constant, is no finding.)
OPC_DA_LIMIT = {1: Flag.under_range, 2: Flag.over_range}

#: Sparkplug 3.0 6.4.2: the only three codes its `Quality` property may have.
SPARKPLUG: dict[int, Quality] = {
    192: (Status.Good, Flag(0)),
    0: (Status.Bad, Flag(0)),
    500: (Status.BadNoCommunication, Flag.stale),
}

#: IEC 60870-5-101 7.2.6.3 quality descriptor, worst first. OV does not say which end was passed,
#: so it is both: whichever end is the hazard's counts.
IV, NT, SB, BL, OV = 0x80, 0x40, 0x20, 0x10, 0x01
IEC_104: tuple[tuple[int, Status, Flag], ...] = (
    (IV, Status.Bad, Flag(0)),
    (NT, Status.BadNoCommunication, Flag.stale),
    (BL, Status.BadOutOfService, Flag.blocked),
    (OV, Status.UncertainEngineeringUnitsExceeded, Flag.over_range | Flag.under_range),
    (SB, Status.UncertainSubstituteValue, Flag.substituted),
)

#: HJ 212-2017 6.6.4, table 8. The table may be extended, so a letter may be unknown.
HJ_212: dict[str, Quality] = {
    "N": (Status.Good, Flag(0)),
    "F": (Status.BadOutOfService, Flag(0)),
    "M": (Status.Uncertain, Flag.maintenance),
    "S": (Status.UncertainSubstituteValue, Flag.substituted),
    "D": (Status.BadSensorFailure, Flag(0)),
    "C": (Status.Uncertain, Flag.calibration),
    "T": (Status.UncertainEngineeringUnitsExceeded, Flag.over_range),
    "B": (Status.BadCommunicationError, Flag(0)),
}
LINK_LOST: set[int] = {
    Status.BadCommunicationError,
    Status.BadTimeout,
    Status.BadNoCommunication,
    Status.BadNotConnected,
}


def from_opc_da(quality: int) -> Quality:
    """OPC DA quality word; the vendor's upper byte is dropped, an unknown sub-status is its severity."""
    code = quality & 0xFC
    status = OPC_DA.get(code, OPC_DA_SEVERITY[code & 0xC0])
    return status, OPC_DA_LIMIT.get(quality & 0x03, Flag(0))


def to_opc_da(status: int, flags: int = 0) -> int:
    """OPC DA quality byte: 192, 64 or 0 with the sub-status where there is one, and the limit bits."""
    severity = {GOOD: 0xC0, UNCERTAIN: 0x40}.get(status & SEVERITY_MASK, 0x00)
    code = TO_OPC_DA.get(status & CODE_MASK, severity)
    ends = [bits for bits, flag in OPC_DA_LIMIT.items() if flags & flag]
    return code | (ends[0] if len(ends) == 1 else 0)


def from_sparkplug(quality: int) -> Quality:
    """Sparkplug B `Quality`; publishers that pass OPC DA codes through are understood, the rest is Bad."""
    if quality in SPARKPLUG:
        return SPARKPLUG[quality]
    return from_opc_da(quality) if 0 <= quality <= 0xFF else (Status.Bad, Flag(0))


def to_sparkplug(status: int, flags: int = 0) -> int:
    """192, 500 where stale, else 0: Sparkplug has no word for doubt, so Uncertain leaves as bad."""
    if flags & Flag.stale:
        return 500
    return 192 if status & SEVERITY_MASK == GOOD else 0


def from_iec104(quality: int) -> Quality:
    """The quality octet of an information object; for SIQ and DIQ mask the value out first (& 0xF0).

    The status is that of the worst bit set, the flags are those of all.
    """
    found = [(status, flag) for bit, status, flag in IEC_104 if quality & bit]
    flags = Flag(0)
    for _, flag in found:
        flags |= flag
    return (found[0][0] if found else Status.Good), flags


def to_iec104(status: int, flags: int = 0) -> int:
    """The quality octet: each flag's bit, and IV where no bit set explains a status that is not Good."""
    code = status & CODE_MASK
    if code == Status.GoodLocalOverride:
        flags |= Flag.substituted
    explained = [(bit, why) for bit, why, flag in IEC_104 if flags & flag]
    octet = sum(bit for bit, _ in explained)
    if status & SEVERITY_MASK != GOOD and code not in [why for _, why in explained]:
        octet |= IV
    return octet


def from_hj212(letter: str) -> Quality:
    """HJ 212 data flag; a letter its table does not have is doubt, and the value is still evaluated."""
    return HJ_212.get(letter, (Status.Uncertain, Flag(0)))


def to_hj212(status: int, flags: int = 0) -> str:
    """HJ 212 data flag, the gravest that applies; over-range before fault and calibration, which must not hide it."""
    code = status & CODE_MASK
    ladder = (
        (code == Status.BadOutOfService, "F"),
        (code in LINK_LOST or flags & Flag.stale, "B"),
        (flags & Flag.over_range, "T"),
        (status & BAD, "D"),
        (flags & Flag.calibration, "C"),
        (flags & Flag.maintenance, "M"),
        (flags & Flag.substituted, "S"),
        (code in (Status.UncertainSubstituteValue, Status.GoodLocalOverride), "S"),
        (status & SEVERITY_MASK == GOOD, "N"),
    )
    return next((letter for applies, letter in ladder if applies), "D")
