"""The readings codec keeps every bit, whatever the numbers, and survives whatever the bytes."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davy.errors import Corrupt
from davy.fact.bits import bit_lengths, pack, unpack, unzigzag, zigzag
from davy.fact.codec import ReadingsEncoder, References, decode_readings, encode_readings
from davy.fact.mode import MODES, from_integers, to_integers
from davy.fact.order import blocks_of, ordered
from davy.reading import ROW, Readings

U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)


def double(bits: int) -> float:
    return struct.unpack("<d", bits.to_bytes(8, "little"))[0]


TRAPS = [0.0, -0.0, 5e-324, -5e-324, 2.2e-308, 1e300, -1e300, float("inf"), float("-inf"), float("nan"), 2.0**52,
         2.0**53, 2.0**53 + 2, -(2.0**63), 2.0**63, 1e22, 0.1, 0.1 + 0.2, 3 * 0.1, float(np.float32(0.1)),
         float(np.float32(3.4e38)), float(np.float32(1e-45)), 1 / 3,
         double(0x7FF8DEADBEEF0001), double(0x7FF0000000000001), double(0xFFF8000000000000)]  # fmt: skip
decimals = st.builds(lambda n, e: n / 10.0**e, st.integers(-(10**7), 10**7), st.integers(0, 6))
steps = st.builds(lambda n, e: n * float(f"1e-{e}"), st.integers(-(10**6), 10**6), st.integers(1, 4))
singles = st.floats(width=32, allow_nan=False)
any_bits = U64.map(double)
values = st.one_of(decimals, steps, singles, st.sampled_from(TRAPS), any_bits)


def column(strategy: st.SearchStrategy, size: int, dtype: str) -> st.SearchStrategy:
    """Mostly runs and repeats, as real columns are."""
    return st.one_of(
        strategy.map(lambda x: np.full(size, x, dtype)),
        st.lists(strategy, min_size=size, max_size=size).map(lambda x: np.array(x, dtype)),
        st.tuples(strategy, strategy, st.integers(0, size)).map(
            lambda p: np.array([p[0]] * p[2] + [p[1]] * (size - p[2]), dtype)
        ),
    )


@st.composite
def readings(draw: st.DrawFn, max_size: int = 40) -> Readings:
    size = draw(st.integers(1, max_size))
    tags = draw(st.sampled_from([st.integers(0, 7), st.integers(0, 2**32 - 1), st.just(3), st.integers(65530, 65540)]))
    server = draw(column(I64, size, "i8"))
    if draw(st.booleans()):
        server = draw(st.integers(0, 2**50)) + draw(st.integers(0, 2**30)) * (
            np.arange(size) // draw(st.integers(1, 9))
        )
    source = draw(st.one_of(st.just(server), column(I64, size, "i8"), st.just(server - draw(st.integers(0, 10**7)))))
    return Readings(
        draw(column(tags, size, "u4")),
        draw(column(values, size, "f8")),
        draw(column(st.one_of(st.sampled_from([0, 0x808C0000]), st.integers(0, 2**32 - 1)), size, "u4")),
        draw(column(st.one_of(st.just(0), st.integers(0, 2**32 - 1)), size, "u4")),
        source.astype("i8"),
        server.astype("i8"),
    )


references = st.none() | st.lists(values, max_size=12).map(lambda x: np.array(x, "f8"))


def bits(r: Readings) -> bytes:
    return r.rows().tobytes()


def by_the_book(r: Readings) -> Readings:
    """(tag, arrival) order, the slow and certain way."""
    return r.take(np.array(sorted(range(len(r)), key=lambda i: r.tag[i]), np.int64))


@settings(max_examples=50)
@given(readings(), references)
def test_readings_come_back_bit_for_bit_in_tag_and_arrival_order(r: Readings, refs: np.ndarray | None):
    back = decode_readings(encode_readings(r, refs), refs, origin="a/b/c", tags_version=7, mono_ns=5, boot_id=2)
    assert bits(back) == bits(by_the_book(r))
    assert (back.origin, back.tags_version, back.mono_ns, back.boot_id) == ("a/b/c", 7, 5, 2)


@settings(max_examples=50)
@given(st.lists(readings(12), min_size=1, max_size=4), references)
def test_each_leaf_of_a_learning_encoder_is_read_alone(batches: list[Readings], refs: np.ndarray | None):
    encoder, held = ReadingsEncoder(refs), References(refs)
    for body, r in [(encoder.encode(r), r) for r in batches]:
        assert bits(decode_readings(body, held)) == bits(by_the_book(r))


@settings(max_examples=50)
@given(readings())
def test_blocks_are_the_rows_in_order_cut_at_64_tags(r: Readings):
    rows = np.frombuffer(b"".join(blocks_of(r)), ROW)
    assert rows.tobytes() == bits(by_the_book(r))
    assert ReadingsEncoder().encode_with_blocks(r)[1] == blocks_of(r)
    for number, block in enumerate(blocks_of(r)):
        own = np.unique(np.frombuffer(block, ROW)["tag"])
        assert list(own) == list(np.unique(r.tag))[64 * number : 64 * number + 64]


@given(readings(), references, st.data())
@settings(max_examples=100)
def test_a_touched_body_is_corrupt_or_still_well_formed(r: Readings, refs: np.ndarray | None, data: st.DataObject):
    body = bytearray(encode_readings(r, refs))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                body[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del body[at : at + data.draw(st.integers(1, 4))]
                body = body or bytearray(1)
            case "insert":
                body[at:at] = data.draw(st.binary(min_size=1, max_size=4))
    try:
        back = decode_readings(bytes(body), refs)
    except Corrupt:
        return
    assert bits(ordered(back)) == bits(back)
    assert bits(decode_readings(encode_readings(back))) == bits(back)


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_corrupt(data: bytes):
    with pytest.raises(Corrupt):
        decode_readings(data)


@given(st.lists(values, min_size=1, max_size=50), st.integers(0, MODES - 1))
def test_what_a_mode_claims_to_fit_comes_back_bit_for_bit(numbers: list[float], mode: int):
    value = np.array(numbers)
    modes = np.full(len(value), mode)
    n, fits = to_integers(value, modes)
    assert from_integers(n, modes)[fits].tobytes() == value[fits].tobytes()


@given(st.lists(U64, max_size=200) | st.lists(st.integers(0, 3), max_size=200))
def test_packed_numbers_come_back_and_their_lengths_are_bit_lengths(numbers: list[int]):
    u = np.array(numbers, np.uint64)
    assert list(bit_lengths(u)) == [n.bit_length() for n in numbers]
    lengths, words = pack(u)
    assert list(unpack(lengths, words)) == numbers
    assert len(words) == (sum(max(n.bit_length() - 1, 0) for n in numbers) + 63) // 64 * 8


@given(st.lists(I64, max_size=50))
def test_zigzag_gives_small_numbers_to_small_distances(numbers: list[int]):
    x = np.array(numbers, np.int64)
    assert list(zigzag(x)) == [2 * n if n >= 0 else -2 * n - 1 for n in numbers]
    assert list(unzigzag(zigzag(x))) == numbers
