"""The log's static files: tiles of hashes and bundles of entries (c2sp.org/tlog-tiles).

A full tile holds 256 hashes of one tree level out of eight, a full bundle 256 entries, each with its
length as uint16. Each is written once, whole, when its last entry comes; what is not yet full lives in
memory. So a folder may be read by anybody while one process writes it.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

from davy.blackbox.fs import Fs, full_is_named
from davy.blackbox.merkle import HASH_SIZE, leaf_hash, node_hash, root_of
from davy.errors import Corrupt, Inconsistent

WIDTH = 256
HEIGHT = 8  # tree levels in a tile
MAX_ENTRY = 65_535
_CACHED_TILES = 64  # of about 40 kB each


def tile_path(level: int, n: int, width: int = WIDTH) -> PurePosixPath:
    """Where tile `n` of tile level `level` lies; a `width` below 256 names a partial tile."""
    return PurePosixPath("tile", str(level), *_number(n, width))


def entries_path(n: int, width: int = WIDTH) -> PurePosixPath:
    """Where entry bundle `n` lies."""
    return PurePosixPath("tile", "entries", *_number(n, width))


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """The bytes of a bundle."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY:
            raise Corrupt(f"entry: expected at most {MAX_ENTRY} bytes, got {len(entry)}")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def unpack_entries(data: bytes, count: int = WIDTH) -> list[bytes]:
    """Inverse of `pack_entries`. Raises Corrupt unless exactly `count` entries fill `data`."""
    entries, at = [], 0
    try:
        for _ in range(count):
            (size,) = struct.unpack_from(">H", data, at)
            entries.append(data[at + 2 : at + 2 + size])
            at += 2 + size
    except struct.error as error:
        raise Corrupt(f"bundle: expected {count} entries, got {len(entries)}") from error
    if at != len(data):
        raise Corrupt(f"bundle: expected {at} bytes, got {len(data)}")
    return entries


