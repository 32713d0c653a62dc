"""The log of one edge: append groups, publish checkpoints, and find oneself again after a crash.

    journal/      frames of the newest entries        pack/         sealed bodies by class and hour
    tile/         bundles and tiles, 256 at a time    quarantine/   bytes that a crash left behind
    checkpoint    the newest signed note              lock          held by the one writer

Order on disk: bodies, sync; the journal frame that names them, sync; then only is a group acknowledged,
may a checkpoint name it, and do bundles and tiles follow. So recovery cuts and copies, it never repairs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import cbor2

from davy.blackbox.fs import REAL, Fs, full_is_named
from davy.blackbox.journal import SEGMENT_BYTES, Frame, Journal
from davy.blackbox.merkle import Frontier, consistency_proof, frontier_at, inclusion_proof, leaf_hash
from davy.blackbox.note import Checkpoint, parse_note
from davy.blackbox.pack import Pack, Packs
from davy.blackbox.tiles import WIDTH, Tiles, entries_path, tile_path
from davy.errors import Corrupt, Inconsistent
from davy.fact import ErasureClass, Leaf
from davy.fact.leaf import MAX_BODY, MAX_LEAF

_FRAME_VERSION = 1

#: A leaf's bytes, its stored chunk if it has a body, and the class that chunk is erased with.
Item = tuple[bytes, bytes | None, ErasureClass]


def encode_frame(first: int, leaves: Sequence[bytes], ends: Sequence[tuple[int, str, int]]) -> bytes:
    """Journal payload: [1, first, [leaf...], [[class, pack name, end]...]], every open pack named."""
    return cbor2.dumps([_FRAME_VERSION, first, leaves, ends])


def decode_frame(payload: bytes) -> tuple[int, list[bytes], list[tuple[int, str, int]]]:
    """Inverse of `encode_frame`. Raises Corrupt: a sound frame of another kind is not ours."""
    try:
        version, first, leaves, ends = cbor2.loads(payload)
        if version != _FRAME_VERSION:
            raise Corrupt(f"journal frame: expected version {_FRAME_VERSION}, got {version}")
        return first, leaves, [(erasure, name, end) for erasure, name, end in ends]
    except (cbor2.CBORDecodeError, TypeError, ValueError) as error:
        raise Corrupt(f"journal frame: {error}") from error


class _NamesLater(Fs):
    """Syncs a folder once a batch (`finish`) instead of once a file, which would be half the cost of a bundle."""

    def __init__(self, fs: Fs) -> None:
        self._fs = fs
        self._folders: set[Path] = set()

    def make_dir(self, path: Path) -> None:
        self._fs.make_dir(path)

    def replace(self, path: Path, data: bytes) -> None:
        self._fs.replace(path, data)

    def sync_dir(self, path: Path) -> None:
        self._folders.add(path)

    def finish(self) -> None:
        """Make every name since the last `finish` durable. After an OSError it may be called again."""
        while self._folders:
            folder = min(self._folders)
            self._fs.sync_dir(folder)
            self._folders.remove(folder)


class Log:
    """The one writer of a log. Every method is called from one thread; other processes use a LogReader.

    `trouble` is what kept finished bundles from being written or old segments from being removed, or None:
    housekeeping that nothing acknowledged depends on, and that every append tries again.
    """

    def __init__(self, path: Path, origin: str, fs: Fs = REAL, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Use `open`."""
        self.path = path
        self.origin = origin
        self.trouble: OSError | None = None
        self.published: Checkpoint | None = None
        self.size = 0  # durable leaves
        self._fs = fs
        self._journal = Journal(path / "journal", fs, segment_bytes)
        self._packs = Packs(path / "pack", fs)
        self._names = _NamesLater(fs)
        self._failed = False  # the last append left something half written
        self._ends: dict[int, int] = {}  # journal segment -> entries before its end
        fs.make_dir(path)
        self._lock = fs.open(path / "lock")

    @classmethod
    def open(cls, path: Path, origin: str, fs: Fs = REAL, segment_bytes: int = SEGMENT_BYTES) -> Self:
        """Open the log in folder `path`, or begin one there; a crash at any point is recovered from.

        Reads the right edge only. Bytes that were never acknowledged end in `quarantine/`. Raises
        Inconsistent (the checkpoint names more than is here or another root; another origin; another
        process has the log open) or Corrupt (acknowledged bytes are missing or damaged), with nothing
        changed; Full (retry) or another OSError.
        """
        log = cls(path, origin, fs, segment_bytes)
        try:
            log._take()
            log._recover()
        except BaseException:
            log.close()
            raise
        return log

    @property
    def frontier(self) -> Frontier:
        """Of all durable leaves; made when asked for, since appends outnumber checkpoints."""
        return frontier_at(self.size, self._tiles.node)

    def root(self) -> bytes:
        return self.frontier.root()

    def append(self, group: Sequence[Item], hour: int) -> int:
        """Add leaves with their bodies, all or none; return the new size, durable.

        hour: hours since the epoch, picks the pack files; one below the open pack's stays in that pack.
        Raises Full (retry) or another OSError: nothing of the group is acknowledged, the log stays usable,
        and the next append first removes what was half written. ValueError for a leaf or body too large.
        """
        leaves = _checked(group)
        if not leaves:
            return self.size
        with full_is_named(f"log {self.origin}"):
            if self._failed:
                self._journal.undo()  # first: a frame must never outlive the bodies it names
                self._packs.undo()
            self._failed = True
            self._store(leaves, group, hour)
            self._failed = False
        hashes = list(map(leaf_hash, leaves))
        first = self.size
        self.size += len(leaves)
        self._ends[self._journal.segment] = self.size
        self._keep_house(first, leaves, hashes)
        return self.size

    def publish(self, note: bytes, size: int) -> None:
        """Make `note`, a signed checkpoint of the first `size` leaves, the one that readers see; durable.

        Every full bundle of that size is on disk before. Raises Inconsistent unless it says what this log
        holds and does not go back, Corrupt for what is no checkpoint, Full (retry).
        """
        checkpoint = parse_note(note).checkpoint()
        if checkpoint.size != size or size > self.size:
            raise Inconsistent(f"checkpoint: expected size {size}, at most {self.size}, got {checkpoint.size}")
        if self.published and size < self.published.size:
            raise Inconsistent(f"checkpoint: expected at least size {self.published.size}, got {size}")
        with full_is_named("bundles"):
            self._bundle(self.size, (), ())  # readers rely on full bundles: finish what failed before
        self._check(checkpoint, self.size, ())
        with full_is_named("checkpoint"):
            self._fs.replace(self.path / "checkpoint", note)
            self._fs.sync_dir(self.path)
        self.published = checkpoint

    def leaves(self, start: int, end: int) -> list[bytes]:
        """Leaves [start, end), end <= `size`: also those no checkpoint names yet."""
        return self._tiles.entries(start, end)

    def body(self, seq: int, leaf: Leaf) -> bytes | None:
        """The stored chunk of leaf `seq`, or None: it has none, or it was erased or retired. Raises Corrupt."""
        return self._packs.reader.body(seq, leaf)

    def node(self, level: int, index: int) -> bytes:
        """Hash of the complete node (level, index)."""
        return self._tiles.node(level, index)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that leaf `index` is in the tree of the first `size` leaves. Raises Inconsistent."""
        return inclusion_proof(index, size, self.node)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the first `old` leaves begin the first `new`. Raises Inconsistent."""
        return consistency_proof(old, new, self.node)

    def aged(self, erasure: ErasureClass, before_hour: int) -> list[Pack]:
        """Packs that `retire` would remove: of this class, wholly before `before_hour`, oldest first."""
        if not self._failed:
            self._packs.keep()
        return self._packs.aged(erasure, before_hour)

    def retire(self, packs: Sequence[Pack]) -> None:
        """Remove packs that `aged` gave; their leaves stay. First append a leaf that says so."""
        self._packs.retire(packs)

    def close(self) -> None:
        """Let go of the files; nothing is left to be written."""
        self._journal.close()
        self._packs.close()
        if self._lock >= 0:
            self._fs.close(self._lock)
            self._lock = -1

    def _take(self) -> None:
        try:
            self._fs.lock(self._lock)
        except BlockingIOError as error:
            raise Inconsistent(f"log {self.origin}: another process has it open") from error

    def _store(self, leaves: list[bytes], group: Sequence[Item], hour: int) -> None:
        """The two syncs, bodies first."""
        for erasure in {erasure for _, chunk, erasure in group if chunk is not None}:
            bodies = [(seq, c) for seq, (_, c, e) in enumerate(group, self.size) if e is erasure and c is not None]
            self._packs.extend(erasure, bodies, hour)
        self._packs.sync()
        self._journal.append(encode_frame(self.size, leaves, self._packs.ends()))

    def _recover(self) -> None:
        """Look first; change nothing before everything agrees; then cut what was not acknowledged."""
        frames = list(self._journal.scan())
        self._end_at_hole(frames)
        self._tiles = Tiles(self.path, self._names)
        bundled = self._tiles.bundled
        leaves, pack_ends = self._replay(frames, bundled)
        hashes = list(map(leaf_hash, leaves))
        self.size = bundled + len(leaves)
        note = self.path / "checkpoint"
        if note.exists():
            self.published = parse_note(note.read_bytes()).checkpoint()
            self._check(self.published, bundled, hashes)
        self._packs.recover(pack_ends, self.size, self.path / "quarantine")
        self._journal.start(frames, self.path / "quarantine")
        self._keep_house(bundled, leaves, hashes)  # not before: a bundle must never outlive its journal frame

    def _end_at_hole(self, frames: list[Frame]) -> None:
        """Let the bundles end before the first one missing; the journal still holds what comes after.

        Names are synced a batch at a time, so a power cut may keep a later file and lose an earlier one.
        """
        if not frames:
            return
        first, (last, entries, _) = decode_frame(frames[0].payload)[0], decode_frame(frames[-1].payload)
        missing = False
        for n in range(first // WIDTH, (last + len(entries)) // WIDTH):
            bundle, tile = self.path / entries_path(n), self.path / tile_path(0, n)
            if missing and tile.exists():
                self._fs.remove(tile)
            missing = missing or not (bundle.exists() and tile.exists())

    def _replay(self, frames: list[Frame], bundled: int) -> tuple[list[bytes], dict[tuple[int, str], int]]:
        """Entries from `bundled` on, and where the packs end."""
        leaves: list[bytes] = []
        pack_ends: dict[tuple[int, str], int] = {}
        for segment, payload in frames:
            first, entries, ends = decode_frame(payload)
            size = bundled + len(leaves)
            if first > size or (first < size and leaves):
                raise Corrupt(f"journal segment {segment}: expected entries from {size} on, got {first}")
            leaves += entries[size - first :]
            self._ends[segment] = first + len(entries)
            pack_ends |= {(erasure, name): end for erasure, name, end in ends}
        return leaves, pack_ends

    def _check(self, checkpoint: Checkpoint, bundled: int, hashes: Sequence[bytes]) -> None:
        """That this log holds what `checkpoint` says; `hashes` follow the `bundled` entries."""
        size = checkpoint.size
        if checkpoint.origin != self.origin:
            raise Inconsistent(f"checkpoint: expected origin {self.origin}, got {checkpoint.origin}")
        if size > self.size:
            raise Inconsistent(f"checkpoint names {size} leaves, the log holds {self.size}")
        frontier = frontier_at(min(size, bundled), self.node)
        frontier.extend(hashes[: size - bundled] if size > bundled else ())
        root = frontier.root()
        if checkpoint.root != root:
            raise Inconsistent(f"checkpoint of {size} leaves: expected root {root.hex()}, got {checkpoint.root.hex()}")

    def _bundle(self, first: int, leaves: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        self._tiles.extend(first, leaves, hashes)
        self._names.finish()

    def _keep_house(self, first: int, leaves: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        """Write full bundles, then remove segments whose entries all lie in them, the newest such excepted.

        That one is left for readers who are about to read it. Trouble here never fails an append: the
        entries are in the journal, and stay there until this succeeds.
        """
        try:
            self._bundle(first, leaves, hashes)
            writing, bundled = self._journal.segment, self._tiles.bundled
            done = [segment for segment, end in self._ends.items() if segment != writing and end <= bundled]
            if len(done) > 1:
                self._journal.retire(done[-1])
                self._ends = {segment: end for segment, end in self._ends.items() if segment >= done[-1]}
            self.trouble = None
        except OSError as error:
            self.trouble = error


def _checked(group: Sequence[Item]) -> list[bytes]:
    leaves = [leaf for leaf, _, _ in group]
    largest_leaf = max(map(len, leaves), default=0)
    largest_body = max((len(chunk) for _, chunk, _ in group if chunk is not None), default=0)
    if largest_leaf > MAX_LEAF or largest_body > MAX_BODY:
        raise ValueError(
            f"group: expected leaves up to {MAX_LEAF} and bodies up to {MAX_BODY} bytes, "
            f"got {largest_leaf} and {largest_body}"
        )
    return leaves
