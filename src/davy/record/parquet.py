"""History files: sorted Parquet, written once, merged in a stream.

Schema version 1 (`davy_schema` in the file's metadata): the columns of a `Table`, rows sorted by tag and then
by time, zstd 3. Written to `<name>.tmp`, synced, renamed: whatever has the name is whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from davy.blackbox.fs import Fs, full_is_named

SCHEMA_VERSION = "1"
ROW_GROUP = 100_000
#: Files that wait to be merged: a merge holds one row group of each in memory.
ROW_GROUP_MINUTE = 8_192
_WRITE = 1 << 20
_DICTIONARY = 256 << 10  # bytes, 32,768 doubles: full-mantissa values are not worth one

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A kind of rows that is kept in files: its columns, which one is the time, and how columns are encoded.

    The first column is `tag`. The columns `split` (times, sequence numbers) are stored byte plane by byte plane, all
    else by dictionary. Measured on two times, bytes a row: one stamp a poll 0.12-0.18 (dictionary 0.34, differences
    0.20-0.41), a stamp a reading 3.1 (5.4, 3.0).
    """

    name: str
    schema: pa.Schema
    time: str
    split: tuple[str, ...]


READINGS = Table(
    "readings",
    pa.schema([
        ("tag", pa.uint32()), ("value", pa.float64()), ("status", pa.uint32()), ("flags", pa.uint32()),
        ("source_time", pa.int64()), ("server_time", pa.int64()),
    ]),
    time="source_time",
    split=("source_time", "server_time"),
)  # fmt: skip


def column(table: pa.Table, name: str) -> Array:
    """A column without NULLs as one array; no copy where it lies in one piece."""
    chunks: pa.ChunkedArray = table.column(name)
    array: Array = (chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()).to_numpy(
        zero_copy_only=False
    )
    return array


def order(tag: Array, time: Array) -> NDArray[np.int64]:
    """int64[N]: positions in order of tag, then time, then as they stand."""
    by_tag: NDArray[np.int64]
    if len(tag) and tag.max() < 1 << 16:
        by_tag = np.argsort(tag.astype(np.uint16), kind="stable")  # radix: a third of the time
    else:
        by_tag = np.argsort(tag, kind="stable")
    sorted_tag, sorted_time = tag[by_tag], time[by_tag]
    if ((sorted_tag[1:] == sorted_tag[:-1]) & (sorted_time[1:] < sorted_time[:-1])).any():
        return np.lexsort((time, tag))
    return by_tag