class Tiles:
    """A tree on disk up to `bundled`, and in memory from there up to `size`.

    With `fs` this is the one writer: opening finds what is on disk, `extend` adds to it. Without, it is a
    reader of somebody else's folder: it begins empty, `refresh` takes what the writer has completed,
    `extend` adds entries read elsewhere (the journal), and nothing is ever written.
    Opening reads the right edge only. Not safe for concurrent calls.
    """

    def __init__(self, root: Path, fs: Fs | None = None) -> None:
        self.root = root
        self._fs = fs
        self._tail: list[bytes] = []  # entries after `bundled`, and their leaf hashes
        self._hashes: list[bytes] = []
        self._edges: dict[int, list[bytes]] = {}  # tile level 1 and up -> hashes of its unfinished tile
        self._rows = lru_cache(_CACHED_TILES)(self._read_rows)
        self.bundled = 0
        if fs is not None:
            self._restore(self._count_bundles())

    @property
    def size(self) -> int:
        """Entries known, the ones in memory included."""
        return self.bundled + len(self._tail)

    def extend(self, first: int, entries: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        """Add entries from index `first` on, with their leaf hashes.

        What fills up is on disk and synced on return. Raises Inconsistent if `first` is not `size`. After an
        OSError (Full among them) the entries are in memory all the same, and the next call stores them.
        """
        if first != self.size or len(entries) != len(hashes):
            raise Inconsistent(f"tiles: expected entries from {self.size} on, got {len(entries)} from {first}")
        self._tail += entries
        self._hashes += hashes
        while len(self._tail) >= WIDTH:
            self._complete()

    def refresh(self, size: int) -> None:
        """For readers: take from disk the full bundles of the first `size` entries, once a checkpoint names them.

        Entries in memory are let go if the bundles go further than before.
        """
        if size // WIDTH * WIDTH > self.bundled:
            self._tail, self._hashes = [], []
            self._restore(size // WIDTH)

    def node(self, level: int, index: int) -> bytes:
        """Hash of the complete node (level, index). Raises Inconsistent beyond `size`, Corrupt for a bad file."""
        begin, end = index << level, (index + 1) << level
        if not 0 <= begin < end <= self.size:
            raise Inconsistent(f"node {level}/{index}: expected it within {self.size} entries")
        if begin >= self.bundled:
            return root_of(self._hashes[begin - self.bundled : end - self.bundled])
        if end > self.bundled:
            return node_hash(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))
        tile_level, row = divmod(level, HEIGHT)
        n, offset = divmod(index << row, WIDTH)
        if (n + 1) * WIDTH <= self.bundled >> HEIGHT * tile_level:
            return self._rows(tile_level, n)[row][offset >> row]
        return root_of(self._edges[tile_level][offset : offset + (1 << row)])

    def entries(self, start: int, end: int) -> list[bytes]:
        """Entries [start, end). Raises Inconsistent beyond `size`, Corrupt for a bad bundle."""
        if not 0 <= start <= end <= self.size:
            raise Inconsistent(f"entries {start} to {end}: expected them within {self.size}")
        found: list[bytes] = []
        for n in range(start // WIDTH, -(-min(end, self.bundled) // WIDTH)):
            found += self.bundle(n)[max(0, start - n * WIDTH) : end - n * WIDTH]
        if end > self.bundled:
            found += self._tail[max(0, start - self.bundled) : end - self.bundled]
        return found

    def bundle(self, n: int) -> list[bytes]:
        """The 256 entries of full bundle `n`, read from disk. Raises Corrupt."""
        return unpack_entries(self._read(entries_path(n)))

    def tile(self, level: int, n: int) -> list[bytes]:
        """The 256 hashes of full tile `n`, read from disk. Raises Corrupt."""
        data = self._read(tile_path(level, n))
        if len(data) != WIDTH * HASH_SIZE:
            raise Corrupt(f"{tile_path(level, n)}: expected {WIDTH * HASH_SIZE} bytes, got {len(data)}")
        return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]

    def _complete(self) -> None:
        """Store one full bundle and each tile it fills, lowest first; only then move what is in memory."""
        rows = [self._hashes[:WIDTH]]  # full tiles, and last the unfinished one above them
        while len(rows[-1]) == WIDTH:
            rows.append([*self._edges.get(len(rows), ()), root_of(rows[-1])])
        after = self.bundled + WIDTH
        if self._fs is not None:
            self._store(entries_path(self.bundled // WIDTH), pack_entries(self._tail[:WIDTH]))
            for level, row in enumerate(rows[:-1]):
                self._store(tile_path(level, (after >> HEIGHT * (level + 1)) - 1), b"".join(row))
        self._edges.update({level: [] for level in range(1, len(rows))})
        self._edges[len(rows) - 1] = rows[-1]
        self.bundled = after
        del self._tail[:WIDTH], self._hashes[:WIDTH]

    def _store(self, path: PurePosixPath, data: bytes) -> None:
        assert self._fs is not None
        place = self.root / path
        with full_is_named(str(path)):
            self._fs.make_dir(place.parent)
            self._fs.replace(place, data)
            self._fs.sync_dir(place.parent)

    def _read(self, path: PurePosixPath) -> bytes:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError as error:
            raise Corrupt(f"{path}: expected it in a log of {self.size} entries, found none") from error

    def _read_rows(self, level: int, n: int) -> list[list[bytes]]:
        """All rows of a full tile: its 256 hashes, the 128 nodes above them, ... and its root."""
        rows = [self.tile(level, n)]
        while len(rows) <= HEIGHT:
            below = rows[-1]
            rows.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below), 2)])
        return rows

    def _count_bundles(self) -> int:
        """Full bundles whose level-0 tile is there too. They were written in order, so search by halves."""
        low, high = 0, 1
        while self._is_full(high - 1):
            low, high = high, high * 2
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if self._is_full(middle - 1) else (low, middle)
        if low and [leaf_hash(entry) for entry in self.bundle(low - 1)] != self.tile(0, low - 1):
            raise Corrupt(f"{tile_path(0, low - 1)} does not hold the hashes of {entries_path(low - 1)}")
        return low

    def _is_full(self, n: int) -> bool:
        return (self.root / entries_path(n)).exists() and (self.root / tile_path(0, n)).exists()

    def _restore(self, bundles: int) -> None:
        """Set `bundled` to `bundles` bundles found on disk and rebuild the edges above level 0.

        A writer also stores a higher tile that a crash kept from being written.
        """
        level, full = 0, bundles  # full: complete tiles of `level`
        while full:
            above = full // WIDTH
            self._edges[level + 1] = self._roots(level, above * WIDTH, full)
            if above and self._fs is not None and not (self.root / tile_path(level + 1, above - 1)).exists():
                last = self._roots(level, (above - 1) * WIDTH, above * WIDTH)
                self._store(tile_path(level + 1, above - 1), b"".join(last))
            level, full = level + 1, above
        self.bundled = bundles * WIDTH

    def _roots(self, level: int, start: int, end: int) -> list[bytes]:
        return [self._rows(level, n)[HEIGHT][0] for n in range(start, end)]


def _number(n: int, width: int) -> tuple[str, ...]:
    """`n` in groups of three digits: 1234067 is x001/x234/067; a partial one ends in 067.p/width."""
    groups = [f"{n % 1000:03d}"]
    while n := n // 1000:
        groups.insert(0, f"x{n % 1000:03d}")
    return tuple(groups) if width == WIDTH else (*groups[:-1], f"{groups[-1]}.p", str(width))
