"""The files and the hot tail of one table: what a query may see, and how it changes.

A view is immutable and swapped at once, so a query in another thread sees every row once. Written files
become visible only when the caller says so, after it has made them durable as a whole.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from davy.blackbox.fs import Fs
from davy.record import parquet
from davy.record.files import File, hides, parse, partition, plan, visible
from davy.record.parquet import Table, column
from davy.record.promise import Dropped

T = TypeVar("T")

REMOVE_AFTER_NS = 5_000_000_000  # a reader that has just listed the folder may still open what was merged
_MANY_BATCHES = 256


@dataclass(frozen=True, slots=True)
class View(Generic[T]):
    """files: on disk, by leaf; frozen: in memory, being written; fresh: in memory, came since."""

    files: tuple[File, ...] = ()
    frozen: tuple[T, ...] = ()
    fresh: tuple[T, ...] = ()

    @property
    def tail(self) -> tuple[T, ...]:
        return self.frozen + self.fresh


def _by_cell(order: NDArray[np.int64], cells: NDArray[np.int64] | None) -> Iterator[NDArray[np.int64]]:
    """The positions of `order`, a cell at a time."""
    if cells is None:
        yield order
        return
    for cell in np.unique(cells):
        yield order[cells[order] == cell]


class Shelf(Generic[T]):
    """`join` makes one batch of many, `table` a table of one, with the columns of `kind`.

    `view` may be read by any thread. `append`, `freeze`, `write`, `show` belong to the writer's thread; `merge`,
    `sweep`, `drop` to any, one at a time (`_rearranging`). `_swapping` guards the exchange of views.
    """

    def __init__(
        self, folder: Path, kind: Table, fs: Fs, join: Callable[[Sequence[T]], T], table: Callable[[T], pa.Table]
    ) -> None:
        self.folder, self.kind = folder, kind
        self.view: View[T] = View()
        self._fs, self._join, self._table = fs, join, table
        self._written: list[File] = []
        self._merged_away: list[tuple[int, File]] = []
        self._swapping, self._rearranging = threading.Lock(), threading.Lock()

    def open(self, position: int) -> None:
        """Look through the folder; remove what a crash left: parts of files, and leaves from `position` on."""
        self._fs.make_dir(self.folder)
        files = []
        for path in self.folder.iterdir():
            file = parse(path.name, path.stat().st_size)
            if file is not None and file.end <= position:
                files.append(file)
            elif file is not None or path.suffix == ".tmp":
                self._fs.remove(path)
        shown = visible(files)
        self._merged_away = [(0, f) for f in files if f not in shown]
        self.view = View(tuple(shown))

    def paths(self, files: Sequence[File]) -> list[Path]:
        return [self.folder / f.name for f in files]

    def _swap(self, **changes: tuple[File, ...] | tuple[T, ...]) -> None:
        self.view = replace(self.view, **changes)  # type: ignore[arg-type]  # fields by name

    def append(self, batch: T) -> None:
        with self._swapping:
            fresh = (*self.view.fresh, batch)
            self._swap(fresh=(self._join(fresh),) if len(fresh) >= _MANY_BATCHES else fresh)

    def freeze(self) -> None:
        """Set aside what is in memory, to be written as one."""
        with self._swapping:
            assert not self.view.frozen
            self._swap(frozen=self.view.fresh, fresh=())

    def write(self, first: int, end: int) -> None:
        """Write what was set aside as files of leaves [first, end), not yet visible. Raises Full, nothing left."""
        self._discard()
        if not self.view.frozen:
            return
        table = self._table(self._join(self.view.frozen))
        time = column(table, self.kind.time)
        order = parquet.order(column(table, "tag"), time)
        level, cells = partition(time)
        for rows in _by_cell(order, cells):
            file = File(level, int(time[rows].min()), int(time[rows].max()), first, end)
            self._written.append(file)
            pieces = parquet.sorted_pieces(table, rows, parquet.ROW_GROUP_MINUTE)
            size = parquet.write(self.folder / file.name, self.kind, pieces, parquet.ROW_GROUP_MINUTE, self._fs)
            self._written[-1] = replace(file, size=size)
        self._fs.sync_dir(self.folder)

    def _discard(self) -> None:
        """Remove what an earlier, failed `write` left: its leaves are about to be written again."""
        for path in self.paths(self._written):
            with suppress(FileNotFoundError):
                self._fs.remove(path)
        self._written = []

    def show(self) -> None:
        """Let the written files take the place of what was set aside."""
        with self._swapping:
            self._swap(files=(*self.view.files, *self._written), frozen=())
            self._written = []

    def merge(self, position: int, mono_ns: int) -> bool:
        """Do the next merge worth doing (see `files.plan`); False if there is none. Raises Full, nothing changed."""
        with self._rearranging:
            planned = plan(self.view.files, position)
            if planned is None:
                return False
            run, out = planned
            pieces = parquet.merge(self.paths(run), self.kind)
            size = parquet.write(self.folder / out.name, self.kind, pieces, parquet.ROW_GROUP, self._fs)
            self._fs.sync_dir(self.folder)
            with self._swapping:
                kept = [f for f in self.view.files if f not in run]
                self._swap(files=tuple(visible([*kept, replace(out, size=size)])))
            self._merged_away += [(mono_ns, f) for f in run]
            return True

    def sweep(self, mono_ns: int) -> None:
        """Remove files merged away at least 5 s ago."""
        with self._rearranging:
            due = [f for at, f in self._merged_away if mono_ns - at >= REMOVE_AFTER_NS]
            self._remove(due)

    def drop(self, files: Sequence[File]) -> list[Dropped]:
        """Give up visible files, and first what they hide, or that would come to light again."""
        with self._rearranging:
            with self._swapping:
                gone = [f for f in self.view.files if f in files]
                self._swap(files=tuple(f for f in self.view.files if f not in gone))
            hidden = [f for _, f in self._merged_away if any(hides(g, f) for g in gone)]
            self._remove(hidden)
            self._remove(gone)
        return [Dropped(f.name, f.t0, f.t1, f.first, f.end, f.size) for f in gone]

    def _remove(self, files: Sequence[File]) -> None:
        for path in self.paths(files):
            with suppress(FileNotFoundError):
                self._fs.remove(path)
        if files:
            self._fs.sync_dir(self.folder)
        self._merged_away = [(at, f) for at, f in self._merged_away if f not in files]
