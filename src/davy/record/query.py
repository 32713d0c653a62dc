"""Questions to history files and the hot tail, answered by DuckDB.

DuckDB opens no database file: each thread has a connection in memory, one thread, a memory limit and
a folder to spill to, and may read the history's files only. Files are picked by the range in their names,
tags asked one by one (`tag IN (...)` prunes badly).
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from davy.errors import BadRequest, Unreachable
from davy.reading import Readings, concat
from davy.reading.readings import COLUMNS
from davy.reading.status import BAD, UNCERTAIN
from davy.record.files import pick
from davy.record.promise import Buckets
from davy.record.shelf import Shelf, View

MEMORY = "32MB"
SPILL = ".spill"  # no part of an origin begins with a dot
# A status below UNCERTAIN is Good, one from BAD on is Bad (reading/status.py).
_SUMS = f"""
    count(*)::UINTEGER AS count,
    (count(*) FILTER (status < {UNCERTAIN}))::UINTEGER AS good,
    (count(*) FILTER (status >= {BAD}))::UINTEGER AS bad,
    coalesce(min(value) FILTER (NOT isnan(value)), 'nan'::DOUBLE) AS min,
    coalesce(max(value) FILTER (NOT isnan(value)), 'nan'::DOUBLE) AS max,
    coalesce(avg(value) FILTER (NOT isnan(value)), 'nan'::DOUBLE) AS avg"""
_NAMES = ("tag", "time", "count", "good", "bad", "min", "max", "avg")
_DTYPES = ("<u4", "<i8", "<u4", "<u4", "<u4", "<f8", "<f8", "<f8")


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def arrow(readings: Readings) -> pa.Table:
    """The six columns as an Arrow table; no copy."""
    return pa.table({name: getattr(readings, name) for name, _ in COLUMNS})


def _tail(view: View[Readings], t0: int, t1: int, tag: int | None = None) -> Readings:
    """What lies in memory of that tag (None: of all), in order of arrival."""
    found = []
    for batch in view.tail:
        mask = (batch.source_time >= t0) & (batch.source_time < t1)
        if tag is not None:
            mask &= batch.tag == tag
        if mask.any():
            found.append(batch.take(mask))
    return concat(found)


class Connections:
    """A DuckDB for each thread that asks, all with the same limits; they may read what lies below `root` only.

    root: folder of one history, or of many that share these connections.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._local = threading.local()
        self._all: list[duckdb.DuckDBPyConnection] = []

    def get(self) -> duckdb.DuckDBPyConnection:
        """That of this thread."""
        if not hasattr(self._local, "connection"):
            connection = duckdb.connect()
            for setting in (
                "threads = 1",
                f"memory_limit = '{MEMORY}'",
                f"temp_directory = {_quoted(self._root / SPILL)}",
                "parquet_metadata_cache = true",
                "autoinstall_known_extensions = false",
                "autoload_known_extensions = false",
                f"allowed_directories = [{_quoted(self._root)}]",
                "enable_external_access = false",
                "lock_configuration = true",
            ):
                connection.execute(f"SET {setting}")
            self._local.connection = connection
            self._all.append(connection)
        found: duckdb.DuckDBPyConnection = self._local.connection
        return found

    def close(self) -> None:
        """Call when no thread is asking."""
        for connection in self._all:
            connection.close()


