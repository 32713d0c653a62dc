"""Packs: the sealed bodies of leaves, one file an erasure class and hour, so retention drops whole files.

    pack/<class>/<first seq, 12 digits>.pack   b"DVP1", hour as uint32, then records
    record                                     seq as uint64, size as uint32, the chunk      big-endian
    ....idx beside it                          one (seq uint64, offset of the chunk uint64, size uint32) a record

Records lie in order of seq. The index is a convenience: it is never synced while it grows, and whoever
reads checks it against the record; it can be made again from the pack.
"""

import hashlib
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from davy.blackbox.fs import REAL, Fs, full_is_named
from davy.errors import Corrupt
from davy.fact import ErasureClass, Leaf

MAGIC = b"DVP1"
_FILE = struct.Struct(">4sI")
_RECORD = struct.Struct(">QI")
_ENTRY = struct.Struct(">QQI")

#: (erasure class, pack name) -> bytes of it that count.
Ends = Mapping[tuple[int, str], int]


class Entry(NamedTuple):
    """Where a chunk lies in its pack."""

    seq: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack file as a whole. first, last: seq of its records; size: bytes; hour: hours since the epoch."""

    erasure: ErasureClass
    name: str
    hour: int
    first: int
    last: int
    size: int


def _folder(root: Path, erasure: int) -> Path:
    return root / ErasureClass(erasure).name


def _names(folder: Path) -> list[str]:
    """Names of the packs in a folder, oldest first."""
    with suppress(FileNotFoundError):
        return sorted(name[:-5] for name in os.listdir(folder) if name.endswith(".pack"))
    return []


def scan(fd: int, start: int = _FILE.size, end: int | None = None) -> Iterator[Entry]:
    """The records from byte `start` (a record's begin) on, up to `end` or the first that is not whole."""
    end = os.fstat(fd).st_size if end is None else end
    while start + _RECORD.size <= end:
        seq, size = _RECORD.unpack(os.pread(fd, _RECORD.size, start))
        offset = start + _RECORD.size
        if offset + size > end:
            return
        yield Entry(seq, offset, size)
        start = offset + size


def _row(index: int, row: int) -> Entry:
    return Entry(*_ENTRY.unpack(os.pread(index, _ENTRY.size, row * _ENTRY.size)))


def _hour(fd: int, path: Path) -> int:
    head = os.pread(fd, _FILE.size, 0)
    if len(head) < _FILE.size or not head.startswith(MAGIC):
        raise Corrupt(f"pack {path.name}: expected it to begin with {MAGIC!r}, got {head[:4]!r}")
    return int.from_bytes(head[4:], "big")


class _Reading:
    """One pack open for reading."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.pack"
        self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self.index = -1
        with suppress(FileNotFoundError):
            self.index = os.open(folder / f"{name}.idx", os.O_RDONLY | os.O_CLOEXEC)
        self._next = 0  # row of the index after the one used last: what most readers want

    def close(self) -> None:
        for fd in (self.fd, self.index):
            if fd >= 0:
                os.close(fd)

    def read(self, seq: int) -> bytes | None:
        rows = os.fstat(self.index).st_size // _ENTRY.size if self.index >= 0 else 0
        at = self._next
        entry = _row(self.index, at) if at < rows else None
        if entry is None or entry.seq != seq:
            at = bisect_left(range(rows), seq, key=lambda row: _row(self.index, row).seq)
            entry = _row(self.index, at) if at < rows else None
        chunk = self._chunk(entry) if entry and entry.seq == seq else None
        if chunk is None:  # not here, or the index lags behind or is damaged: ask the records themselves
            return self._search(seq, at)
        self._next = at + 1
        return chunk

    def _chunk(self, entry: Entry) -> bytes | None:
        """The chunk if the record there is this one, whole."""
        begin = entry.offset - _RECORD.size
        data = os.pread(self.fd, _RECORD.size + entry.size, begin) if begin >= _FILE.size else b""
        whole = len(data) == _RECORD.size + entry.size and _RECORD.unpack_from(data) == (entry.seq, entry.size)
        return data[_RECORD.size :] if whole else None

    def _search(self, seq: int, at: int) -> bytes | None:
        """Read on from the row before `at` if that one is sound, else from the beginning."""
        start = _FILE.size
        if at and _agrees(self.fd, before := _row(self.index, at - 1)):
            start = before.offset + before.size
        for entry in scan(self.fd, start):
            if entry.seq >= seq:
                return self._chunk(entry) if entry.seq == seq else None
        return None


class PackReader:
    """Finds bodies by seq, while another process writes them. Not for concurrent calls."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._firsts: dict[int, list[int]] = {}  # class -> first seq of each pack, as last listed
        self._open: dict[int, _Reading] = {}  # class -> the pack read last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for pack in self._open.values():
            pack.close()
        self._open.clear()

    def read(self, seq: int, erasure: int) -> bytes | None:
        """The chunk of leaf `seq`, or None if it is not (any more) here."""
        firsts = self._firsts.get(erasure, [])
        pack = self._pack_of(firsts, seq, erasure)
        chunk = pack.read(seq) if pack else None
        if chunk is None and (pack is None or seq >= firsts[-1]):  # the packs may have changed since we looked
            firsts = self._firsts[erasure] = [int(name) for name in _names(_folder(self.root, erasure))]
            pack = self._pack_of(firsts, seq, erasure)
            chunk = pack.read(seq) if pack else None
        return chunk

    def body(self, seq: int, leaf: Leaf) -> bytes | None:
        """As `read`, for the leaf itself: None also if it has no body. Raises Corrupt if the chunk is another."""
        chunk = self.read(seq, leaf.key_id & 15) if leaf.body_hash else None
        if chunk is not None and (len(chunk) != leaf.body_size or hashlib.sha256(chunk).digest() != leaf.body_hash):
            raise Corrupt(f"body of leaf {seq}: expected the chunk its leaf commits to, got another")
        return chunk

    def _pack_of(self, firsts: list[int], seq: int, erasure: int) -> _Reading | None:
        at = bisect_right(firsts, seq) - 1
        return self._reading(f"{firsts[at]:012d}", erasure) if at >= 0 else None

    def _reading(self, name: str, erasure: int) -> _Reading | None:
        pack = self._open.get(erasure)
        if pack and pack.path.stem == name and os.fstat(pack.fd).st_nlink:  # not removed by retention
            return pack
        if pack:
            self._open.pop(erasure).close()
        try:
            pack = self._open[erasure] = _Reading(_folder(self.root, erasure), name)
        except FileNotFoundError:
            return None
        return pack


@dataclass(slots=True)
class _Writing:
    """The pack of one class that is being appended to."""

    path: Path
    hour: int
    fd: int
    index: int
    end: int = 0  # bytes written
    index_end: int = 0
    kept: int = 0  # of them, what an `undo` leaves
    index_kept: int = 0
    previous: "_Writing | None" = None  # what an `undo` goes back to, for a pack begun in this group
    chunks: list[bytes] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)


