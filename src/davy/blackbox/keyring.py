"""Epoch keys and their wraps: who may open a body.

One random key per (epoch, erasure class). An epoch's keys lie in `keyring/<epoch, 8 digits>.cbor`,
outside the log, wrapped to each recipient's X25519 key; the epoch leaf holds the file's SHA-256. To
destroy keys is to delete the file. As CBOR (docs/leaf.cddl, `keyring`):

    [1, origin, epoch, [[recipient, ephemeral, sealed], ...]]

`sealed` is AES-256-GCM over the CBOR map {erasure class: key} under HKDF-SHA256 of the X25519 secret, salted
with ephemeral || recipient; that key is used once, so the nonce is zero. Origin and epoch are bound.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from davy.blackbox.fs import REAL, Fs, full_is_named
from davy.errors import BadRequest, Corrupt, KeyUnknown

FORMAT: Final = 1
KEY: Final = 32
MAX_WRAPS: Final = 1 << 20  # bytes of one keyring file; some five thousand recipients
_NONCE: Final = bytes(12)
_INFO: Final = b"davy/keyring/v1"


def wrap(origin: str, epoch: int, keys: Mapping[int, bytes], recipients: Iterable[bytes]) -> bytes:
    """The keyring file that gives `keys` to each of `recipients` (X25519 public keys, 32 bytes each)."""
    plain = cbor2.dumps(dict(keys), canonical=True)
    return cbor2.dumps([FORMAT, origin, epoch, [_wrapped(plain, r, origin, epoch) for r in recipients]])


def unwrap(data: bytes, origin: str, epoch: int, private: X25519PrivateKey) -> dict[int, bytes]:
    """The keys by erasure class. Raises KeyUnknown where none of the wraps is for us, Corrupt."""
    public = private.public_key().public_bytes_raw()
    for recipient, ephemeral, sealed in _parse(data, origin, epoch):
        if recipient == public:
            return _opened(private, public, ephemeral, sealed, origin, epoch)
    raise KeyUnknown(f"epoch {epoch} of {origin}: its keys are not wrapped for this key")


def _wrapped(plain: bytes, recipient: bytes, origin: str, epoch: int) -> list[bytes]:
    ephemeral = X25519PrivateKey.generate()
    public = ephemeral.public_key().public_bytes_raw()
    try:
        secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    except ValueError as error:  # wrong length, or a point whose shared secret would be known to all
        raise BadRequest(f"recipient {recipient.hex()}: expected an X25519 public key: {error}") from error
    sealed = _aead(secret, public, recipient).encrypt(_NONCE, plain, _bound(origin, epoch))
    return [recipient, public, sealed]


def _opened(
    private: X25519PrivateKey, public: bytes, ephemeral: bytes, sealed: bytes, origin: str, epoch: int
) -> dict[int, bytes]:
    try:
        secret = private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        keys = cbor2.loads(_aead(secret, ephemeral, public).decrypt(_NONCE, sealed, _bound(origin, epoch)))
    except (InvalidTag, ValueError) as error:  # CBORDecodeError is a ValueError
        raise Corrupt(f"epoch {epoch} of {origin}: its wrap does not open: {error!r}") from error
    if not isinstance(keys, dict) or not all(type(k) is bytes and len(k) == KEY for k in keys.values()):
        raise Corrupt(f"epoch {epoch} of {origin}: expected keys of {KEY} bytes in its wrap")
    return keys


def _aead(secret: bytes, ephemeral: bytes, recipient: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY, salt=ephemeral + recipient, info=_INFO).derive(secret))


def _bound(origin: str, epoch: int) -> bytes:
    return epoch.to_bytes(8, "big") + origin.encode()


def _parse(data: bytes, origin: str, epoch: int) -> list[tuple[bytes, bytes, bytes]]:
    try:
        version, of, number, wraps = cbor2.loads(data) if len(data) <= MAX_WRAPS else []
        wraps = [(recipient, ephemeral, sealed) for recipient, ephemeral, sealed in wraps]
    except Exception as error:  # cbor2 raises many kinds on garbage; all mean the same here
        raise Corrupt(f"keyring of epoch {epoch}: expected [version, origin, epoch, wraps]: {error}") from error
    if (version, of, number) != (FORMAT, origin, epoch):
        raise Corrupt(f"keyring: expected version {FORMAT}, {origin}, epoch {epoch}, got {version}, {of}, {number}")
    if not all(type(part) is bytes for wrap in wraps for part in wrap):
        raise Corrupt(f"keyring of epoch {epoch}: expected wraps of three byte strings")
    return wraps


def _gone(epoch: int, origin: str) -> str:
    return f"epoch {epoch} of {origin}: no keys here, or they were destroyed"


class Keyring:
    """The keys of one origin that one private key opens. Keeps opened epochs; one thread at a time."""

    def __init__(self, folder: Path, origin: str, private: X25519PrivateKey, fs: Fs = REAL) -> None:
        self.folder = folder
        self.origin = origin
        self._private = private
        self._fs = fs
        self._opened: dict[int, tuple[tuple[int, int, int], dict[int, bytes]]] = {}

    def path(self, epoch: int) -> Path:
        return self.folder / f"{epoch:08d}.cbor"

    def wraps(self, epoch: int) -> bytes:
        """The keyring file. Raises KeyUnknown where it is not here, or no longer."""
        try:
            return self.path(epoch).read_bytes()
        except FileNotFoundError:
            raise KeyUnknown(_gone(epoch, self.origin)) from None

    def hash(self, epoch: int) -> bytes:
        """SHA-256 of the keyring file, as the epoch leaf holds it. Raises KeyUnknown."""
        return hashlib.sha256(self.wraps(epoch)).digest()

    def keys(self, epoch: int) -> dict[int, bytes]:
        """All keys of an epoch by erasure class. Raises KeyUnknown, Corrupt."""
        # The file is looked at each time: keys that were destroyed must not be remembered.
        try:
            found = self.path(epoch).stat()
        except OSError:
            self._opened.pop(epoch, None)
            raise KeyUnknown(_gone(epoch, self.origin)) from None
        now = (found.st_ino, found.st_mtime_ns, found.st_size)
        held = self._opened.get(epoch)
        if held is None or held[0] != now:
            held = self._opened[epoch] = now, unwrap(self.wraps(epoch), self.origin, epoch, self._private)
        return held[1]

    def key(self, key_id: int) -> bytes:
        """The key of bodies that name `key_id`. Raises KeyUnknown, Corrupt."""
        epoch, erasure = key_id >> 4, key_id & 15
        try:
            return self.keys(epoch)[erasure]
        except KeyError as error:
            if isinstance(error, KeyUnknown):
                raise
            raise KeyUnknown(f"epoch {epoch} of {self.origin}: no key for erasure class {erasure}") from None

    def add(self, epoch: int, keys: Mapping[int, bytes], recipients: Iterable[bytes]) -> bytes:
        """Write the keyring file of a new epoch and return its SHA-256; durable on return.

        Raises FileExistsError where the epoch has one: its hash may be in the log already.
        """
        path = self.path(epoch)
        if path.exists():
            raise FileExistsError(f"keyring: epoch {epoch} has its keys already: {path.name}")
        data = wrap(self.origin, epoch, keys, recipients)
        with full_is_named("keyring"):
            self._fs.make_dir(self.folder)
            self._fs.replace(path, data)
            self._fs.sync_dir(self.folder)
        return hashlib.sha256(data).digest()
