"""Other protocols' words for quality, in and out."""

import pytest

from davy.reading import Flag, Status
from davy.reading.status import severity
from davy.reading.translate import (
    HJ_212,
    IEC_104,
    OPC_DA,
    SPARKPLUG,
    from_hj212,
    from_iec104,
    from_opc_da,
    from_sparkplug,
    to_hj212,
    to_iec104,
    to_opc_da,
    to_sparkplug,
)

NONE = Flag(0)
RANK = {"good": 0, "uncertain": 1, "bad": 2}


def test_the_codes_are_those_of_opc_ua_part_6() -> None:
    assert Status.UncertainSubstituteValue == 0x40910000
    assert Status.UncertainEngineeringUnitsExceeded == 0x40940000
    assert Status.BadNoCommunication == 0x80310000
    assert Status.BadSensorFailure == 0x808C0000


# OPC DA


@pytest.mark.parametrize(
    ("quality", "status", "flags"),
    [
        (192, Status.Good, NONE),
        (0xC0, Status.Good, NONE),
        (64, Status.Uncertain, NONE),
        (0, Status.Bad, NONE),
        (0x10, Status.BadSensorFailure, NONE),
        (0xD8, Status.GoodLocalOverride, NONE),
        (0xC2, Status.Good, Flag.over_range),
        (0x55, Status.UncertainEngineeringUnitsExceeded, Flag.under_range),
        (0xC3, Status.Good, NONE),  # constant
        (0xC4, Status.Good, NONE),  # unknown sub-status: its severity
        (0x24, Status.Bad, NONE),
        (0x80, Status.Bad, NONE),  # reserved severity
        (0xAB_C0, Status.Good, NONE),  # vendor byte
    ],
)
def test_opc_da_comes_in_with_its_sub_status_and_limit_bits(quality: int, status: Status, flags: Flag) -> None:
    assert from_opc_da(quality) == (status, flags)


def test_opc_da_keeps_every_code_it_has_a_word_for() -> None:
    for code in OPC_DA:
        for limit in (0, 1, 2):
            assert to_opc_da(*from_opc_da(code | limit)) == code | limit


@pytest.mark.parametrize(
    ("status", "quality"),
    [
        (Status.Good, 192),
        (0x00A70000, 192),
        (Status.UncertainSubstituteValue, 64),
        (Status.BadNoData, 0),
        (Status.BadTimeout, 0x18),
        (0xC0000000, 0),
        (Status.Good | 0x0480, 192),  # info bits
    ],
)
def test_what_opc_da_has_no_word_for_leaves_as_its_severity(status: int, quality: int) -> None:
    assert to_opc_da(status) == quality


# Sparkplug


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        (192, (Status.Good, NONE)),
        (0, (Status.Bad, NONE)),
        (500, (Status.BadNoCommunication, Flag.stale)),
        (0x54, (Status.UncertainEngineeringUnitsExceeded, NONE)),
        (501, (Status.Bad, NONE)),
        (-1, (Status.Bad, NONE)),
    ],
)
def test_sparkplug_comes_in(quality: int, expected: tuple[Status, Flag]) -> None:
    assert from_sparkplug(quality) == expected


def test_sparkplug_goes_out_as_one_of_its_three() -> None:
    for quality, (status, flags) in SPARKPLUG.items():
        assert to_sparkplug(status, flags) == quality
    assert to_sparkplug(Status.GoodLocalOverride) == 192
    assert to_sparkplug(Status.UncertainLastUsableValue) == 0, "doubt may not leave as good"


# IEC 60870-5-104


@pytest.mark.parametrize(
    ("octet", "expected"),
    [
        (0x00, (Status.Good, NONE)),
        (0x80, (Status.Bad, NONE)),
        (0x40, (Status.BadNoCommunication, Flag.stale)),
        (0x20, (Status.UncertainSubstituteValue, Flag.substituted)),
        (0x10, (Status.BadOutOfService, Flag.blocked)),
        (0x01, (Status.UncertainEngineeringUnitsExceeded, Flag.over_range | Flag.under_range)),
        (0x90, (Status.Bad, Flag.blocked)),
        (0x21, (Status.UncertainEngineeringUnitsExceeded, Flag.over_range | Flag.under_range | Flag.substituted)),
        (0x0E, (Status.Good, NONE)),  # reserved bits
    ],
)
def test_iec_104_comes_in_as_its_worst_bit_with_all_its_flags(octet: int, expected: tuple[Status, Flag]) -> None:
    assert from_iec104(octet) == expected


def test_every_iec_104_octet_goes_out_as_it_came() -> None:
    known = sum(bit for bit, _, _ in IEC_104)
    for octet in range(256):
        back = to_iec104(*from_iec104(octet))
        assert back & 0x7F == octet & known & 0x7F
        assert back & 0x80 >= octet & 0x80, "never less invalid than it came"


@pytest.mark.parametrize(
    ("status", "flags", "octet"),
    [
        (Status.BadSensorFailure, Flag.over_range, 0x81),
        (Status.Uncertain, Flag.calibration, 0x80),
        (Status.GoodLocalOverride, NONE, 0x20),
        (Status.BadNotConnected, Flag.stale, 0xC0),
    ],
)
def test_iec_104_is_told_invalid_where_no_other_bit_says_why(status: Status, flags: Flag, octet: int) -> None:
    assert to_iec104(status, flags) == octet


# HJ 212


def test_hj_212_has_the_eight_letters_of_table_8_and_keeps_them() -> None:
    assert "".join(HJ_212) == "NFMSDCTB"
    for letter in HJ_212:
        assert to_hj212(*from_hj212(letter)) == letter


def test_calibration_and_maintenance_come_in_as_flags_on_a_reading_that_is_still_evaluated() -> None:
    assert from_hj212("C") == (Status.Uncertain, Flag.calibration)
    assert from_hj212("M") == (Status.Uncertain, Flag.maintenance)
    assert from_hj212("T") == (Status.UncertainEngineeringUnitsExceeded, Flag.over_range)


@pytest.mark.parametrize(
    ("status", "flags", "letter"),
    [
        (Status.BadNoCommunication, Flag.stale, "B"),
        (Status.BadSensorFailure, Flag.over_range, "T"),
        (Status.Uncertain, Flag.over_range | Flag.calibration, "T"),
        (Status.BadDeviceFailure, Flag.maintenance, "D"),
        (Status.GoodLocalOverride, NONE, "S"),
        (Status.UncertainLastUsableValue, Flag.frozen, "D"),
        (Status.Good, Flag.future, "N"),
    ],
)
def test_hj_212_goes_out_as_the_gravest_letter_that_applies(status: Status, flags: Flag, letter: str) -> None:
    assert to_hj212(status, flags) == letter


def test_a_letter_of_an_extended_table_is_doubt() -> None:
    assert from_hj212("Z") == from_hj212("n") == from_hj212("") == (Status.Uncertain, NONE)


@pytest.mark.feature("F09")
@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("flags", [NONE, *Flag])
def test_nothing_leaves_here_better_than_it_is(status: Status, flags: Flag) -> None:
    here = RANK[severity(status)]
    for out in (
        from_opc_da(to_opc_da(status, flags)),
        from_sparkplug(to_sparkplug(status, flags)),
        from_iec104(to_iec104(status, flags)),
        from_hj212(to_hj212(status, flags)),
    ):
        assert RANK[severity(out[0])] >= here or (here == 2 and out[1] & Flag.over_range), out
