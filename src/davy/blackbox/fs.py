"""The file calls the black box makes; each method is one step that a test may make fail or die."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from davy.errors import Full

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def full_is_named(what: str) -> Iterator[None]:
    """Raise Full (retry) where the disk or the quota had no room; other OSErrors pass as they are."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM or isinstance(error, Full):
            raise
        raise Full(error.errno, f"{what}: {error.strerror}") from error


class Fs:
    """Real files. Nothing is durable before `sync` (contents) or `sync_dir` (names) has returned."""

    def open(self, path: Path) -> int:
        """Descriptor for appending; the file is made if need be (its name is durable after `sync_dir`)."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def close(self, fd: int) -> None:
        os.close(fd)

    def lock(self, fd: int) -> None:
        """Take the file for this process until `fd` is closed. Raises BlockingIOError if another has it."""
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, fd: int, data: bytes) -> None:
        """Write all of `data`; on an error any prefix of it may be in the file."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def rename(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def make_dir(self, path: Path) -> None:
        """Make the folder and its parents; durable on return."""
        if path.is_dir():
            return
        missing = [p for p in (path, *path.parents) if not p.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o750, exist_ok=True)
            self.sync_dir(folder.parent)

    def sync_dir(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, path: Path, data: bytes) -> None:
        """Put `data` at `path` whole or not at all, whoever reads meanwhile.

        The contents are durable on return, the name only after the caller's `sync_dir(path.parent)`, so that
        many files share one. A crash may leave `<name>.tmp` behind, which the next `replace` overwrites.
        """
        temporary = path.with_name(path.name + ".tmp")
        fd = self.open(temporary)
        try:
            self.truncate(fd, 0)
            self.write(fd, data)
            self.sync(fd)
        finally:
            self.close(fd)
        self.rename(temporary, path)

    def set_aside(self, folder: Path, name: str, fd: int, start: int) -> None:
        """Copy the bytes of `fd` from `start` on to `folder/<name>@<start>-<hash>`; durable on return.

        The same bytes set aside twice make one file, so a recovery that dies may simply be run again.
        """
        data = os.pread(fd, os.fstat(fd).st_size - start, start)
        self.make_dir(folder)
        self.replace(folder / f"{name}@{start}-{hashlib.sha256(data).hexdigest()[:8]}", data)
        self.sync_dir(folder)


REAL = Fs()
