"""What crosses between uplink and intake: versioned CBOR arrays, each decoded strictly.

    entries   [1, old, [leaf...], [chunk or null...], note, [hash...], seen, [hash...]]
    advance   [1, [[leaf, chunk or null, [hash...]]...], note, seen, [hash...]]
    held      [1, size, seen, epoch, checkpoint, taken]

Which log it is about follows from who sends it (the bearer token), never from the envelope.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cbor2

from davy.blackbox.held import Claim, Held, Link
from davy.blackbox.merkle import HASH_SIZE
from davy.blackbox.note import MAX_SIZE
from davy.errors import BadRequest
from davy.fact.leaf import MAX_BODY, MAX_LEAF

VERSION = 1
MEDIA_TYPE = "application/cbor"
MAX_NOTE = 16 << 10
MAX_LEAVES = 50_000  # of one envelope
MAX_CLAIMS = 1000
#: One batch is cut at BATCH bytes of leaves and bodies; a single body may be as large as that by itself.
BATCH = 4 << 20
MAX_ENVELOPE = BATCH + MAX_BODY + (1 << 20)
_MAX_PROOF = 64  # hashes: trees are smaller than 2**63


class Entries(NamedTuple):
    """Arguments of `Mirror.add` after the origin."""

    old: int
    leaves: Sequence[bytes]
    chunks: Sequence[bytes | None]
    note: bytes
    proof: Sequence[bytes]
    link: Link

    def encode(self) -> bytes:
        return cbor2.dumps(
            [VERSION, self.old, self.leaves, self.chunks, self.note, self.proof, self.link.seen, self.link.proof]
        )

    @classmethod
    def decode(cls, data: bytes) -> "Entries":
        """Raises BadRequest for anything else than an entries envelope."""
        old, leaves, chunks, note, proof, seen, link = _array(data, "entries", 7)
        if not isinstance(leaves, list) or not isinstance(chunks, list) or len(leaves) > MAX_LEAVES:
            raise BadRequest(f"entries: expected at most {MAX_LEAVES} leaves, and chunks")
        return cls(
            _number(old, "old"),
            [_bytes(leaf, "leaf", MAX_LEAF) for leaf in leaves],
            [_chunk(chunk) for chunk in chunks],
            _bytes(note, "note", MAX_NOTE),
            _hashes(proof),
            Link(_number(seen, "seen"), _hashes(link)),
        )


class Advance(NamedTuple):
    """Arguments of `Mirror.advance` after the origin."""

    claims: Sequence[Claim]
    note: bytes
    link: Link

    def encode(self) -> bytes:
        return cbor2.dumps([VERSION, [list(c) for c in self.claims], self.note, self.link.seen, self.link.proof])

    @classmethod
    def decode(cls, data: bytes) -> "Advance":
        """Raises BadRequest for anything else than an advance envelope."""
        claims, note, seen, link = _array(data, "advance", 4)
        if not isinstance(claims, list) or len(claims) > MAX_CLAIMS:
            raise BadRequest(f"advance: expected at most {MAX_CLAIMS} claims")
        return cls(
            [_claim(claim) for claim in claims],
            _bytes(note, "note", MAX_NOTE),
            Link(_number(seen, "seen"), _hashes(link)),
        )


def encode_held(held: Held) -> bytes:
    return cbor2.dumps([VERSION, *held])


def decode_held(data: bytes) -> Held:
    """Raises BadRequest for anything else than `encode_held` gives."""
    size, seen, epoch, checkpoint, taken = _array(data, "held", 5)
    if type(epoch) is not int or epoch < -1 or type(taken) is not bool:
        raise BadRequest("held: expected an epoch and a boolean")
    return Held(_number(size, "size"), _number(seen, "seen"), epoch, _bytes(checkpoint, "checkpoint", MAX_NOTE), taken)


def _array(data: bytes, what: str, fields: int) -> list[Any]:
    try:
        value = cbor2.loads(data)
    except Exception as error:  # cbor2 raises many kinds on garbage; all mean the same here
        raise BadRequest(f"{what}: not CBOR: {error}") from error
    if not isinstance(value, list) or len(value) != fields + 1 or value[0] != VERSION or type(value[0]) is not int:
        raise BadRequest(f"{what}: expected an array of {fields + 1}, the first of them {VERSION}")
    return value[1:]


def _number(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value < MAX_SIZE:
        raise BadRequest(f"{what}: expected a number from 0 on, got {str(value)[:40]!r}")
    return value


def _bytes(value: Any, what: str, limit: int) -> bytes:
    if type(value) is not bytes or len(value) > limit:
        raise BadRequest(f"{what}: expected at most {limit} bytes, got {type(value).__name__}")
    return value


def _chunk(value: Any) -> bytes | None:
    return None if value is None else _bytes(value, "body", MAX_BODY)


def _hashes(value: Any) -> list[bytes]:
    if not isinstance(value, list) or len(value) > _MAX_PROOF:
        raise BadRequest(f"proof: expected at most {_MAX_PROOF} hashes")
    if any(type(node) is not bytes or len(node) != HASH_SIZE for node in value):
        raise BadRequest(f"proof: expected hashes of {HASH_SIZE} bytes")
    return value


def _claim(value: Any) -> Claim:
    if not isinstance(value, list) or len(value) != 3:
        raise BadRequest("claim: expected a leaf, a body or null, and a proof")
    leaf, chunk, proof = value
    return Claim(_bytes(leaf, "leaf", MAX_LEAF), _chunk(chunk), _hashes(proof))
