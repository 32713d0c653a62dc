"""Epoch keys: who gets them, who does not, and how they are destroyed."""

import hashlib
from pathlib import Path

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from davy.blackbox.keyring import Keyring, unwrap, wrap
from davy.errors import BadRequest, Corrupt, KeyUnknown
from davy.fact import key_id

ORIGIN, KEYS = "acme/tank-farm/box-1", {0: bytes(range(32)), 1: bytes(range(1, 33))}
BOX, CENTRE, STRANGER = (X25519PrivateKey.from_private_bytes(bytes([i]) * 32) for i in (1, 2, 3))


def public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def wrapped() -> bytes:
    return wrap(ORIGIN, 17, KEYS, [public(BOX), public(CENTRE)])


def test_every_recipient_opens_the_same_keys_and_a_stranger_none():
    data = wrapped()
    assert unwrap(data, ORIGIN, 17, BOX) == unwrap(data, ORIGIN, 17, CENTRE) == KEYS
    with pytest.raises(KeyUnknown, match="not wrapped for this key"):
        unwrap(data, ORIGIN, 17, STRANGER)


def test_a_wrap_of_another_epoch_or_origin_is_refused():
    data = wrapped()
    for origin, epoch in ((ORIGIN, 18), (ORIGIN + "2", 17)):
        with pytest.raises(Corrupt):
            unwrap(data, origin, epoch, BOX)
        relabelled = cbor2.dumps([1, origin, epoch, cbor2.loads(data)[3]])
        with pytest.raises(Corrupt, match="does not open"):
            unwrap(relabelled, origin, epoch, BOX)


def test_two_wraps_of_the_same_keys_have_nothing_in_common():
    (_, ephemeral, sealed), (_, ephemeral_2, sealed_2) = (cbor2.loads(wrapped())[3][0] for _ in range(2))
    assert ephemeral != ephemeral_2
    assert sealed != sealed_2


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff", cbor2.dumps(7), cbor2.dumps([1, ORIGIN, 17]), cbor2.dumps([2, ORIGIN, 17, []]),
        cbor2.dumps([1, ORIGIN, 17, [[public(BOX), b"short", b"x"]]]), cbor2.dumps([1, ORIGIN, 17, [[1, 2, 3]]]),
        cbor2.dumps([1, ORIGIN, 17, [[public(BOX), bytes(32), bytes(60)]]]), bytes(2 << 20),
    ],
)  # fmt: skip
def test_what_is_no_keyring_file_is_corrupt(data: bytes):
    with pytest.raises(Corrupt):
        unwrap(data, ORIGIN, 17, BOX)


@pytest.mark.parametrize("at", range(60, 300, 17))
def test_a_touched_wrap_gives_no_keys(at: int):
    data = bytearray(wrapped())
    data[at % len(data)] ^= 1
    for key in (BOX, CENTRE):
        try:
            assert unwrap(bytes(data), ORIGIN, 17, key) == KEYS, "the touched bytes belong to the other's wrap"
        except (Corrupt, KeyUnknown):
            continue


def test_what_is_no_x25519_key_cannot_be_a_recipient():
    for recipient in (b"short", bytes(32)):
        with pytest.raises(BadRequest, match="X25519"):
            wrap(ORIGIN, 17, KEYS, [recipient])


def test_a_keyring_keeps_an_epoch_once_and_gives_keys_by_their_id(tmp_path: Path):
    ring = Keyring(tmp_path / "keyring", ORIGIN, BOX)
    wraps_hash = ring.add(17, KEYS, [public(BOX), public(CENTRE)])
    assert (tmp_path / "keyring" / "00000017.cbor").is_file()
    assert wraps_hash == hashlib.sha256(ring.wraps(17)).digest() == ring.hash(17)
    assert [ring.key(key_id(17, erasure)) for erasure in (0, 1)] == [KEYS[0], KEYS[1]]
    assert Keyring(tmp_path / "keyring", ORIGIN, CENTRE).key(key_id(17, 1)) == KEYS[1]
    with pytest.raises(FileExistsError, match="epoch 17"):
        ring.add(17, KEYS, [public(BOX)])
    with pytest.raises(KeyUnknown, match="erasure class 2"):
        ring.key(key_id(17, 2))
    with pytest.raises(KeyUnknown, match="epoch 18"):
        ring.key(key_id(18, 0))


def test_keys_are_gone_the_moment_their_file_is(tmp_path: Path):
    ring = Keyring(tmp_path, ORIGIN, BOX)
    ring.add(17, KEYS, [public(BOX)])
    assert ring.key(key_id(17, 0)) == KEYS[0]
    ring.path(17).unlink()
    with pytest.raises(KeyUnknown, match="destroyed"):
        ring.key(key_id(17, 0))