class Asker:
    """Answers for one shelf of readings; any thread may ask. Each question ends within `timeout_s`.

    Raises Unreachable (retry) when it does not.
    """

    def __init__(self, shelf: Shelf[Readings], connections: Connections, timeout_s: float) -> None:
        self._shelf, self._connections, self._timeout_s = shelf, connections, timeout_s

    @contextmanager
    def _asked(self) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self._connections.get()
        timer = threading.Timer(self._timeout_s, connection.interrupt)
        timer.start()
        try:
            yield connection
        except duckdb.InterruptException as error:
            raise Unreachable(f"history: no answer within {self._timeout_s} s; ask for less") from error
        finally:
            timer.cancel()
            connection.unregister("tail")

    def _rows(
        self, connection: duckdb.DuckDBPyConnection, view: View[Readings], t0: int, t1: int, tag: int | None
    ) -> str | None:
        """SQL for those rows of files and tail; None if there can be none. Only integers and our own paths go in."""
        where = f"source_time >= {t0} AND source_time < {t1}" + (f" AND tag = {tag}" if tag is not None else "")
        parts = []
        if files := pick(view.files, t0, t1):
            paths = ", ".join(map(_quoted, self._shelf.paths(files)))
            parts.append(f"SELECT tag, value, status, source_time FROM read_parquet([{paths}]) WHERE {where}")
        if len(tail := _tail(view, t0, t1, tag)):
            connection.register("tail", arrow(tail))
            parts.append("SELECT tag, value, status, source_time FROM tail")
        return " UNION ALL ".join(parts) or None

    def range(self, view: View[Readings], tag: int, t0: int, t1: int) -> Readings:
        """As History.range, for one tag."""
        parts = []
        if files := pick(view.files, t0, t1):
            names = ", ".join(name for name, _ in COLUMNS)
            sql = f"SELECT {names} FROM read_parquet(?) WHERE tag = ? AND source_time >= ? AND source_time < ?"
            with self._asked() as connection:
                found = connection.execute(sql, [list(map(str, self._shelf.paths(files))), tag, t0, t1]).fetchnumpy()
            columns: dict[str, Any] = {name: np.asarray(found[name], dtype) for name, dtype in COLUMNS}
            parts.append(Readings(**columns))
        # DuckDB keeps the order of files and rows in such a SELECT, so a stable sort leaves equal ones as they came.
        rows = concat([*parts, _tail(view, t0, t1, tag)])
        return rows.take(np.lexsort((rows.server_time, rows.source_time)))

    def buckets(self, view: View[Readings], tag: int, t0: int, t1: int, n: int) -> Buckets:
        """As History.buckets, for one tag."""
        span = t1 - t0
        start = t0 + -(-np.arange(n, dtype=np.int64) * span // n)
        out = _empty(np.full(n, tag, np.uint32), start)
        with self._asked() as connection:
            rows = self._rows(connection, view, t0, t1, tag)
            if rows is None:
                return out
            sql = f"SELECT (source_time - {t0}) * {n} // {span} AS bucket, {_SUMS} FROM ({rows}) GROUP BY bucket"
            found = connection.execute(sql).fetchnumpy()
        at = found.pop("bucket")
        for name, values in found.items():
            getattr(out, name)[at] = values
        return out

    def rollup(self, view: View[Readings], t0: int, t1: int, step: int) -> Buckets:
        """As History.rollup."""
        base = t0 // step * step
        with self._asked() as connection:
            rows = self._rows(connection, view, t0, t1, None)
            if rows is None:
                return _empty(np.empty(0, np.uint32), np.empty(0, np.int64))
            time = f"(source_time - {base}) // {step} * {step} + {base} AS time"
            sql = f"SELECT tag, {time}, {_SUMS} FROM ({rows}) GROUP BY ALL ORDER BY ALL"
            found = connection.execute(sql).fetchnumpy()
        return Buckets(*(np.asarray(found[name], dtype) for name, dtype in zip(_NAMES, _DTYPES, strict=True)))


def _empty(tag: NDArray[np.uint32], time: NDArray[np.int64]) -> Buckets:
    """Buckets without readings."""
    zero, nothing = np.zeros(len(tag), np.uint32), np.full(len(tag), np.nan)
    return Buckets(tag, time, zero, zero.copy(), zero.copy(), nothing, nothing.copy(), nothing.copy())


def check(t0: int, t1: int, parts: int) -> None:
    """Raises BadRequest unless [t0, t1) can be cut into `parts` with 64-bit integers."""
    if not (t0 < t1 and parts > 0 and max(abs(t0), abs(t1)) < 1 << 62 and (t1 - t0) * parts < 1 << 62):
        raise BadRequest(f"interval: expected t0 < t1 in us UTC and 1 part or more, got {t0}, {t1}, {parts}")


def joined(parts: Sequence[Buckets]) -> Buckets:
    """One after the other."""
    columns: list[Any] = [np.concatenate([getattr(p, name) for p in parts]) for name in _NAMES]
    return Buckets(*columns)
