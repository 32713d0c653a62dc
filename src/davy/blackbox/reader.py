"""The log as every other process sees it: from disk only, up to the size the checkpoint names."""

from pathlib import Path
from typing import Self

from davy.blackbox.journal import JournalTail
from davy.blackbox.log import decode_frame
from davy.blackbox.merkle import consistency_proof, frontier_at, inclusion_proof, leaf_hash
from davy.blackbox.note import Checkpoint, parse_note
from davy.blackbox.pack import PackReader
from davy.blackbox.tiles import WIDTH, Tiles, entries_path, unpack_entries
from davy.errors import Corrupt, Inconsistent
from davy.fact import Leaf


class LogReader:
    """Read a log while another process writes it.

    Cheap to poll: one small file, then only the journal frames that are new. Everything below a size once
    seen stays as it was. Not for concurrent calls: one reader a thread.
    """

    def __init__(self, path: Path, origin: str) -> None:
        self.path = path
        self.origin = origin
        self._note = b""
        self._checkpoint: Checkpoint | None = None
        self._tiles = Tiles(path)
        self._tail = JournalTail(path / "journal")
        self._ahead: list[bytes] = []  # from the journal, after what `_tiles` holds
        self._packs = PackReader(path / "pack")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._tail.close()
        self._packs.close()

    def checkpoint(self) -> tuple[bytes, Checkpoint] | None:
        """The newest signed note and what it says, or None before the first. Signatures are not checked.

        Raises Inconsistent (another origin, or smaller than before), Corrupt.
        """
        try:
            note = (self.path / "checkpoint").read_bytes()
        except FileNotFoundError:
            return None
        if note != self._note or self._checkpoint is None:
            checkpoint = parse_note(note).checkpoint()
            if checkpoint.origin != self.origin:
                raise Inconsistent(f"checkpoint: expected origin {self.origin}, got {checkpoint.origin}")
            if self._checkpoint and checkpoint.size < self._checkpoint.size:
                raise Inconsistent(f"checkpoint: expected size {self._checkpoint.size} or more, got {checkpoint.size}")
            self._note, self._checkpoint = note, checkpoint
        return self._note, self._checkpoint

    @property
    def size(self) -> int:
        """Leaves the newest checkpoint names; asks the disk."""
        held = self.checkpoint()
        return held[1].size if held else 0

    def leaves(self, start: int, end: int) -> list[bytes]:
        """Leaves [start, end), end <= `size`. Raises Inconsistent beyond it, Corrupt for missing or bad files."""
        self._reach(end)
        return self._tiles.entries(start, end)

    def body(self, seq: int, leaf: Leaf) -> bytes | None:
        """The stored chunk of leaf `seq`, or None: it has none, or it was erased or retired.

        Raises Corrupt if the chunk is not the one the leaf commits to.
        """
        return self._packs.body(seq, leaf)

    def node(self, level: int, index: int) -> bytes:
        """Hash of the complete node (level, index) within `size`."""
        self._reach((index + 1) << level)
        return self._tiles.node(level, index)

    def root(self, size: int) -> bytes:
        """Root of the first `size` leaves."""
        self._reach(size)
        return frontier_at(size, self._tiles.node).root()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that leaf `index` is in the tree of the first `size` leaves. Raises Inconsistent."""
        self._reach(size)
        return inclusion_proof(index, size, self._tiles.node)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the first `old` leaves begin the first `new`. Raises Inconsistent."""
        self._reach(new)
        return consistency_proof(old, new, self._tiles.node)

    def _reach(self, size: int) -> None:
        """Know the first `size` entries: bundles, then journal, then (a mirror's) partial bundle."""
        if size <= self._tiles.size:
            return
        if self._checkpoint is None or size > self._checkpoint.size:
            known = self.size
            if size > known:
                raise Inconsistent(f"leaves of {self.origin}: expected at most {known}, asked for {size}")
        assert self._checkpoint is not None
        if not self._tiles.size:
            self._tiles.refresh(self._checkpoint.size)
        self._take(size)
        if self._tiles.size < size:
            self._read_journal(size)
        if self._tiles.size < size:
            self._read_partial(size)

    def _take(self, size: int) -> None:
        """Move entries read from the journal into the tree, none beyond `size`: bundles there may not be full yet."""
        entries = self._ahead[: max(0, size - self._tiles.size)]
        self._tiles.extend(self._tiles.size, entries, list(map(leaf_hash, entries)))
        del self._ahead[: len(entries)]

    def _read_journal(self, size: int) -> None:
        for payload in self._tail.read_new():
            first, entries, _ = decode_frame(payload)
            if first > self._tiles.size:  # the segments before were retired: all in them is in full bundles
                self._tiles.refresh(-(-first // WIDTH) * WIDTH)
            self._ahead += entries[self._tiles.size - first :]
            self._take(size)
            if self._tiles.size >= size:
                return

    def _read_partial(self, size: int) -> None:
        """A folder without a journal (a mirror's) may keep its newest entries as a partial bundle."""
        self._tiles.refresh(size)
        n, width = divmod(size, WIDTH)
        path = self.path / entries_path(n, max(width, 1))
        if width and path.exists():
            have = self._tiles.size - n * WIDTH
            entries = unpack_entries(path.read_bytes(), width)[have:]
            self._tiles.extend(self._tiles.size, entries, list(map(leaf_hash, entries)))
        if self._tiles.size < size:
            raise Corrupt(f"entries {self._tiles.size} to {size}: expected them in bundles or journal, found none")
