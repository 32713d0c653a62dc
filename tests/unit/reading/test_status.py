"""Status codes and flags."""

import numpy as np
import pytest

from davy.reading import Flag, Status
from davy.reading.status import is_bad, is_good, name, severity

CODES = np.array([0, 0x00960000, 0x40000000, 0x40940000, 0x80000000, 0x808C0000, 0xC0000000], np.uint32)


def test_the_top_two_bits_say_how_good_and_the_reserved_pair_is_bad() -> None:
    assert is_good(CODES).tolist() == [True, True, False, False, False, False, False]
    assert is_bad(CODES).tolist() == [False, False, False, False, True, True, True]
    assert [severity(int(c)) for c in CODES] == ["good"] * 2 + ["uncertain"] * 2 + ["bad"] * 3


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (Status.BadSensorFailure, "BadSensorFailure"),
        (0x00A70000, "Good 0x00A70000"),
        (0x40A70000, "Uncertain 0x40A70000"),
        (0x80A70000, "Bad 0x80A70000"),
    ],
)
def test_a_code_without_a_name_here_keeps_its_severity_and_number(code: int, expected: str) -> None:
    assert name(code) == expected


def test_every_name_says_its_severity_and_every_flag_is_one_bit() -> None:
    assert all(s.name.lower().startswith(severity(s)) for s in Status)
    assert [f.bit_count() for f in Flag] == [1] * len(Flag)
    assert max(Flag) < 2**32
