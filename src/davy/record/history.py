"""The history of one origin: Parquet files, a hot tail, and the position up to which both are complete.

    <folder>/position.cbor      next leaf, latest readings, what the projection must remember
    <folder>/readings/*.parquet <folder>/transitions/*.parquet <folder>/lock

A flush writes files named after leaves [position, end), syncs them, then puts `end` into the position
file. Files beyond the position are dropped at the next start, so a crash at any step neither loses nor doubles.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import cbor2
import duckdb
import pyarrow as pa

from davy.blackbox.fs import REAL, Fs, full_is_named
from davy.errors import Corrupt, Inconsistent
from davy.fact import Transition
from davy.reading import Readings, concat
from davy.record import transitions
from davy.record.files import File
from davy.record.latest import Latest
from davy.record.parquet import READINGS
from davy.record.promise import Buckets, Dropped
from davy.record.query import Asker, Connections, arrow, check, joined
from davy.record.shelf import Shelf, View
from davy.record.transitions import TRANSITIONS

VERSION = 1
#: Rows in memory at which it flushes by itself, 11 MB: a minute of 5,000 tags @1 s.
MAX_ROWS = 300_000

Answer = TypeVar("Answer")


class ParquetHistory:
    """Keeps the promises of `promise.History`, and transitions beside the readings.

    `memo` is a plain CBOR map for whoever feeds it, saved together with the position. Writing (append, add,
    flush) belongs to one thread; queries, `tidy` and retention may run in others. A second process is refused.
    """

    def __init__(
        self, folder: Path, fs: Fs = REAL, connections: Connections | None = None, timeout_s: float = 10.0
    ) -> None:
        """Opens or creates it. connections: shared with other histories, or None for its own.

        Raises Inconsistent if another process has it open, Corrupt for a bad position file.
        """
        self.folder, self._fs = folder, fs
        fs.make_dir(folder)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Inconsistent(f"history {folder}: another process has it open") from None
        try:
            self._open()
        except BaseException:  # whoever tries again must find it free
            os.close(self._lock)
            raise
        self._connections, self._shared = connections or Connections(folder), connections is not None
        self._asker = Asker(self._readings, self._connections, timeout_s)

    def _open(self) -> None:
        self.memo: dict[str, Any] = {}
        self._latest, self._newest = Latest(), threading.Lock()  # the lock guards the arrays, which two threads use
        self._durable = self._position = 0
        self._frozen: tuple[int, bytes] | None = None  # end and position file of what is being written
        self._written = False  # whether the files of `_frozen` are complete
        self._count = 0  # rows in memory that came after what is being written
        self._load()
        self._readings: Shelf[Readings] = Shelf(self.folder / "readings", READINGS, self._fs, concat, arrow)
        self._transitions: Shelf[pa.Table] = Shelf(
            self.folder / "transitions", TRANSITIONS, self._fs, transitions.join, lambda t: t
        )
        self._shelves: tuple[Shelf[Any], ...] = (self._readings, self._transitions)
        for shelf in self._shelves:
            shelf.open(self._durable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have it. Does not flush. No query may be under way."""
        if not self._shared:
            self._connections.close()
        os.close(self._lock)

    def _load(self) -> None:
        path = self.folder / "position.cbor"
        if not path.exists():
            return
        try:
            version, self._position, latest, self.memo = cbor2.loads(path.read_bytes())
        except (ValueError, TypeError, EOFError) as error:  # what cbor2 and the unpacking raise
            raise Corrupt(f"{path}: {error}; rebuild the history from the log") from error
        if version != VERSION:
            raise Corrupt(f"{path}: expected version {VERSION}, got {version}; rebuild the history from the log")
        self._durable = self._position
        self._latest = Latest(latest)

    # -- writing

    @property
    def position(self) -> int:
        return self._position

    @property
    def durable(self) -> int:
        """The leaf up to which all is on disk."""
        return self._durable

    @property
    def rows(self) -> int:
        """Readings in memory that no flush has taken up yet."""
        return self._count

    def append(self, readings: Readings, leaf: int) -> None:
        if leaf < self._position:
            return
        if self._count + len(readings) > MAX_ROWS and self._count:
            self.flush()
        if len(readings):
            with self._newest:
                self._latest.update(readings)
            self._readings.append(readings)
            self._count += len(readings)
        self._position = leaf + 1

    def add(self, transition: Transition, leaf: int) -> None:
        """Take the transition of leaf `leaf`; otherwise as `append`."""
        if leaf >= self._position:
            self._transitions.append(transitions.row(leaf, transition))
            self._position = leaf + 1

    def advance(self, position: int) -> None:
        """Note that the leaves below `position` hold nothing else for history."""
        self._position = max(self._position, position)

    def flush(self) -> None:
        # Each step may fail and is taken up again by the next call: what was frozen keeps its leaves, so a file
        # that a failed attempt did finish has the same name the second time.
        if self._frozen is None:
            if self._position == self._durable:
                return
            state = [VERSION, self._position, self._latest.bytes(), self.memo]
            self._frozen = self._position, cbor2.dumps(state)
            self._written, self._count = False, 0
            for shelf in self._shelves:
                shelf.freeze()
        end, state_bytes = self._frozen
        if not self._written:
            for shelf in self._shelves:
                shelf.write(self._durable, end)
            self._written = True
        with full_is_named("history position"):
            self._fs.replace(self.folder / "position.cbor", state_bytes)
            self._fs.sync_dir(self.folder)
        for shelf in self._shelves:
            shelf.show()
        self._durable, self._frozen = end, None

    def tidy(self, mono_ns: int) -> None:
        """Merge what is worth it and remove what was merged 5 s ago. Raises Full; nothing is lost."""
        for shelf in self._shelves:
            shelf.sweep(mono_ns)
            while shelf.merge(self._durable, mono_ns):
                pass

    # -- giving up

    def retention(self, before: int) -> list[Dropped]:
        return self._readings.drop([f for f in self._readings.view.files if f.t1 < before])

    def give_way(self) -> Dropped | None:
        """Give up the oldest file of readings to make room; None if there is none. Transitions stay."""
        oldest = min(self._readings.view.files, key=lambda f: f.t1, default=None)
        return self._readings.drop([oldest])[0] if oldest else None

    @property
    def files(self) -> tuple[File, ...]:
        """The files of readings that queries see."""
        return self._readings.view.files

    # -- asking

    def _ask(self, question: Callable[[View[Readings]], Answer]) -> Answer:
        for _ in range(3):
            try:
                return question(self._readings.view)
            except duckdb.IOException:  # retention or give_way removed a file after the view was taken
                continue
        return question(self._readings.view)

    def latest(self, tags: Sequence[int] | None = None) -> Readings:
        with self._newest:
            return self._latest.get(tags)

    def range(self, tags: Sequence[int], t0: int, t1: int) -> Readings:
        check(t0, t1, 1)
        return concat([self._ask(lambda view, tag=tag: self._asker.range(view, tag, t0, t1)) for tag in tags])  # type: ignore[misc]  # mypy cannot type a default in a lambda

    def buckets(self, tags: Sequence[int], t0: int, t1: int, n: int) -> Buckets:
        check(t0, t1, n)
        return joined([self._ask(lambda view, tag=tag: self._asker.buckets(view, tag, t0, t1, n)) for tag in tags])  # type: ignore[misc]  # as above

    def rollup(self, t0: int, t1: int, step: int) -> Buckets:
        check(t0, t1, 1)
        check(0, step, 1)
        return self._ask(lambda view: self._asker.rollup(view, t0, t1, step))

    def transitions(self, t0: int, t1: int, limit: int, tags: Sequence[int] = ()) -> pa.Table:
        """The newest `limit` transitions of `tags` (none: of all) with t0 <= time < t1, in order of their leaves.

        Columns as in transitions.TRANSITIONS.
        """
        check(t0, t1, 1)
        return transitions.query(self._transitions, t0, t1, limit, tags)