class _Sink:
    """What Arrow writes to: a descriptor behind `Fs`, so that a test can make any step fail.

    Arrow writes headers and pages of a few bytes one by one; they go to disk in pieces of about a megabyte.
    """

    closed = False

    def __init__(self, fs: Fs, fd: int) -> None:
        self._fs, self._fd, self._waiting, self.size = fs, fd, bytearray(), 0

    def write(self, data: Any) -> int:
        self._waiting += data
        self.size += len(data)
        if len(self._waiting) >= _WRITE:
            self.finish()
        return len(data)

    def finish(self) -> None:
        waiting, self._waiting = bytes(self._waiting), bytearray()
        self._fs.write(self._fd, waiting)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None: ...
    def close(self) -> None: ...
    def seekable(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


def write(path: Path, kind: Table, pieces: Iterable[pa.Table], row_group: int, fs: Fs) -> int:
    """Write sorted `pieces` to `path`, whole and synced; return its bytes. Its name needs `fs.sync_dir`.

    Raises Full, or whatever the disk raised; then nothing is left behind.
    """
    temporary = path.with_name(path.name + ".tmp")
    schema = kind.schema.with_metadata({"davy_schema": SCHEMA_VERSION, "davy_table": kind.name})
    with full_is_named(f"history file {path.name}"):
        fd = fs.open(temporary)
        try:
            fs.truncate(fd, 0)
            sink = _Sink(fs, fd)
            writer = pq.ParquetWriter(
                pa.PythonFile(sink, "w"),
                schema,
                compression="zstd",
                compression_level=3,
                # Not of values: Parquet's bounds leave NaN out, and DuckDB 2.0 takes them to mean there is none
                # (its isnan() then becomes false for the whole file).
                write_statistics=["tag", kind.time],
                use_dictionary=[c for c in schema.names if c not in kind.split],
                column_encoding=dict.fromkeys(kind.split, "BYTE_STREAM_SPLIT"),
                dictionary_pagesize_limit=_DICTIONARY,
                # One page a row group: zstd sees no farther than a page, and 20,000 rows (the default) are not
                # even six tags for an hour. Takes the times of a poll-stamped site from 0.87 to 0.18 bytes a row.
                max_rows_per_page=row_group,
                data_page_size=1 << 21,
            )
            try:
                for piece in pieces:
                    writer.write_table(piece.replace_schema_metadata(schema.metadata), row_group_size=row_group)
            except BaseException:
                with suppress(OSError):  # closing writes a footer, which may well fail too
                    writer.close()
                raise
            writer.close()
            sink.finish()
            fs.sync(fd)
            fs.rename(temporary, path)
            return sink.size
        except BaseException:
            with suppress(OSError):
                fs.remove(temporary)
            raise
        finally:
            fs.close(fd)


def sorted_pieces(table: pa.Table, rows: NDArray[np.int64], row_group: int) -> Iterator[pa.Table]:
    """`rows` of `table` in that order, a row group at a time, so that no second copy of all is made."""
    for start in range(0, len(rows), row_group):
        yield table.take(pa.array(rows[start : start + row_group]))


class _Input:
    """A file being merged: the row groups not yet given out, the last of them in `held`."""

    def __init__(self, path: Path, kind: Table) -> None:
        self._file = pq.ParquetFile(path)
        self._groups = iter(range(self._file.num_row_groups))
        self._time = kind.time
        self.held: pa.Table = self._file.schema_arrow.empty_table()
        self.tag, self.time = column(self.held, "tag"), column(self.held, self._time)
        self.ended = False
        self.load()

    def load(self) -> None:
        """One more row group."""
        group = next(self._groups, None)
        if group is None:
            self.ended = True
            self._file.close()
            return
        more = self._file.read_row_group(group, use_threads=False)
        self.held = pa.concat_tables([self.held, more]).combine_chunks() if len(self.held) else more
        self.tag, self.time = column(self.held, "tag"), column(self.held, self._time)

    def bound(self, reach: int) -> tuple[int, int] | None:
        """The (tag, time) of the held row at `reach`, or before which no row can come any more; None at the end."""
        if reach >= len(self.tag):
            if self.ended:
                return None
            reach = -1
        return int(self.tag[reach]), int(self.time[reach])

    def take_below(self, bound: tuple[int, int] | None) -> pa.Table:
        """The held rows before `bound` in (tag, time), or all; they are given up."""
        if bound is None:
            cut = len(self.tag)
        else:
            tag = self.tag.dtype.type(bound[0])  # of its own type: else numpy converts the array each time
            start, end = int(np.searchsorted(self.tag, tag, "left")), int(np.searchsorted(self.tag, tag, "right"))
            cut = start + int(np.searchsorted(self.time[start:end], bound[1], "left"))
        out = self.held.slice(0, cut)
        self.held, self.tag, self.time = self.held.slice(cut), self.tag[cut:], self.time[cut:]
        return out


def _sorted(parts: Sequence[pa.Table], kind: Table) -> pa.Table:
    table = pa.concat_tables(parts)
    return table.take(pa.array(order(column(table, "tag"), column(table, kind.time))))


def merge(paths: Sequence[Path], kind: Table) -> Iterator[pa.Table]:
    """The rows of sorted files as one sorted stream; equal ones in order of `paths`.

    Holds about one row group of each file and two of the result.
    """
    inputs = [_Input(path, kind) for path in paths]
    ready: list[pa.Table] = []
    count, reach = 0, 1
    while inputs:
        bound = min((b for i in inputs if (b := i.bound(reach)) is not None), default=None)
        parts = [part for i in inputs if len(part := i.take_below(bound))]
        if parts:
            ready.append(_sorted(parts, kind))
            count += len(ready[-1])
            reach = max(1, ROW_GROUP // len(inputs))
        else:
            reach *= 2  # more rows of one tag and time than `reach`: they must go out together
        if count >= ROW_GROUP or (ready and bound is None):
            yield pa.concat_tables(ready).combine_chunks()
            ready, count = [], 0
        for i in inputs:
            if not i.ended and i.bound(len(i.tag)) == bound:
                i.load()
        inputs = [i for i in inputs if len(i.tag) or not i.ended]
