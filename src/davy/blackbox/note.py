"""Signed notes, checkpoints and cosignatures, as C2SP writes them.

Formats: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature (cosignature/v1).
A note is `text`, an empty line, then signature lines; texts and lines are bytes ending in a newline,
so a signature line is added to a note by plain concatenation.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from davy.blackbox.merkle import HASH_SIZE
from davy.errors import Corrupt, Inconsistent

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
MAX_NOTE = 1 << 20  # bytes; Go's sumdb/note has the same limit
MAX_SIGNATURES = 100  # Go's sumdb/note; the specification asks for at least 16
MAX_SIZE = 1 << 63
_SIGNATURE = "— ".encode()
_NAME = re.compile(r"[^\s+]+")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_PRIVATE = "PRIVATE+KEY+"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says about itself: its first `size` leaves have `root`. Extension lines are kept, not read."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> bytes:
        lines = (self.origin, str(self.size), _b64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read a note's text. Raises Corrupt."""
        lines = _utf8(text).split("\n")
        if len(lines) < 4 or lines.pop() != "" or not all(lines):
            raise Corrupt("checkpoint: expected three or more non-empty lines: origin, size, root")
        origin, size, root, *extensions = lines
        return cls(origin, parse_decimal(size), parse_hash(root), tuple(extensions))


class Signature(NamedTuple):
    """One signature line; `data` follows the key id (for a cosignature: 8 bytes of time, then Ed25519)."""

    name: str
    key_id: bytes
    data: bytes

    def line(self) -> bytes:
        return _SIGNATURE + f"{self.name} {_b64(self.key_id + self.data)}\n".encode()


@dataclass(frozen=True, slots=True)
class Note:
    """text: the signed bytes; verified: signatures of the verifiers asked for; signatures: all of them."""

    text: bytes
    verified: tuple[Signature, ...]
    signatures: tuple[Signature, ...]

    def checkpoint(self) -> Checkpoint:
        return Checkpoint.parse(self.text)


class SignsNotes(Protocol):
    def sign(self, text: bytes) -> bytes: ...


class _Key:
    """A private key under a name."""

    algorithm = ED25519

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        if not _NAME.fullmatch(name):
            raise Corrupt(f"key name: expected no spaces and no '+', got {name!r}")
        self.name = name
        self._key = key
        self.public = key.public_key().public_bytes_raw()
        self.key_id = _key_id(name, self.algorithm, self.public)

    @property
    def vkey(self) -> str:
        """The public half, as `Verifier.parse` reads it."""
        return f"{self.name}+{self.key_id.hex()}+{_b64(bytes([self.algorithm]) + self.public)}"

    @property
    def skey(self) -> str:
        """The private half, as `parse` reads it. Secret."""
        seed = bytes([self.algorithm]) + self._key.private_bytes_raw()
        return f"{_PRIVATE}{self.name}+{self.key_id.hex()}+{_b64(seed)}"

    @property
    def verifier(self) -> "Verifier":
        return Verifier(self.name, self.algorithm, self.public)

    @classmethod
    def generate(cls, name: str) -> Self:
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, skey: str) -> Self:
        """Inverse of `skey`. Raises Corrupt."""
        if not skey.startswith(_PRIVATE):
            raise Corrupt(f"private key: expected it to begin with {_PRIVATE}")
        name, key_id, algorithm, seed = _split_key(skey.removeprefix(_PRIVATE))
        if algorithm != cls.algorithm or len(seed) != 32:
            raise Corrupt(f"private key {name}: expected 32 bytes of type {cls.algorithm}, got type {algorithm}")
        key = cls(name, Ed25519PrivateKey.from_private_bytes(seed))
        if key.key_id != key_id:
            raise Corrupt(f"private key {name}: expected key id {key.key_id.hex()}, got {key_id.hex()}")
        return key


class Signer(_Key):
    """Signs notes as a log does: plain Ed25519 over the text."""

    def sign(self, text: bytes) -> bytes:
        """One signature line over `text`."""
        return Signature(self.name, self.key_id, self._key.sign(text)).line()


