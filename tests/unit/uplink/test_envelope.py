"""Envelopes: what is written is read, and nothing else is."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from davy.blackbox.held import Claim, Held, Link
from davy.errors import BadRequest
from davy.uplink.envelope import MAX_CLAIMS, Advance, Entries, decode_held, encode_held

HASH = bytes(32)
ENTRIES = Entries(7, [b"leaf", b"more"], [b"body", None], b"note", [HASH], Link(5, [HASH, HASH]))
ADVANCE = Advance([Claim(b"leaf", None, [HASH]), Claim(b"more", b"body", [])], b"note", Link(0, []))
HELD = Held(10, 12, -1, b"cosigned", False)


def test_envelopes_are_read_back():
    assert Entries.decode(ENTRIES.encode()) == ENTRIES
    assert Advance.decode(ADVANCE.encode()) == ADVANCE
    assert decode_held(encode_held(HELD)) == HELD


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 2),
        (0, True),
        (1, -1),
        (1, 1 << 63),
        (1, "7"),
        (1, True),
        (2, b"leaf"),
        (2, [1, 2]),
        (2, [bytes(65_536), b""]),
        (3, [b"", "body"]),
        (3, None),
        (4, "note"),
        (4, bytes(20_000)),
        (5, [HASH[1:]]),
        (5, [HASH] * 65),
        (5, HASH),
        (6, None),
        (7, [[HASH]]),
    ],
)
def test_an_entries_envelope_of_another_shape_is_refused(at: int, value: object):
    plain = cbor2.loads(ENTRIES.encode())
    plain[at] = value
    with pytest.raises(BadRequest):
        Entries.decode(cbor2.dumps(plain))


@pytest.mark.parametrize(
    "claims", [None, [1], [[b"leaf", None]], [[b"leaf", None, [b"short"]]], [[]] * (MAX_CLAIMS + 1)]
)
def test_claims_of_another_shape_are_refused(claims: object):
    with pytest.raises(BadRequest):
        Advance.decode(cbor2.dumps([1, claims, b"note", 0, []]))


@given(st.binary(max_size=200))
def test_garbage_is_a_bad_request_and_nothing_worse(data: bytes):
    for decode in (Entries.decode, Advance.decode, decode_held):
        with pytest.raises(BadRequest):
            decode(data)


@given(st.integers(0, 200))
def test_a_truncated_envelope_is_a_bad_request(cut: int):
    data = ENTRIES.encode()
    with pytest.raises(BadRequest):
        Entries.decode(data[: cut % len(data)])


def test_lengths_that_lie_and_endless_nesting_are_bad_requests():
    for data in (b"\x9b" + b"\xff" * 8, b"\x5b\x7f" + b"\xff" * 7, b"\x81" * 5000, b"\xd8\x1c" * 5000 + b"\x80"):
        with pytest.raises(BadRequest):
            Entries.decode(data)
