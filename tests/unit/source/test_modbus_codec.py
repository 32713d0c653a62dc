"""Addresses, types, merging and decoding, against the golden cases beside the codec."""

import struct
from importlib import resources

import numpy as np
import pytest
import yaml

from davy.errors import CodecError
from davy.source.modbus import codec
from davy.source.modbus.codec import Point

CASES = resources.files("davy.source.modbus") / "cases"
GOOD = yaml.safe_load((CASES / "decode.yaml").read_text())
BAD = yaml.safe_load((CASES / "bad.yaml").read_text())
pytestmark = pytest.mark.feature("F01", "F02", "F03")


def points(*addresses: str, type: str = "uint16") -> list[Point]:
    return [Point(i, *codec.check(a, type)) for i, a in enumerate(addresses)]


@pytest.mark.parametrize("case", GOOD, ids=lambda c: f"{c['address']} {c['type']} {c['words']}")
def test_registers_become_the_value_worked_out_by_hand(case):
    where, how = codec.check(case["address"], case["type"])
    point = Point(0, where, how, case.get("scale", 1.0), case.get("offset", 0.0))
    (request,) = codec.merge([point])
    value = request.decode(b"".join(bytes.fromhex(w) for w in case["words"]))[0]
    assert struct.pack(">d", value) == struct.pack(">d", case["value"])


@pytest.mark.parametrize("case", BAD, ids=lambda c: f"{c['address']} {c['type']}")
def test_a_bad_address_or_type_is_refused_saying_what_was_expected(case):
    with pytest.raises(ValueError, match=r"expected|past") as refused:
        codec.check(case["address"], case["type"])
    assert case["error"] in str(refused.value)
    assert case["address"] in str(refused.value) or case["type"] in str(refused.value)


def test_addresses_count_from_one_and_name_their_unit():
    address = codec.parse_address("4!40001")
    assert (address.unit, address.area.function, address.start) == (4, 3, 0)
    assert codec.parse_address("30012", unit=9).unit == 9
    assert codec.parse_address("00001").area.name == "coil"


def test_neighbours_merge_up_to_the_gap_and_125_registers():
    assert len(codec.merge(points(*(f"{40001 + i}" for i in range(250))))) == 2
    assert len(codec.merge(points("40001", "40010"), max_gap=8)) == 1
    assert len(codec.merge(points("40001", "40011"), max_gap=8)) == 2
    assert len(codec.merge(points("40001", "30001", "2!40001"))) == 3


def test_five_thousand_tags_take_forty_requests():
    assert len(codec.merge(points(*(f"4{1 + i:05}" for i in range(5000))))) == 40


def test_a_value_is_never_cut_in_two_by_the_limit():
    tags = points(*(f"{40001 + 4 * i}" for i in range(40)), type="float64")
    requests = codec.merge(tags)
    assert [r.count for r in requests] == [124, 36]


def test_a_request_splits_at_its_widest_gap():
    (request,) = codec.merge(points("40001", "40002", "40009", "40010"), max_gap=8)
    left, right = request.split()
    assert (left.start, left.count, right.start, right.count) == (0, 2, 8, 2)


def test_an_answer_of_the_wrong_length_is_a_codec_error():
    (request,) = codec.merge(points("40001"))
    with pytest.raises(CodecError, match="expected 2 bytes, got 3"):
        request.decode(b"abc")


def test_signalling_nan_passes_without_a_warning():
    (request,) = codec.merge(points("40001", type="float32"))
    assert np.isnan(request.decode(bytes.fromhex("7f800001"))[0])


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        ("0001 0001 0006 01 03", "protocol identifier: expected 0, got 1"),
        ("0001 0000 ffff 01 03", "length field: expected 3 to 254, got 65535"),
        ("0001 0000 0002 01 03", "length field: expected 3 to 254, got 2"),
        ("0001 0000 0005 01 04 02 0000", "function code: expected 3, got 4"),
        ("0001 0000 0005 01 03 03 0000", "byte count: expected 2, got 3"),
        ("0001 0000 0004 01 83 02 00", "exception: expected 9 bytes, got 10"),
    ],
)
def test_a_frame_that_cannot_be_the_answer_is_named(frame, complaint):
    with pytest.raises(CodecError, match=complaint):
        codec.check_frames(bytes.fromhex(frame), 1, 3)


def test_late_answers_and_incomplete_frames_are_let_pass():
    late, mine = bytes.fromhex("0007 0000 0005 01 04 02 0000"), bytes.fromhex("0008 0000 0005 01 03 02 0000")
    for end in range(len(mine) + 1):
        codec.check_frames(late + mine[:end], 8, 3)
