"""Leaf v1: the header that is hashed into the tree (contracts.md 8).

A leaf is a canonical-CBOR array of fixed order, at most 64 KiB. Its body, if any, is a separate
sealed chunk; the header commits to the stored chunk (`body_hash`) and to its plain blocks
(`body_root`).
"""

from enum import IntEnum
from operator import itemgetter
from typing import NamedTuple

import cbor2

from davy.errors import Corrupt

VERSION = 1
MAX_LEAF = 65_535
MAX_BODY = 4 << 20
BLOCK_TAGS = 64


class Kind(IntEnum):
    """What a leaf records. Numbers are part of the format and never reused."""

    readings = 1
    transition = 2
    act = 3
    output = 4
    feedback = 5
    command = 6
    config = 7
    rules = 8
    tags = 9
    segment = 10
    duty = 11
    flag = 12
    clock = 13
    gap = 14
    heartbeat = 15
    epoch = 16
    rotate = 17
    erase = 18
    hold = 19
    reorigin = 20
    unverified_start = 21


class ErasureClass(IntEnum):
    """Bodies of one class share a key within an epoch and a pack file; erased together."""

    sensor = 0
    event = 1
    personal = 2


class Leaf(NamedTuple):
    """t0, t1: us UTC of the first and last thing recorded; mono: ns, monotonic, of boot `boot`.

    n: readings or events inside; body_hash: SHA-256 of the stored chunk, b"" without a body;
    body_root: RFC 6962 root over the salted blocks; body_size: bytes stored;
    key_id: epoch << 4 | erasure class.
    """

    v: int
    kind: int
    seq: int
    epoch: int
    t0: int
    t1: int
    boot: int
    mono: int
    tags_version: int
    n: int
    body_hash: bytes
    body_root: bytes
    body_size: int
    key_id: int

    def encode(self) -> bytes:
        """The bytes that are hashed and stored."""
        # A tuple of integers and bytes has one shortest form, so plain dumps is canonical (RFC 8949 4.2.1).
        return cbor2.dumps(self)


def key_id(epoch: int, erasure: int) -> int:
    return epoch << 4 | erasure


def decode_leaf(data: bytes) -> Leaf:
    """Inverse of `Leaf.encode`. Raises Corrupt for anything that is not canonical leaf v1."""
    if len(data) > MAX_LEAF:
        raise Corrupt(f"leaf: expected at most {MAX_LEAF} bytes, got {len(data)}")
    try:
        fields = cbor2.loads(data)
    except Exception as error:  # cbor2 raises many kinds on garbage; all mean the same here
        raise Corrupt(f"leaf: not CBOR: {error}") from error
    if not isinstance(fields, list) or len(fields) != len(Leaf._fields):
        raise Corrupt(f"leaf: expected an array of {len(Leaf._fields)} fields")
    if tuple(map(type, fields)) != _TYPES or min(_unsigned(fields)) < 0:
        raise Corrupt(f"leaf: {_misfit(fields)}")
    leaf = Leaf(*fields)
    if leaf.v != VERSION:
        raise Corrupt(f"leaf: expected version {VERSION}, got {leaf.v}")
    if len(leaf.body_hash) not in (0, 32) or len(leaf.body_hash) != len(leaf.body_root) or leaf.body_size > MAX_BODY:
        raise Corrupt("leaf: body fields do not fit together")
    if cbor2.dumps(fields) != data:
        raise Corrupt("leaf: not in canonical form")
    return leaf


#: What the fields are, checked at once: every leaf that reaches a mirror or a check passes here.
_TYPES = tuple(bytes if field in ("body_hash", "body_root") else int for field in Leaf._fields)
_unsigned = itemgetter(*(i for i, t in enumerate(_TYPES) if t is int and Leaf._fields[i] not in ("t0", "t1")))


def _misfit(fields: list[object]) -> str:
    """The first field that is not what it should be."""
    for field, wanted, value in zip(Leaf._fields, _TYPES, fields, strict=True):
        signed = field in ("t0", "t1")
        if type(value) is not wanted or (isinstance(value, int) and value < 0 and not signed):
            return f"field {field}: expected {wanted.__name__}, got {value!r}"
    raise AssertionError("every field fits")
