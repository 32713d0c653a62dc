"""The write-ahead journal: what is in it was on the disk before anybody was told.

    segment   <number, 12 digits>.journal, frames back to back
    frame     b"DVJ1", length as uint32, SHA-256 of the payload, payload        big-endian

One process appends; any number of others follow with a JournalTail.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from davy.blackbox.fs import REAL, Fs, full_is_named

MAGIC = b"DVJ1"
SEGMENT_BYTES = 8 << 20  # a restart reads two or three segments: some 20 ms
_HEAD = struct.Struct(">4sI32s")


class Frame(NamedTuple):
    """A whole frame and the segment it lies in."""

    segment: int
    payload: bytes


def frame(payload: bytes) -> bytes:
    return _HEAD.pack(MAGIC, len(payload), hashlib.sha256(payload).digest()) + payload


def read_frame(fd: int, at: int) -> bytes | None:
    """Payload of the frame at byte `at`, or None if no whole, sound frame lies there (yet)."""
    head = os.pread(fd, _HEAD.size, at)
    if len(head) < _HEAD.size:
        return None
    magic, length, digest = _HEAD.unpack(head)
    # The length is compared with the file before anything of that size is asked for.
    if magic != MAGIC or os.fstat(fd).st_size - at - _HEAD.size < length:
        return None
    payload = os.pread(fd, length, at + _HEAD.size)
    return payload if len(payload) == length and hashlib.sha256(payload).digest() == digest else None


def frame_size(payload: bytes) -> int:
    return _HEAD.size + len(payload)


def _segments(folder: Path) -> list[int]:
    with suppress(FileNotFoundError):
        return sorted(int(name[:12]) for name in os.listdir(folder) if name.endswith(".journal"))
    return []


def _path(folder: Path, segment: int) -> Path:
    return folder / f"{segment:012d}.journal"


class Journal:
    """The writer's side. Open with `recover` before the first `append`; one thread at a time."""

    def __init__(self, folder: Path, fs: Fs = REAL, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.segment_bytes = segment_bytes
        self.segment = 0  # the one being written
        self._fs = fs
        self._fd = -1
        self._end = 0  # of the last durable frame in this segment
        self._unsettled = False  # bytes after _end may exist and mean nothing

    def scan(self) -> Iterator[Frame]:
        """Every sound frame in order, touching nothing. What follows a bad frame in its segment is left out,

        so a consumer whose payloads are numbered must check that none is missing.
        """
        for segment in _segments(self.folder):
            fd = os.open(_path(self.folder, segment), os.O_RDONLY | os.O_CLOEXEC)
            try:
                at = 0
                while (payload := read_frame(fd, at)) is not None:
                    yield Frame(segment, payload)
                    at += frame_size(payload)
            finally:
                os.close(fd)

    def recover(self, quarantine: Path | None = None) -> list[Frame]:
        """Make the journal ready for `append` and return what `scan` gives (`scan`, then `start`)."""
        frames = list(self.scan())
        self.start(frames, quarantine)
        return frames

    def start(self, frames: list[Frame], quarantine: Path | None = None) -> None:
        """Make the journal ready for `append`; `frames` is what `scan` gave.

        Bytes after the last sound frame are copied to `quarantine` (default: beside the journal), synced,
        and then cut off. Needs nobody's help whatever those bytes are; dying halfway costs nothing.
        """
        fs = self._fs
        fs.make_dir(self.folder)
        self.segment = max(_segments(self.folder), default=0)
        self._fd = fs.open(_path(self.folder, self.segment))
        fs.sync_dir(self.folder)
        self._end = sum(frame_size(f.payload) for f in frames if f.segment == self.segment)
        if os.fstat(self._fd).st_size > self._end:
            name = _path(self.folder, self.segment).name
            fs.set_aside(quarantine or self.folder.parent / "quarantine", name, self._fd, self._end)
        self._unsettled = True  # also when nothing is to be cut: a sound last frame may not be synced yet
        self.undo()

    def append(self, payload: bytes) -> None:
        """Add a frame; durable on return.

        Raises Full (retry) or another OSError: then the payload counts as not written, and the next append
        first removes whatever of it reached the disk. Until then a crash may still bring it back.
        """
        with full_is_named("journal"):
            self.undo()
            if self._end >= self.segment_bytes:
                self._rotate()
            data = frame(payload)
            self._unsettled = True
            self._fs.write(self._fd, data)
            self._fs.sync(self._fd)
            self._end += len(data)
            self._unsettled = False

    def undo(self) -> None:
        """Remove what a failed `append` left; durable on return. After an OSError it may be called again."""
        if self._unsettled:
            self._fs.truncate(self._fd, self._end)
            self._fs.sync(self._fd)
            self._unsettled = False

    def retire(self, before: int) -> None:
        """Remove the segments numbered below `before`."""
        gone = [segment for segment in _segments(self.folder) if segment < min(before, self.segment)]
        for segment in gone:
            self._fs.remove(_path(self.folder, segment))
        if gone:
            self._fs.sync_dir(self.folder)

    def close(self) -> None:
        if self._fd >= 0:
            self._fs.close(self._fd)
            self._fd = -1

    def _rotate(self) -> None:
        fd = self._fs.open(_path(self.folder, self.segment + 1))
        try:
            self._fs.sync_dir(self.folder)
        except OSError:
            self._fs.close(fd)
            raise
        old, self._fd = self._fd, fd
        self.segment, self._end = self.segment + 1, 0
        self._fs.close(old)


class JournalTail:
    """Follows a journal that another process writes. Not for concurrent calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segment = -1
        self._fd = -1
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read_new(self) -> Iterator[bytes]:
        """Payloads not given yet, in order; the place moves on as they are taken, one by one.

        Take only what a checkpoint covers: a later frame may not be durable, and one that failed is taken
        back. Segments retired before they were read are passed over: numbered payloads show the hole.
        """
        while True:
            payload = read_frame(self._fd, self._at) if self._fd >= 0 else None
            if payload is not None:
                self._at += frame_size(payload)
                yield payload
            elif not self._open_next():
                return

    def _open_next(self) -> bool:
        """Go to the next segment if there is one and this one has nothing more."""
        for segment in _segments(self.folder):
            if segment <= self._segment:
                continue
            if self._fd >= 0 and read_frame(self._fd, self._at) is not None:
                return True  # written between our last look and the listing
            try:
                fd = os.open(_path(self.folder, segment), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # retired meanwhile
            self.close()
            self._segment, self._fd, self._at = segment, fd, 0
            return True
        return False
