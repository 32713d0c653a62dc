"""Bodies sealed into chunks, and the leaves that commit to them (contracts.md 8).

    leaf key  = HMAC(key, "leaf" || seq u64)            key: of (epoch, erasure class)
    salt i    = HMAC(leaf key, "salt" || i u32)         all HMAC-SHA256, integers big-endian
    body root = RFC 6962 root over SHA-256(0x00 || salt i || block i)
    chunk     = nonce || AES-256-GCM(HMAC(leaf key, "aead"), nonce, form || body, AAD)
    AAD       = "davy/leaf/v1" || 0x00 || kind, seq, epoch, key_id u64 || origin

A salt tells nothing about the leaf key or the other salts, so one block can be shown with its salt and its
path in the body root, and no key. The nonce is random: after a crash the same seq is sealed again, with
another body under the same leaf key.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from davy.blackbox.merkle import inclusion_proof, root_of, verify_inclusion
from davy.errors import Corrupt, KeyUnknown
from davy.fact.leaf import MAX_BODY, VERSION, Kind, Leaf, key_id

KEY: Final = 32
NONCE: Final = 12
TAG: Final = 16

_RAW, _ZSTD = 0, 1  # the form a body is in
_DEFLATE_FROM: Final = 256  # bytes; below it zstd gains little
_MAX_PLAIN: Final = 64 << 20  # bytes a body may open into
_BOUND = struct.Struct(">QQQQ")
_INNER, _OUTER = bytes(i ^ 0x36 for i in range(256)), bytes(i ^ 0x5C for i in range(256))


@dataclass(slots=True)
class Draft:
    """A leaf to be: what happened, before it has a place in the log.

    t0, t1: us UTC; mono: ns; n: readings or events; blocks: the canonical plain blocks; encoded: the body.
    """

    kind: Kind
    t0: int
    t1: int
    mono: int
    n: int
    tags_version: int
    blocks: Sequence[bytes | memoryview]
    encoded: bytes
    erasure: int


class _Hmac:
    """HMAC-SHA256 of many short messages under one key (RFC 2104); a third of the time of `hmac.digest`."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY:
            raise ValueError(f"key: expected {KEY} bytes, got {len(key)}")
        padded = key.ljust(64, b"\0")
        self._inner, self._outer = hashlib.sha256(padded.translate(_INNER)), hashlib.sha256(padded.translate(_OUTER))

    def __call__(self, message: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


def _leaf_key(key: _Hmac, seq: int) -> _Hmac:
    return _Hmac(key(b"leaf" + seq.to_bytes(8, "big")))


def _salt(leaf_key: _Hmac, block: int) -> bytes:
    return leaf_key(b"salt" + block.to_bytes(4, "big"))


def _bound(origin: str, kind: int, seq: int, epoch: int, key: int) -> bytes:
    return b"davy/leaf/v1\0" + _BOUND.pack(kind, seq, epoch, key) + origin.encode()


def _hashes(leaf_key: _Hmac, blocks: Sequence[bytes | memoryview]) -> list[bytes]:
    sha256 = hashlib.sha256
    return [sha256(b"".join((b"\0", _salt(leaf_key, i), block))).digest() for i, block in enumerate(blocks)]


class Sealer:
    """Seals bodies under the keys of one epoch. One thread at a time.

    keys: 32 bytes for each erasure class; nonces: gives so many random bytes.
    """

    def __init__(
        self,
        origin: str,
        boot: int,
        epoch: int,
        keys: Mapping[int, bytes],
        nonces: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.origin = origin
        self.boot = boot
        self.epoch = epoch
        self._keys = {erasure: _Hmac(key) for erasure, key in keys.items()}
        self._nonces = nonces
        self._deflate = zstandard.ZstdCompressor(level=6).compress

    def seal(self, draft: Draft, seq: int) -> tuple[bytes, bytes]:
        """(leaf, chunk) of `draft` as leaf `seq`. Raises KeyUnknown for an erasure class without a key here,
        ValueError for a body beyond 4 MiB."""
        key = self._keys.get(draft.erasure)
        if key is None:
            raise KeyUnknown(f"epoch {self.epoch}: no key for erasure class {int(draft.erasure)}")
        kind, id_ = int(draft.kind), key_id(self.epoch, draft.erasure)
        leaf_key = _leaf_key(key, seq)
        nonce = self._nonces(NONCE)
        aead = AESGCM(leaf_key(b"aead"))
        chunk = nonce + aead.encrypt(nonce, self._plain(draft), _bound(self.origin, kind, seq, self.epoch, id_))
        if len(chunk) > MAX_BODY:
            raise ValueError(f"body of leaf {seq}: expected at most {MAX_BODY} bytes sealed, got {len(chunk)}")
        root = root_of(_hashes(leaf_key, draft.blocks))
        leaf = Leaf(
            VERSION, kind, seq, self.epoch, draft.t0, draft.t1, self.boot, draft.mono, draft.tags_version, draft.n,
            hashlib.sha256(chunk).digest(), root, len(chunk), id_,
        )  # fmt: skip
        return leaf.encode(), chunk

    def _plain(self, draft: Draft) -> bytes:
        body = draft.encoded
        if len(body) < _DEFLATE_FROM or draft.kind == Kind.readings:  # those are packed already
            return b"\0" + body
        deflated = self._deflate(body)
        return b"\1" + deflated if len(deflated) < len(body) else b"\0" + body


def open_chunk(leaf: Leaf, chunk: bytes | None, key: bytes, origin: str) -> bytes:
    """The body in `chunk`, as it was drafted. Raises Corrupt unless it is the very one `leaf` commits to."""
    if chunk is None:
        raise Corrupt(f"body of leaf {leaf.seq}: expected {leaf.body_size} bytes, got none")
    if len(chunk) != leaf.body_size or hashlib.sha256(chunk).digest() != leaf.body_hash:
        raise Corrupt(f"body of leaf {leaf.seq}: not the {leaf.body_size} bytes the leaf commits to")
    bound = _bound(origin, leaf.kind, leaf.seq, leaf.epoch, leaf.key_id)
    try:
        aead = AESGCM(_leaf_key(_Hmac(key), leaf.seq)(b"aead"))
        plain = aead.decrypt(chunk[:NONCE], chunk[NONCE:], bound)
    except (InvalidTag, ValueError) as error:  # ValueError: shorter than a nonce
        raise Corrupt(f"body of leaf {leaf.seq}: does not open with this key as a body of {origin}") from error
    return _formed(leaf, plain)


def _formed(leaf: Leaf, plain: bytes) -> bytes:
    form, body = plain[:1], plain[1:]
    if form == b"\0":
        return body
    if form != b"\1":
        raise Corrupt(f"body of leaf {leaf.seq}: expected form 0 or 1, got {form.hex() or 'nothing'}")
    try:
        if not 0 <= zstandard.frame_content_size(body) <= _MAX_PLAIN:
            raise Corrupt(f"body of leaf {leaf.seq}: expected at most {_MAX_PLAIN} bytes of content, stated")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=_MAX_PLAIN, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Corrupt(f"body of leaf {leaf.seq}: {error}") from error


def check_root(leaf: Leaf, blocks: Sequence[bytes | memoryview], key: bytes) -> None:
    """Raises Corrupt unless `blocks` are the plain blocks `leaf` commits to."""
    if root_of(_hashes(_leaf_key(_Hmac(key), leaf.seq), blocks)) != leaf.body_root:
        raise Corrupt(f"body of leaf {leaf.seq}: its blocks do not have the root the leaf commits to")


@dataclass(frozen=True, slots=True)
class Shown:
    """One block of a body, in the open: block `index` of `count`, its salt, and its path in the body root."""

    block: bytes
    index: int
    count: int
    salt: bytes
    path: list[bytes]


def show_block(leaf: Leaf, blocks: Sequence[bytes | memoryview], index: int, key: bytes) -> Shown:
    """What proves block `index` to someone who has the leaf and no key; says nothing of the other blocks."""
    leaf_key = _leaf_key(_Hmac(key), leaf.seq)
    hashes = _hashes(leaf_key, blocks)

    def node(level: int, at: int) -> bytes:
        return root_of(hashes[at << level : at + 1 << level])

    return Shown(
        bytes(blocks[index]), index, len(blocks), _salt(leaf_key, index), inclusion_proof(index, len(blocks), node)
    )


def verify_block(leaf: Leaf, shown: Shown) -> None:
    """Raises Inconsistent unless the shown block is part of the body `leaf` commits to."""
    hashed = hashlib.sha256(b"\0" + shown.salt + shown.block).digest()
    verify_inclusion(shown.index, shown.count, hashed, shown.path, leaf.body_root)
