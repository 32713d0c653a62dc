"""Sealed bodies: what opens, what is refused, and what may be shown without a key."""

import hashlib
import hmac
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from davy.blackbox.merkle import root_of
from davy.blackbox.seal import Draft, Sealer, check_root, open_chunk, show_block, verify_block
from davy.errors import Corrupt, Inconsistent, KeyUnknown
from davy.fact import ErasureClass, Kind, Leaf, decode_leaf, key_id

ORIGIN, KEYS = "acme/tank-farm/box-1", {0: bytes(range(32)), 1: bytes(range(32, 64))}
BODY = b"a valve was opened by someone who should not have" * 3


def nonces():
    numbers = count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


def sealer(**changes) -> Sealer:
    return Sealer(**{"origin": ORIGIN, "boot": 4, "epoch": 17, "keys": KEYS, "nonces": nonces()} | changes)


def draft(body: bytes = BODY, blocks=None, kind=Kind.act, erasure=ErasureClass.event) -> Draft:
    return Draft(kind, 1_000, 2_000, 3_000, 1, 5, [body] if blocks is None else blocks, body, erasure)


def sealed(seq: int = 9, **changes) -> tuple[Leaf, bytes]:
    leaf, chunk = sealer().seal(draft(**changes), seq)
    return decode_leaf(leaf), chunk


@pytest.mark.feature("F31")
def test_a_body_opens_again_and_its_leaf_says_what_it_is():
    leaf, chunk = sealed()
    assert open_chunk(leaf, chunk, KEYS[1], ORIGIN) == BODY
    assert leaf == Leaf(
        1, Kind.act, 9, 17, 1_000, 2_000, 4, 3_000, 5, 1,
        hashlib.sha256(chunk).digest(), leaf.body_root, len(chunk), key_id(17, ErasureClass.event),
    )  # fmt: skip
    check_root(leaf, [BODY], KEYS[1])


def test_keys_salts_and_roots_are_derived_as_the_contract_says():
    """By hand, from contracts.md 8, with the standard library only."""

    def mac(key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, "sha256")

    blocks = [b"one" * 40, b"two" * 50, b"three"]
    leaf, chunk = sealed(blocks=blocks)
    leaf_key = mac(KEYS[1], b"leaf" + (9).to_bytes(8, "big"))
    salts = [mac(leaf_key, b"salt" + i.to_bytes(4, "big")) for i in range(3)]
    assert leaf.body_root == root_of(hashlib.sha256(b"\0" + s + b).digest() for s, b in zip(salts, blocks, strict=True))
    bound = b"davy/leaf/v1\0" + b"".join(n.to_bytes(8, "big") for n in (3, 9, 17, 17 << 4 | 1)) + ORIGIN.encode()
    assert AESGCM(mac(leaf_key, b"aead")).decrypt(chunk[:12], chunk[12:], bound) == b"\0" + BODY


@pytest.mark.parametrize("field", ["kind", "seq", "epoch", "key_id"])
def test_a_chunk_moved_to_another_leaf_does_not_open(field: str):
    leaf, chunk = sealed()
    moved = leaf._replace(**{field: getattr(leaf, field) + 1})
    with pytest.raises(Corrupt, match="does not open"):
        open_chunk(moved, chunk, KEYS[1], ORIGIN)


def test_a_chunk_opens_neither_for_another_origin_nor_with_another_key():
    leaf, chunk = sealed()
    for key, origin in ((KEYS[1], ORIGIN + "2"), (KEYS[0], ORIGIN)):
        with pytest.raises(Corrupt, match="does not open"):
            open_chunk(leaf, chunk, key, origin)


@pytest.mark.parametrize("change", ["flip", "cut", "none", "empty"])
def test_a_touched_chunk_is_refused_before_it_is_opened(change: str):
    leaf, chunk = sealed()
    touched = {"flip": chunk[:-1] + bytes([chunk[-1] ^ 1]), "cut": chunk[:-1], "none": None, "empty": b""}[change]
    with pytest.raises(Corrupt):
        open_chunk(leaf, touched, KEYS[1], ORIGIN)


