"""The only holder of the log's signing key and of the epoch keys' first copy.

secrets/log.key      the log's Ed25519 key, as a signed-note private key under the origin's name
secrets/box.key      the box's X25519 private key, 32 bytes hex
secrets/signed.cbor  {origin: [size, root]}: the largest checkpoint signed of each origin

The keys are 0600 and never overwritten. It never signs a smaller tree than it has, nor another root for
the same size, whoever asks: a restored disk or a second writer is refused here even when all else is fooled.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from davy.blackbox import note
from davy.blackbox.fs import REAL, Fs, full_is_named
from davy.blackbox.keyring import KEY, Keyring
from davy.errors import Corrupt, Inconsistent, KeyUnknown
from davy.fact import ErasureClass

LOG_KEY, BOX_KEY, SIGNED = "log.key", "box.key", "signed.cbor"

#: Classes that share one key an epoch. Personal bodies have a key each (contracts.md 8), drawn elsewhere.
EPOCH_CLASSES = (ErasureClass.sensor, ErasureClass.event)


def create(secrets: Path, origin: str) -> None:
    """Draw the keys of a new box. Raises FileExistsError where it has an identity already, and changes nothing.

    May be run again after a crash in its middle.
    """
    if exists(secrets):
        raise FileExistsError(f"{secrets / LOG_KEY}: expected no key here yet; a log's identity is never replaced")
    secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (secrets / BOX_KEY).exists():
        _put_new(secrets / BOX_KEY, X25519PrivateKey.generate().private_bytes_raw().hex())
    _put_new(secrets / LOG_KEY, note.Signer.generate(origin).skey)


def exists(secrets: Path) -> bool:
    """Whether `create` has finished here once."""
    return (secrets / LOG_KEY).exists()


def read_box_key(secrets: Path) -> X25519PrivateKey:
    """The box's private key, for who opens bodies on this box. Raises KeyUnknown, Corrupt."""
    try:
        return X25519PrivateKey.from_private_bytes(bytes.fromhex(_text(secrets / BOX_KEY)))
    except ValueError as error:
        raise Corrupt(f"{secrets / BOX_KEY}: expected 32 bytes in hex") from error


def _put_new(path: Path, text: str) -> None:
    """Write a file that must not exist: whole, durable, 0600, or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, f"{text}\n".encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    os.link(temporary, path)  # unlike a rename, never over another file
    temporary.unlink()
    REAL.sync_dir(path.parent)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise KeyUnknown(f"{path}: expected a key, there is none") from None


class Signer:
    """The signer's work, one call at a time."""

    def __init__(self, secrets: Path, keyring: Path, fs: Fs = REAL) -> None:
        """Raises KeyUnknown where `create` has not been, Corrupt."""
        identity = note.Signer.parse(_text(secrets / LOG_KEY))
        self.origin = identity.name
        self._identity = identity
        self._box = read_box_key(secrets)
        self._keyring = Keyring(keyring, self.origin, self._box, fs)
        self._signed_path = secrets / SIGNED
        self._fs = fs
        self._signed = self._read_signed()

    @property
    def vkey(self) -> str:
        return self._identity.vkey

    @property
    def box(self) -> bytes:
        """The box's X25519 public key."""
        return self._box.public_key().public_bytes_raw()

    def sign(self, origin: str, size: int, root: bytes) -> bytes:
        """The signed checkpoint note of a tree. What was signed is durable before the signature exists.

        The same tree may be signed again. Raises Inconsistent for a smaller one, another root of the same
        size, or an origin that is not ours; Full (retry).
        """
        if origin != self.origin:
            raise Inconsistent(f"checkpoint: expected origin {self.origin}, got {origin}")
        before = self._signed.get(origin)
        if before is not None and (size < before[0] or (size == before[0] and root != before[1])):
            raise Inconsistent(
                f"checkpoint of {origin}: signed size {before[0]} root {before[1].hex()[:16]} before, "
                f"asked for size {size} root {root.hex()[:16]}"
            )
        text = note.Checkpoint(origin, size, root).text()
        if before != (size, root):
            self._remember(origin, size, root)
        return note.sign_note(text, [self._identity])

    def epoch(self, number: int, recipients: Iterable[bytes] = ()) -> tuple[dict[int, bytes], bytes]:
        """(keys by erasure class, SHA-256 of the keyring file) of epoch `number`, made once and durable.

        A second call gives the same again, whatever its recipients: the first may have reached the log
        before a crash. Raises BadRequest for a recipient that is no X25519 key, Full (retry).
        """
        if self._keyring.path(number).exists():
            return self._keyring.keys(number), self._keyring.hash(number)
        keys = {int(erasure): os.urandom(KEY) for erasure in EPOCH_CLASSES}
        return keys, self._keyring.add(number, keys, dict.fromkeys([self.box, *recipients]))

    def key(self, key_id: int) -> bytes:
        """As `Keyring.key`."""
        return self._keyring.key(key_id)

    def wraps(self, epoch: int) -> bytes:
        """As `Keyring.wraps`."""
        return self._keyring.wraps(epoch)

    def handlers(self) -> Mapping[str, Any]:
        """The verbs of the signer's socket (contracts.md 13)."""

        async def ping() -> None:
            return None

        async def vkey() -> dict[str, Any]:
            return {"vkey": self.vkey, "box": self.box, "origin": self.origin}

        async def sign(origin: str, size: int, root: bytes) -> bytes:
            return self.sign(origin, size, root)

        async def epoch(number: int, recipients: list[bytes]) -> dict[str, Any]:
            keys, wraps_hash = self.epoch(number, recipients)
            return {"keys": keys, "wraps_hash": wraps_hash}

        async def key(key_id: int) -> bytes:
            return self.key(key_id)

        async def wraps(epoch: int) -> bytes:
            return self.wraps(epoch)

        return {"ping": ping, "vkey": vkey, "sign": sign, "epoch": epoch, "key": key, "wraps": wraps}

    def _remember(self, origin: str, size: int, root: bytes) -> None:
        signed = self._signed | {origin: (size, root)}
        with full_is_named("signer"):
            self._fs.replace(self._signed_path, cbor2.dumps({o: list(s) for o, s in signed.items()}, canonical=True))
            self._fs.sync_dir(self._signed_path.parent)
        self._signed = signed

    def _read_signed(self) -> dict[str, tuple[int, bytes]]:
        try:
            plain = cbor2.loads(self._signed_path.read_bytes())
            return {str(origin): (int(size), bytes(root)) for origin, (size, root) in plain.items()}
        except FileNotFoundError:
            return {}
        except Exception as error:  # cbor2 raises many kinds on garbage; all mean the same here
            raise Corrupt(f"{self._signed_path}: expected what was signed last: {error}") from error
