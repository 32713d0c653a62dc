"""One log's folder in the mirror: what the journal made durable is put where readers look for it.

tile/ pack/ journal/ checkpoint    as the edge keeps them, for LogReader and fsck
vkey                               the one key this origin's checkpoints are signed with
seen                               the largest checkpoint shown to us, where it goes beyond what we hold
claims/<seq>.cbor                  advances not confirmed yet: [1, leaf, chunk, proof, checkpoint]
keyring/<epoch>.cbor               wrapped keys, as the edge keeps them
proofs/*.json                      contradictions of the log (conflict.py)
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum
from pathlib import Path

import cbor2

from davy.blackbox.commit import Record
from davy.blackbox.fs import Fs, full_is_named
from davy.blackbox.log import Log
from davy.blackbox.merkle import frontier_at, leaf_hash
from davy.blackbox.note import Verifier, parse_note
from davy.errors import Corrupt, Full, Refused
from davy.fact.leaf import ErasureClass, Leaf, decode_leaf

_HOUR_US = 3_600_000_000
_SETTLE_DEADLINE_S = 10.0


class Kind(IntEnum):
    """What a journal record is; the origin follows in each.

    add: first, leaves, chunks, note, cosigned note or b"". advance: [[leaf, chunk, proof]...], note.
    """

    add = 1
    advance = 2


class Mirrored:
    """The folder of one origin. `settle` belongs to one thread; `root_at` may be called from any."""

    def __init__(self, folder: Path, origin: str, verifier: Verifier, fs: Fs) -> None:
        self.folder = folder
        self.origin = origin
        self.verifier = verifier
        self._fs = fs
        self._settled = threading.Condition()  # owns `log`; notified when it grew
        self.log = Log.open(folder, origin, fs)

    def settle(self, records: Sequence[Record]) -> None:
        """Put durable records, in order, into the files. Idempotent. Raises OSError (try again) or Corrupt."""
        with self._settled:
            self._settle(records)
            self._settled.notify_all()

    def root_at(self, size: int) -> bytes:
        """Root of the first `size` leaves held; waits for them to be settled. Raises Full if the disk is behind."""
        with self._settled:
            if not self._settled.wait_for(lambda: self.log.size >= size, _SETTLE_DEADLINE_S):
                raise Full(0, f"mirror of {self.origin}: the disk is behind")
            return frontier_at(size, self.log.node).root()

    def note(self, name: str) -> bytes:
        """The note in the file `checkpoint` or `seen`, b"" if there is none."""
        with suppress(FileNotFoundError):
            return (self.folder / name).read_bytes()
        return b""

    def claims(self) -> dict[int, bytes]:
        """Claims not confirmed yet: seq -> leaf hash."""
        return {seq: leaf_hash(leaf) for seq, (leaf, _) in read_claims(self.folder).items()}

    def newest_epoch(self) -> int:
        """The highest keyring file held, -1 for none."""
        return max((int(path.stem) for path in (self.folder / "keyring").glob("*.cbor")), default=-1)

    def put_keyring(self, epoch: int, data: bytes) -> None:
        """Store a keyring file durably. Raises Refused if another is held for that epoch, Full (retry)."""
        path = self.folder / "keyring" / f"{epoch:08d}.cbor"
        with full_is_named("keyring"):
            if not path.exists():
                self._fs.make_dir(path.parent)
                self._fs.replace(path, data)
                self._fs.sync_dir(path.parent)
            elif path.read_bytes() != data:
                raise Refused(f"keyring {epoch} of {self.origin}: another file is held, and these never change")

    def close(self) -> None:
        self.log.close()

    def _settle(self, records: Sequence[Record]) -> None:
        items: list[tuple[Leaf, bytes, bytes | None]] = []
        checkpoint, seen = b"", b""
        for kind, _, *rest in records:
            if kind == Kind.advance:
                claims, seen = rest
                self._put_claims(claims, seen)
                continue
            first, leaves, chunks, seen, cosigned = rest
            known = self.log.size + len(items) - first
            if known < 0:
                raise Corrupt(f"mirror of {self.origin}: expected leaves from {first + known} on, got {first}")
            new = zip(leaves[known:], chunks[known:], strict=True)
            items += [(decode_leaf(leaf), leaf, chunk) for leaf, chunk in new]
            checkpoint = cosigned or checkpoint
        self._append(items)
        if checkpoint:
            self._publish(checkpoint)
        self._put_seen(seen)
        self._drop_claims()

    def _append(self, items: Sequence[tuple[Leaf, bytes, bytes | None]]) -> None:
        """Add leaves, those of one hour together, since packs rotate by the hour."""
        at = 0
        while at < len(items):
            hour, end = items[at][0].t1 // _HOUR_US, at + 1
            while end < len(items) and items[end][0].t1 // _HOUR_US == hour:
                end += 1
            self.log.append(
                [(data, chunk, ErasureClass(leaf.key_id & 15)) for leaf, data, chunk in items[at:end]], hour
            )
            at = end

    def _publish(self, note: bytes) -> None:
        size = parse_note(note).checkpoint().size
        if self.log.published is None or size >= self.log.published.size:
            self.log.publish(note, size)

    def _put_seen(self, note: bytes) -> None:
        """Keep the largest checkpoint shown, unless the published one says as much."""
        path, size = self.folder / "seen", parse_note(note).checkpoint().size
        if self.log.published is not None and size <= self.log.published.size:
            with suppress(FileNotFoundError):
                self._fs.remove(path)
        elif note != self.note("seen"):
            self._fs.replace(path, note)
            self._fs.sync_dir(self.folder)

    def _put_claims(self, claims: Sequence[tuple[bytes, bytes | None, list[bytes]]], note: bytes) -> None:
        folder = self.folder / "claims"
        self._fs.make_dir(folder)
        for leaf, chunk, proof in claims:
            seq = decode_leaf(leaf).seq
            if seq >= self.log.size:
                self._fs.replace(folder / f"{seq:012d}.cbor", cbor2.dumps([1, leaf, chunk, proof, note]))
        self._fs.sync_dir(folder)

    def _drop_claims(self) -> None:
        """Those whose turn has come."""
        for path in (self.folder / "claims").glob("*.cbor"):
            if int(path.stem) < self.log.size:
                self._fs.remove(path)


def read_claims(folder: Path) -> dict[int, tuple[bytes, bytes | None]]:
    """The leaves sent ahead that lie in a log's folder, by seq: (leaf, stored chunk). For any process."""
    found = {}
    for path in sorted((folder / "claims").glob("*.cbor")):
        with suppress(FileNotFoundError):  # confirmed meanwhile
            _, leaf, chunk, _, _ = cbor2.loads(path.read_bytes())
            found[int(path.stem)] = (leaf, chunk)
    return found