class Packs:
    """The writer's side. One thread; a group is any number of `append`, one `sync`, and on failure `undo`.

    Names and ends of the open packs (`ends`) belong in the journal frame that makes the group count.
    """

    def __init__(self, root: Path, fs: Fs = REAL) -> None:
        self.root = root
        self._fs = fs
        self.reader = PackReader(root)
        self._open: dict[int, _Writing] = {}
        self._grouping = False  # between the first `append` of a group and its `sync`

    def append(self, seq: int, erasure: int, chunk: bytes, hour: int) -> None:
        """Add a body to the group; nothing is on disk before `sync`. A later `hour` begins a new file."""
        self.extend(erasure, [(seq, chunk)], hour)

    def extend(self, erasure: int, bodies: Sequence[tuple[int, bytes]], hour: int) -> None:
        """Add bodies (seq, chunk) of one class, seq rising, to the group; some 0.7 us each."""
        if not self._grouping:
            self.keep()
            self._grouping = True
        pack = self._open.get(erasure)
        if pack is None or pack.hour < hour:
            pack = self._begin(bodies[0][0], erasure, hour)
        for seq, chunk in bodies:
            size = len(chunk)
            pack.chunks += (_RECORD.pack(seq, size), chunk)
            pack.entries.append(_ENTRY.pack(seq, pack.end + _RECORD.size, size))
            pack.end += _RECORD.size + size

    def sync(self) -> None:
        """Write the group; durable on return. Raises Full or another OSError: call `undo`, then try again."""
        with full_is_named("pack"):
            for pack in self._open.values():
                if pack.chunks:
                    self._fs.write(pack.fd, b"".join(pack.chunks))
                    self._fs.sync(pack.fd)
                    self._fs.write(pack.index, b"".join(pack.entries))
                    pack.index_end += len(pack.entries) * _ENTRY.size
                    pack.chunks.clear()
                    pack.entries.clear()
        self._grouping = False

    def undo(self) -> None:
        """Go back to before the group's first `append`. After an OSError it may be called again."""
        for erasure, pack in list(self._open.items()):
            if not pack.kept:
                self._drop(pack)
                if pack.previous is None:
                    del self._open[erasure]
                    continue
                pack = self._open[erasure] = pack.previous
            pack.chunks.clear()
            pack.entries.clear()
            for fd, size in ((pack.fd, pack.kept), (pack.index, pack.index_kept)):
                if os.fstat(fd).st_size != size:
                    self._fs.truncate(fd, size)
            pack.end, pack.index_end = pack.kept, pack.index_kept
        self._grouping = False

    def ends(self) -> list[tuple[int, str, int]]:
        """(class, name, bytes) of every open pack, for the journal frame."""
        return [(erasure, pack.path.stem, pack.end) for erasure, pack in self._open.items()]

    def recover(self, ends: Ends, size: int, quarantine: Path) -> None:
        """Make the packs fit a journal whose last frames name `ends`, in a log of `size` leaves.

        Bytes that no frame names are copied to `quarantine`, synced, and cut off. Raises Corrupt, with
        nothing touched, where a pack holds less than the journal acknowledged.
        """
        found = [(erasure, name) for erasure in ErasureClass for name in _names(_folder(self.root, erasure))]
        for erasure, name in found:
            have = (_folder(self.root, erasure) / f"{name}.pack").stat().st_size
            if have < ends.get((erasure, name), 0):
                raise Corrupt(f"pack {erasure.name}/{name}: expected {ends[erasure, name]} bytes, found {have}")
        for erasure in ErasureClass:
            names = [name for each, name in found if each == erasure]
            for name in [name for name in names if int(name) >= size]:
                names.remove(name)
                self._cut(erasure, name, 0, quarantine)
            for name in names:
                if (erasure, name) in ends:
                    self._cut(erasure, name, ends[erasure, name], quarantine)
            if names and (erasure, names[-1]) in ends:
                self._resume(erasure, names[-1])

    def aged(self, erasure: ErasureClass, before_hour: int) -> list[Pack]:
        """The packs of a class whose hour is below `before_hour`, the open one excepted, oldest first."""
        folder, found = _folder(self.root, erasure), []
        writing = self._open.get(erasure)
        kept = {pack.path for pack in (writing, writing and writing.previous) if pack}  # an `undo` may go back to it
        for path in (folder / f"{name}.pack" for name in _names(folder)):
            if path in kept:
                continue
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                hour = _hour(fd, path)
                if hour < before_hour:
                    size, last = os.fstat(fd).st_size, int(path.stem)
                    for entry in scan(fd):
                        last = entry.seq
                    found.append(Pack(erasure, path.stem, hour, int(path.stem), last, size))
            finally:
                os.close(fd)
        return found

    def retire(self, packs: Iterable[Pack]) -> None:
        """Remove packs that `aged` gave. The caller writes a leaf that says so before: nothing goes silently."""
        for pack in packs:
            folder = _folder(self.root, pack.erasure)
            for suffix in (".pack", ".idx"):
                with suppress(FileNotFoundError):
                    self._fs.remove(folder / f"{pack.name}{suffix}")
            self._fs.sync_dir(folder)

    def close(self) -> None:
        self.reader.close()
        for pack in self._open.values():
            self._close(pack)
        self._open.clear()

    def keep(self) -> None:
        """The group synced last is acknowledged: an `undo` no longer takes it back."""
        for pack in self._open.values():
            pack.kept, pack.index_kept = pack.end, pack.index_end
        for pack in self._open.values():
            if pack.previous:
                self._fs.sync(pack.previous.index)  # a closed pack's index is sound for good
                self._close(pack.previous)
                pack.previous = None

    def _begin(self, seq: int, erasure: int, hour: int) -> _Writing:
        folder = _folder(self.root, erasure)
        path = folder / f"{seq:012d}.pack"
        with full_is_named("pack"):
            self._fs.make_dir(folder)
            fd, index = self._open_pair(path)
            pack = _Writing(path, hour, fd, index, previous=self._open.get(erasure))
            self._open[erasure] = pack
            self._fs.truncate(pack.fd, 0)  # an `undo` that failed too may have left something
            self._fs.truncate(pack.index, 0)
            self._fs.sync_dir(folder)
        pack.chunks.append(_FILE.pack(MAGIC, hour))
        pack.end = _FILE.size
        return pack

    def _drop(self, pack: _Writing) -> None:
        """Remove a pack that never counted."""
        for path in (pack.path, pack.path.with_suffix(".idx")):
            with suppress(FileNotFoundError):
                self._fs.remove(path)
        self._fs.sync_dir(pack.path.parent)
        self._close(pack)

    def _open_pair(self, path: Path) -> tuple[int, int]:
        fd = self._fs.open(path)
        try:
            return fd, self._fs.open(path.with_suffix(".idx"))
        except OSError:
            self._fs.close(fd)
            raise

    def _close(self, pack: _Writing) -> None:
        self._fs.close(pack.fd)
        self._fs.close(pack.index)

    def _cut(self, erasure: ErasureClass, name: str, size: int, quarantine: Path) -> None:
        """Keep `size` bytes of a pack and set the rest aside; of nothing left, remove the file."""
        path = _folder(self.root, erasure) / f"{name}.pack"
        fd = self._fs.open(path)
        try:
            if os.fstat(fd).st_size > size:
                self._fs.set_aside(quarantine, f"{erasure.name}-{path.name}", fd, size)
                self._fs.truncate(fd, size)
                self._fs.sync(fd)
        finally:
            self._fs.close(fd)
        if not size:
            for each in (path.with_suffix(".idx"), path):
                with suppress(FileNotFoundError):
                    self._fs.remove(each)
            self._fs.sync_dir(path.parent)

    def _resume(self, erasure: ErasureClass, name: str) -> None:
        """Open the newest pack for appending, its index made to end where the pack ends."""
        path = _folder(self.root, erasure) / f"{name}.pack"
        fd, index = self._open_pair(path)
        pack = _Writing(path, _hour(fd, path), fd, index)
        pack.end = pack.kept = os.fstat(fd).st_size
        rows, at = _sound_rows(fd, pack.index, pack.end)
        self._fs.truncate(pack.index, rows * _ENTRY.size)
        missing = [_ENTRY.pack(*entry) for entry in scan(fd, at)]
        self._fs.write(pack.index, b"".join(missing))
        pack.index_end = pack.index_kept = (rows + len(missing)) * _ENTRY.size
        self._open[erasure] = pack


def _sound_rows(fd: int, index: int, end: int) -> tuple[int, int]:
    """How many rows of an index agree with the pack, judged from its last one back, and where they end in it."""
    rows = os.fstat(index).st_size // _ENTRY.size
    while rows:
        entry = _row(index, rows - 1)
        if entry.offset + entry.size <= end and _agrees(fd, entry):
            return rows, entry.offset + entry.size
        rows -= 1
    return 0, _FILE.size


def _agrees(fd: int, entry: Entry) -> bool:
    """Whether the record at this place has this seq and size."""
    begin = entry.offset - _RECORD.size
    return begin >= _FILE.size and os.pread(fd, _RECORD.size, begin) == _RECORD.pack(entry.seq, entry.size)
