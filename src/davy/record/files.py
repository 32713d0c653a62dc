"""Which history file holds what: names, and what may be merged, hidden or dropped. Pure.

A file holds the rows of leaves [first, end) whose time lies in one cell of a ladder of time spans; its
name says both, `h_<t0>_<t1>_<first>_<end>.parquet`, with t0 and t1 the times of its oldest and newest row.
One flush writes leaves [first, end) into cells that do not overlap, so two files never hold a row twice
unless one was merged from the other: then its cell and its leaves contain those of the other, and hide it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

HOUR = 3_600_000_000
#: The ladder: span of a cell in us, all counted from 1970. The last has one cell.
SPANS = {"h": HOUR, "d": 24 * HOUR, "m": 32 * 24 * HOUR, "y": 1024 * 24 * HOUR, "a": 1 << 64}
LADDER = tuple(SPANS)

_NAME = re.compile(r"([hdmya])_(-?\d+)_(-?\d+)_(\d{12,})_(\d{12,})\.parquet")
_MANY_CELLS = 16  # files one flush may write before it takes longer cells
_FULL_CELL = 50_000  # rows, unless its cells are as full as this
_SMALL = 32 << 20  # bytes: cells are joined into a longer one only while together below this
_FAN = 12  # files of like size in a cell still being written; a merge holds a row group of each in memory
_LATE_FAN = 16  # late files beside a big one
_TIER = 4  # a file this many times the size of what came after it is left alone


@dataclass(frozen=True, slots=True)
class File:
    """One file: level of its cell, times and leaves it holds, bytes on disk."""

    level: str
    t0: int
    t1: int
    first: int
    end: int
    size: int = 0

    @property
    def name(self) -> str:
        return f"{self.level}_{self.t0}_{self.t1}_{self.first:012}_{self.end:012}.parquet"

    @property
    def cell(self) -> tuple[str, int]:
        return cell(self.level, self.t0)

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Its cell and all that contain it."""
        return [cell(level, self.t0) for level in LADDER[LADDER.index(self.level) :]]


def cell(level: str, time: int) -> tuple[str, int]:
    """The cell of that level in which `time` lies."""
    return level, time // SPANS[level] if level != LADDER[-1] else 0


def parse(name: str, size: int = 0) -> File | None:
    """Inverse of `File.name`; None for a name that is not ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    t0, t1, first, end = map(int, match.groups()[1:])
    return File(match[1], t0, t1, first, end, size)


def hides(by: File, other: File) -> bool:
    """Whether `by` was merged from `other` and more."""
    return (
        by != other
        and by.first <= other.first
        and other.end <= by.end
        and (by.first, by.end, by.level) != (other.first, other.end, other.level)
        and by.cell in other.cells
    )


def visible(files: Iterable[File]) -> list[File]:
    """The files that together hold every row once, in order of their leaves."""
    files = list(files)
    by_cell = defaultdict(list)
    for file in files:
        by_cell[file.cell].append(file)
    shown = [f for f in files if not any(hides(other, f) for key in f.cells for other in by_cell[key])]
    return sorted(shown, key=lambda f: (f.first, f.end, f.t0))


def pick(files: Iterable[File], t0: int, t1: int) -> list[File]:
    """Those that may hold rows in [t0, t1), in the order given."""
    return [f for f in files if f.t0 < t1 and f.t1 >= t0]


def partition(times: NDArray[np.int64]) -> tuple[str, NDArray[np.int64] | None]:
    """The shortest cells that do not make too many small files: their level, and int64[N] the cell of each row.

    None in place of the array when all lie in one.
    """
    low, high = int(times.min()), int(times.max())
    for level in LADDER[:-1]:
        span = SPANS[level]
        if low // span == high // span:
            return level, None
        cells = times // span
        count = len(np.unique(cells))
        if count <= _MANY_CELLS or count * _FULL_CELL <= len(times):
            return level, cells
    return LADDER[-1], None


def merged(run: Sequence[File], level: str) -> File:
    """The name of the file that holds all rows of `run`, in a cell of `level`."""
    return File(
        level, min(f.t0 for f in run), max(f.t1 for f in run), min(f.first for f in run), max(f.end for f in run)
    )


def _being_written(members: list[File], position: int) -> bool:
    return any(f.end >= position for f in members)


def _like_newest(members: list[File]) -> list[File]:
    """The newest members as far back as none is far bigger than the last."""
    bigger = [i for i, f in enumerate(members) if f.size > _TIER * members[-1].size]
    return members[bigger[-1] + 1 if bigger else 0 :]


def _not_dwarfing(members: list[File]) -> list[File]:
    """The newest members, leaving out from the oldest on what dwarfs all that came after it."""
    after = list(accumulate((f.size for f in reversed(members)), initial=0))[-2::-1]
    start = next((i for i, f in enumerate(members) if f.size <= _TIER * after[i]), len(members))
    return members[start:]


def _worth(members: list[File], level: str, position: int) -> list[File]:
    """Those `members` of a cell that are worth merging; none while it does not pay for rewriting them."""
    if level != LADDER[0]:
        small = sum(f.size for f in members) <= _SMALL and not _being_written(members, position)
        return members if small and _not_dwarfing(members) == members else []
    if _being_written(members, position):
        run = _like_newest(members)
        return run if len(run) >= _FAN else []
    run = _not_dwarfing(members)
    return run if len(run) >= (2 if run == members else _LATE_FAN) else []


def plan(shown: Sequence[File], position: int) -> tuple[list[File], File] | None:
    """The next merge worth doing among visible files: what goes in, and what comes out; None if none.

    `position` is the leaf up to which history is flushed: a cell holding a file that ends there is still
    being written. Its files are merged a dozen at a time, and all once it is past; small hours into days, small
    days further up. Late rows do not rewrite a big file until there are many of them.
    """
    by_cell = defaultdict(list)
    for file in shown:
        for key in file.cells:
            by_cell[key].append(file)
    for key in sorted(by_cell, key=lambda k: LADDER.index(k[0])):
        members, level = by_cell[key], key[0]
        if len(members) < 2:
            continue
        run = _worth(members, level, position)
        if run:
            out = merged(run, level)
            if all(f in run or not hides(out, f) for f in shown):
                return run, out
    return None