def test_a_chunk_too_short_to_be_one_is_corrupt():
    leaf, _ = sealed()
    short = b"1234"
    with pytest.raises(Corrupt, match="does not open"):
        open_chunk(leaf._replace(body_hash=hashlib.sha256(short).digest(), body_size=4), short, KEYS[1], ORIGIN)


def test_the_same_seq_sealed_again_after_a_crash_uses_another_nonce():
    one = sealer(nonces=lambda size: b"a" * size).seal(draft(), 9)[1]
    two = Sealer(ORIGIN, 5, 17, KEYS).seal(draft(), 9)[1]
    three = Sealer(ORIGIN, 6, 17, KEYS).seal(draft(), 9)[1]
    assert len({one[:12], two[:12], three[:12]}) == 3


def test_a_long_event_is_compressed_and_readings_are_not_twice():
    long = b"tag table " * 400
    leaf, chunk = sealed(body=long, blocks=[long], kind=Kind.tags)
    assert len(chunk) < 200
    assert open_chunk(leaf, chunk, KEYS[1], ORIGIN) == long
    noise = np.random.default_rng(1).bytes(3000)
    assert len(sealed(body=noise, kind=Kind.tags)[1]) == len(noise) + 1 + 28
    assert len(sealed(body=long, kind=Kind.readings, erasure=0)[1]) == len(long) + 1 + 28


def _forged(plain: bytes) -> tuple[Leaf, bytes]:
    leaf, chunk = sealed()
    key = hmac.digest(hmac.digest(KEYS[1], b"leaf" + (9).to_bytes(8, "big"), "sha256"), b"aead", "sha256")
    bound = b"davy/leaf/v1\0" + b"".join(n.to_bytes(8, "big") for n in (3, 9, 17, 17 << 4 | 1)) + ORIGIN.encode()
    chunk = chunk[:12] + AESGCM(key).encrypt(chunk[:12], plain, bound)
    return leaf._replace(body_hash=hashlib.sha256(chunk).digest(), body_size=len(chunk)), chunk


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\2body",
        b"\1not zstd",
        b"\1" + bytes.fromhex("28b52ffda0ffffffff7f"),
        b"\1" + bytes.fromhex("28b52ffd0000"),
    ],
)
def test_a_body_of_no_known_form_or_of_a_giant_one_is_corrupt(plain: bytes):
    with pytest.raises(Corrupt):
        open_chunk(*_forged(plain), KEYS[1], ORIGIN)


def test_a_sealer_refuses_a_class_without_a_key_and_a_body_without_end():
    with pytest.raises(KeyUnknown, match="epoch 17: no key for erasure class 2"):
        sealer().seal(draft(erasure=ErasureClass.personal), 1)
    with pytest.raises(ValueError, match="4194304"):
        sealer().seal(draft(body=np.random.default_rng(1).bytes(4 << 20)), 1)
    with pytest.raises(ValueError, match="32 bytes"):
        sealer(keys={0: b"short"})


@pytest.mark.parametrize("blocks", [1, 2, 5, 8])
def test_one_block_is_shown_and_believed_without_any_key(blocks: int):
    plain = [bytes([i]) * 36 * 64 for i in range(blocks)]
    leaf, _ = sealed(blocks=plain)
    for index in range(blocks):
        shown = show_block(leaf, plain, index, KEYS[1])
        assert shown.block == plain[index]
        verify_block(leaf, shown)
        for lie in (
            replace(shown, block=b"x" + shown.block[1:]),
            replace(shown, salt=bytes(32)),
            replace(shown, index=index + 1),
            replace(shown, path=[*shown.path, bytes(32)]),
        ):
            with pytest.raises(Inconsistent):
                verify_block(leaf, lie)


def test_other_blocks_do_not_have_the_root():
    leaf, _ = sealed(blocks=[b"a", b"b"])
    for other in ([b"a", b"c"], [b"b", b"a"], [b"a"], [b"ab"], []):
        with pytest.raises(Corrupt, match="root"):
            check_root(leaf, other, KEYS[1])
