"""Modbus codec laws: any layout of tags survives merging and decoding; no bytes break the frame check."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from davy.errors import CodecError
from davy.source.modbus import codec
from davy.source.modbus.codec import AREAS, ORDERS, TYPES, Format, Point

FORMATS = [Format(dtype, order) for dtype in TYPES.values() for order in ORDERS]
pytestmark = pytest.mark.feature("F01", "F02", "F03")


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[Point], dict[tuple[int, str], np.ndarray], list[float]]:
    """Points over two units and the four areas, the memory that serves them, and what they must read."""
    memory = {(u, d): np.zeros(700, np.uint16) for u in (1, 2) for d in AREAS}
    points, expected = [], []
    next_free = {key: draw(st.integers(0, 20)) for key in memory}
    for row in range(draw(st.integers(1, 40))):
        key = draw(st.sampled_from(sorted(memory)))
        unit, digit = key
        start = next_free[key] + draw(st.integers(0, 12))
        if AREAS[digit].is_bits:
            how, words = Format(None), [draw(st.integers(0, 1))]
            value = float(words[0])
        else:
            how = draw(st.sampled_from(FORMATS))
            raw = draw(st.binary(min_size=how.dtype.itemsize, max_size=how.dtype.itemsize))
            value = np.frombuffer(raw, how.dtype)[0]
            words = codec.encode([value], how)
        memory[key][start : start + len(words)] = words
        next_free[key] = start + len(words)
        points.append(Point(row, codec.Address(unit, AREAS[digit], start), how))
        expected.append(float(value))
    return points, memory, expected


def serve(memory: dict[tuple[int, str], np.ndarray], request: codec.Request) -> bytes:
    digit = next(d for d, area in AREAS.items() if area is request.area)
    items = memory[request.unit, digit][request.start : request.start + request.count]
    if request.area.is_bits:
        return np.packbits(items.astype(bool), bitorder="little").tobytes()
    return items.astype(">u2").tobytes()


@given(layouts(), st.integers(0, 30), st.integers(4, 125))
def test_every_tag_is_read_exactly_once_and_right_however_requests_are_merged(layout, gap, limit):
    points, memory, expected = layout
    got = np.full(len(points), np.inf)
    seen = []
    with np.errstate(invalid="ignore"):
        for request in codec.merge(points, gap, limit):
            assert request.count <= (16 * limit if request.area.is_bits else limit)
            assert request.count <= request.area.limit
            got[request.rows] = request.decode(serve(memory, request))
            seen += request.rows.tolist()
    assert sorted(seen) == list(range(len(points)))
    np.testing.assert_array_equal(got, np.array(expected))


@given(layouts())
def test_a_split_request_reads_the_same(layout):
    points, memory, _ = layout
    for request in codec.merge(points, 124, 125):
        if len(request.points) < 2:
            continue
        whole = dict(zip(request.rows.tolist(), request.decode(serve(memory, request)), strict=True))
        parts = {}
        for part in request.split():
            parts |= dict(zip(part.rows.tolist(), part.decode(serve(memory, part)), strict=True))
        np.testing.assert_equal(parts, whole)


@given(st.binary(max_size=600), st.integers(0, 0xFFFF), st.sampled_from([1, 2, 3, 4]))
def test_arbitrary_bytes_raise_codec_error_or_nothing(data, transaction, function):
    try:
        codec.check_frames(data, transaction, function)
    except CodecError as error:
        assert "expected" in str(error)


@given(st.integers(-(2**15), 2**15 - 1), st.integers(0, 6))
def test_a_decimal_scale_gives_the_decimal_a_person_would_write(raw, digits):
    point = Point(0, codec.parse_address("40001"), codec.parse_type("int16"), float(f"1e-{digits}"))
    (request,) = codec.merge([point])
    value = request.decode(raw.to_bytes(2, "big", signed=True))[0]
    assert value == float(f"{raw}e-{digits}")


@given(st.integers(0, 255), st.sampled_from(sorted(AREAS)), st.integers(1, 65536), st.integers(0, 15))
def test_addresses_read_back(unit, digit, number, bit):
    text = f"{unit}!{digit}{number:05}"
    address = codec.parse_address(text)
    assert (address.unit, address.area, address.start) == (unit, AREAS[digit], number - 1)
    if not address.area.is_bits:
        assert codec.parse_address(f"{text}.{bit}").bit == bit
