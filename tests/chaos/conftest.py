"""A disk that fails or dies at a chosen step, and a life of a log to spend on it."""

import errno
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from davy.blackbox.fs import Fs
from davy.blackbox.log import Item, Log
from davy.blackbox.note import Checkpoint, Signer, sign_note
from davy.fact import ErasureClass, Kind, Leaf, key_id

ORIGIN = "org/site/box"
SEGMENT_BYTES = 9_000  # so that a short life rotates and retires the journal


class Died(BaseException):
    """The power went, or the process was killed, exactly here."""


class Disk(Fs):
    """Counts every step that changes the disk. At step `at` it dies or fails; `when` says how much was done by then.

    It knows what has been synced, so `cut_power` can leave only that. Nothing is really synced: it is simulated.
    """

    def __init__(self, root: Path, at: int = -1, when: str = "before", error: int = 0, then_die: int = -1) -> None:
        self.root = root
        self.at, self.when, self.error, self.then_die = at, when, error, then_die
        self.step = 0
        self.log: list[str] = []
        self._open: dict[int, Path] = {}
        self._inode: dict[Path, int] = {}  # names as they are now
        self._durable_names: dict[Path, int] = {}
        self._content: dict[int, bytes] = {}  # what is durable of each file
        for path in root.rglob("*"):
            if path.is_file():
                self._inode[path] = self._durable_names[path] = len(self._content)
                self._content[len(self._content)] = path.read_bytes()

    def _do(self, name: str, act: Callable[[], object], half: Callable[[], object] | None = None) -> None:
        step, self.step = self.step, self.step + 1
        self.log.append(name)
        if step == self.then_die:
            raise Died(name)
        if step != self.at:
            act()
            return
        if self.when == "after":
            act()
        elif self.when == "half" and half:
            half()
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        raise Died(name)

    def open(self, path: Path) -> int:
        found: list[int] = []
        self._do(f"open {path.name}", lambda: found.append(super(Disk, self).open(path)))
        if path not in self._inode:
            self._inode[path] = len(self._content)
            self._content[len(self._content)] = b""
        self._open[found[0]] = path
        return found[0]

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        super().close(fd)

    def write(self, fd: int, data: bytes) -> None:
        write = super().write
        self._do(f"write {self._name(fd)}", lambda: write(fd, data), lambda: write(fd, data[: len(data) // 2]))

    def sync(self, fd: int) -> None:
        def act() -> None:
            inode = self._inode[self._open[fd]]
            self._content[inode] = os.pread(fd, 1 << 30, 0)

        self._do(f"sync {self._name(fd)}", act)

    def truncate(self, fd: int, size: int) -> None:
        truncate = super().truncate
        self._do(f"truncate {self._name(fd)}", lambda: truncate(fd, size))

    def rename(self, source: Path, target: Path) -> None:
        def act() -> None:
            super(Disk, self).rename(source, target)
            self._inode[target] = self._inode.pop(source)

        self._do(f"rename {target.name}", act)

    def remove(self, path: Path) -> None:
        def act() -> None:
            super(Disk, self).remove(path)
            self._inode.pop(path)

        self._do(f"remove {path.name}", act)

    def sync_dir(self, path: Path) -> None:
        def act() -> None:
            gone = [file for file in self._durable_names if file.parent == path and file not in self._inode]
            for file in gone:
                del self._durable_names[file]
            self._durable_names |= {file: inode for file, inode in self._inode.items() if file.parent == path}

        self._do(f"sync_dir {path.name}", act)

    def _name(self, fd: int) -> str:
        return self._open[fd].name

    def kill(self) -> None:
        """The process is gone, what it wrote is in the page cache."""
        for fd in list(self._open):
            self.close(fd)

    def cut_power(self, rng: random.Random, names: str) -> None:
        """Leave what was synced and, as luck has it, some of the rest.

        names: "durable" loses every name not synced, "all" keeps them, "some" tosses a coin for each;
        contents not synced are lost whatever becomes of the name.
        """
        self.kill()
        now = {path: path.read_bytes() for path in self._inode}
        left = dict(self._inode if names == "all" else self._durable_names)
        if names == "some":
            for path in sorted(set(self._inode) | set(left)):
                if self._inode.get(path) != left.get(path) and rng.random() < 0.5:
                    left.pop(path, None)
                    left |= {path: self._inode[path]} if path in self._inode else {}
        for path in set(now) - set(left):
            path.unlink()
        for path, inode in left.items():
            data = self._content[inode]
            written = now.get(path, b"") if self._inode.get(path) == inode else b""
            if written.startswith(data) and len(written) > len(data):
                data = written[: rng.randint(len(data), len(written))]
                data = _damaged(data, len(self._content[inode]), rng)
            path.write_bytes(data)


def _damaged(data: bytes, after: int, rng: random.Random) -> bytes:
    """Blocks that were never synced may read as anything."""
    kind = rng.choice(("kept", "zeros", "noise"))
    if kind == "zeros":
        return data[:after] + bytes(len(data) - after)
    if kind == "noise":
        return data[:after] + rng.randbytes(len(data) - after)
    return data


@cache
def make_group(first: int, count: int, seed: int = 0) -> list[Item]:
    """Leaves first ... first + count - 1: an epoch, then transitions with bodies, readings, and leaves without body."""
    rng = random.Random(f"{seed} {first}")
    group: list[Item] = []
    for seq in range(first, first + count):
        kind = Kind.epoch if seq == 0 else rng.choice((Kind.transition, Kind.readings, Kind.clock))
        erasure = ErasureClass.sensor if kind == Kind.readings else ErasureClass.event
        chunk = None if kind == Kind.clock else rng.randbytes(rng.randint(1, 60))
        body = hashlib.sha256(chunk).digest() if chunk else b""
        leaf = Leaf(1, kind, seq, 1, seq, seq, 1, seq, 1, 1, body, body, len(chunk or b""), key_id(1, erasure))
        group.append((leaf.encode(), chunk, erasure))
    return group


@dataclass
class Life:
    """What a log is told to do, and what it acknowledged."""

    signer: Signer
    seed: int = 0
    acknowledged: list[Item] = field(default_factory=list)
    attempted: list[Item] = field(default_factory=list)  # the group under way
    published: int = 0
    failures: int = 0

    def live(self, path: Path, fs: Fs, counts: list[int]) -> Log:
        """Open the log and append groups, publishing after each, trying again what the disk refuses."""
        log = self._insist(lambda: Log.open(path, ORIGIN, fs, SEGMENT_BYTES))
        for turn, count in enumerate(counts):
            self.attempted = make_group(log.size, count, self.seed)
            self._insist(lambda hour=turn // 3: log.append(self.attempted, hour))
            self.acknowledged += self.attempted
            self.attempted = []
            self._insist(lambda: self.publish(log))
        return log

    def publish(self, log: Log) -> None:
        text = Checkpoint(ORIGIN, log.size, log.root()).text()
        log.publish(sign_note(text, [self.signer]), log.size)
        self.published = log.size

    def _insist(self, act: Callable[[], Any]) -> Any:
        while True:
            try:
                return act()
            except OSError as error:
                assert error.errno in (errno.ENOSPC, errno.EIO), error
                self.failures += 1
                assert self.failures < 5


@pytest.fixture
def life() -> Iterator[Callable[[], Life]]:
    signer = Signer.generate(ORIGIN)
    return lambda: Life(signer)