class Cosigner(_Key):
    """Signs another's checkpoint with the time, as a witness or a mirror does."""

    algorithm = COSIGNATURE_V1

    def cosign(self, text: bytes, time_s: int) -> bytes:
        """One signature line over `text`; time_s: POSIX seconds."""
        signed = self._key.sign(_cosigned(text, time_s))
        return Signature(self.name, self.key_id, time_s.to_bytes(8, "big") + signed).line()


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key under a name; `algorithm` says whether it signs or cosigns."""

    name: str
    algorithm: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        return _key_id(self.name, self.algorithm, self.public)

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_b64(bytes([self.algorithm]) + self.public)}"

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Read `name+key id+base64`. Raises Corrupt."""
        name, key_id, algorithm, public = _split_key(vkey)
        if algorithm not in (ED25519, COSIGNATURE_V1) or len(public) != 32:
            raise Corrupt(f"verifier key {name}: expected 32 bytes of type 1 or 4, got {len(public)} of {algorithm}")
        verifier = cls(name, algorithm, public)
        if verifier.key_id != key_id:
            raise Corrupt(f"verifier key {name}: expected key id {verifier.key_id.hex()}, got {key_id.hex()}")
        return verifier

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raises Inconsistent unless `signature` (a Signature's data) is this key's over `text`."""
        message = text
        if self.algorithm == COSIGNATURE_V1:
            if len(signature) != 72:
                raise Inconsistent(f"cosignature of {self.name}: expected 72 bytes, got {len(signature)}")
            message, signature = _cosigned(text, int.from_bytes(signature[:8], "big")), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise Inconsistent(f"signature of {self.name} does not fit the text") from error


def sign_note(text: bytes, signers: Iterable[SignsNotes]) -> bytes:
    """A note of `text` with one line for each signer, in order."""
    _check_text(text)
    return text + b"\n" + b"".join(signer.sign(text) for signer in signers)


def parse_note(data: bytes) -> Note:
    """Split a note without verifying anything. Raises Corrupt."""
    if len(data) > MAX_NOTE:
        raise Corrupt(f"note: expected at most {MAX_NOTE} bytes, got {len(data)}")
    split = data.rfind(b"\n\n")
    if split < 0:
        raise Corrupt("note: expected a text, an empty line and signatures")
    text, lines = data[: split + 1], data[split + 2 :]
    _check_text(text)
    if not lines.endswith(b"\n"):
        raise Corrupt("note: expected signature lines, each ending in a newline")
    signatures = tuple(map(_parse_signature, lines[:-1].split(b"\n")))
    if len(signatures) > MAX_SIGNATURES:
        raise Corrupt(f"note: expected at most {MAX_SIGNATURES} signatures, got {len(signatures)}")
    return Note(text, (), signatures)


def open_note(data: bytes, verifiers: Sequence[Verifier]) -> Note:
    """Parse a note and check that every one of `verifiers` signed it; other keys are ignored.

    Raises Corrupt (not a note) or Inconsistent (a signature is missing or wrong).
    """
    if not verifiers:
        raise Inconsistent("note: expected at least one known key to verify it with")
    note = parse_note(data)
    verified = []
    for verifier in verifiers:
        found = [s for s in note.signatures if (s.name, s.key_id) == (verifier.name, verifier.key_id)]
        if not found:
            raise Inconsistent(f"note: expected a signature of {verifier.name}+{verifier.key_id.hex()}, found none")
        for signature in found:
            verifier.verify(note.text, signature.data)
        verified.append(found[0])
    return Note(note.text, tuple(verified), note.signatures)


def cosignature_time(signature: Signature) -> int:
    """POSIX seconds at which a cosignature (taken from `Note.verified`) was made."""
    return int.from_bytes(signature.data[:8], "big")


def parse_decimal(text: str) -> int:
    """A decimal without leading zeros, below 2**63. Raises Corrupt."""
    if not _DECIMAL.fullmatch(text) or int(text) >= MAX_SIZE:
        raise Corrupt(f"expected a decimal number without leading zeros, got {text[:40]!r}")
    return int(text)


def parse_hash(text: str) -> bytes:
    """One SHA-256 hash in base64. Raises Corrupt."""
    value = parse_base64(text)
    if len(value) != HASH_SIZE:
        raise Corrupt(f"hash: expected {HASH_SIZE} bytes, got {len(value)}")
    return value


def parse_base64(text: str) -> bytes:
    """Standard base64 in its one canonical form. Raises Corrupt."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Corrupt(f"expected base64, got {text[:40]!r}") from error
    if _b64(value) != text:
        raise Corrupt(f"base64 is not in canonical form: {text[:40]!r}")
    return value


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Corrupt(f"note: not UTF-8 at byte {error.start}") from error


def _check_text(text: bytes) -> None:
    _utf8(text)
    if not text.endswith(b"\n") or any(byte < 0x20 and byte != 0x0A for byte in text):
        raise Corrupt("note: expected a text without control characters, ending in a newline")


def _cosigned(text: bytes, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n".encode() + text


def _key_id(name: str, algorithm: int, public: bytes) -> bytes:
    return hashlib.sha256(f"{name}\n".encode() + bytes([algorithm]) + public).digest()[:4]


def _split_key(text: str) -> tuple[str, bytes, int, bytes]:
    """name, key id, algorithm and key bytes of a vkey or of the rest of an skey."""
    name, _, rest = text.partition("+")
    key_id, _, key = rest.partition("+")
    material = parse_base64(key)
    if not _NAME.fullmatch(name) or not re.fullmatch("[0-9a-f]{8}", key_id) or not material:
        raise Corrupt("key: expected name+8 hex digits+base64")
    return name, bytes.fromhex(key_id), material[0], material[1:]


def _parse_signature(line: bytes) -> Signature:
    name, space, encoded = _utf8(line.removeprefix(_SIGNATURE)).partition(" ")
    if not line.startswith(_SIGNATURE) or not space or not _NAME.fullmatch(name):
        raise Corrupt("note: expected signature lines: em dash, name, base64")
    data = parse_base64(encoded)
    if len(data) < 5:
        raise Corrupt(f"note: signature of {name}: expected a key id and a signature, got {len(data)} bytes")
    return Signature(name, data[:4], data[4:])
